"""The LMDB environment: the index of blobs, the overlay, and what the node remembers locally.

One environment, one writer (the keeper, or a command when nothing else runs), any number of readers in other processes. All
of it but the overlay can be rebuilt from the packs. Always true: a transaction that committed is durable; what one reader
sees between two calls of :meth:`Database.renew` is one moment of the store. The map grows in :meth:`Database.write` when
a transaction needs more room, never below it. Failure: a full disk raises ``CapacityError`` and leaves the last commit.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from mimeifs.errors import CapacityError, IntegrityError, UnknownFormatError
from mimeifs.store import disk

FORMAT = 1
_SPARE = 128 << 20
_FULL = 1 << 20
START_BYTES = 256 << 20
DAMAGE = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.BadTxnError,
    lmdb.PageFullError,
    lmdb.CursorFullError,
    lmdb.ProblemError,
    lmdb.IncompatibleError,
)
"""What LMDB raises for pages that are not what they should be."""
Transaction = Any
T = TypeVar("T")
U64 = struct.Struct(">Q")
U32 = struct.Struct(">I")


class Table(IntEnum):
    """Tables, by the number that journal operations use for them."""

    META = 0
    """Text keys: format, journal position, pack end, counters."""
    BLOBS = 1
    """Digest -> where the blob or record lies in the packs."""
    ENTRIES = 2
    """Directory number, name -> live entry, or a tombstone."""
    DIRS = 3
    """Directory number -> what lies under its entries, and its times."""
    PARENTS = 4
    """Directory number -> tree, parent's number and name."""
    CHANGED = 5
    """Tree, directory number, name: changed since the tree's last version."""
    FILES = 6
    """File number -> base content, size and times of a file being edited."""
    EXTENTS = 7
    """File number, start -> length, address."""
    LINKS = 8
    """Tree, link number -> live entry of a hard-linked inode."""
    INODES = 9
    """Parent's inode number, name -> inode number, where it is not the natural one."""
    TAKEN = 10
    """Inode number -> empty: in use by a file that no longer has its natural name."""
    MIMEIS = 11
    """MiMei ID -> local state: info record, kind, tree number, root directory."""
    VERSIONS = 12
    """MiMei ID, number, record ID -> what listings need of the version."""
    LABELS = 13
    """MiMei ID, label -> record ID of the version."""
    REFS = 14
    """Target MiMei ID, holder MiMei ID, version -> count."""
    HISTORY = 15
    """MiMei ID, numbers of versions -> which paths they changed."""
    SEGMENTS = 16
    """Segment number -> number of extents that point into it."""
    DELEGATIONS = 17
    """User key, device key -> delegation record."""
    DOOMED = 18
    """Fold position, file number -> table and key of the row that falls when the node has caught up."""
    TREES = 19
    """Tree number -> its MiMei, root directory and link map."""
    ORPHANS = 20
    """File number -> empty: without a name, kept only by open handles; dropped when a node starts."""
    HEADS = 21
    """MiMei ID, record ID -> number: versions that are nobody's parent."""
    LOCKS = 22
    """Inode number, token -> a write lock of WebDAV."""


class MapGrown(Exception):
    """The map was too small for the transaction, which is undone; it has been doubled. Do the same again."""


def damage(error: object) -> IntegrityError:
    """What to raise for an index that is not as it should be, and in what."""
    return IntegrityError(f"the store's index is damaged ({error}): end the node, and have `mimei rebuild` make it again")


def insist(work: Callable[[], T]) -> T:
    """Do ``work``, a transaction, again for as long as the map had to grow for it."""
    while True:
        try:
            return work()
        except MapGrown:
            continue


class Database:
    """One opened environment with a read transaction that the owner renews."""

    def __init__(self, path: Path, env: Any) -> None:
        self.path = path
        self._env = env
        self.tables: list[Any] = [env.open_db(f"{table.name.lower()}".encode(), create=False) for table in Table]
        """The handles of the tables, for transactions and cursors."""
        self._read: Transaction = env.begin()

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One row, as of the last :meth:`renew`. As all reading, raises ``IntegrityError`` where the index is damaged."""
        try:
            value: bytes | None = self._read.get(key, db=self.tables[table])
        except lmdb.Error as error:
            raise self._damaged(error) from error
        return value

    def meta(self, key: bytes) -> bytes:
        """A row of META that every store has; raises ``IntegrityError``."""
        value = self.get(Table.META, key)
        if value is None:
            raise damage(f"it lacks its {key.decode()}")
        return value

    def _damaged(self, error: lmdb.Error) -> IntegrityError:
        """What to raise for what LMDB found; it reads nothing more in a transaction that met damage, so there is another."""
        with suppress(lmdb.Error):
            self.renew()
        return damage(error)

    def renew(self) -> None:
        """See everything that is committed now."""
        self._read.abort()
        try:
            self._read = self._env.begin()
        except lmdb.MapResizedError:
            self._env.set_mapsize(0)
            self._read = self._env.begin()

    def scan(self, table: Table, prefix: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with ``prefix``, ascending, from just behind key ``after``."""
        try:
            yield from scan(self._read, self.tables[table], prefix, after)
        except lmdb.Error as error:
            raise self._damaged(error) from error

    def scan_back(self, table: Table, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with ``prefix``, descending."""
        try:
            yield from scan_back(self._read, self.tables[table], prefix)
        except lmdb.Error as error:
            raise self._damaged(error) from error

    def views(self, table: Table, prefix: bytes) -> Iterator[tuple[bytes, memoryview]]:
        """As :meth:`scan`, or of something committed later; large values are not copied: each is good until the next."""
        try:
            reading = self._env.begin(buffers=True)
        except lmdb.MapResizedError:  # The map may follow only where no transaction is open.
            for key, value in self.scan(table, prefix):
                yield key, memoryview(value)
            return
        try:
            with reading as transaction, transaction.cursor(db=self.tables[table]) as cursor:
                found = cursor.set_range(prefix)
                while found and (key := bytes(cursor.key())).startswith(prefix):
                    yield key, cursor.value()
                    found = cursor.next()
        except lmdb.Error as error:
            raise damage(error) from error

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A write transaction: committed and durable at the end of the block, undone by an exception.

        Raises ``CapacityError``, ``IntegrityError`` when the disk fails, and :class:`MapGrown` when it was larger than what
        :meth:`_grow` keeps free.
        """
        self._grow()
        transaction = self._env.begin(write=True)
        try:
            yield transaction
            transaction.commit()
        except lmdb.DiskError as error:
            transaction.abort()
            raise CapacityError("no room for the store's index: free some space on its disk") from error
        except lmdb.MapFullError as error:
            transaction.abort()
            self._double()
            raise MapGrown from error
        except lmdb.Error as error:
            transaction.abort()
            if os.strerror(errno.EIO) in str(error) and self._is_full():  # What LMDB says when a write was cut short.
                raise CapacityError("no room for the store's index: free some space on its disk") from error
            if isinstance(error, lmdb.PanicError) or type(error) is lmdb.Error:  # What the system said, or LMDB after it.
                raise IntegrityError(f"the disk did not take the store's index ({error}): look after the disk") from error
            if isinstance(error, DAMAGE):
                raise damage(error) from error
            raise
        except BaseException:
            transaction.abort()
            raise

    def _is_full(self) -> bool:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize < _FULL

    def _grow(self) -> None:
        """Keep room for a transaction in the map, which may grow only between transactions."""
        if self._env.info()["map_size"] - _length(self._env) < _SPARE:
            self._double()

    def _double(self) -> None:
        self._read.abort()
        self._env.set_mapsize(self._env.info()["map_size"] * 2)
        self._read = self._env.begin()

    def close(self) -> None:
        """End the read transaction and close the environment."""
        self._read.abort()
        self._env.close()


def scan(transaction: Transaction, handle: Any, prefix: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Rows of one table whose key begins with ``prefix``, ascending; the table may change while this waits. Keys that are not
    in order are damage: LMDB has no checksums, and would give rows twice, or others not at all."""
    with transaction.cursor(db=handle) as cursor:
        found = cursor.set_range(prefix if after is None else after)
        if found and after is not None and cursor.key() == after:
            found = cursor.next()
        last = b""
        while found:
            key, value = cursor.item()
            if not key.startswith(prefix):
                return
            if key <= last:
                raise lmdb.CorruptedError("rows are not in order")
            last = key
            yield key, value
            found = cursor.next()


def scan_back(transaction: Transaction, handle: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Rows of one table whose key begins with ``prefix``, descending."""
    with transaction.cursor(db=handle) as cursor:
        for _ in _back(cursor, prefix):
            yield cursor.item()


def keys_back(transaction: Transaction, handle: Any, prefix: bytes) -> Iterator[bytes]:
    """Their keys alone; no value is read."""
    with transaction.cursor(db=handle) as cursor:
        yield from _back(cursor, prefix)


def _back(cursor: Any, prefix: bytes) -> Iterator[bytes]:
    found = cursor.set_range(prefix + b"\xff" * 64)
    found = cursor.prev() if found else cursor.last()
    while found and (key := cursor.key()).startswith(prefix):
        yield key
        found = cursor.prev()


def create_database(path: Path) -> None:
    """Make an empty environment with every table."""
    path.mkdir(mode=0o700)
    env = _environment(path, START_BYTES)
    with env.begin(write=True) as transaction:
        for table in Table:
            env.open_db(table.name.lower().encode(), txn=transaction, create=True)
    with env.begin(write=True) as transaction:
        transaction.put(b"format", U32.pack(FORMAT), db=env.open_db(b"meta", txn=transaction))
    env.close()


def open_database(path: Path) -> Database:
    """Open the environment, once in a process and after any fork.

    Raises ``UnknownFormatError`` when another program's format is found, ``IntegrityError`` when it does not open at all.
    """
    try:
        env = _environment(path, max(START_BYTES, os.stat(path / "data.mdb").st_size + _SPARE))
        _check_length(path / "data.mdb", env)
        env.reader_check()  # A reader that was killed would keep every page it saw from being used again.
        with env.begin() as transaction:
            found = transaction.get(b"format", db=env.open_db(b"meta", txn=transaction, create=False))
    except (lmdb.Error, OSError) as error:
        advice = (
            ": `mimei rebuild` makes it again" if isinstance(error, (*DAMAGE, lmdb.NotFoundError, FileNotFoundError)) else ""
        )
        raise IntegrityError(f"the index in {path} does not open ({error}){advice}") from error
    version = U32.unpack(found)[0] if found is not None and len(found) == 4 else None
    if version != FORMAT:
        env.close()
        raise UnknownFormatError(f"the store in {path.parent} has format {version}, this program knows {FORMAT}")
    try:
        _add_tables(env)
        return Database(path, env)
    except DAMAGE as error:
        env.close()
        raise damage(error) from error


def _check_length(file: Path, env: Any) -> None:
    """Give the file all of its length. LMDB leaves pages at the end unwritten that nothing refers to; where others are missing,
    to read them would end the process (SIGBUS), now finds zeros, and raises ``IntegrityError``, with the file as it was."""
    if file.stat().st_size >= _length(env):
        return
    with env.begin(write=True), open(file, "r+b") as opened:  # Nobody else writes meanwhile.
        size = os.fstat(opened.fileno()).st_size
        if size >= _length(env):
            return
        disk.cut(opened.fileno(), _length(env))
    try:
        with env.begin() as transaction:
            read_through(env, transaction)
    except lmdb.Error as error:
        missing = f"{_length(env) - size} bytes of {_length(env)} are missing at its end"
        with env.begin(write=True), open(file, "r+b") as opened:
            disk.cut(opened.fileno(), size)
        env.close()
        raise IntegrityError(f"the index in {file.parent} is cut off ({missing}): `mimei rebuild` makes it again") from error


def read_through(env: Any, transaction: Transaction) -> None:
    """Touch every row of every table there is."""
    for name in [bytes(key) for key, _ in transaction.cursor()]:
        for _ in transaction.cursor(db=env.open_db(name, txn=transaction, create=False)):
            pass


def _length(env: Any) -> int:
    """Bytes up to the end of the last page that was ever used."""
    return (int(env.info()["last_pgno"]) + 1) * int(env.stat()["psize"])


def _add_tables(env: Any) -> None:
    """Make the tables that came after the store was made."""
    with env.begin() as transaction:
        known = {bytes(key) for key, _ in transaction.cursor()}
    missing = [table for table in Table if table.name.lower().encode() not in known]
    if not missing:
        return
    with env.begin(write=True) as transaction:
        for table in missing:
            env.open_db(table.name.lower().encode(), txn=transaction, create=True)


def _environment(path: Path, size: int) -> Any:
    return lmdb.open(
        str(path),
        map_size=size,
        max_dbs=len(Table) + 4,
        max_readers=64,
        mode=0o600,
        metasync=True,
        readahead=False,
        meminit=False,
    )
