"""The MiMeis a node knows: making them, finding them, and their presents.

A MiMei's row says what its signed Info says, and where its present is. Always true: a present's tree number, once
given, stays; the author's key made every Info here, through a device key that a delegation allows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from mimeifs.clock import Randomness
from mimeifs.errors import ExistsError, InvalidError, NotFoundError
from mimeifs.ids import KeyId, MimeiId, RecordId, mimei_id, show_mimei
from mimeifs.model import records, state
from mimeifs.model.entry import Entry, Kind, TreeRoot, decode, encode
from mimeifs.model.identity import SigningKey
from mimeifs.model.live import Live, LiveTree
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.node import Who
from mimeifs.model.orders import CallKind
from mimeifs.model.recording import mimei_row
from mimeifs.store import operations, prolly
from mimeifs.store.database import U32, U64, Table
from mimeifs.store.overlay import DirRow

APP_TYPE = "mimeifs"
ROOT_MARK = b"root"
KINDS: tuple[Literal["tree", "file"], ...] = ("tree", "file")
MoreOps = Callable[[LiveTree], Iterable[bytes]]
MakeRoot = Callable[[LiveTree, int, Entry], LiveDir]


def _no_more(_tree: LiveTree) -> Iterable[bytes]:
    return ()


def root_id(author: KeyId) -> MimeiId:
    """The ID of the root of every node of an author."""
    return mimei_id(author, APP_TYPE, "", ROOT_MARK, "tree")


def _nests_key(tree: int) -> bytes:
    return b"nests " + U32.pack(tree)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who makes records here: the author, and the device key that signs for it."""

    author: KeyId
    device: SigningKey


class Mimeis:
    """The MiMeis of one node."""

    def __init__(self, live: Live, signer: Signer, randomness: Randomness) -> None:
        self.live = live
        self.signer = signer
        self._randomness = randomness
        self.make_root: MakeRoot = LiveDir
        self._origins: set[MimeiId] | None = None
        self._next_tree = 1 + max((U32.unpack(key)[0] for key, _ in live.database.scan(Table.TREES, b"")), default=0)

    # Finding

    def row(self, mimei: MimeiId) -> state.MimeiRow:
        """What is known of a MiMei; raises ``NotFoundError``."""
        data = self.live.small_row(Table.MIMEIS, mimei)
        if data is None:
            raise NotFoundError(f"no MiMei {show_mimei(mimei)} on this node")
        return state.decode_mimei(data)

    def all(self) -> list[tuple[MimeiId, state.MimeiRow]]:
        """Every MiMei known, by name."""
        found = [(MimeiId(key), state.decode_mimei(value)) for key, value in self.live.small_scan(Table.MIMEIS, b"")]
        return sorted(found, key=lambda pair: (pair[1].name, pair[0]))

    def tree(self, mimei: MimeiId) -> LiveTree:
        """The present of a MiMei; raises ``NotFoundError`` when none is kept here."""
        row = self.row(mimei)
        if not row.tree:
            raise NotFoundError(f"the present of {row.name!r} is not kept on this node")
        known = self.live.trees.get(row.tree)
        if known is not None:
            return known
        live = self.live
        tree = LiveTree(live, row.tree, mimei)
        tree.single = row.kind == "file"
        tree.nests = self._may_nest(mimei, row)
        stored = live.small_row(Table.TREES, state.tree_key(row.tree))
        number = state.decode_tree(stored or b"").root
        tree.remember()
        entry = live.database.get(Table.ENTRIES, state.entry_key(0, U64.pack(number)))
        self.seat(tree, decode(entry or b""))
        return tree

    def _may_nest(self, mimei: MimeiId, row: state.MimeiRow) -> bool:
        """Whether links to other MiMeis may be in it: the root, what something was split off from, and what came from that."""
        if self.live.small_row(Table.META, _nests_key(row.tree)) is not None:
            return True
        if self._origins is None:
            self._origins = {known.origin_mimei for _, known in self.all() if known.origin_mimei is not None}
        is_root = mimei == self.live.database.get(Table.META, b"root")
        return is_root or row.origin_mimei is not None or mimei in self._origins

    def nests(self, mimei: MimeiId) -> bool:
        """Whether links to other MiMeis may be in what a MiMei holds."""
        return self._may_nest(mimei, self.row(mimei))

    def nest_ops(self, tree: LiveTree) -> list[bytes]:
        """Operations that note that links to other MiMeis may be in a present from now on."""
        if tree.nests:
            return []
        tree.nests = True
        return [self.live.set_small(Table.META, _nests_key(tree.number), b"")]

    def seat(self, tree: LiveTree, entry: Entry) -> LiveDir:
        """Give a tree its root directory, from the root's entry with the directory's number, and enter it."""
        root = self.make_root(tree, self.root_ino(tree.mimei), entry)
        root.name = U64.pack(root.number)
        tree.seed = self.live.natural_ino(root.ino, b"\0seat" + root.name)
        tree.root = root
        self.live.nodes[root.ino] = root
        self.live.trees[tree.number] = tree
        return root

    def reseat(self, tree: LiveTree, entry: Entry, directory: int) -> LiveDir:
        """Give a tree another root, with the directory's number, in the place of the one it has."""
        old = tree.root
        root = self.seat(tree, msgspec.structs.replace(entry, live=directory))
        root.succeed(old)
        return root

    def root_ino(self, mimei: MimeiId) -> int:
        """The inode number of a present's root: 1 for the node's own root, else from the MiMei's ID."""
        if mimei == self.live.database.get(Table.META, b"root"):
            return 1
        return self.live.natural_ino(1, b"\0" + mimei)

    # Making

    def draw(self, count: int) -> bytes:
        """Random bytes."""
        return self._randomness.draw(count)

    def info(
        self,
        name: str,
        kind: Literal["tree", "file"],
        *,
        app_type: str = APP_TYPE,
        extension: str = "",
        mark: bytes | None = None,
        origin: tuple[MimeiId, RecordId] | None = None,
    ) -> records.Signed[records.Info]:
        """A signed Info for a new MiMei; without a ``mark`` a random one is drawn. Raises ``ExistsError`` for a known
        one."""
        if kind not in KINDS:
            raise InvalidError(f"a MiMei is of kind {' or '.join(KINDS)}, not {kind!r}")
        mark = self._randomness.draw(16) if mark is None else mark
        now = self.live.now_ns()
        record = records.Info(self.signer.author, app_type, extension, mark, kind, name, now, origin)
        if self.live.small_row(Table.MIMEIS, record.mimei_id) is not None:
            raise ExistsError(f"this MiMei exists already: {show_mimei(record.mimei_id)}; choose another mark")
        return records.sign(record, self.signer.device)

    def root_info(self) -> records.Signed[records.Info]:
        """A signed Info for the node's root, whose ID follows from its author."""
        return self.info("root", "tree", mark=ROOT_MARK)

    def create(
        self, info: records.Signed[records.Info], who: Who, tree: TreeRoot | None = None, more: MoreOps = _no_more
    ) -> LiveTree:
        """Make the MiMei that ``info`` describes, its present empty or as ``tree``. One frame, with the operations that
        ``more`` gives for the new present, so it is there whole or not at all."""
        self.live.reserve(1024)
        number = self._next_tree
        ops = [
            operations.call(CallKind.RECORD, info.data),
            self.live.set_small(Table.MIMEIS, info.record.mimei_id, state.encode(mimei_row(info, number))),
        ]
        present = self._begin(number, info.record.mimei_id, ops, who, tree, more)
        present.single = info.record.kind == "file"
        self._note_origin(present, info.record)
        return present

    def check_out(self, mimei: MimeiId, who: Who, tree: TreeRoot | None, *, nests: bool) -> LiveTree:
        """Keep the present of a MiMei of which none is kept here, empty or as ``tree``; ``nests`` where links to other MiMeis
        are in that."""
        row, number = self.row(mimei), self._next_tree
        if row.tree:
            raise ExistsError(f"the present of {row.name!r} is kept here already")
        self.live.reserve(1024)
        ops = [self.live.set_small(Table.MIMEIS, mimei, state.encode(msgspec.structs.replace(row, tree=number)))]
        present = self._begin(number, mimei, ops, who, tree, self.nest_ops if nests else _no_more)
        present.single = row.kind == "file"
        present.nests = self._may_nest(mimei, self.row(mimei))
        return present

    def _begin(self, number: int, mimei: MimeiId, ops: list[bytes], who: Who, tree: TreeRoot | None, more: MoreOps) -> LiveTree:
        """Append one frame with ``ops`` and all that makes a present; what it is then."""
        now = self.live.now_ns()
        empty = Entry(Kind.DIRECTORY, 0o755, who.uid, who.gid, now, now, root=prolly.EMPTY_ROOT)
        content = TreeRoot(empty, prolly.EMPTY_ROOT) if tree is None else tree
        directory = self.live.new_dir()
        present = LiveTree(self.live, number, mimei)
        ops = [*ops, *self.root_ops(number, mimei, directory, content)]
        at = self.live.append(b"".join([*ops, *more(present)]), grows=True)
        self._next_tree += 1
        root = self.seat(present, msgspec.structs.replace(content.entry, live=directory))
        root.touched = at
        root.complete = tree is None
        return present

    def _note_origin(self, made: LiveTree, record: records.Info) -> None:
        made.nests = record.origin is not None or self.root_ino(made.mimei) == 1
        if record.origin is None:
            return
        if self._origins is not None:
            self._origins.add(record.origin[0])
        for tree in self.live.trees.values():
            tree.nests = tree.nests or tree.mimei == record.origin[0]

    def root_ops(self, number: int, mimei: MimeiId, directory: int, tree: TreeRoot) -> list[bytes]:
        """Operations that make ``tree`` the base of a present, under a new root directory number."""
        entry = tree.entry
        row = state.TreeRow(mimei, directory, tree.links, tree.linked_files, tree.linked_bytes)
        base = DirRow(entry.root, entry.totals, entry.mtime_ns, entry.ctime_ns, entry.totals.subdirs)
        live_entry = encode(msgspec.structs.replace(entry, live=directory))
        return [
            self.live.set_small(Table.TREES, state.tree_key(number), state.encode(row)),
            operations.put(Table.DIRS, U64.pack(directory), base.encode()),
            operations.put(Table.ENTRIES, state.entry_key(0, U64.pack(directory)), live_entry),
        ]
