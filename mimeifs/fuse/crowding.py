"""How much of the present the kernel knows at once, kept within bounds.

The node needs about 1 KiB of memory for each file that the kernel knows, and the kernel gives none up before the machine's
memory runs out. So once it knows too many, it is told to drop those that were looked at longest ago: it does so with what
nobody has open, says so (FORGET), and asks again when somebody comes back. glusterfs bounds its inodes likewise. Versions
need no bound: what is known of them is counted by directory.

Linux 6.18 can be given numbers to drop. An older one is told instead that the names may lead elsewhere, which it cannot tell
from their removal; so only files are named then, no directory that somebody may stand in; and since each name waits for its
directory's lock, what somebody lists just then grows faster than it is dropped, and is dropped after that.

Always true: what is told has no open handle here, and LMDB has everything of it, so that it comes back the same.
"""

import math
import sys
from itertools import islice

import trio

from mimeifs.fuse.invalidation import Invalidations
from mimeifs.model.entry import Kind
from mimeifs.model.inode import Inode
from mimeifs.model.live import Live

MOST = 100_000
"""So many may be known before any is dropped."""
SPARE = 10_000
"""How many fewer are known after that, and how many more may come before the next look where none can be dropped."""
SLICE = 2000
"""How many are looked at between two turns of others."""
MOMENT = 0.05
"""Seconds in which the kernel says what it has dropped."""
AGAIN = 10.0
"""Seconds after which those are looked at again that were all in use, or not yet in LMDB."""


class Crowd:
    """What one mount's kernel knows of the present."""

    def __init__(self, live: Live, invalidations: Invalidations) -> None:
        self._live = live
        self._invalidations = invalidations
        self._crowded = trio.Event()
        self.limit = MOST
        """Who sees that more are known calls :meth:`thin`."""

    def thin(self) -> None:
        """Have some dropped, a moment later."""
        self.limit = sys.maxsize
        self._crowded.set()

    async def run(self) -> None:
        """Drop when asked, until cancelled."""
        while True:
            with trio.move_on_after(AGAIN if self._live.known > MOST else math.inf):
                await self._crowded.wait()
            self._crowded = trio.Event()
            await self._drop()
            self.limit = max(MOST, self._live.known + SPARE)

    async def _drop(self) -> None:
        """Look at each once at most, until few enough are known."""
        live, looked = self._live, 0
        while live.known > MOST - SPARE and looked < len(live.nodes):
            wanted, told = min(live.known - MOST + SPARE, SPARE), 0
            while told < wanted and looked < len(live.nodes):
                told += await self._drop_first()
                looked += SLICE
            await trio.sleep(MOMENT)

    async def _drop_first(self) -> int:
        """Tell what can be dropped of those that were looked at longest ago; how many these were."""
        nodes, found = self._live.nodes, list[Inode]()
        for ino, node in list(islice(nodes.items(), SLICE)):
            del nodes[ino]
            nodes[ino] = node
            if isinstance(node, Inode) and node.may_be_dropped:
                found.append(node)
        if found and not await self._invalidations.prune([node.ino for node in found]):
            for node in found:
                if node.kind is not Kind.DIRECTORY and node.parent is not None:
                    self._invalidations.entry(node.parent.ino, node.name)
            await self._invalidations.told()
        await trio.lowlevel.checkpoint()
        return len(found)
