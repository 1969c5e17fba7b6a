"""The yardstick: a file system in memory on pyfuse3, as fast as plain dictionaries go.

Write-through, a ``bytearray`` per file, page cache kept, 300 s timeouts, no extended attributes and no flush (both answered
ENOSYS, so that the kernel stops asking). It stores nothing and checks nothing, so no system that does can honestly beat it by
much on the same loop.

Run as ``python -m benchmarks.memfs MOUNTPOINT [--loop plain|improved]``; ends on SIGTERM, SIGINT or umount.
"""

import argparse
import errno
import os
import signal
import stat
import time
from collections.abc import Sequence

import pyfuse3
import trio

from mimeifs.fuse import loop

TIMEOUT_S = 300
BLOCK = 512


class Node:
    """An inode: its attributes and, by kind, bytes, names or a target."""

    __slots__ = ("attr", "children", "data", "lookups", "target")

    def __init__(self, ino: int, mode: int, uid: int, gid: int) -> None:
        now = time.time_ns()
        attr = pyfuse3.EntryAttributes()
        attr.st_ino = ino
        attr.st_mode = mode
        attr.st_nlink = 2 if stat.S_ISDIR(mode) else 1
        attr.st_uid = uid
        attr.st_gid = gid
        attr.st_blksize = 4096
        attr.st_atime_ns = attr.st_mtime_ns = attr.st_ctime_ns = now
        attr.entry_timeout = attr.attr_timeout = TIMEOUT_S
        self.attr = attr
        self.data = bytearray()
        self.children: dict[bytes, int] = {}
        self.target = b""
        self.lookups = 0

    def resized(self) -> None:
        """Tell the attributes the size of the data."""
        size = len(self.data)
        self.attr.st_size = size
        self.attr.st_blocks = -(-size // BLOCK)
        self.touched()

    def touched(self) -> None:
        """Content or names have changed."""
        self.attr.st_mtime_ns = self.attr.st_ctime_ns = time.time_ns()


class MemoryFs(pyfuse3.Operations):
    """All handlers; a file handle is the inode's number, a directory handle a snapshot of the names."""

    enable_writeback_cache = False

    def __init__(self) -> None:
        super().__init__()
        self._nodes = {pyfuse3.ROOT_INODE: Node(pyfuse3.ROOT_INODE, stat.S_IFDIR | 0o755, os.getuid(), os.getgid())}
        self._next_ino = pyfuse3.ROOT_INODE + 1
        self._listings: dict[int, list[tuple[bytes, int]]] = {}
        self._next_listing = 1

    def _node(self, ino: int) -> Node:
        node = self._nodes.get(ino)
        if node is None:
            raise pyfuse3.FUSEError(errno.ESTALE)
        return node

    def _child(self, parent: Node, name: bytes) -> Node:
        ino = parent.children.get(name)
        if ino is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._nodes[ino]

    def _add(self, parent_ino: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext) -> Node:
        parent = self._node(parent_ino)
        if name in parent.children:
            raise pyfuse3.FUSEError(errno.EEXIST)
        if not parent.attr.st_nlink:
            raise pyfuse3.FUSEError(errno.ENOENT)
        ino = self._next_ino
        self._next_ino += 1
        node = Node(ino, mode, ctx.uid, ctx.gid)
        node.lookups = 1
        self._nodes[ino] = node
        parent.children[name] = ino
        if stat.S_ISDIR(mode):
            parent.attr.st_nlink += 1
        parent.touched()
        return node

    def _drop(self, parent: Node, name: bytes) -> None:
        node = self._child(parent, name)
        del parent.children[name]
        if stat.S_ISDIR(node.attr.st_mode):
            parent.attr.st_nlink -= 1
            node.attr.st_nlink = 0
        else:
            node.attr.st_nlink -= 1
        node.attr.st_ctime_ns = time.time_ns()
        parent.touched()
        self._let_go(node)

    def _let_go(self, node: Node) -> None:
        if node.lookups <= 0 and not node.attr.st_nlink:
            self._nodes.pop(node.attr.st_ino, None)

    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        node = self._child(self._node(parent_inode), name)
        node.lookups += 1
        return node.attr

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for ino, count in inode_list:
            node = self._nodes.get(ino)
            if node is not None and ino != pyfuse3.ROOT_INODE:
                node.lookups -= count
                self._let_go(node)

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._node(inode).attr

    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        node = self._node(inode)
        if fields.update_size:
            _resize(node, attr.st_size)
        if fields.update_mode:
            node.attr.st_mode = attr.st_mode
        if fields.update_uid:
            node.attr.st_uid = attr.st_uid
        if fields.update_gid:
            node.attr.st_gid = attr.st_gid
        if fields.update_atime:
            node.attr.st_atime_ns = attr.st_atime_ns
        if fields.update_mtime:
            node.attr.st_mtime_ns = attr.st_mtime_ns
        node.attr.st_ctime_ns = time.time_ns()
        return node.attr

    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        return self._node(inode).target

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        node = self._add(parent_inode, name, mode, ctx)
        node.attr.st_rdev = rdev
        return node.attr

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._add(parent_inode, name, mode, ctx).attr

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        node = self._add(parent_inode, name, stat.S_IFLNK | 0o777, ctx)
        node.target = target
        node.attr.st_size = len(target)
        return node.attr

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        node, parent = self._node(inode), self._node(new_parent_inode)
        if new_name in parent.children:
            raise pyfuse3.FUSEError(errno.EEXIST)
        parent.children[new_name] = inode
        parent.touched()
        node.attr.st_nlink += 1
        node.attr.st_ctime_ns = time.time_ns()
        node.lookups += 1
        return node.attr

    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._drop(self._node(parent_inode), name)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        parent = self._node(parent_inode)
        if self._child(parent, name).children:
            raise pyfuse3.FUSEError(errno.ENOTEMPTY)
        self._drop(parent, name)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            raise pyfuse3.FUSEError(errno.EINVAL)
        source, target = self._node(parent_inode_old), self._node(parent_inode_new)
        node = self._child(source, name_old)
        if name_new in target.children:
            if flags & pyfuse3.RENAME_NOREPLACE:
                raise pyfuse3.FUSEError(errno.EEXIST)
            replaced = self._child(target, name_new)
            if replaced is node:
                return
            if replaced.children:
                raise pyfuse3.FUSEError(errno.ENOTEMPTY)
            self._drop(target, name_new)
        target.children[name_new] = source.children.pop(name_old)
        if stat.S_ISDIR(node.attr.st_mode):
            source.attr.st_nlink -= 1
            target.attr.st_nlink += 1
        node.attr.st_ctime_ns = time.time_ns()
        source.touched()
        target.touched()

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        node = self._add(parent_inode, name, mode, ctx)
        return pyfuse3.FileInfo(fh=node.attr.st_ino, keep_cache=True), node.attr

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        self._node(inode)
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return bytes(memoryview(self._nodes[fh].data)[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        node = self._nodes[fh]
        data = node.data
        if off > len(data):
            data.extend(bytes(off - len(data)))
        data[off : off + len(buf)] = buf
        node.resized()
        return len(buf)

    async def flush(self, fh: int) -> None:
        raise pyfuse3.FUSEError(errno.ENOSYS)

    async def release(self, fh: int) -> None:
        """Nothing is kept per handle: the kernel holds its lookups until after this."""

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Memory is all there is."""

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Memory is all there is."""

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        handle = self._next_listing
        self._next_listing += 1
        self._listings[handle] = list(self._node(inode).children.items())
        return handle

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        listing = self._listings[fh]
        for position in range(start_id, len(listing)):
            name, ino = listing[position]
            node = self._nodes.get(ino)
            if node is None:
                continue
            if not pyfuse3.readdir_reply(token, name, node.attr, position + 1):
                return
            node.lookups += 1

    async def releasedir(self, fh: int) -> None:
        del self._listings[fh]

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        numbers = pyfuse3.StatvfsData()
        numbers.f_bsize = numbers.f_frsize = 4096
        numbers.f_blocks = numbers.f_bfree = numbers.f_bavail = 1 << 30
        numbers.f_files = numbers.f_ffree = numbers.f_favail = 1 << 30
        numbers.f_namemax = 255
        return numbers


def _resize(node: Node, size: int) -> None:
    if size < len(node.data):
        del node.data[size:]
    else:
        node.data.extend(bytes(size - len(node.data)))
    node.resized()


async def serve() -> None:
    """Answer requests until the file system is unmounted or a signal asks for the end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


async def _end_on_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for _ in received:
            pyfuse3.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memfs", description="Mount a file system that lives in memory.")
    parser.add_argument("mountpoint")
    parser.add_argument("--loop", choices=("plain", "improved"), default="plain")
    parser.add_argument("--spin-us", type=int, default=None, help="the improved loop's spin (default: by the processors)")
    arguments = parser.parse_args()
    if arguments.loop == "improved":
        loop.install(pyfuse3, arguments.spin_us)
        if not loop.installed(pyfuse3):
            parser.error("the improved loop does not fit this pyfuse3")
    pyfuse3.init(MemoryFs(), arguments.mountpoint, {*pyfuse3.default_options, "fsname=memfs"})
    try:
        trio.run(serve)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
