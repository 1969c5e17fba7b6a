"""The overlay: rows over the base version, as the keeper keeps them in LMDB.

``apply`` turns one journal operation into rows; it is the only way they change, live and after a crash alike. File rows and
directory rows have two owners, which is why operations on them are narrow: the node says what was written, resized or
touched, and only the keeper, which sees everything in order, ever changes a *base* (by sealing a file or folding a
directory).

Always true within a transaction: the extents of a file are sorted and disjoint; a segment's count in SEGMENTS is the
number of extents that point into it; a file row's size is what the operations so far made it. Rows of files and directories
that were changed, and the extents of files that began in this transaction, are kept in memory until :meth:`Overlay.flush`:
most files are written several times, and sealed, before anybody else could see them, and a directory changes with each name.
"""

import struct
from collections.abc import Callable, Iterator, Mapping

import msgspec

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.store.content import EMPTY, ContentKind, ContentRef
from mimeifs.store.database import U64, Database, Table, Transaction, damage, keys_back, scan, scan_back
from mimeifs.store.extents import ZEROS, Extent, ExtentMap, position, remainders
from mimeifs.store.journal import SEGMENT_SIZE
from mimeifs.store.operations import Call, Clear, Delete, DropFile, Operation, Put, Resize, TouchDir, TouchFile, Write

_FILE = struct.Struct(">B32sQQqqQ")
_DIR = struct.Struct(">32sQQIQqqI")
_EXTENT = struct.Struct(">QQ")
_KEY = struct.Struct(">QQ")
# Python 3.11 looks up members of an enumeration in Python code, and replay does so for every operation.
_FILES, _DIRS = Table.FILES.value, Table.DIRS.value
_KINDS = {kind.value: kind for kind in ContentKind}


class FileRow(msgspec.Struct, frozen=True, gc=False):
    """A file being edited: base content, size and times; ``folded`` is the position of the cut that sealed it, else 0."""

    base: ContentRef
    size: int
    mtime_ns: int
    ctime_ns: int
    folded: int = 0

    def encode(self) -> bytes:
        """Fixed 73 bytes, big-endian."""
        base = self.base
        return _FILE.pack(base.kind, base.digest, base.size, self.size, self.mtime_ns, self.ctime_ns, self.folded)


def decode_file(data: bytes) -> FileRow:
    """Inverse of :meth:`FileRow.encode`; raises ``IntegrityError``."""
    try:
        kind, digest, base_size, size, mtime, ctime, folded = _FILE.unpack(data)
        base = ContentRef(_KINDS[kind], BlobId(digest if base_size else b""), base_size) if base_size or kind else EMPTY
    except (struct.error, KeyError) as error:
        raise damage("a file's row has no such form") from error
    return FileRow(base, size, mtime, ctime, folded)


class Totals(msgspec.Struct, frozen=True, gc=False):
    """What a directory's base holds: files and their bytes at any depth, direct subdirectories, names of hard links below.

    A hard-linked file counts in ``links``, once a name, and not in ``files`` and ``size``: the tree's link map has those.
    """

    files: int = 0
    size: int = 0
    subdirs: int = 0
    links: int = 0


class DirRow(msgspec.Struct, frozen=True, gc=False):
    """A directory with a number of its own: the map its overlay rows lie on, that map's totals, its times and
    subdirectories."""

    base: BlobId
    totals: Totals
    mtime_ns: int
    ctime_ns: int
    subdirs: int

    def encode(self) -> bytes:
        """Fixed 80 bytes, big-endian."""
        totals = self.totals
        return _DIR.pack(
            self.base, totals.files, totals.size, totals.subdirs, totals.links, self.mtime_ns, self.ctime_ns, self.subdirs
        )


def decode_dir(data: bytes) -> DirRow:
    """Inverse of :meth:`DirRow.encode`; raises ``IntegrityError``."""
    try:
        base, files, size, below, links, mtime, ctime, subdirs = _DIR.unpack(data)
    except struct.error as error:
        raise damage("a directory's row has no such form") from error
    return DirRow(BlobId(base), Totals(files, size, below, links), mtime, ctime, subdirs)


def read_file(database: Database, file: int) -> FileRow | None:
    """A file's row as of the reader's moment."""
    data = database.get(Table.FILES, U64.pack(file))
    return None if data is None else decode_file(data)


def read_dir(database: Database, directory: int) -> DirRow | None:
    """A directory's row as of the reader's moment."""
    data = database.get(Table.DIRS, U64.pack(directory))
    return None if data is None else decode_dir(data)


def read_extents(database: Database, file: int) -> ExtentMap:
    """A file's extents as of the reader's moment."""
    return ExtentMap(_extent(key, value) for key, value in database.scan(Table.EXTENTS, U64.pack(file)))


def _extent(key: bytes, value: bytes) -> Extent:
    try:
        return _KEY.unpack(key)[1], *_EXTENT.unpack(value)
    except struct.error as error:
        raise damage("a row of a file's ranges has no such form") from error


class Overlay:
    """The overlay inside one write transaction of the keeper."""

    def __init__(self, database: Database, transaction: Transaction) -> None:
        self._tables = database.tables
        self.transaction = transaction
        self._counts: dict[int, int] = {}
        self._rows: dict[int, FileRow | None] = {}
        self._dirs: dict[int, DirRow | None] = {}
        self._new: dict[int, ExtentMap] = {}

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One row, as this transaction sees it."""
        value: bytes | None = self.transaction.get(key, db=self._tables[table])
        return value

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Set one row."""
        self.transaction.put(key, value, db=self._tables[table])

    def delete(self, table: Table, key: bytes) -> None:
        """Remove one row, if it is there."""
        self.transaction.delete(key, db=self._tables[table])

    def scan(self, table: Table, prefix: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with ``prefix``, ascending; rows must not be changed meanwhile."""
        return scan(self.transaction, self._tables[table], prefix, after)

    def scan_back(self, table: Table, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with ``prefix``, descending."""
        return scan_back(self.transaction, self._tables[table], prefix)

    def keys_back(self, table: Table, prefix: bytes) -> Iterator[bytes]:
        """Keys that begin with ``prefix``, descending; no value is read."""
        return keys_back(self.transaction, self._tables[table], prefix)

    def clear(self, table: Table, prefix: bytes) -> None:
        """Remove every row whose key begins with ``prefix``."""
        with self.transaction.cursor(db=self._tables[table]) as cursor:
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                found = cursor.delete()

    def apply(self, operation: Operation) -> None:
        """Carry out one operation; a :class:`Call` belongs to the floor above and is refused."""
        _APPLY[type(operation)](self, operation)

    # Directories

    def directory(self, number: int) -> DirRow | None:
        """A directory's row."""
        if number in self._dirs:
            return self._dirs[number]
        data = self.get(Table.DIRS, U64.pack(number))
        return None if data is None else decode_dir(data)

    def set_directory(self, number: int, row: DirRow | None) -> None:
        """Give a directory that row, or none."""
        self._dirs[number] = row

    # Files

    def file(self, number: int) -> FileRow | None:
        """A file's row."""
        if number in self._rows:
            return self._rows[number]
        data = self.get(Table.FILES, U64.pack(number))
        return None if data is None else decode_file(data)

    def extents(self, number: int) -> ExtentMap:
        """A file's extents, not to be changed; good until the file changes."""
        new = self._new.get(number)
        if new is not None:
            return new
        return ExtentMap(_extent(key, value) for key, value in self.scan(Table.EXTENTS, U64.pack(number)))

    def rebase(self, number: int, row: FileRow, base: ContentRef, folded: int) -> None:
        """The present content of the file with that row is now ``base``: it has been sealed, and no extent is needed any
        more."""
        self._drop_extents(number)
        self._rows[number] = FileRow(base, row.size, row.mtime_ns, row.ctime_ns, folded)

    def clone(self, source: int, number: int) -> None:
        """File ``number``, a new one, holds what file ``source`` holds."""
        row = self._file(source)
        self._new[number] = ExtentMap(self.extents(source))
        self._rows[number] = FileRow(row.base, row.size, row.mtime_ns, row.ctime_ns)

    def drop_file(self, number: int) -> None:
        """Forget a file's row and extents."""
        self._drop_extents(number)
        self._rows[number] = None

    def _put(self, operation: Put) -> None:
        table = operation.table
        if table == _FILES:
            number = U64.unpack(operation.key)[0]
            if self.file(number) is None:
                self._new[number] = ExtentMap()
            self._rows[number] = decode_file(operation.value)
        elif table == _DIRS:
            self._dirs[U64.unpack(operation.key)[0]] = decode_dir(operation.value)
        else:
            self.transaction.put(operation.key, operation.value, db=self._tables[table])

    def _delete(self, operation: Delete) -> None:
        if operation.table == _DIRS:
            self.set_directory(U64.unpack(operation.key)[0], None)
        else:
            self.transaction.delete(operation.key, db=self._tables[operation.table])

    def _file(self, number: int) -> FileRow:
        row = self.file(number)
        if row is None:
            raise IntegrityError(f"the journal speaks of file {number}, which the overlay does not hold")
        return row

    def _write(self, operation: Write) -> None:
        row = self._file(operation.file)
        stop = operation.start + operation.length
        if operation.start > row.size:
            self._lay(operation.file, row.size, operation.start - row.size, operation.address | ZEROS)
        self._lay(operation.file, operation.start, operation.length, operation.address)
        time_ns = operation.time_ns
        self._rows[operation.file] = FileRow(row.base, max(row.size, stop), time_ns, time_ns)

    def _resize(self, operation: Resize) -> None:
        row = self._file(operation.file)
        if operation.size > row.size:
            self._lay(operation.file, row.size, operation.size - row.size, operation.at | ZEROS)
        elif operation.size < row.size:
            self._cut(operation.file, operation.size, 1 << 63)
        self._rows[operation.file] = FileRow(row.base, operation.size, operation.time_ns, operation.time_ns)

    def _touch_file(self, operation: TouchFile) -> None:
        row = self._file(operation.file)
        self._rows[operation.file] = FileRow(row.base, row.size, operation.mtime_ns, operation.ctime_ns)

    def _touch_dir(self, operation: TouchDir) -> None:
        row = self.directory(operation.directory)
        if row is None:
            raise IntegrityError(f"the journal speaks of directory {operation.directory}, which the overlay does not hold")
        new = DirRow(row.base, row.totals, operation.mtime_ns, operation.ctime_ns, operation.subdirs)
        self._dirs[operation.directory] = new

    # Extents

    def _lay(self, file: int, start: int, length: int, address: int) -> None:
        if not length:
            return
        new = self._new.get(file)
        if new is not None:
            new.put(start, length, address)
            return
        self._cut(file, start, start + length)
        self._put_extent(file, (start, length, address))

    def _cut(self, file: int, start: int, stop: int) -> None:
        """Take ``[start, stop)`` out of the file's extents."""
        new = self._new.get(file)
        if new is not None:
            new.cut(start, stop)
            return
        prefix = U64.pack(file)
        kept: list[Extent] = []
        with self.transaction.cursor(db=self._tables[Table.EXTENTS]) as cursor:
            found = cursor.set_range(_KEY.pack(file, start))
            if not found or cursor.key() != _KEY.pack(file, start):
                found_before = cursor.prev() if found else cursor.last()
                if found_before and cursor.key().startswith(prefix):
                    first, length, _ = _extent(*cursor.item())
                    found = True if first + length > start else cursor.next()
                elif found_before:
                    found = cursor.next()
                else:
                    found = cursor.first()
            while found and cursor.key().startswith(prefix):
                extent = _extent(*cursor.item())
                if extent[0] >= stop:
                    break
                self._count(extent[2], -1)
                kept.extend(remainders(extent, start, stop))
                found = cursor.delete()
        for extent in kept:
            self._put_extent(file, extent)

    def _drop_extents(self, file: int) -> None:
        """Take out all of a file's extents."""
        if file in self._new:
            self._new[file] = ExtentMap()
            return
        prefix = U64.pack(file)
        with self.transaction.cursor(db=self._tables[Table.EXTENTS]) as cursor:
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                self._count(_EXTENT.unpack(cursor.value())[1], -1)
                found = cursor.delete()

    def _put_extent(self, file: int, extent: Extent) -> None:
        start, length, address = extent
        self.put(Table.EXTENTS, _KEY.pack(file, start), _EXTENT.pack(length, address))
        self._count(address, 1)

    def _count(self, address: int, by: int) -> None:
        if not address & ZEROS:
            segment = position(address) // SEGMENT_SIZE
            self._counts[segment] = self._counts.get(segment, 0) + by

    def flush(self) -> None:
        """Write what was kept in memory; before the transaction commits."""
        self._flush_rows(Table.FILES, self._rows)
        self._flush_rows(Table.DIRS, self._dirs)
        self._rows.clear()
        self._dirs.clear()
        for number, extents in self._new.items():
            for extent in extents:
                self._put_extent(number, extent)
        self._new.clear()
        for segment, by in self._counts.items():
            key = U64.pack(segment)
            count = U64.unpack(self.get(Table.SEGMENTS, key) or bytes(8))[0] + by
            if count < 0:
                raise IntegrityError(f"segment {segment} has fewer extents than none")
            self.put(Table.SEGMENTS, key, U64.pack(count))
        self._counts.clear()

    def _flush_rows(self, table: Table, rows: Mapping[int, FileRow | DirRow | None]) -> None:
        for number, row in rows.items():
            if row is None:
                self.delete(table, U64.pack(number))
            else:
                self.put(table, U64.pack(number), row.encode())


def _refuse(_overlay: Overlay, operation: Operation) -> None:
    raise TypeError(f"{type(operation).__name__} is not for the overlay")


_APPLY: dict[type, Callable[..., None]] = {
    Put: Overlay._put,
    Delete: Overlay._delete,
    Clear: lambda overlay, operation: overlay.clear(operation.table, operation.prefix),
    Write: Overlay._write,
    Resize: Overlay._resize,
    TouchFile: Overlay._touch_file,
    DropFile: lambda overlay, operation: overlay.drop_file(operation.file),
    TouchDir: Overlay._touch_dir,
    Call: _refuse,
}
