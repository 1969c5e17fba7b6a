"""Telling the kernel that what it knows of names and attributes is no longer so.

The kernel may hold a directory's lock until we have answered a request, so telling it can block: that is done in order in a
thread, never by the loop, and no handler waits for it. Who changed something from elsewhere answers after :meth:`told`.

Always true: what was asked for before a call of :meth:`told` has reached the kernel when that returns, or the kernel did not
know it.
"""

import errno
import logging
import os
import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import pyfuse3
import trio

log = logging.getLogger(__name__)
_UNKNOWN = (errno.ENOENT, errno.ENOTDIR)
"""What the kernel says of what it does not know."""
_HEADER = struct.Struct("=IiQ")
_PRUNE = struct.Struct("=IIQ")
_NOTIFY_PRUNE = 9
"""``struct fuse_out_header`` and ``struct fuse_notify_prune_out`` of ``linux/fuse.h``; the numbers of inodes follow."""


class _Descriptor:
    """A descriptor that is closed when nobody holds this any more, so that no thread writes to what has its number later."""

    def __init__(self, number: int) -> None:
        self._number = os.dup(number)

    def __del__(self) -> None:
        os.close(self._number)

    def write(self, message: bytes) -> None:
        """Write all of a message, in one call."""
        os.write(self._number, message)


class Invalidations:
    """What one mount's kernel has to be told."""

    def __init__(self) -> None:
        self._kernel: _Descriptor | None = None
        self._waiting: deque[Callable[[], None]] = deque()
        self._asked = 0
        self._done = 0
        self._stirred = trio.Event()
        self._heard = trio.Event()
        self._ended = False

    def reach(self, descriptor: int) -> None:
        """Speak to the kernel by the descriptor of the session, too; -1 is none."""
        self._kernel = _Descriptor(descriptor) if descriptor >= 0 else None

    def entry(self, parent: int, name: bytes) -> None:
        """A name may lead elsewhere, and its directory has other times."""
        self._add(partial(pyfuse3.invalidate_entry, pyfuse3.InodeT(parent), pyfuse3.FileNameT(name)))

    def attributes(self, ino: int) -> None:
        """An inode has other attributes."""
        self._add(partial(pyfuse3.invalidate_inode, pyfuse3.InodeT(ino), attr_only=True))

    def _add(self, tell: Callable[[], None]) -> None:
        self._waiting.append(tell)
        self._asked += 1
        self._stirred.set()

    async def told(self) -> None:
        """Return when the kernel knows all that was asked for so far."""
        wanted = self._asked
        while self._done < wanted:
            await self._heard.wait()

    async def write_back(self, inos: frozenset[int]) -> None:
        """Return when the kernel has written what it held of these inodes; it gives up what it had of their pages."""
        batch: list[Callable[[], None]] = [partial(pyfuse3.invalidate_inode, pyfuse3.InodeT(ino)) for ino in sorted(inos)]
        await trio.to_thread.run_sync(self._tell, batch, abandon_on_cancel=True)

    async def prune(self, inos: Sequence[int]) -> bool:
        """Have the kernel drop those of these inodes that nobody uses; whether it can be told (Linux 6.18, FUSE 7.45)."""
        if self._kernel is None:
            return False
        size = _HEADER.size + _PRUNE.size + 8 * len(inos)
        message = _HEADER.pack(size, _NOTIFY_PRUNE, 0) + _PRUNE.pack(len(inos), 0, 0) + struct.pack(f"={len(inos)}Q", *inos)
        try:
            await trio.to_thread.run_sync(self._kernel.write, message, abandon_on_cancel=True)
        except OSError as error:
            if error.errno == errno.EINVAL:
                self._kernel = None
            else:
                log.error("the kernel does not drop what it knows: %s", error)
            return False
        return True

    async def run(self) -> None:
        """Tell the kernel until cancelled."""
        try:
            while True:
                await self._stirred.wait()
                self._stirred = trio.Event()
                batch = list(self._waiting)
                self._waiting.clear()
                # What blocks because its request will not be answered any more is freed by the unmount that follows.
                await trio.to_thread.run_sync(self._tell, batch, abandon_on_cancel=True)
                self._done += len(batch)
                self._heard.set()
                self._heard = trio.Event()
        finally:
            self._ended = True
            self._kernel = None

    def _tell(self, batch: list[Callable[[], None]]) -> None:
        for tell in batch:
            if self._ended:
                return
            try:
                tell()
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    log.error("the kernel does not take back what it knows: %s", error)
