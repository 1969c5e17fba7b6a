"""The present, as the node holds it: memory over overlay rows over base versions.

:class:`Live` is what all live inodes of a node share: the journal they append to, the reader's moment of LMDB they
fall back on, the numbers they draw, and the registry of those in memory. The memtable is not a structure of its own:
an inode changed at journal position ``touched`` is pinned in memory until the keeper has announced a position behind it.

States: ``position`` (everything before it is in LMDB as this process sees it) only grows. ``generation`` counts
announcements that moved a base (a seal, a fold); an inode that was loaded in an earlier one refreshes itself before
its base is used again. Failure: a failed append raises ``CapacityError`` before memory changes, so memory never says
more than the journal.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from blake3 import blake3

from mimeifs.clock import Clock
from mimeifs.errors import CapacityError, MimeiError, NotFoundError
from mimeifs.ids import MimeiId
from mimeifs.model import state
from mimeifs.model.entry import LinkedInode, decode_linked
from mimeifs.store import operations, prolly
from mimeifs.store.database import U64, Database, Table
from mimeifs.store.interfaces import Buffer, ViewSource
from mimeifs.store.journal import MARGIN
from mimeifs.store.journalreader import JournalReader

if TYPE_CHECKING:
    from mimeifs.model.inode import Inode
    from mimeifs.model.live_dir import LiveDir
    from mimeifs.model.node import Node

LIVE_MASK = (1 << 63) - 1
ROOT_INO = 1
IDLE_LIMIT = 20_000
MAX_UNREACHABLE = 1000
"""How many files that nobody can reach any more wait to be dropped together."""


class Appender(Protocol):
    """The end of the journal."""

    @property
    def position(self) -> int:
        """Where the next frame will begin."""
        ...

    def append(self, *pieces: Buffer, behind: int = 0) -> int:
        """Append one frame, with so much room behind it; its position. Raises ``CapacityError``, having appended nothing."""
        ...


class Room(Protocol):
    """The account of the store's disk."""

    def reserve(self, size: int) -> None:
        """Raise ``CapacityError`` or ``IntegrityError`` unless ``size`` bytes more may be kept."""
        ...

    def spare(self) -> int:
        """How many bytes could be written now."""
        ...

    def relieve(self) -> bool:
        """Give up what is kept for those who make room, now that nothing else is left; whether there was any."""
        ...


class LiveTree:
    """The present of one MiMei. ``seed`` numbers the inodes of the names in its root, and of its hard links; a restored
    tree has another one than before, so that no number means two things."""

    __slots__ = (
        "__weakref__",
        "as_version",
        "cut_at",
        "dirty",
        "linked",
        "linked_stirred",
        "live",
        "mimei",
        "nests",
        "number",
        "root",
        "seed",
        "single",
        "withheld",
    )

    def __init__(self, live: "Live", number: int, mimei: MimeiId) -> None:
        self.live = live
        self.number = number
        self.mimei = mimei
        self.cut_at = 0
        self.dirty = False
        self.as_version = False
        """Whether the present, though changed since the newest version, is exactly an older one: nothing is lost with it."""
        self.withheld: dict[tuple[int, bytes], int] = {}
        """Changed names that versions leave as they were, by directory number, and until when: a save is under way there."""
        self.linked: dict[int, Inode] = {}
        self.linked_stirred = 0
        """Behind the last frame, since directories are watched, that changed a hard-linked inode."""
        self.nests = False
        """Whether it may hold links to other MiMeis, whose changes its own maps do not tell."""
        self.root: LiveDir
        self.seed = 0
        self.single = False

    def mark(self, directory: int, name: bytes) -> bytes:
        """The operation that notes a name as changed since the newest version."""
        self.dirty = True
        self.as_version = False
        if self.withheld and (directory, name) in self.withheld:
            self.live.prepare(done=lambda _at: self._let_in(directory, name))
        return operations.put(Table.CHANGED, state.changed_key(self.number, directory, name), b"")

    def withhold(self, directory: int, name: bytes, until_ns: int) -> bytes:
        """The operation after which versions leave a marked name as it was, until then or until it is marked again. It must
        be no directory and no hard link, neither before nor after the change."""
        places = [*self.withheld, (directory, name)]
        noted = self.live.set_small(Table.META, state.withheld_key(self.number), state.encode(places))
        self.live.prepare(done=lambda _at: self.withheld.__setitem__((directory, name), until_ns))
        return noted + operations.put(Table.CHANGED, state.changed_key(self.number, directory, name), U64.pack(until_ns))

    def remember(self) -> None:
        """Know again, after a restart, what has changed and what of it is withheld."""
        database = self.live.database
        self.dirty = next(database.scan(Table.CHANGED, state.tree_key(self.number)), None) is not None
        noted = database.get(Table.META, state.withheld_key(self.number))
        for directory, name in state.decode_withheld(noted) if noted else ():
            until = database.get(Table.CHANGED, state.changed_key(self.number, directory, name))
            if until:
                self.withheld[directory, name] = U64.unpack(until)[0]

    def withholds(self, now_ns: int) -> bool:
        """Whether a version that is asked for at that time leaves anything out."""
        self.withheld = {place: until_ns for place, until_ns in self.withheld.items() if until_ns > now_ns}
        return bool(self.withheld)

    def release(self) -> None:
        """Have the next version hold everything."""
        if self.withheld:
            self.live.append(b"".join([self.mark(*place) for place in list(self.withheld)]))

    def _let_in(self, directory: int, name: bytes) -> None:
        self.withheld.pop((directory, name), None)

    def linked_entry(self, link_id: int) -> LinkedInode:
        """A hard-linked inode as the reader's moment has it; raises ``NotFoundError``."""
        row = self.live.small_row(Table.LINKS, state.link_key(self.number, link_id))
        if row is None:
            tree = self.live.small_row(Table.TREES, state.tree_key(self.number))
            row = prolly.get(self.live.blobs, state.decode_tree(tree or b"").links, U64.pack(link_id))
        if not row:
            raise NotFoundError(f"no inode with link number {link_id}")
        return decode_linked(row)


class Live:
    """What the live inodes of one node share."""

    def __init__(
        self,
        database: Database,
        journal: Appender,
        reader: JournalReader,
        blobs: ViewSource,
        clock: Clock,
        key: bytes,
    ) -> None:
        self.database = database
        self.journal = journal
        self.reader = reader
        self.blobs = blobs
        self.now_ns: Callable[[], int] = clock.now_ns
        self.position = journal.position
        self.generation = 1
        self.nodes: dict[int, Node] = {}
        self.trees: dict[int, LiveTree] = {}
        self._key = key
        self._next_file = 1 + max(_last(database, Table.FILES), _last(database, Table.EXTENTS), _last(database, Table.ORPHANS))
        self._next_dir = 1 + max(_last(database, Table.DIRS), _last(database, Table.PARENTS))
        self._recent: dict[tuple[Table, bytes], tuple[int, bytes | None]] = {}
        self._recent_places: dict[bytes, int] = {}
        """How many of them are of numbers of the names in a directory, by its number."""
        self._prepared: list[tuple[Callable[[int], None] | None, Callable[[], None] | None]] = []
        self._fading: deque[tuple[int, Callable[[], object]]] = deque()
        self._unreachable: list[int] = []
        self.room: Room = _Endless()
        self.quiet = True
        self.stirred: Callable[[], None] = _nobody_listens
        self.beat: Callable[[], None] = _nobody_listens
        """Told of everything that changes what the tree shows, before anybody can see it."""
        self._idle: OrderedDict[int, Node] = OrderedDict()
        self.resolve_link: Callable[[Inode], Node] = _itself
        self.invalidated: Callable[[int, bytes], None] = _nobody
        self.outdated: Callable[[int], None] = _nobody_knows
        self.unwritten: Callable[[LiveTree], frozenset[int]] = _nothing
        """Inodes of which a surface may hold bytes that a version must have."""
        self.written: frozenset[int] = frozenset()
        """Those of which it has just handed them over."""
        self.watched = False
        """Whether somebody wants to hear of changes below directories: ``stirred`` is kept from then on."""
        self.loose_stirred = 0
        """Behind the last frame, since then, that changed something in a MiMei of which nobody knows where it is shown."""
        self.held: set[int] = set()
        """Numbers of inodes that stay in memory, because something is noted of them elsewhere."""
        self.leaving: Callable[[int], list[bytes]] = _nothing_noted

    @contextmanager
    def has_written(self, inos: frozenset[int]) -> Iterator[None]:
        """For one call of the model, the surface has just handed over what it held of these inodes."""
        self.written = inos
        try:
            yield
        finally:
            self.written = frozenset()

    # Numbers

    def new_file(self) -> int:
        """A file number never used before in this store's overlay."""
        self._next_file += 1
        return self._next_file

    def new_dir(self) -> int:
        """A directory number never used before in this store's overlay."""
        self._next_dir += 1
        return self._next_dir

    def natural_ino(self, parent: int, name: bytes) -> int:
        """The inode number of a name, before any exception: a keyed hash, below 2**63, never 0 or 1."""
        digest = blake3(parent.to_bytes(8, "big") + name, key=self._key).digest(length=8)
        return (int.from_bytes(digest, "big") & LIVE_MASK) or 2

    def keyed(self, data: bytes) -> bytes:
        """A keyed hash of what nobody else may be able to make up; what it is for stands in front."""
        return blake3(data, key=self._key).digest()

    def known_ino(self, parent: int, name: bytes) -> int:
        """The inode number of an existing name."""
        row = self.small_row(Table.INODES, U64.pack(parent) + name)
        return U64.unpack(row)[0] if row is not None else self.natural_ino(parent, name)

    def fresh_ino(self, parent: int, name: bytes) -> tuple[int, list[bytes]]:
        """A number for a new inode at this name, and the operations that note it where it is not the natural one."""
        return self._free_ino(parent, name, self._is_free)

    def fresh_dir_ino(self, parent: int, name: bytes) -> tuple[int, list[bytes]]:
        """The same for a new directory: a number from which no others are made, as those of what an earlier directory of that
        name held when it was removed as a whole."""
        return self._free_ino(parent, name, lambda ino: self._is_free(ino) and not self.has_exceptions(ino))

    def _is_free(self, ino: int) -> bool:
        return ino > 1 and ino not in self.nodes and self.small_row(Table.TAKEN, U64.pack(ino)) is None

    def has_exceptions(self, ino: int) -> bool:
        """Whether names in a directory of that number have exceptional ones, or had them a moment ago."""
        prefix = U64.pack(ino)
        return prefix in self._recent_places or next(self.database.scan(Table.INODES, prefix), None) is not None

    def _free_ino(self, parent: int, name: bytes, is_free: Callable[[int], bool]) -> tuple[int, list[bytes]]:
        ino = self.natural_ino(parent, name)
        if is_free(ino):
            return ino, []
        salt = 0
        while not is_free(ino):
            salt += 1
            ino = self.natural_ino(parent, name + b"\0" + salt.to_bytes(8, "big"))
        taken = self.set_small(Table.TAKEN, U64.pack(ino), b"")
        return ino, [taken, self.set_small(Table.INODES, U64.pack(parent) + name, U64.pack(ino))]

    def move_ino(self, ino: int, source: tuple[int, bytes] | None, target: tuple[int, bytes] | None) -> list[bytes]:
        """Operations that carry an inode's number from one (parent's number, name) to another; ``None`` is nowhere."""
        ops = [] if source is None else self.free_place(source)
        natural = target is not None and self.natural_ino(*target) == ino
        if target is not None and not natural:
            ops.append(self.set_small(Table.INODES, U64.pack(target[0]) + target[1], U64.pack(ino)))
        taken = self.small_row(Table.TAKEN, U64.pack(ino)) is not None
        if taken and (target is None or natural):
            ops.append(self.set_small(Table.TAKEN, U64.pack(ino), None))
        elif not taken and target is not None and not natural:
            ops.append(self.set_small(Table.TAKEN, U64.pack(ino), b""))
        return ops

    def free_place(self, place: tuple[int, bytes]) -> list[bytes]:
        """Operations after which (parent's number, name) stands for its natural number again."""
        key = U64.pack(place[0]) + place[1]
        return [] if self.small_row(Table.INODES, key) is None else [self.set_small(Table.INODES, key, None)]

    # Small rows: those without an inode in memory that would pin them

    def small_row(self, table: Table, key: bytes) -> bytes | None:
        """A row as of now."""
        recent = self._recent
        if recent and (table, key) in recent:
            return recent[table, key][1]
        return self.database.get(table, key)

    def small_scan(self, table: Table, prefix: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows as of now whose key begins with ``prefix``, ascending, from just behind key ``after``; the table must not
        change meanwhile."""
        recent = {key: row[1] for (where, key), row in self._recent.items() if where is table and key.startswith(prefix)}
        if not recent:
            yield from self.database.scan(table, prefix, after)
            return
        merged = {**dict(self.database.scan(table, prefix)), **recent}
        for key in sorted(merged):
            value = merged[key]
            if value is not None and (after is None or key > after):
                yield key, value

    def small_scan_back(self, table: Table, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As :meth:`small_scan`, descending."""
        if any(where is table and key.startswith(prefix) for where, key in self._recent):
            return reversed(list(self.small_scan(table, prefix)))
        return self.database.scan_back(table, prefix)

    def set_small(self, table: Table, key: bytes, value: bytes | None) -> bytes:
        """The operation that sets the row; it counts from the next successful :meth:`append` on."""
        self.prepare(done=partial(self._set_small, table, key, value))
        return operations.delete(table, key) if value is None else operations.put(table, key, value)

    def _set_small(self, table: Table, key: bytes, value: bytes | None, at: int) -> None:
        if table is Table.INODES and (table, key) not in self._recent:
            self._recent_places[key[: U64.size]] = self._recent_places.get(key[: U64.size], 0) + 1
        self._recent[table, key] = at, value
        self.fade(at, partial(self._forget_small, table, key, at))

    # Appending

    def reserve(self, size: int) -> None:
        """Ask for room for what is about to be appended; raises ``CapacityError`` or ``IntegrityError``."""
        self.room.reserve(size)

    def prepare(self, *, done: Callable[[int], None] | None = None, undo: Callable[[], None] | None = None) -> None:
        """Have ``done`` called with the position of the next frame, or ``undo`` when it cannot be appended."""
        self._prepared.append((done, undo))

    def append(self, *pieces: Buffer, grows: bool = False) -> int:
        """Append one frame; returns its position. ``grows``: :meth:`reserve` was asked for its room. Raises ``CapacityError``,
        having appended nothing and undone what was prepared."""
        prepared = self._prepared
        try:
            at = self._appended(pieces, grows)
            self.beat()
            self._stir()
        except BaseException:
            self._prepared = []
            for _, undo in reversed(prepared):
                if undo is not None:
                    undo()
            raise
        if prepared:
            self._prepared = []
            for done, _ in prepared:
                if done is not None:
                    done(at)
        return at

    def _appended(self, pieces: tuple[Buffer, ...], grows: bool) -> int:
        """Append; what does not grow may make room: it gets what others leave, and where that is used up, the rest."""
        if grows:
            return self.journal.append(*pieces, behind=MARGIN)
        try:
            return self.journal.append(*pieces)
        except CapacityError:
            if not self.room.relieve():
                raise
        return self.journal.append(*pieces)

    def _stir(self) -> None:
        """Have the keeper told, a moment later."""
        if self.quiet:
            self.quiet = False
            self.stirred()

    def drop(self, number: int) -> None:
        """Have the rows of a file without a name, which nobody can reach any more, dropped a moment later, together with
        others in one frame."""
        self._unreachable.append(number)
        self._stir()
        if len(self._unreachable) >= MAX_UNREACHABLE:
            self.drop_unreachable()

    def drop_unreachable(self) -> None:
        """Append what :meth:`drop` was told. Where the journal takes nothing, the rows stay in ORPHANS and are dropped when a
        node starts."""
        numbers, self._unreachable = self._unreachable, []
        ops = [operations.drop_file(number) + operations.delete(Table.ORPHANS, U64.pack(number)) for number in numbers]
        if ops:
            with suppress(MimeiError, OSError):
                self.append(b"".join(ops))

    def _forget_small(self, table: Table, key: bytes, at: int) -> None:
        known = self._recent.get((table, key))
        if known is not None and known[0] == at:
            del self._recent[table, key]
            if table is Table.INODES:
                self._recent_places[key[: U64.size]] -= 1
                if not self._recent_places[key[: U64.size]]:
                    del self._recent_places[key[: U64.size]]

    def fade(self, at: int, forget: Callable[[], object]) -> None:
        """Call ``forget`` once the frame at ``at`` is in LMDB as this process sees it."""
        self._fading.append((at, forget))

    # The keeper's news

    def announced(self, position: int, *, moved: bool) -> None:
        """The keeper has replayed everything before ``position``; ``moved`` when bases changed."""
        self.beat()
        self.database.renew()
        self.position = position
        if moved:
            self.generation += 1
        fading = self._fading
        while fading and fading[0][0] < position:
            fading.popleft()[1]()

    # Memory

    @property
    def known(self) -> int:
        """About how many nodes the kernel knows."""
        return len(self.nodes) - len(self._idle)

    def forgotten(self, node: "Node") -> None:
        """The kernel no longer knows ``node``: keep it for a while if it is a file or directory that still exists."""
        if not node.may_stay:
            self.nodes.pop(node.ino, None)
            node.closed()
            return
        self._idle[node.ino] = node
        while len(self._idle) > IDLE_LIMIT:
            _, oldest = self._idle.popitem(last=False)
            if not oldest.lookups and not oldest.leave():
                self._idle[oldest.ino] = oldest
                return

    def invalidate(self, parent: int, name: bytes) -> None:
        """Tell the surface that what it knows of this entry may be wrong."""
        self.invalidated(parent, name)

    def outdate(self, node: "Node") -> None:
        """Tell the surface, where it knows this node, that its attributes are others now."""
        if node.lookups:
            self.outdated(node.ino)

    def visited(self, node: "Node") -> None:
        """Somebody other than the kernel has looked at ``node``: it may leave memory again."""
        if not node.lookups and node.ino not in self._idle and self.nodes.get(node.ino) is node:
            self.forgotten(node)


def _last(database: Database, table: Table) -> int:
    for key, _ in database.scan_back(table, b""):
        return int(U64.unpack_from(key)[0])
    return 0


def _itself(inode: "Inode") -> "Node":
    """Links lead nowhere yet."""
    return inode


class _Endless:
    """Room is not watched."""

    def reserve(self, size: int) -> None:
        """There is always enough."""

    def spare(self) -> int:
        """More than any disk has."""
        return 1 << 62

    def relieve(self) -> bool:
        """Nothing is kept."""
        return False


def _nobody_listens() -> None:
    """Nobody waits for appends."""


def _nobody(_parent: int, _name: bytes) -> None:
    """Nobody caches names yet."""


def _nothing(_tree: LiveTree) -> frozenset[int]:
    """Surfaces hold nothing back."""
    return frozenset()


def _nothing_noted(_ino: int) -> list[bytes]:
    """Nothing is noted of inodes elsewhere."""
    return []


def _nobody_knows(_ino: int) -> None:
    """There is no surface."""
