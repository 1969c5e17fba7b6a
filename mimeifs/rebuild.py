"""Making the index of a store again from its packs: everything but what was changed since the newest versions.

States: the new index is made beside the store, in ``store.rebuilding``, on the store's own packs; then the old index and
journal are set aside and the new ones take their places. Whatever interrupts that, another call begins anew: the packs are
only ever added to, and nothing that was there is removed. Always true: nobody else has the store meanwhile.
"""

import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import msgspec

from mimeifs.clock import Clock, Randomness
from mimeifs.engine import LocalEngine
from mimeifs.errors import ConflictError, MimeiError, NotFoundError
from mimeifs.home import Home
from mimeifs.ids import BlobId, MimeiId, show_blob, show_mimei
from mimeifs.model.entry import Kind, Link, TreeRoot, View, decode, decode_tree
from mimeifs.model.mimeis import root_id
from mimeifs.model.node import NAME_MAX, Who
from mimeifs.model.rebuilding import Facts, gather, put_rows
from mimeifs.store import disk, prolly
from mimeifs.store.blobs import BlobReader, index_of
from mimeifs.store.database import (
    U64,
    Database,
    Table,
    create_database,
    insist,
    open_database,
)
from mimeifs.store.interfaces import BlobSource
from mimeifs.store.journal import HEADER_SIZE, SEGMENT_SIZE, segments
from mimeifs.store.overlay import Overlay
from mimeifs.store.packfiles import Rebuilt, pack_numbers
from mimeifs.store.packfiles import rebuild as read_packs
from mimeifs.store.packs import IndexRow
from mimeifs.store.salvage import Salvaged, salvage
from mimeifs.store.storage import StoreLock, drop_ballast, set_aside

BATCH_ROWS = 20_000
KEY_SIZE = 32
CACHE_BYTES = 32 << 20
Report = Callable[[str], None]


class Gap(msgspec.Struct, frozen=True):
    """A place in a pack from which on nothing can be read up to the next frame."""

    pack: int
    offset: int


class Outcome(msgspec.Struct, frozen=True):
    """What a store has again, as it is printed. ``placed`` are the names in the root of MiMeis that nothing showed; ``damaged``
    are blobs and records whose bytes do not verify, ``refused`` counts records that do not count, ``aside`` is where the old
    index and journal are."""

    packs: int
    blobs: int
    records: int
    mimeis: int
    versions: int
    placed: tuple[bytes, ...]
    damaged: tuple[str, ...]
    gaps: tuple[Gap, ...]
    refused: int
    aside: str

    @property
    def complete(self) -> bool:
        """Whether everything in the packs could be read and relied upon."""
        return not (self.damaged or self.gaps or self.refused)


def rebuild(home: Home, clock: Clock, randomness: Randomness, who: Who, *, force: bool, report: Report) -> Outcome:
    """Make the index again. Raises ``ConflictError`` where the old one can be read to its end, unless ``force``;
    ``NotFoundError`` where there are no packs, ``ForbiddenError`` for keys that are not this store's."""
    home.check_place()
    if not home.storage.packs.is_dir():
        raise NotFoundError(f"no packs in {home.storage.root}: there is nothing to make an index from")
    lock = StoreLock(home.storage)
    try:
        old = salvage(home.storage.index) if home.storage.index.exists() else Salvaged({}, whole=False)
        if old.whole and home.storage.journal.is_dir() and not force:
            raise ConflictError(
                "the index can be read to its end, and what is made instead lacks what changed since the newest versions: if"
                " `mimei check` finds it wrong all the same, say --force"
            )
        drop_ballast(home.storage)  # The next node takes the room again.
        making = replace(home, store="store.rebuilding")
        shutil.rmtree(making.storage.root, ignore_errors=True)
        work = _Making(making, clock, randomness, who, report)
        found, facts, placed = work.run(home.storage.packs, old, _first_position(home, old, clock))
        return Outcome(
            len(pack_numbers(home.storage.packs)),
            found.blobs,
            found.records,
            len(facts.infos),
            len(facts.versions),
            tuple(placed),
            tuple(show_blob(blob) for blob in found.damaged),
            tuple(Gap(pack, offset) for pack, offset in found.gaps),
            facts.refused,
            str(_take_places(home, making)),
        )
    finally:
        lock.release()


def _first_position(home: Home, old: Salvaged, clock: Clock) -> int:
    """A place in the journal behind all that were ever used, since weak entity tags are made of them: where nothing tells how
    far that was, as if a segment had been filled each second since 1970."""
    used: list[int] = [0, *(segments(home.storage.journal) if home.storage.journal.is_dir() else ())]
    with suppress(KeyError, struct.error):
        used.append(int(U64.unpack(old.meta[b"position"])[0]) // SEGMENT_SIZE)
    segment = max(1 + max(used), clock.now_ns() // 10**9)
    return segment * SEGMENT_SIZE + HEADER_SIZE


def _take_places(home: Home, making: Home) -> Path:
    """Put the new index and journal where the old ones are, and these aside; where they are then."""
    store, made = home.storage.root, making.storage
    aside = set_aside(home.storage)
    for path in (home.storage.journal, home.storage.index):
        with suppress(FileNotFoundError):
            disk.move(path, aside / path.name)
    disk.sync_directory(aside)
    disk.move(made.journal, home.storage.journal)
    disk.move(made.index, home.storage.index)  # Last: where there is no index there is no store yet.
    disk.sync_directory(store)
    shutil.rmtree(made.root)
    return aside


class _Making:
    """A store of its own on the packs of another one."""

    def __init__(self, home: Home, clock: Clock, randomness: Randomness, who: Who, report: Report) -> None:
        self._home = home
        self._clock = clock
        self._randomness = randomness
        self._who = who
        self._report = report

    def run(self, packs: Path, old: Salvaged, position: int) -> tuple[Rebuilt, Facts, list[bytes]]:
        """Make index and journal, and close them: what was found in the packs, what it says, and names that are new in the
        root."""
        storage = self._home.storage
        storage.root.mkdir(mode=0o700)
        storage.journal.mkdir(mode=0o700)
        storage.packs.symlink_to(packs)
        create_database(storage.index)
        with closing(open_database(storage.index)) as database:
            found = self._index(database)
            database.renew()
            facts = self._records(database)
            author = facts.author(self._home.device().key_id)
            key = old.meta.get(b"inode key", b"")
            meta = {
                b"author": author,
                b"inode key": key if len(key) == KEY_SIZE else self._randomness.draw(KEY_SIZE),
                b"root": root_id(author),
                b"pack end": found.end.encode(),
                b"position": U64.pack(position),
            }
            insist(partial(_write_facts, database, facts, meta))
        return found, facts, self._presents()

    def _index(self, database: Database) -> Rebuilt:
        """Read all packs, and write a row for each blob and record in them."""
        rows: list[tuple[bytes, bytes]] = []

        def insert(digest: bytes, row: bytes) -> None:
            rows.append((digest, row))
            if len(rows) >= BATCH_ROWS:
                flush()

        def flush() -> None:
            insist(partial(_write_rows, database, rows))
            rows.clear()

        found = read_packs(self._home.storage.packs, insert, lambda done, total: self._report(f"reading packs {done}/{total}"))
        flush()
        return found

    def _records(self, database: Database) -> Facts:
        self._report("reading records")
        with closing(_reader(self._home, database)) as blobs:
            return gather(_records_in(database, blobs))

    # Presents

    def _presents(self) -> list[bytes]:
        """Give every MiMei a present, and those that nothing shows a place in the root; the names there."""
        local = LocalEngine(self._home, self._clock, self._randomness)
        try:
            with closing(_reader(self._home, local.database)) as blobs:
                links = self._check_out_all(local, blobs)
            placed = self._place(local, links)
            local.settle()
            return placed
        finally:
            local.close()

    def _check_out_all(self, local: LocalEngine, blobs: BlobSource) -> dict[MimeiId, frozenset[MimeiId]]:
        """Which MiMeis each present, once it is there, shows in itself."""
        mimeis, shown = local.engine.mimeis, dict[MimeiId, frozenset[MimeiId]]()
        root = MimeiId(local.database.get(Table.META, b"root") or b"")
        known = mimeis.all()
        for done, (mimei, _) in enumerate(known):
            self._report(f"presents {done}/{len(known)}")
            tree, shown[mimei] = _newest(local, blobs, mimei)
            local.run(partial(mimeis.check_out, mimei, self._who, tree, nests=bool(shown[mimei])))
        if root not in shown:  # Its record is damaged, or was never written: made again, it has the same name.
            info = mimeis.root_info()
            local.run(lambda: mimeis.create(info, self._who))
            shown[root] = frozenset()
        return shown

    def _place(self, local: LocalEngine, shown: dict[MimeiId, frozenset[MimeiId]]) -> list[bytes]:
        """Show in the root what cannot be reached from there; first those that nobody shows."""
        root = local.engine.views.root.tree.mimei
        reached = _reached(shown, root, set())
        others = {each for inside in shown.values() for each in inside}
        placed = []
        for mimei in sorted(shown, key=lambda each: (each in others, local.engine.mimeis.row(each).created_ns, each)):
            if mimei not in reached and mimei != root_id(local.engine.mimeis.row(mimei).author):
                placed.append(self._place_one(local, mimei))
                _reached(shown, mimei, reached)
        return placed

    def _place_one(self, local: LocalEngine, mimei: MimeiId) -> bytes:
        name, root = _free_name(local, mimei), local.engine.views.root
        local.run(lambda: root.place_link(name, Link(mimei, View.CUR), self._who))
        return name


def _free_name(local: LocalEngine, mimei: MimeiId) -> bytes:
    """A name in the root that is not taken, after what the MiMei is called."""
    row, root = local.engine.mimeis.row(mimei), local.engine.views.root
    wanted = row.name.encode() if row.name and not row.name.startswith("@") else show_mimei(mimei)[:9].encode()
    for number in count(1):
        tail = b"" if number == 1 else f" ({number})".encode()
        name = wanted[: NAME_MAX - len(tail)] + tail
        try:
            local.attempt(partial(root.lookup, name))
        except NotFoundError:
            return name
    raise AssertionError("numbers never end")


def _reached(shown: dict[MimeiId, frozenset[MimeiId]], start: MimeiId, known: set[MimeiId]) -> set[MimeiId]:
    """``known``, with what can be reached from ``start`` added."""
    waiting = [start]
    while waiting:
        at = waiting.pop()
        if at not in known:
            known.add(at)
            waiting.extend(shown.get(at, ()))
    return known


def _newest(local: LocalEngine, blobs: BlobSource, mimei: MimeiId) -> tuple[TreeRoot | None, frozenset[MimeiId]]:
    """The tree of the newest version of which every directory can be read, else of one whose root can; and what it shows."""
    otherwise: TreeRoot | None = None
    for version in list(local.engine.versions.newest_first(mimei)):
        try:
            tree = decode_tree(blobs.get(version.root))
            otherwise = otherwise or tree
            return tree, _links_in(blobs, tree)
        except MimeiError:
            continue
    return otherwise, frozenset()


def _links_in(blobs: BlobSource, tree: TreeRoot) -> frozenset[MimeiId]:
    """The MiMeis that a tree shows; raises where a map of it cannot be read."""
    found, seen, waiting = set[MimeiId](), {prolly.EMPTY_ROOT}, [tree.entry.root]
    while waiting:
        root = waiting.pop()
        if root in seen:
            continue
        seen.add(root)
        for _, row in prolly.scan(blobs, root):
            entry = decode(row)
            if entry.kind is Kind.DIRECTORY:
                waiting.append(entry.root)
            elif entry.link is not None:
                found.add(entry.link.mimei)
    if tree.links != prolly.EMPTY_ROOT:
        for _ in prolly.scan(blobs, tree.links):
            pass
    return frozenset(found)


def _reader(home: Home, database: Database) -> BlobReader:
    return BlobReader(home.storage.packs, index_of(database), cache_bytes=CACHE_BYTES)


def _records_in(database: Database, blobs: BlobSource) -> Iterator[bytes]:
    """All records, in the order in which they were made: that in which they lie in the packs."""
    places: list[tuple[int, int, bytes]] = []
    for digest, value in database.scan(Table.BLOBS, b""):
        row = IndexRow.decode(value)
        if row.is_record:
            places.append((row.pack, row.offset, digest))
    for _, _, digest in sorted(places):
        with suppress(MimeiError):  # It was verified a moment ago.
            yield blobs.get(BlobId(digest))


def _write_rows(database: Database, rows: list[tuple[bytes, bytes]]) -> None:
    with database.write() as transaction:
        for digest, row in rows:
            transaction.put(digest, row, db=database.tables[Table.BLOBS])


def _write_facts(database: Database, facts: Facts, meta: dict[bytes, bytes]) -> None:
    with database.write() as transaction:
        overlay = Overlay(database, transaction)
        put_rows(overlay, facts)
        for key, value in meta.items():
            overlay.put(Table.META, key, value)
        overlay.flush()
