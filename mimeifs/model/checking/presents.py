"""Presents: whether the overlay's rows make a tree over their bases, and nothing but that tree.

Each present is walked from its root through the directories that have rows; what has none rests, and is ``trees``'
matter. Besides what a reader would trip over, it is looked for changes that the next version would miss: a row that
differs from its base must be noted in CHANGED, or lie above something that is.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from mimeifs.errors import IntegrityError, MimeiError
from mimeifs.ids import MimeiId
from mimeifs.model import state
from mimeifs.model.checking.findings import Fault, Finding, Where, below, reworded
from mimeifs.model.checking.trees import Trees, rows_of
from mimeifs.model.entry import (
    Entry,
    Kind,
    LinkedInode,
    decode,
    decode_linked,
    encode,
    encode_linked,
    slim,
)
from mimeifs.model.fold import TOMBSTONE
from mimeifs.store.database import U32, U64, Database, Table
from mimeifs.store.interfaces import BlobSource
from mimeifs.store.journalreader import JournalReader
from mimeifs.store.overlay import DirRow, decode_dir, read_dir, read_extents, read_file
from mimeifs.store.seal import unreadable

Layered = tuple[bytes, bytes | None, bytes | None]
"""A name, its row in the overlay and its row in the base; None where there is none."""


@dataclass(slots=True)
class Presents:
    """Checks the overlay's tables. ``directories`` and ``files`` are the numbers that were met in a tree."""

    database: Database
    blobs: BlobSource
    trees: Trees
    journal: JournalReader | None
    """Where what was written lately is read; None where bytes are not looked at."""
    directories: set[int] = field(default_factory=set)
    files: set[int] = field(default_factory=set)

    def run(self) -> Iterator[Finding]:
        """Every present, then what belongs to none."""
        numbers: set[int] = set()
        for key, value in self.database.scan(Table.TREES, b""):
            (number,) = U32.unpack(key)
            numbers.add(number)
            try:
                row = state.decode_tree(value)
                data = self.database.get(Table.MIMEIS, row.mimei)
                mimei = None if data is None else state.decode_mimei(data)
            except MimeiError as error:
                yield Finding(Fault.DAMAGED, f"tree {number}", str(error))
                continue
            if mimei is None or mimei.tree != number:
                yield Finding(Fault.WRONG, f"tree {number}", "its MiMei does not know it")
            name = mimei.name if mimei else str(number)
            yield from _Present(self, number, row, Where(f"the present of {name!r}", row.mimei)).run()
        for key, value in self.database.scan(Table.MIMEIS, b""):
            with suppress(MimeiError):  # Told where the signed records are looked at.
                known = state.decode_mimei(value)
                if known.tree not in numbers | {0}:
                    where = Where(f"MiMei {known.name!r}", MimeiId(key))
                    yield Finding(Fault.MISSING, where, "its present has no row")
        yield from self._orphans(numbers)

    def _orphans(self, trees: set[int]) -> Iterator[Finding]:
        for table in (Table.DIRS, Table.PARENTS, Table.ENTRIES):
            known = self.directories | {0} if table is Table.ENTRIES else self.directories
            for number in sorted({U64.unpack_from(key)[0] for key, _ in self.database.scan(table, b"")} - known):
                yield Finding(Fault.ORPHAN, table.name, f"rows of directory {number}, which is in no tree")
        for table in (Table.CHANGED, Table.LINKS):
            for number in sorted({U32.unpack_from(key)[0] for key, _ in self.database.scan(table, b"")} - trees):
                yield Finding(Fault.ORPHAN, table.name, f"rows of tree {number}, which does not exist")
        spared = {U64.unpack(key)[0] for key, _ in self.database.scan(Table.ORPHANS, b"")}
        spared |= {U64.unpack_from(key, 8)[0] for key, _ in self.database.scan(Table.DOOMED, b"")}
        for key, _ in self.database.scan(Table.FILES, b""):
            if U64.unpack(key)[0] not in self.files | spared:
                yield Finding(Fault.ORPHAN, "FILES", f"file {U64.unpack(key)[0]} is in no tree")

    def live_file(self, entry: Entry, where: str) -> Iterator[Finding]:
        """A file with a row of its own."""
        row = read_file(self.database, entry.live)
        if row is None:
            yield Finding(Fault.MISSING, where, f"it is file {entry.live}, which has no row")
        elif entry.live in self.files:
            yield Finding(Fault.WRONG, where, f"it is file {entry.live}, which has another place too")
        else:
            yield from self.trees.content(row.base, where)
            yield from self._written(entry.live, where)
        self.files.add(entry.live)

    def _written(self, file: int, where: str) -> Iterator[Finding]:
        """Bytes that were written and are not sealed yet; who reads them verifies them."""
        if self.journal is None:
            return
        problem = unreadable(read_extents(self.database, file), self.journal)
        if problem:
            yield Finding(Fault.DAMAGED, where, problem)

    def sealed(self, entry: Entry, stirred: set[int]) -> Entry | None:
        """What a fold would make of an entry that was not noted as changed; None where it has changed for certain."""
        entry = slim(entry)
        if not entry.live:
            return entry
        if entry.kind is Kind.DIRECTORY:
            row = read_dir(self.database, entry.live)
            if row is None or entry.live in stirred:
                return entry
            totals, times = msgspec.structs.replace(row.totals, subdirs=row.subdirs), (row.mtime_ns, row.ctime_ns)
            return msgspec.structs.replace(
                entry, live=0, root=row.base, totals=totals, mtime_ns=times[0], ctime_ns=times[1], size=totals.size
            )
        file = read_file(self.database, entry.live)
        if file is None or not file.folded:
            return None
        return msgspec.structs.replace(
            entry, live=0, content=file.base, size=file.size, mtime_ns=file.mtime_ns, ctime_ns=file.ctime_ns
        )


@dataclass(slots=True)
class _Present:
    """One present, while it is walked."""

    store: Presents
    number: int
    row: state.TreeRow
    where: str
    names: Counter[int] = field(default_factory=Counter)
    paths: dict[int, bytes] = field(default_factory=dict)
    """One of the names of each linked inode that is met above what rests."""
    changed: set[tuple[int, bytes]] = field(default_factory=set)
    stirred: set[int] = field(default_factory=set)

    def run(self) -> Iterator[Finding]:
        database = self.store.database
        for key, _ in database.scan(Table.CHANGED, state.tree_key(self.number)):
            self.changed.add(state.split_changed(key))
        self._stir()
        root = database.get(Table.ENTRIES, state.entry_key(0, U64.pack(self.row.root)))
        if root is None or decode(root).live != self.row.root:
            yield Finding(Fault.MISSING, self.where, "its root directory has no entry")
            return
        self.store.directories.add(self.row.root)
        if database.get(Table.PARENTS, U64.pack(self.row.root)) is not None:
            yield Finding(Fault.WRONG, self.where, "its root directory has a parent")
        waiting = [(self.row.root, b"")]
        while waiting:
            directory, path = waiting.pop()
            yield from self._directory(directory, path, waiting)
        yield from self._links()

    def _stir(self) -> None:
        """Note the directories with something changed below them."""
        for directory in {directory for directory, _ in self.changed}:
            at = directory
            while at not in self.stirred:
                self.stirred.add(at)
                parent = self.store.database.get(Table.PARENTS, U64.pack(at))
                if parent is None:
                    break
                at = state.split_parent(parent)[0]

    def _directory(self, number: int, path: bytes, waiting: list[tuple[int, bytes]]) -> Iterator[Finding]:
        place = below(self.where, path)
        data = self.store.database.get(Table.DIRS, U64.pack(number))
        if data is None:
            yield Finding(Fault.MISSING, place, f"it is directory {number}, which has no row")
            return
        row = decode_dir(data)
        yield from self.store.trees.base(row.base, row.totals, reworded(f"the base of {place}", place))
        subdirs = 0
        try:
            for name, over, under in self._layers(Table.ENTRIES, U64.pack(number), row):
                inner = path + b"/" + name if path else name
                yield from self._noted(number, name, over, under, inner)
                value = under if over is None else over
                if value:
                    entry = decode(value)
                    subdirs += entry.kind is Kind.DIRECTORY
                    yield from self._entry(entry, over, (number, name), inner, waiting)
        except IntegrityError as error:
            yield Finding(Fault.DAMAGED, place, str(error))
            return
        if subdirs != row.subdirs:
            yield Finding(Fault.WRONG, place, f"it has {subdirs} subdirectories, its row says {row.subdirs}")

    def _layers(self, table: Table, prefix: bytes, row: DirRow) -> Iterator[Layered]:
        over = ((key[len(prefix) :], value) for key, value in self.store.database.scan(table, prefix))
        return layered(over, rows_of(self.store.blobs, row.base))

    def _entry(
        self, entry: Entry, over: bytes | None, at: tuple[int, bytes], path: bytes, waiting: list[tuple[int, bytes]]
    ) -> Iterator[Finding]:
        place = below(self.where, path)
        if entry.kind is Kind.HARD:
            self.names[entry.link_id] += 1
            self.paths.setdefault(entry.link_id, path)
        elif not entry.live:
            if over is not None:
                yield from self.store.trees.entry(entry, self.where, path)
            self.names += self.store.trees.count_links(entry)
        elif entry.kind is Kind.DIRECTORY:
            if self.store.database.get(Table.PARENTS, U64.pack(entry.live)) != state.parent_row(*at):
                yield Finding(Fault.WRONG, place, f"directory {entry.live} is noted with another parent or name")
            if entry.live in self.store.directories:
                yield Finding(Fault.WRONG, place, f"directory {entry.live} has another place too")
            else:
                self.store.directories.add(entry.live)
                waiting.append((entry.live, path))
        else:
            yield from self.store.live_file(entry, place)

    def _noted(self, number: int, name: bytes, over: bytes | None, under: bytes | None, path: bytes) -> Iterator[Finding]:
        """Whether a row that differs from the base is noted as changed."""
        if over is None or (number, name) in self.changed:
            return
        if over == TOMBSTONE:
            same = under is None
        else:
            entry = decode(over)
            if entry.kind is Kind.DIRECTORY and entry.live in self.stirred:
                return
            sealed = self.store.sealed(entry, self.stirred)
            same = sealed is not None and encode(sealed) == under
        if not same:
            yield Finding(Fault.WRONG, below(self.where, path), "it changed, and the next version would miss it")

    def _links(self) -> Iterator[Finding]:
        store, prefix = self.store, state.tree_key(self.number)
        yield from store.trees.link_map(
            self.row.links,
            self.row.linked_files,
            self.row.linked_bytes,
            reworded(f"the link map below {self.where}", self.where),
        )
        over = ((key[len(prefix) :], value) for key, value in store.database.scan(Table.LINKS, prefix))
        try:
            for key, new, old in layered(over, rows_of(store.blobs, self.row.links)):
                yield from self._link(key, new, old)
        except MimeiError as error:
            yield Finding(Fault.DAMAGED, self.where, str(error))
            return
        for link_id in self.names:
            yield Finding(Fault.MISSING, self.where, f"inode {link_id} has names and no row")

    def _link(self, key: bytes, over: bytes | None, under: bytes | None) -> Iterator[Finding]:
        (link_id,) = U64.unpack(key)
        where = reworded(f"{self.where}, inode {link_id}", self.where)
        row = under if over is None else over
        linked = decode_linked(row) if row else None
        names = self.names.pop(link_id, 0)
        if names != (linked.nlink if linked else 0):
            yield Finding(Fault.WRONG, where, f"it has {names} names, its row says {linked.nlink if linked else 0}")
        if linked is not None and over is not None:
            if linked.entry.live:
                path = self.paths.get(link_id)
                yield from self.store.live_file(linked.entry, where if path is None else below(self.where, path))
            else:
                yield from self.store.trees.linked(linked, where, key)
        if over is None or (state.LINKS_DIR, key) in self.changed:
            return
        sealed = self.store.sealed(linked.entry, set()) if linked else None
        expected = None if linked is None or sealed is None else encode_linked(LinkedInode(linked.nlink, sealed))
        if expected != under or (linked is not None and sealed is None):
            yield Finding(Fault.WRONG, where, "it changed, and the next version would miss it")


def layered(over: Iterator[tuple[bytes, bytes]], under: Iterator[tuple[bytes, bytes]]) -> Iterator[Layered]:
    """Overlay rows and base rows of the same map side by side, in key order."""
    high, low = next(over, None), next(under, None)
    while high is not None or low is not None:
        if high is not None and low is not None and high[0] == low[0]:
            yield high[0], high[1], low[1]
            high, low = next(over, None), next(under, None)
        elif high is not None and (low is None or high[0] < low[0]):
            yield high[0], high[1], None
            high = next(over, None)
        elif low is not None:
            yield low[0], None, low[1]
            low = next(under, None)
