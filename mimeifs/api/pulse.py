"""Whether the node's tree is still what it was: a number in memory that the node shares with its clients by fork(2).

The node changes it with every change of the tree, before anybody can hear of that change. So whoever read the number, then
asked the node, and reads the same number later, would get the same answer as before, and need not ask. Always true: the number
only grows; it is written and read whole, by one process and by any.
"""

import mmap


class Pulse:
    """Made before the fork. ``beat`` belongs to the node."""

    def __init__(self) -> None:
        self._count = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        """One aligned machine word, which processors store and load at once."""

    def beat(self) -> None:
        """Something has changed."""
        self._count[0] += 1

    def count(self) -> int:
        """How often something has changed."""
        return self._count[0]
