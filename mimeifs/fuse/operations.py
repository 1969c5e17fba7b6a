"""FUSE requests as calls of the model.

Every handler is a plain synchronous method; one wrapper makes it the coroutine that pyfuse3 wants, turns errors into
errnos, and goes the slow way (fetch from disk, wait for a version) only when the call says so. Nothing but
``FUSEError`` ever leaves the wrapper, because anything else would end the mount.

Always true: each reply that gives the kernel an entry counts one lookup, each forget takes them back; a node the
kernel knows is in the registry. Attributes of live nodes are cached by the kernel until this mount changes them or
they are invalidated, those of versions without limit.
"""

import errno
import os
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, InodeT, RequestContext, SetattrFields, StatvfsData

from mimeifs.errors import MimeiError, NoAttributeError, NotFoundError, TooLargeError
from mimeifs.fuse import greeting, loop
from mimeifs.fuse.attributes import SET_IDS, Showing, check_space, drops_setgid, may_set_ids, without_set_ids
from mimeifs.fuse.crowding import Crowd
from mimeifs.fuse.invalidation import Invalidations
from mimeifs.fuse.opendir import OpenDir
from mimeifs.fuse.trouble import Trouble
from mimeifs.model import acl
from mimeifs.model.entry import Kind
from mimeifs.model.facts import PREFIX, fact
from mimeifs.model.inode import Inode
from mimeifs.model.live import Live, LiveTree
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.node import NO_CHANGE, Change, Handle, Node
from mimeifs.model.past import PAST_BIT, Past, PastDir
from mimeifs.model.properties import RESERVED
from mimeifs.model.versions import Later, Unwritten
from mimeifs.store.interfaces import Cold

LIVE_TIMEOUT = 3600
PAST_TIMEOUT = 10 * 365 * 86400
MOMENT = 1.0
"""How long the kernel may go by what it knows of virtual directories; a walk through them for every file would be slow."""
_CAPABILITY = b"security.capability"
_SELINUX = b"security.selinux"
"""Where nobody has set one we say that there are none: `ls -l` then asks once, not for every file. A kernel that has SELinux
switched on answers this itself."""
_OFTEN_ASKED = frozenset((_CAPABILITY, *acl.NAMES))
"""What the kernel asks before writes and where somebody else comes, and `ls -l` of every file: most have nothing to tell."""
_TRUSTED = b"trusted."
_ROOT = 1
_DOTS = 2
"""A listing begins with ``.`` and ``..``: programs take the first two for them."""
_FORGETS = 512
"""How many inodes are forgotten before others have their turn."""


class Rim(Protocol):
    """What waits on behalf of the model."""

    async def carry(self, call: Callable[[], Any]) -> Any:
        """Carry out a call, fetching what is cold and waiting for what is later."""
        ...

    async def sync(self) -> None:
        """Return when everything done so far is durable; raises ``CapacityError`` or ``OSError``."""
        ...


Row = TypeVar("Row")
P = ParamSpec("P")
R = TypeVar("R")


def handler(
    method: Callable[Concatenate["Operations", P], R],
) -> Callable[Concatenate["Operations", P], Coroutine[Any, Any, R]]:
    """The coroutine that pyfuse3 calls, around a synchronous method."""

    async def run(self: "Operations", /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except FUSEError:
            raise
        except (Cold, Later, Unwritten) as wait:
            return cast(R, await self.slowly(wait, lambda: method(self, *args, **kwargs)))
        except MimeiError as error:
            raise self.trouble.explained(error) from None
        except Exception as error:
            raise self.trouble.unforeseen(method.__name__, error) from error

    run.__name__ = method.__name__
    return run


class Operations(pyfuse3.Operations):
    """The handlers of one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, live: Live, past: Past, root: Node, rim: Rim, *, xattrs: bool, showing: Showing) -> None:
        super().__init__()
        self.enable_acl = xattrs and showing.acls
        self._showing = showing
        self._as_stored = not showing.changes
        self._live = live
        self._past = past
        self._rim = rim
        self._xattrs = xattrs
        self._handles: dict[int, Handle | OpenDir] = {}
        self._writing: dict[int, Inode] = {}
        self._next_handle = 1
        self.trouble = Trouble()
        self.greeted = trio.Event()
        root.lookups += 1
        live.nodes[_ROOT] = root
        self.invalidations = Invalidations()
        self.crowd = Crowd(live, self.invalidations)
        live.invalidated = self.invalidations.entry
        live.outdated = self.invalidations.attributes
        live.unwritten = self._unwritten

    def init(self) -> None:
        """The kernel has greeted; the reply follows."""
        self.invalidations.reach(loop.descriptor(pyfuse3))
        loop.divert(pyfuse3, greeting.KILLPRIV | (greeting.DONT_MASK if self.enable_acl else 0))
        self.greeted.set()

    # Waiting and failing

    async def slowly(self, wait: Cold | Later | Unwritten, call: Callable[[], Any]) -> Any:
        """Finish a call that has to wait first."""
        try:
            if isinstance(wait, Later):
                return await self._rim.carry(partial(_raise, wait))
            return await self._rim.carry(call)
        except FUSEError:
            raise
        except MimeiError as error:
            raise self.trouble.explained(error) from None
        except Exception as error:
            raise self.trouble.unforeseen("a waiting request", error) from error

    # Nodes

    def _node(self, ino: int) -> Node:
        if ino & PAST_BIT:
            return self._past.node(ino)
        try:
            return self._live.nodes[ino]
        except KeyError:
            raise FUSEError(errno.ESTALE) from None

    def _parent(self, ino: int) -> Node:
        """A directory in which a name is looked up or changed. From one whose place something else has taken, which the kernel
        may not have heard yet, it is sent back: at ESTALE it looks up the whole path anew. (Of one that was removed through
        the mount it knows, and asks nothing.)"""
        node = self._node(ino)
        if isinstance(node, LiveDir) and not node.nlink:
            raise FUSEError(errno.ESTALE)
        return node

    def _attributes(self, node: Node) -> EntryAttributes:
        known: EntryAttributes | None = node.surface
        return known if known is not None else self._made_attributes(node)

    def _made_attributes(self, node: Node) -> EntryAttributes:
        stat = node.stat() if self._as_stored else self._showing.stat(node.stat())
        made = EntryAttributes()
        fields: Any = made  # Plain numbers, where the stubs want types of their own.
        fields.st_ino, fields.st_mode, fields.st_size, fields.st_blocks = stat.ino, stat.mode, stat.size, (stat.size + 511) >> 9
        made.st_nlink, made.st_uid, made.st_gid, made.st_rdev = stat.nlink, stat.uid, stat.gid, stat.rdev
        made.st_atime_ns, made.st_mtime_ns, made.st_ctime_ns = stat.atime_ns, stat.mtime_ns, stat.ctime_ns
        made.st_blksize = 131072
        if node.immutable:
            made.entry_timeout = made.attr_timeout = PAST_TIMEOUT
        elif isinstance(node, Inode):
            made.entry_timeout = made.attr_timeout = LIVE_TIMEOUT
            node.surface = made
        else:
            made.entry_timeout, made.attr_timeout = 0, MOMENT
        return made

    def _shown(self, node: Node, parent: Node | None, name: bytes = b"") -> EntryAttributes:
        """Attributes of ``node`` as entry ``name`` of ``parent``; an entry that may lead elsewhere tomorrow is asked for
        each time."""
        made = self._attributes(node)
        if parent is None:
            return made
        if parent.volatile or (node.immutable and not parent.immutable):
            made.entry_timeout = 0
            node.surface = None
        if not made.entry_timeout and parent.steady(name):
            made.entry_timeout = MOMENT
        return made

    def _count(self, node: Node) -> None:
        """The kernel has been told of ``node`` once more."""
        if node.immutable:
            self._past.hold(node)
        else:
            node.lookups += 1
            self._live.nodes[node.ino] = node
            self._check_crowd()

    def _check_crowd(self) -> None:
        if self._live.known > self.crowd.limit:
            self.crowd.thin()

    def _entry(self, node: Node, parent: Node | None = None, name: bytes = b"") -> EntryAttributes:
        """The reply that makes the kernel know a node."""
        made = self._shown(node, parent, name)
        self._count(node)
        return made

    @handler
    def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """See :class:`pyfuse3.Operations`, here and below."""
        parent = self._parent(parent_inode)
        try:
            return self._entry(parent.lookup(name), parent, name)
        except NotFoundError:
            missing = _MISSING.get(type(parent))
            if missing is None:
                raise
            return missing

    @handler
    def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._attributes(self._node(inode))

    async def forget(self, inode_list: Any) -> None:
        for done, (ino, count) in enumerate(inode_list, 1):
            try:
                self._forget(ino, count)
            except Exception as error:  # noqa: BLE001  # Nobody waits for an answer, and the others are to be forgotten too.
                self.trouble.unforeseen("forget", error)
            if not done % _FORGETS:
                await trio.lowlevel.checkpoint()  # The kernel forgets up to 65,000 at once, and others wait for answers.

    def _forget(self, ino: int, count: int) -> None:
        if ino & PAST_BIT:
            self._past.release(ino, count)
            return
        node = self._live.nodes.get(ino)
        if node is not None and ino != _ROOT:
            node.lookups -= count
            if node.lookups <= 0:
                self._live.forgotten(node)

    @handler
    def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        node = self._node(inode)
        change = Change(
            attr.st_mode & 0o7777 if fields.update_mode else None,
            attr.st_uid if fields.update_uid else None,
            attr.st_gid if fields.update_gid else None,
            attr.st_size if fields.update_size else None,
            attr.st_atime_ns if fields.update_atime else None,
            attr.st_mtime_ns if fields.update_mtime else None,
        )
        if change.mode is None and isinstance(node, Inode) and node.mode & SET_IDS and node.kind is not Kind.DIRECTORY:
            change = self._without_set_ids(node, change, ctx)
        node.set(change)
        return self._attributes(node)

    def _without_set_ids(self, node: Inode, change: Change, ctx: RequestContext) -> Change:
        """See the function of that name; a request that changes nothing has come before a write, or of chown(2) with nobody."""
        left = without_set_ids(node, change, ctx)
        if change != NO_CHANGE or left == NO_CHANGE:
            return left
        if self._written(node):  # Of who may keep them the kernel asks on account of a capability, which goes by itself.
            return change if may_set_ids(ctx) else left
        if ctx.uid not in (0, node.uid):
            raise FUSEError(errno.EPERM)
        return left

    def _written(self, node: Node) -> bool:
        """Whether somebody has the file open for writing."""
        return any(written is node for written in self._writing.values())

    @handler
    def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        return self._node(inode).readlink()

    # Names

    @handler
    def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        return self._entry(self._parent(parent_inode).mknod(name, mode, rdev, self._showing.who(ctx)))

    @handler
    def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        parent = self._parent(parent_inode)
        try:
            return self._entry(parent.mkdir(name, mode & 0o7777, self._showing.who(ctx)), parent)
        except Later as later:
            proceed = later.proceed
            raise Later(later.at, lambda taken: self._entry(proceed(taken), parent)) from None

    @handler
    def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext) -> EntryAttributes:
        return self._entry(self._parent(parent_inode).symlink(name, target, self._showing.who(ctx)))

    @handler
    def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext) -> EntryAttributes:
        return self._entry(self._parent(new_parent_inode).link(new_name, self._node(inode)))

    @handler
    def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        self._parent(parent_inode).unlink(name)

    @handler
    def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        self._parent(parent_inode).rmdir(name)

    @handler
    def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int, ctx: RequestContext
    ) -> None:
        self._parent(parent_inode_old).rename(name_old, self._parent(parent_inode_new), name_new, flags)

    # Files

    def _handle(self, handle: Handle | OpenDir) -> int:
        number = self._next_handle
        self._next_handle += 1
        self._handles[number] = handle
        return number

    @handler
    def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        node = self._node(inode)
        writing = flags & os.O_ACCMODE != os.O_RDONLY
        if flags & os.O_TRUNC:
            self._drop_capability(node)
            change = Change(size=0)
            node.set(without_set_ids(node, change, ctx) if isinstance(node, Inode) and node.mode & SET_IDS else change)
        handle = self._handle(node.open(writing=writing))
        if writing and isinstance(node, Inode):
            self._writing[handle] = node
        return FileInfo(fh=cast(Any, handle), keep_cache=True)

    def _unwritten(self, tree: LiveTree) -> frozenset[int]:
        """See ``Live.unwritten``: with the writeback cache, what is open for writing."""
        if not self.enable_writeback_cache:
            return frozenset()
        return frozenset(node.ino for node in self._writing.values() if node.tree is tree and node.nlink)

    def _drop_capability(self, node: Node) -> None:
        """Contents change where the kernel does not see to it: no program keeps rights that were given to another one."""
        if self._xattrs and isinstance(node, Inode) and _CAPABILITY in node.list_xattrs():
            node.remove_xattr(_CAPABILITY)

    @handler
    def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        node = self._parent(parent_inode).create(name, mode & 0o7777, self._showing.who(ctx))
        handle = self._handle(node.open(writing=True))
        if isinstance(node, Inode):
            self._writing[handle] = node
        return FileInfo(fh=cast(Any, handle), keep_cache=True), self._entry(node)

    @handler
    def read(self, fh: int, off: int, size: int) -> bytes:
        # Any buffer will do: pyfuse3 writes it to the kernel before it gives anything else a turn.
        return cast(bytes, cast(Handle, self._handles[fh]).read(off, size))

    @handler
    def write(self, fh: int, off: int, buf: bytes) -> int:
        return cast(Handle, self._handles[fh]).write(off, buf)

    @handler
    def release(self, fh: int) -> None:
        self._writing.pop(fh, None)
        cast(Handle, self._handles.pop(fh)).close()

    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._sync()

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._sync()

    async def _sync(self) -> None:
        try:
            await self._rim.sync()
        except MimeiError as error:
            raise self.trouble.explained(error) from None
        except Exception as error:
            raise self.trouble.unforeseen("fsync", error) from error

    # Directories

    @handler
    def opendir(self, inode: int, ctx: RequestContext) -> int:
        return self._handle(OpenDir(self._node(inode)))

    @handler
    def releasedir(self, fh: int) -> None:
        del self._handles[fh]

    @handler
    def readdir(self, fh: int, start_id: int, token: Any) -> None:
        opened = cast(OpenDir, self._handles[fh])
        if isinstance(opened.node, PastDir):
            self._read_past(opened, opened.node, start_id, token)
            return
        names, first = opened.names, start_id - _DOTS
        if first > len(names):
            raise FUSEError(errno.EINVAL)
        nodes = self._live.nodes
        self._check_crowd()
        # A restore gives the root of a present to another node of the same number.
        node = nodes.get(opened.node.ino, opened.node)
        if first < 0:
            opened.start()
            if not self._reply_dots(node, start_id, token):
                return
        reply, volatile, place, some = pyfuse3.readdir_reply, node.volatile, opened.place, False
        try:
            for name, child in node.scan(names[first - 1] if first > 0 else b""):
                rank = place(name)
                made = None if volatile else child.surface
                if not reply(token, name, made or self._shown(child, node, name), rank + _DOTS):
                    return
                if child.immutable:
                    self._past.hold(child)
                else:  # As _count does, which is too much for each of a million names.
                    child.lookups += 1
                    nodes[child.ino] = child
                opened.delivered(name, rank)
                some = True
        except Exception:
            if not some:
                raise  # Trouble behind the first only ends this reply; the kernel comes back.

    def _reply_dots(self, node: Node, start: int, token: Any) -> bool:
        """Deliver ``.`` and ``..``, which count as no lookups; whether there is room for more. Views and versions do not know
        what they are in and give their own number for ``..``, which nobody looks up by it."""
        above = (isinstance(node, LiveDir) and node.above()) or node
        dots = ((1, b".", node), (2, b"..", above))[start:]
        return all(pyfuse3.readdir_reply(token, name, self._attributes(shown), rank) for rank, name, shown in dots)

    def _read_past(self, opened: OpenDir, node: PastDir, start: int, token: Any) -> None:
        """Deliver entries of a version from a place on; what did not fit last time is tried first."""
        if start < _DOTS and not self._reply_dots(node, start, token):
            return
        first = rank = max(start - _DOTS, 0)
        known, opened.past = opened.past, None
        rows, item = (known[1], known[2]) if known is not None and known[0] == first else (node.scan_from(first), None)
        while True:
            item = item or _next(rows, first=rank + _DOTS == start)
            if item is None:
                return
            rank, name, child = item
            if not pyfuse3.readdir_reply(token, name, self._attributes(child), rank + _DOTS + 1):
                opened.past = rank, rows, item
                return
            self._count(child)
            rank, item = rank + 1, None

    # Attributes

    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        if name in _OFTEN_ASKED and self._xattrs and self._plain(inode):
            # To the kernel, which alone asks for lists, an empty one is none; an error would take longer.
            if name != _CAPABILITY and self.enable_acl:
                return b""
            raise FUSEError(errno.ENODATA if name == _CAPABILITY else errno.EOPNOTSUPP)
        return await self._getxattr(inode, name)

    def _plain(self, inode: int) -> bool:
        """Whether what the kernel knows by that number has no extended attributes, as far as that is known without a look."""
        if inode & PAST_BIT:
            return self._past.plain(inode)
        node = self._live.nodes.get(inode)
        return isinstance(node, Inode) and not node.xattrs and node.xattr_blob is None

    @handler
    def _getxattr(self, inode: int, name: bytes) -> bytes:
        if not self._xattrs:
            raise FUSEError(errno.ENOSYS)
        check_space(name, lists=self.enable_acl)
        node = self._node(inode)
        if name.startswith(PREFIX):
            return fact(node, name)
        try:
            return node.get_xattr(name)
        except NoAttributeError:
            if name == _SELINUX:
                raise FUSEError(errno.EOPNOTSUPP) from None
            raise

    @handler
    def listxattr(self, inode: int, ctx: RequestContext) -> list[bytes]:
        if not self._xattrs:
            raise FUSEError(errno.ENOSYS)
        names = self._node(inode).list_xattrs()
        hidden = () if self.enable_acl else acl.NAMES
        shown = (name for name in names if name not in hidden and not name.startswith(RESERVED))
        return [name for name in shown if ctx.uid == 0 or not name.startswith(_TRUSTED)]

    @handler
    def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        if not self._xattrs:
            raise FUSEError(errno.ENOSYS)
        check_space(name, lists=self.enable_acl)
        if name.startswith(PREFIX):
            raise FUSEError(errno.EPERM)
        node = self._node(inode)
        try:
            node.set_xattr(name, value)
        except TooLargeError:
            raise FUSEError(errno.ENOSPC) from None  # What setxattr(2) has for it; EFBIG is of files.
        if name == acl.ACCESS and drops_setgid(stat := node.stat(), ctx):
            node.set(Change(mode=stat.mode & 0o5777))

    @handler
    def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        if not self._xattrs:
            raise FUSEError(errno.ENOSYS)
        check_space(name, lists=self.enable_acl)
        self._node(inode).remove_xattr(name)

    @handler
    def statfs(self, ctx: RequestContext) -> StatvfsData:
        disk = os.statvfs(self._live.database.path)
        made = StatvfsData()
        made.f_bsize, made.f_frsize = 131072, disk.f_frsize
        room = min(disk.f_bavail, self._live.room.spare() // disk.f_frsize)
        made.f_blocks, made.f_bfree, made.f_bavail = disk.f_blocks, room, room
        made.f_files, made.f_ffree, made.f_favail = 1 << 40, 1 << 39, 1 << 39
        made.f_namemax = 255
        return made

    def close_all(self) -> None:
        """Close what is still open when the mount ends."""
        for handle in list(self._handles.values()):
            if not isinstance(handle, OpenDir):
                handle.close()
        self._handles.clear()
        self._writing.clear()


def _missing(seconds: float) -> EntryAttributes:
    """The reply that has the kernel remember that there is no such name."""
    made = EntryAttributes()
    made.st_ino, made.entry_timeout = InodeT(0), seconds
    return made


_MISSING: dict[type[Node], EntryAttributes] = {PastDir: _missing(PAST_TIMEOUT), LiveDir: _missing(LIVE_TIMEOUT)}
"""Where names come by requests of the kernel or are told to it, how long it may remember that one is missing. Not in the
root of a present, where a restore changes everything, and not where names with ``@`` are views."""


def _next(rows: Iterator[Row], *, first: bool) -> Row | None:
    """The next row, or ``None`` at the end. Trouble behind the first only ends this reply; the kernel comes back."""
    try:
        return next(rows, None)
    except Exception:
        if first:
            raise
        return None


def _raise(wait: Later) -> Any:
    raise wait
