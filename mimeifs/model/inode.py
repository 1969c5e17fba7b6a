"""A live inode: the attributes every kind has, and how they reach the journal.

``touched`` is the position of the last frame that changed it (it is pinned in memory until LMDB has that frame),
``marked`` that of the last frame that noted it in CHANGED. An inode is at one place (``parent``, ``name``) unless it
is hard-linked: then its row is in the tree's link map under ``link_id``. An unlinked inode (``nlink`` 0) lives as long
as its handles.
"""

import stat
from typing import TYPE_CHECKING

from mimeifs.errors import ForbiddenError, InvalidError, NoAttributeError, NotFoundError, TooLargeError
from mimeifs.model import acl, state
from mimeifs.model.entry import (
    FILE_TYPE,
    INLINE_XATTRS,
    Entry,
    Kind,
    Link,
    LinkedInode,
    decode_xattrs,
    encode,
    encode_linked,
    encode_xattrs,
)
from mimeifs.model.live import LiveTree
from mimeifs.model.node import Change, Node, Stat
from mimeifs.store import operations
from mimeifs.store.database import U64, Table

if TYPE_CHECKING:
    from mimeifs.model.live_dir import LiveDir

NO_TOUCH = -1
XATTR_MAX = 65536
WHOLE = b"mimei.whole"
"""The attribute that says the digest of all bytes of a file; see :mod:`mimeifs.model.properties`."""
TIME_MAX = (1 << 63) - 1


class Inode(Node):
    """A live inode; by itself a symbolic link, fifo, socket, device or link to a MiMei."""

    __slots__ = (
        "atime_ns",
        "ctime_ns",
        "gid",
        "handles",
        "kind",
        "link_id",
        "marked",
        "mode",
        "mtime_ns",
        "name",
        "nlink",
        "parent",
        "special",
        "touched",
        "tree",
        "uid",
        "xattr_blob",
        "xattrs",
    )

    def __init__(self, tree: LiveTree, ino: int, entry: Entry) -> None:
        super().__init__(ino)
        self.tree = tree
        self.kind = entry.kind
        self.mode = entry.mode
        self.uid = entry.uid
        self.gid = entry.gid
        self.mtime_ns = entry.mtime_ns
        self.ctime_ns = entry.ctime_ns
        self.atime_ns = entry.atime_ns
        self.xattrs = entry.xattrs
        self.xattr_blob = entry.xattr_blob
        self.special: bytes | int | Link | None = entry.target or entry.rdev or entry.link
        self.nlink = 1
        self.handles = 0
        self.link_id = 0
        self.touched = NO_TOUCH
        self.marked = NO_TOUCH
        self.parent: LiveDir | None = None
        self.name = b""

    # What it is

    def entry(self) -> Entry:
        """The entry that stands for this inode now."""
        special, kind = self.special, self.kind
        return Entry(
            kind,
            self.mode,
            self.uid,
            self.gid,
            self.mtime_ns,
            self.ctime_ns,
            len(special) if isinstance(special, bytes) else 0,
            target=special if isinstance(special, bytes) else b"",
            rdev=special if isinstance(special, int) else 0,
            link=special if isinstance(special, Link) else None,
            atime_ns=self.atime_ns,
            xattrs=self.xattrs,
            xattr_blob=self.xattr_blob,
        )

    def named_entry(self) -> Entry:
        """The entry of one of its names: what it is, or that it is a hard link."""
        return Entry(Kind.HARD, link_id=self.link_id) if self.link_id else self.entry()

    @property
    def length(self) -> int:
        """st_size."""
        return len(self.special) if isinstance(self.special, bytes) else 0

    def stat(self) -> Stat:
        """See :class:`Node`."""
        atime = self.mtime_ns if self.atime_ns is None else self.atime_ns
        rdev = self.special if isinstance(self.special, int) else 0
        mode = FILE_TYPE[self.kind] | self.mode
        return Stat(self.ino, mode, self.nlink, self.uid, self.gid, rdev, self.length, atime, self.mtime_ns, self.ctime_ns)

    def readlink(self) -> bytes:
        """See :class:`Node`."""
        if self.kind is not Kind.SYMLINK or not isinstance(self.special, bytes):
            raise InvalidError("not a symbolic link")
        return self.special

    # How it reaches the journal

    def row(self) -> list[bytes]:
        """Operations that write this inode's row where it is named, and mark it."""
        tree = self.tree
        if not self.nlink:
            return []
        if self.link_id:
            row = operations.put(
                Table.LINKS, state.link_key(tree.number, self.link_id), encode_linked(LinkedInode(self.nlink, self.entry()))
            )
            return [row, *self.mark()]
        ops, directory = self.home()
        return [*ops, operations.put(Table.ENTRIES, state.entry_key(directory, self.name), encode(self.entry())), *self.mark()]

    def home(self) -> tuple[list[bytes], int]:
        """Operations that give the parent a number if it has none, and that number; a root's home is 0."""
        if self.parent is None:
            return [], 0
        return self.parent.materialise()

    def mark(self) -> list[bytes]:
        """The operation that marks this inode changed, unless it is since the last cut; its home must have a number."""
        tree = self.tree
        if self.marked >= tree.cut_at or not self.nlink:
            return []
        if self.link_id:
            return [tree.mark(state.LINKS_DIR, U64.pack(self.link_id))]
        if self.parent is None:
            return [tree.mark(self.entry().live, b"")]
        return [tree.mark(self.parent.home_number(), self.name)]

    def commit(self, ops: list[bytes], *, grows: bool = False) -> int:
        """Append one frame that changes this inode (and has marked it); returns its position; ``grows`` as for
        :meth:`Live.append`. An inode without a name or a row of its own is in memory only."""
        if not ops:
            self.surface = None
            return self.touched
        at = self.tree.live.append(b"".join(ops), grows=grows)
        self.stamp(at)
        return at

    def stamp(self, at: int) -> None:
        """A frame at ``at`` changed and marked this inode."""
        self.touched = at
        self.marked = at
        self.surface = None
        if self.tree.live.watched and self.nlink:
            self.stir(at)

    def stir(self, at: int) -> None:
        """Note with every directory that this inode is in, through links to MiMeis too, that a frame at ``at`` changed it."""
        stirred, place = at + 1, self.above()
        if place is not None and place is self.parent:
            place.note(self.name, at)
        if self.link_id:
            self.tree.linked_stirred = stirred
        top: Inode = self
        while place is not None:
            place.stirred = stirred
            top, place = place, place.above()
        if top.ino != 1:
            self.tree.live.loose_stirred = stirred

    def above(self) -> "LiveDir | None":
        """The directory it is in, also where that is another MiMei's; None where that is not known."""
        return self.parent

    @property
    def pinned(self) -> bool:
        """Whether memory knows more of this inode than LMDB."""
        return self.touched >= self.tree.live.position

    @property
    def may_stay(self) -> bool:
        """See ``Node``."""
        return bool(self.nlink or self.handles)

    @property
    def may_be_dropped(self) -> bool:
        """Whether a surface that knows it may forget it and ask anew: nobody has it open, LMDB has all of it, and it leaves
        memory then."""
        if not self.lookups or self.handles or self.pinned or not self.nlink or self.parent is None:
            return False
        return not self.link_id and self.kind is not Kind.LINK and self.ino not in self.tree.live.held

    def leave(self) -> bool:
        """See ``Node``."""
        if self.pinned or self.lookups or self.handles or self.ino in self.tree.live.held:
            return False
        nodes = self.tree.live.nodes
        if self.nlink:
            if self.link_id or self.parent is None or self.kind is Kind.LINK:
                return False
            self.parent.forget(self.name)
        if nodes.get(self.ino) is self:
            del nodes[self.ino]
        return True

    # Attributes

    def set(self, change: Change) -> None:
        """See :class:`Node`; an access control list follows the mode."""
        now = self.tree.live.now_ns()
        times = self.mtime_ns, self.ctime_ns
        before = (self.mode, self.uid, self.gid, self.atime_ns, self.xattrs, self.xattr_blob)
        if change.mode is not None:
            self._follow_mode(change.mode & 0o7777)
        self.uid = self.uid if change.uid is None else change.uid
        self.gid = self.gid if change.gid is None else change.gid
        self.atime_ns = self.atime_ns if change.atime_ns is None else kept_time(change.atime_ns)
        self.mtime_ns = self.mtime_ns if change.mtime_ns is None else kept_time(change.mtime_ns)
        self.ctime_ns = now
        after = (self.mode, self.uid, self.gid, self.atime_ns, self.xattrs, self.xattr_blob)
        try:
            # A row of its own has the times, and where the rest stays as it was that is all: `tar` changes owner and mode of
            # each file into what they are.
            touched = self.touch()
            self.commit([*(self.mark() if touched and after == before else self.row()), *touched])
        except BaseException:
            (self.mode, self.uid, self.gid, self.atime_ns, self.xattrs, self.xattr_blob) = before
            self.mtime_ns, self.ctime_ns = times
            raise

    def _follow_mode(self, mode: int) -> None:
        """Take a mode, and its rights into the access control list if there is one."""
        if self.xattrs or self.xattr_blob is not None:
            xattrs = self.all_xattrs()
            changed = acl.changed_mode(xattrs, mode)
            if changed != xattrs:
                self.xattrs, self.xattr_blob = changed, None
        self.mode = mode

    def refresh(self) -> None:
        """Follow the keeper's seals and folds; may raise ``Cold``, so it comes before anything is changed."""

    def anchor(self) -> None:
        """As :meth:`refresh`, as far as rows that say where and what this inode is depend on it."""
        self.refresh()

    def touch(self) -> list[bytes]:
        """Operations that carry new times to rows of this inode's own."""
        return []

    # Extended attributes

    def all_xattrs(self) -> tuple[tuple[bytes, bytes], ...]:
        """Every extended attribute, sorted."""
        if self.xattr_blob is not None:
            return decode_xattrs(self.tree.live.blobs.get(self.xattr_blob))
        return self.xattrs

    def get_xattr(self, name: bytes) -> bytes:
        """See :class:`Node`."""
        if self.xattrs or self.xattr_blob is not None:
            for key, value in self.all_xattrs():
                if key == name:
                    return value
        raise NoAttributeError("no such attribute")

    def list_xattrs(self) -> list[bytes]:
        """See :class:`Node`."""
        return [name for name, _ in self.all_xattrs()]

    def set_xattr(self, name: bytes, value: bytes) -> None:
        """See :class:`Node`; the mode follows an access control list."""
        if not 0 < len(name) <= 255:
            raise InvalidError("the name of an attribute has 1 to 255 bytes")
        if name in acl.NAMES:
            self._set_list(name, acl.decode(value))
            return
        known = self.all_xattrs()
        if (name, value) in known:
            return
        others = [pair for pair in known if pair[0] != name]
        self.replace_xattrs(tuple(sorted([*others, (name, value)])), self.mode)

    def _set_list(self, name: bytes, rules: acl.Acl) -> None:
        if self.kind is Kind.SYMLINK or (name == acl.DEFAULT and self.kind is not Kind.DIRECTORY):
            raise ForbiddenError("symbolic links have no access control lists, and only directories have a default one")
        mode = self.mode & ~0o777 | acl.mode_of(rules) if name == acl.ACCESS and rules else self.mode
        known = self.all_xattrs()
        xattrs = acl.replaced(known, name, rules)
        if (xattrs, mode) != (known, self.mode):
            self.replace_xattrs(xattrs, mode)

    def remove_xattr(self, name: bytes) -> None:
        """See :class:`Node`; an access control list that is not there is gone already, as on other file systems."""
        if name in acl.NAMES and not acl.found(self.all_xattrs(), name):
            return
        self.get_xattr(name)
        self.replace_xattrs(tuple(pair for pair in self.all_xattrs() if pair[0] != name), self.mode)

    def replace_xattrs(self, xattrs: acl.Xattrs, mode: int, mtime_ns: int | None = None) -> None:
        """Give it these extended attributes, this mode and, where one is given, this mtime, in one step."""
        if len(encode_xattrs(xattrs)) > XATTR_MAX:
            raise TooLargeError(f"the attributes of one file have at most {XATTR_MAX} bytes together")
        self.tree.live.reserve(sum(len(value) for _, value in xattrs))
        self.refresh()
        before = self.xattrs, self.xattr_blob, self.mode, self.mtime_ns, self.ctime_ns
        self.xattrs, self.xattr_blob, self.mode, self.ctime_ns = xattrs, None, mode, self.tree.live.now_ns()
        self.mtime_ns = self.mtime_ns if mtime_ns is None else kept_time(mtime_ns)
        try:
            self.commit([*self.row(), *self.touch()], grows=True)
        except BaseException:
            self.xattrs, self.xattr_blob, self.mode, self.mtime_ns, self.ctime_ns = before
            raise

    # Leaving

    def unlinked(self) -> list[bytes]:
        """Operations for the moment when the last name went; ``nlink`` is already 0."""
        return []

    def path(self) -> bytes:
        """Path inside its tree, without a leading slash; raises ``NotFoundError`` when it has no name any more."""
        parts: list[bytes] = []
        at: Inode | None = self
        while at is not None and at.parent is not None:
            if not at.nlink:
                raise NotFoundError("the file was deleted")
            parts.append(at.name)
            at = at.parent
        return b"/".join(reversed(parts))


def kept_time(time_ns: int) -> int:
    """The nearest time that can be kept, as utimensat(2) does it on every file system."""
    return max(-TIME_MAX, min(time_ns, TIME_MAX))


def is_device(mode: int) -> bool:
    """Whether the type bits of ``mode`` say character or block device."""
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


__all__ = ["INLINE_XATTRS", "NO_TOUCH", "Inode", "is_device"]
