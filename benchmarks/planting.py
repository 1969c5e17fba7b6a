"""A home that holds one MiMei of many files with one version, made in seconds: below the mount, beside the model's calls.

Directories are written as the maps that a fold would make of them, straight through a ``PackWriter`` while nobody else has the
store; then the model makes a MiMei of that tree and takes a version. What comes out is what ``cp -a`` and a backup would have
given, times included. Contents are drawn from a seed, so that the same tree can stand in a plain directory for other programs.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.engine import LocalEngine, create_home
from mimeifs.home import Home
from mimeifs.model.entry import Entry, Kind, Link, TreeRoot, View, encode
from mimeifs.model.node import Who
from mimeifs.model.views import RootDir
from mimeifs.store import prolly
from mimeifs.store.content import EMPTY, ContentKind, ContentRef
from mimeifs.store.database import Database, Table, open_database
from mimeifs.store.overlay import Totals
from mimeifs.store.packs import START, IndexRow, PackEnd
from mimeifs.store.packwriter import PackWriter

ROOT = Who(0, 0)
NAME = b"big"
BORN_NS = 1_700_000_000 * 10**9
_COMMIT_ROWS = 50_000
_PACK_END = b"pack end"


@dataclass(frozen=True, slots=True)
class Shape:
    """A tree of ``directories`` with ``each`` files; ``longest`` bounds the bytes of a file, 0 leaves all empty."""

    directories: int
    each: int
    longest: int = 1500

    @property
    def files(self) -> int:
        """How many files there are."""
        return self.directories * self.each

    def directory(self, number: int) -> str:
        """Name of a directory."""
        return f"dir-{number:04d}"

    def file(self, number: int) -> str:
        """Name of a file in its directory."""
        return f"file-{number:06d}.txt"

    def contents(self, number: int) -> Iterator[bytes]:
        """What the files of a directory hold, in order."""
        draw = random.Random(number)
        for _ in range(self.each):
            yield draw.randbytes(draw.randint(self.longest // 8, self.longest)) if self.longest else b""


def plant(home: Home, shape: Shape) -> None:
    """Make the home, and in it the MiMei ``big`` of that shape with version 1."""
    create_home(home, SystemClock(), SystemRandomness(), None, ROOT)
    tree = _write_tree(home, shape)
    local = LocalEngine(home, SystemClock(), SystemRandomness())
    try:
        engine = local.engine
        info = engine.mimeis.info(NAME.decode(), "tree")
        local.run(lambda: engine.mimeis.create(info, ROOT, tree))
        root = engine.views.root
        assert isinstance(root, RootDir)
        local.run(lambda: root.place_link(NAME, Link(info.record.mimei_id, View.CUR), ROOT))
        local.run(lambda: engine.versions.backup(info.record.mimei_id))
    finally:
        local.close()


def plant_plain(place: Path, shape: Shape) -> None:
    """The same tree in an ordinary directory."""
    for number in range(shape.directories):
        directory = place / shape.directory(number)
        directory.mkdir(parents=True)
        for file, content in enumerate(shape.contents(number)):
            (directory / shape.file(file)).write_bytes(content)


def _write_tree(home: Home, shape: Shape) -> TreeRoot:
    database = open_database(home.storage.index)
    try:
        writer = _Planter(home, database)
        rows = []
        for number in range(shape.directories):
            rows.append((shape.directory(number).encode(), encode(writer.directory(shape, number))))
        root = prolly.build(writer.blobs, rows)
        files, size = shape.files, writer.size
        entry = Entry(Kind.DIRECTORY, 0o755, 0, 0, BORN_NS, BORN_NS, root=root, totals=Totals(files, size, shape.directories))
        writer.commit()
        writer.blobs.close()
        return TreeRoot(entry, prolly.EMPTY_ROOT)
    finally:
        database.close()


class _Planter:
    """Blobs and index rows of a tree, committed in large pieces."""

    def __init__(self, home: Home, database: Database) -> None:
        stored = database.get(Table.META, _PACK_END)
        self._database = database
        self.blobs = PackWriter(home.storage.packs, PackEnd.decode(stored) if stored else START, self._lookup)
        self.blobs.put(prolly.EMPTY_NODE)
        self.size = 0
        self._pending = 0

    def _lookup(self, digest: bytes) -> IndexRow | None:
        row = self._database.get(Table.BLOBS, digest)
        return None if row is None else IndexRow.decode(row)

    def directory(self, shape: Shape, number: int) -> Entry:
        """Store one directory with its files; its entry."""
        rows, total = [], 0
        for file, content in enumerate(shape.contents(number)):
            born = BORN_NS + number * 10**9 + file
            ref = ContentRef(ContentKind.BLOB, self.blobs.put(content), len(content)) if content else EMPTY
            rows.append((shape.file(file).encode(), encode(Entry(Kind.FILE, 0o644, 0, 0, born, born, len(content), ref))))
            total += len(content)
        self.size += total
        self._pending += shape.each
        if self._pending >= _COMMIT_ROWS:
            self.commit()
        totals = Totals(shape.each, total)
        return Entry(Kind.DIRECTORY, 0o755, 0, 0, BORN_NS, BORN_NS, root=prolly.build(self.blobs, rows), totals=totals)

    def commit(self) -> None:
        """Make what was put so far durable and known."""
        self.blobs.sync()
        with self._database.write() as transaction:
            for digest, row in sorted(self.blobs.take_rows()):
                transaction.put(digest, row, db=self._database.tables[Table.BLOBS])
            transaction.put(_PACK_END, self.blobs.end.encode(), db=self._database.tables[Table.META])
        self._database.renew()
        self._pending = 0
