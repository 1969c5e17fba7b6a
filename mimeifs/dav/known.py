"""What the node has answered, for as long as it would answer the same: nothing is asked twice of a tree that stays as it is.

Kept with the node's pulse from before it was asked. Always true: what is given out was asked for after the last change of the
tree; memory stays within bounds; may be used from many threads, since each step is one of a dictionary.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Known(Generic[K, V]):
    """Answers by what was asked, at most ``most`` of them, whose sizes add up to at most ``room``."""

    def __init__(self, pulse: Callable[[], int], *, most: int, room: int = 0) -> None:
        self._pulse = pulse
        self._most = most
        self._room = room
        self._size = 0
        self._at = -1
        self._answers: dict[K, tuple[int, V]] = {}

    def now(self) -> int:
        """The moment, to be taken before the node is asked."""
        return self._pulse()

    def get(self, key: K) -> V | None:
        """What is known, if it is still so."""
        found = self._answers.get(key)
        return found[1] if found is not None and found[0] == self._pulse() else None

    def keep(self, key: K, answer: V, moment: int, size: int = 0) -> None:
        """Keep what the node has answered after ``moment``."""
        if size > self._room or moment != self._pulse():
            return
        if moment != self._at or len(self._answers) >= self._most or self._size + size > self._room:
            # What is older is worth nothing after a change, and next to nothing where there is too much.
            self._answers, self._size, self._at = {}, 0, moment
        self._size += size
        self._answers[key] = (moment, answer)
