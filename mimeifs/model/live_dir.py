"""A live directory: what it holds, from three layers, and how it changes.

``children`` is the memory layer: names to inodes, or to ``None`` where a name was removed and LMDB may not know yet.
Below it lie overlay rows under the directory's ``number``, below them the ``base`` map. A directory nobody changed has
number 0 and is all base. ``complete`` says that memory has every name, so that a miss needs no further look.

Always true: a name is in ``children`` as long as its inode is in memory; the ancestors of a numbered directory are
numbered.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import cast

import msgspec

from mimeifs.errors import (
    CrossTreeError,
    ExistsError,
    InvalidError,
    IsADirError,
    NotADirError,
    NotEmptyError,
    NotFoundError,
    NotPermittedError,
    TooManyLinksError,
)
from mimeifs.ids import BlobId
from mimeifs.model import acl, live_moves, state
from mimeifs.model.entry import Entry, Kind, decode, encode
from mimeifs.model.fold import TOMBSTONE
from mimeifs.model.inode import Inode
from mimeifs.model.live import LiveTree
from mimeifs.model.live_file import LiveFile
from mimeifs.model.node import RENAME_EXCHANGE, RENAME_NOREPLACE, Change, Handle, Node, Stat, Who, check_name, check_target
from mimeifs.store import operations, prolly
from mimeifs.store.database import U64, Table
from mimeifs.store.overlay import DirRow, Totals, read_dir

LINK_MAX = 65000
MAX_NOTED = 64
"""How many changed names are told apart."""
_NO_NOTES: dict[bytes, int] = {}
"""What all directories share of which nobody wants to know."""
_FEW = 64
_SETGID = 0o2000


class LiveDir(Inode):
    """A directory of the present."""

    __slots__ = (
        "_removed",
        "_sorted",
        "base",
        "children",
        "complete",
        "generation",
        "noted",
        "noted_from",
        "number",
        "stirred",
        "subdirs",
        "totals",
    )

    def __init__(self, tree: LiveTree, ino: int, entry: Entry) -> None:
        super().__init__(tree, ino, entry)
        self.number = entry.live
        self.base = entry.root
        self.totals = entry.totals
        self.subdirs = entry.totals.subdirs
        self.children: dict[bytes, Inode | None] = {}
        self._removed: dict[bytes, int] = {}
        self._sorted: list[bytes] | None = None
        self.generation = tree.live.generation
        self.complete = False
        self.stirred = 0
        self.noted = _NO_NOTES
        """The last frames that changed a name in it, or what stands there: all from ``noted_from`` on, unless that is 0."""
        self.noted_from = 0
        row = read_dir(tree.live.database, entry.live) if entry.live else None
        if row is not None:
            self.base, self.totals, self.subdirs = row.base, row.totals, row.subdirs
            self.mtime_ns, self.ctime_ns = row.mtime_ns, row.ctime_ns

    def entry(self) -> Entry:
        """See ``Inode``."""
        entry = super().entry()
        if self.number:
            return msgspec.structs.replace(entry, live=self.number)
        return msgspec.structs.replace(entry, root=self.base, totals=self.totals, size=self.totals.size)

    def stat(self) -> Stat:
        """See ``Node``; a directory has a link from each subdirectory."""
        if self.nlink:
            self.nlink = 2 + self.subdirs
        return super().stat()

    def unlinked(self) -> list[bytes]:
        """See ``Inode``."""
        if not self.number:
            return []
        number = U64.pack(self.number)
        return [
            operations.clear(Table.ENTRIES, number),
            operations.delete(Table.DIRS, number),
            operations.delete(Table.PARENTS, number),
        ]

    # Layers

    def refresh(self) -> None:
        """Follow folds: the base is that of the reader's moment."""
        live = self.tree.live
        if self.generation != live.generation:
            row = read_dir(live.database, self.number) if self.number else None
            if row is not None:
                self.base, self.totals = row.base, row.totals
            self.generation = live.generation

    def stored_entry(self, name: bytes) -> Entry:
        """What overlay rows and base say of a name; raises ``NotFoundError``; may raise ``Cold``."""
        self.refresh()
        live = self.tree.live
        row = live.database.get(Table.ENTRIES, state.entry_key(self.number, name)) if self.number else None
        if row is None and self.base != prolly.EMPTY_ROOT:
            row = prolly.get(live.blobs, self.base, name)
        if not row:
            raise NotFoundError("no such file or directory")
        return decode(row)

    def resting(self, name: bytes) -> BlobId | None:
        """The map that alone says what is stored under a name; None where a row says it."""
        self.refresh()
        if self.base == prolly.EMPTY_ROOT:
            return None
        return None if self.tree.live.database.get(Table.ENTRIES, state.entry_key(self.number, name)) else self.base

    def child(self, name: bytes) -> Inode:
        """The inode of that name; raises ``NotFoundError``; may raise ``Cold``."""
        try:
            known = self.children[name]
        except KeyError:
            if self.complete:
                raise NotFoundError("no such file or directory") from None
            return self.adopt(name, self.stored_entry(name))
        if known is None:
            raise NotFoundError("no such file or directory")
        return known

    def adopt(self, name: bytes, entry: Entry) -> Inode:
        """Bring a stored entry into memory."""
        live = self.tree.live
        if entry.kind is Kind.HARD:
            inode: Inode = self.adopt_linked(name, entry.link_id)
        else:
            inode = self.made(name, entry)
            live.nodes[inode.ino] = inode
        self.keep(name, inode)
        return inode

    def adopt_linked(self, name: bytes, link_id: int) -> Inode:
        """Bring the hard-linked inode of that number, which has ``name`` here, into memory."""
        tree, live = self.tree, self.tree.live
        known = tree.linked.get(link_id)
        if known is not None:
            return known
        linked = tree.linked_entry(link_id)
        inode = make_inode(tree, live.known_ino(tree.seed, b"\0" + U64.pack(link_id)), linked.entry)
        inode.link_id, inode.nlink = link_id, linked.nlink
        inode.parent, inode.name = self, name
        tree.linked[link_id] = inode
        live.nodes[inode.ino] = inode
        return inode

    def keep(self, name: bytes, inode: Inode | None) -> None:
        """Let memory know what a name stands for."""
        names = self._sorted
        if names is not None and name not in self.children:
            at = bisect_left(names, name)
            if at == len(names) or names[at] != name:
                names.insert(at, name)
        self.children[name] = inode

    @property
    def seed(self) -> int:
        """What the inode numbers of the names in it are made from."""
        return self.ino if self.parent is not None else self.tree.seed

    def succeed(self, old: "LiveDir") -> None:
        """Take over what surfaces know of the root directory that stood here before."""
        self.lookups, old.lookups = old.lookups, 0

    def empty_out(self) -> None:
        """Memory of a directory that is gone with all it held, whose rows are gone too."""
        self.number, self.base, self.totals, self.subdirs = 0, prolly.EMPTY_ROOT, Totals(), 0
        self.children, self._removed, self._sorted, self.complete = {}, {}, None, True

    def forget(self, name: bytes) -> None:
        """Let memory drop a name whose inode is not pinned."""
        del self.children[name]
        self.complete = False

    def _in_order(self) -> list[bytes]:
        """The names in memory, sorted, and some that no longer are: taking each out of a long list takes longer than all."""
        if self._sorted is None:
            self._sorted = sorted(self.children)
        elif len(self._sorted) > 2 * len(self.children) + _FEW:
            self._sorted[:] = sorted(self.children)
        return self._sorted

    def leave(self) -> bool:
        """See ``Inode``; a directory stays as long as memory has names in it."""
        return not self.children and super().leave()

    # Reading

    def lookup(self, name: bytes) -> Node:
        """See ``Node``."""
        if len(name) > 255:
            check_name(name)
        return self._shown(self.child(name))

    def _shown(self, inode: Inode) -> Node:
        """What an entry shows: itself, or where a link to a MiMei leads."""
        return inode if inode.kind is not Kind.LINK else self.tree.live.resolve_link(inode)

    def scan(self, after: bytes) -> Iterator[tuple[bytes, Node]]:
        """See ``Node``; memory first, then what only the layers below know. Names may come and go meanwhile."""
        known = self._in_order()
        stored = iter(()) if self.complete else self._stored(after)
        pending = next(stored, None)
        index = bisect_right(known, after)
        while True:
            if index > len(known) or (index and known[index - 1] is not after):  # The list has changed between two names.
                index = bisect_right(known, after)
            if index < len(known) and (pending is None or known[index] <= pending[0]):
                after = known[index]
                index += 1
                if after not in self.children:
                    continue
                if pending is not None and pending[0] == after:
                    pending = next(stored, None)
                inode = self.children.get(after)
            elif pending is not None:
                after, row = pending
                pending = next(stored, None)
                inode = self.adopt(after, decode(row))
                index = bisect_right(known, after)
            else:
                return
            if inode is not None:
                yield after, self._shown(inode)

    def _stored(self, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows of the layers below memory, in name order; overlay over base, without tombstones."""
        self.refresh()
        live = self.tree.live
        base = prolly.scan(live.blobs, self.base, after=after) if self.base != prolly.EMPTY_ROOT else iter(())
        if not self.number:
            yield from base
            return
        prefix = U64.pack(self.number)
        rows = live.database.scan(Table.ENTRIES, prefix, prefix + after)
        low, high = next(rows, None), next(base, None)
        while low is not None or high is not None:
            if high is None or (low is not None and low[0][8:] <= high[0]):
                key, value = cast("tuple[bytes, bytes]", low)
                if high is not None and high[0] == key[8:]:
                    high = next(base, None)
                low = next(rows, None)
                if value != TOMBSTONE:
                    yield key[8:], value
            else:
                yield high
                high = next(base, None)

    def entries(self, after: bytes = b"") -> Iterator[tuple[bytes, Inode | None, Entry]]:
        """Names in order from just behind ``after``, each with its inode where memory has it, and its entry; nothing is
        brought into memory. Names must not come or go meanwhile."""
        known = self._in_order()
        names = (name for name in known[bisect_right(known, after) :] if name in self.children)
        stored = iter(()) if self.complete else self._stored(after)
        ours, below = next(names, None), next(stored, None)
        while ours is not None or below is not None:
            if ours is not None and (below is None or ours <= below[0]):
                inode = self.children[ours]
                if inode is not None:
                    yield ours, inode, inode.named_entry()
                below = next(stored, None) if below is not None and below[0] == ours else below
                ours = next(names, None)
            elif below is not None:
                yield below[0], None, decode(below[1])
                below = next(stored, None)

    def made(self, name: bytes, entry: Entry) -> Inode:
        """The inode of a stored entry, for a look: memory does not keep it."""
        inode = make_inode(self.tree, self.tree.live.known_ino(self.seed, name), entry)
        inode.parent, inode.name = self, name
        return inode

    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return next(self.scan(b""), None) is None

    # Rows

    def home_number(self) -> int:
        """The directory's number; it must have one."""
        if not self.number:
            raise RuntimeError("a directory without a number has no rows")
        return self.number

    def materialise(self) -> tuple[list[bytes], int]:
        """Operations that give this directory, and those above, a number if they have none; and the number."""
        if self.number:
            return [], self.number
        ops, above = self.home()
        self.refresh()
        self.number = number = self.tree.live.new_dir()
        row = DirRow(self.base, self.totals, self.mtime_ns, self.ctime_ns, self.subdirs)
        ops += [
            operations.put(Table.DIRS, U64.pack(number), row.encode()),
            operations.put(Table.PARENTS, U64.pack(number), state.parent_row(above, self.name)),
            operations.put(Table.ENTRIES, state.entry_key(above, self.name), encode(self.entry())),
        ]
        self.tree.live.prepare(done=self._numbered, undo=self._unnumbered)
        return ops, number

    def _numbered(self, at: int) -> None:
        self.touched = at

    def _unnumbered(self) -> None:
        self.number = 0

    def touch(self) -> list[bytes]:
        """See ``Inode``."""
        if not self.number or not self.nlink:
            return []
        return [operations.touch_dir(self.number, self.mtime_ns, self.ctime_ns, self.subdirs)]

    def touch_at(self, now: int, subdirs: int = 0) -> bytes:
        """The operation that gives this numbered directory new times, and ``subdirs`` more subdirectories."""
        return operations.touch_dir(self.number, now, now, self.subdirs + subdirs)

    def changed(self, at: int, now: int, subdirs: int = 0) -> None:
        """Memory's half of :meth:`touch_at`, once its frame is at ``at``."""
        self.mtime_ns = self.ctime_ns = now
        self.subdirs += subdirs
        self.touched = at
        self.surface = None
        if self.tree.live.watched:
            if self.noted_from and at not in self.noted.values():
                self.noted_from = 0  # Nobody has said which name it was.
            self.stir(at)

    def note(self, name: bytes, at: int) -> None:
        """A frame at ``at`` changed a name, or what stands there."""
        if self.noted_from:
            self.noted[name] = at
            if len(self.noted) > MAX_NOTED:
                self.noted_from = 0

    def stir(self, at: int) -> None:
        """See ``Inode``."""
        self.stirred = at + 1
        super().stir(at)

    def gone(self, name: bytes) -> bytes:
        """The operation that removes a name from the overlay: a tombstone where the base has it, or will after a cut
        under way."""
        self.refresh()
        key = state.entry_key(self.number, name)
        if self.base == prolly.EMPTY_ROOT and self.tree.cut_at < self.tree.live.position:
            return operations.delete(Table.ENTRIES, key)
        return operations.put(Table.ENTRIES, key, TOMBSTONE)

    def drop(self, name: bytes, at: int) -> None:
        """Memory after a removal: ``None`` until LMDB knows it."""
        self.keep(name, None)
        self.note(name, at)
        self.tree.live.fade(at, lambda: self._fade_name(name, at))
        self._removed[name] = at

    def _fade_name(self, name: bytes, at: int) -> None:
        if self._removed.get(name) == at:
            del self._removed[name]
            if self.children.get(name, self) is None:
                del self.children[name]

    # Making

    def check_new(self, name: bytes, kind: Kind) -> None:
        check_name(name)
        if not self.nlink:
            raise NotFoundError("the directory was deleted")
        try:
            self.child(name)
        except NotFoundError:
            self.allow(kind)
        else:
            raise ExistsError("the name exists already")

    def allow(self, kind: Kind) -> None:
        """Raise where the MiMei's kind does not allow a new entry of that kind here: a file MiMei holds one regular file."""
        if self.tree.single and (kind is not Kind.FILE or not self.is_empty()):
            raise NotPermittedError("a file MiMei holds one file and nothing else; make a tree MiMei for more")

    def new_entry(self, kind: Kind, mode: int, who: Who, *, target: bytes = b"", rdev: int = 0) -> Entry:
        now = self.tree.live.now_ns()
        gid, directory = who.gid, kind is Kind.DIRECTORY
        mode, xattrs = self.begins_with(kind, mode & 0o7777, who.umask)
        if self.mode & _SETGID:
            gid = self.gid
            mode |= _SETGID if directory else 0
        return Entry(kind, mode, who.uid, gid, now, now, target=target, rdev=rdev, root=prolly.EMPTY_ROOT, xattrs=xattrs)

    def begins_with(self, kind: Kind, mode: int, umask: int) -> tuple[int, acl.Xattrs]:
        """Mode and attributes of what is made here with ``mode``; may raise ``Cold``."""
        if kind is Kind.SYMLINK:
            return mode, ()
        if not self.xattrs and self.xattr_blob is None:
            return mode & ~umask, ()
        mode, access, default = acl.handed_down(self.all_xattrs(), mode, umask)
        xattrs = acl.replaced((), acl.ACCESS, access)
        return mode, acl.replaced(xattrs, acl.DEFAULT, default) if kind is Kind.DIRECTORY else xattrs

    def _enter(self, name: bytes, entry: Entry, inode_rows: list[bytes], inode: Inode, ino_ops: list[bytes]) -> Inode:
        """Append the frame that makes ``inode`` and bring it into memory."""
        live, now, subdirs = self.tree.live, entry.mtime_ns, int(entry.kind is Kind.DIRECTORY)
        live.reserve(1024)
        inode.parent, inode.name = self, name
        ops, _ = self.materialise()
        at = live.append(b"".join([*ops, *inode_rows, *inode.row(), *ino_ops, self.touch_at(now, subdirs)]), grows=True)
        inode.stamp(at)
        self.keep(name, inode)
        live.nodes[inode.ino] = inode
        self.changed(at, now, subdirs)
        return inode

    def create(self, name: bytes, mode: int, who: Who) -> LiveFile:
        """See ``Node``."""
        self.check_new(name, Kind.FILE)
        live = self.tree.live
        entry = self.new_entry(Kind.FILE, mode, who)
        ino, ino_ops = live.fresh_ino(self.seed, name)
        inode = LiveFile(self.tree, ino, entry)
        inode.number = live.new_file()
        rows = [operations.put(Table.FILES, U64.pack(inode.number), inode.file_row().encode())]
        self._enter(name, entry, rows, inode, ino_ops)
        return inode

    def mkdir(self, name: bytes, mode: int, who: Who) -> Node:
        """See ``Node``."""
        self.check_new(name, Kind.DIRECTORY)
        live = self.tree.live
        entry = self.new_entry(Kind.DIRECTORY, mode, who)
        ino, ino_ops = live.fresh_dir_ino(self.seed, name)
        inode = LiveDir(self.tree, ino, entry)
        inode.number, inode.complete = live.new_dir(), True
        above, number = self.materialise()
        row = DirRow(prolly.EMPTY_ROOT, Totals(), entry.mtime_ns, entry.ctime_ns, 0)
        rows = [
            *above,
            operations.put(Table.DIRS, U64.pack(inode.number), row.encode()),
            operations.put(Table.PARENTS, U64.pack(inode.number), state.parent_row(number, name)),
        ]
        return self._enter(name, entry, rows, inode, ino_ops)

    def mknod(self, name: bytes, mode: int, rdev: int, who: Who) -> Node:
        """See ``Node``."""
        kind = _KIND_OF_TYPE.get(mode & 0o170000)
        if kind is None:
            raise InvalidError("mknod makes regular files, fifos, sockets and devices")
        if kind is Kind.FILE:
            return self.create(name, mode, who)
        return self._plain(name, kind, mode, who, rdev=rdev)

    def symlink(self, name: bytes, target: bytes, who: Who) -> Node:
        """See ``Node``."""
        check_target(target)
        return self._plain(name, Kind.SYMLINK, 0o777, who, target=target)

    def _plain(self, name: bytes, kind: Kind, mode: int, who: Who, *, target: bytes = b"", rdev: int = 0) -> Inode:
        self.check_new(name, kind)
        entry = self.new_entry(kind, mode, who, target=target, rdev=rdev)
        ino, ino_ops = self.tree.live.fresh_ino(self.seed, name)
        inode = Inode(self.tree, ino, entry)
        return self._enter(name, entry, [], inode, ino_ops)

    def place(self, name: bytes, entry: Entry) -> Inode:
        """Put a whole entry (a link to a MiMei, something restored) under a new name."""
        self.check_new(name, entry.kind)
        ino, ino_ops = self.tree.live.fresh_ino(self.seed, name)
        inode = make_inode(self.tree, ino, entry)
        now = self.tree.live.now_ns()
        return self._enter(name, msgspec.structs.replace(entry, mtime_ns=now), [], inode, ino_ops)

    def open(self, *, writing: bool) -> Handle:
        """See ``Node``."""
        raise IsADirError("is a directory")

    def set(self, change: Change) -> None:
        """See ``Node``."""
        if change.size is not None:
            raise IsADirError("is a directory")
        super().set(change)

    # Hard links, removal and renames live in live_moves; these are their doors.

    def link(self, name: bytes, node: Node) -> Node:
        """See ``Node``."""
        if not isinstance(node, Inode) or node.tree is not self.tree:
            raise CrossTreeError("a hard link cannot leave its MiMei")
        if isinstance(node, LiveDir):
            raise NotPermittedError("directories have no hard links")
        if node.nlink >= LINK_MAX:
            raise TooManyLinksError(f"a file has at most {LINK_MAX} hard links")
        self.check_new(name, node.kind)
        return live_moves.link(self, name, node)

    def unlink(self, name: bytes) -> None:
        """See ``Node``."""
        inode = self.child(name)
        if isinstance(inode, LiveDir) or inode.kind is Kind.LINK:
            raise IsADirError("is a directory")
        live_moves.remove(self, name, inode)

    def rmdir(self, name: bytes) -> None:
        """See ``Node``. A link to a MiMei goes, whatever that holds; the MiMei stays, and ``mimei ls --all`` shows it."""
        inode = self.child(name)
        if inode.kind is not Kind.LINK:
            if not isinstance(inode, LiveDir):
                raise NotADirError("not a directory")
            if not inode.is_empty():
                raise NotEmptyError("the directory is not empty")
        live_moves.remove(self, name, inode)

    def rename(self, name: bytes, target: Node, new_name: bytes, flags: int) -> None:
        """See ``Node``."""
        check_name(new_name)
        if not isinstance(target, LiveDir) or target.tree is not self.tree:
            raise CrossTreeError("a rename cannot leave its MiMei; copy instead")
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
            raise InvalidError("unknown flags for a rename")
        live_moves.rename(self, name, target, new_name, flags)


_KIND_OF_TYPE = {
    0o100000: Kind.FILE,
    0o010000: Kind.FIFO,
    0o020000: Kind.CHARACTER,
    0o060000: Kind.BLOCK,
    0o140000: Kind.SOCKET,
}


def make_inode(tree: LiveTree, ino: int, entry: Entry) -> Inode:
    """The live inode for an entry."""
    if entry.kind is Kind.FILE:
        return LiveFile(tree, ino, entry)
    if entry.kind is Kind.DIRECTORY:
        return LiveDir(tree, ino, entry)
    return Inode(tree, ino, entry)


__all__ = ["LiveDir", "make_inode"]
