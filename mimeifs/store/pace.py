"""Whether something that waits for the disk is quick enough for a loop to do it itself.

Giving work to another thread or process and being woken again costs 100 us and more, as much as a quick disk takes for it;
on a slow disk everybody else would have to wait meanwhile. So what it took lately decides, whoever did it. Always true:
after one wait of ``SLOW_NS`` the next is left to others.
"""

from collections.abc import Callable

QUICK_NS = 400_000
SLOW_NS = 2_000_000


class Pace:
    """How long one kind of waiting has taken lately, by a monotonic clock in nanoseconds."""

    __slots__ = ("_average_ns", "now")

    def __init__(self, clock: Callable[[], int]) -> None:
        self.now = clock
        self._average_ns = 0

    @property
    def quick(self) -> bool:
        """Whether the loop may do it itself."""
        return self._average_ns < QUICK_NS

    def took(self, since_ns: int) -> None:
        """It was done once more, begun when ``now`` said ``since_ns``."""
        spent = self.now() - since_ns
        self._average_ns = spent if spent > SLOW_NS else self._average_ns + (spent - self._average_ns) // 4
