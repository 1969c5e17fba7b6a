"""What the node has answered, for as long as it would answer the same: nothing is asked twice of a tree that stays as it is.

Kept with the node's pulse from before it was asked; what was written of a directory also with the mark that the node gives it
(``model/marks``), which stays though something changes elsewhere. Always true: what ``get`` gives out was asked for after the
last change of the tree, or the node has said since that it is still so; memory stays within bounds; may be used from many
threads.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

OVERHEAD = 256
"""What a row costs beside its characters, and a listing beside its rows, in bytes."""
K = TypeVar("K")
V = TypeVar("V")


class Known(Generic[K, V]):
    """Answers by what was asked, at most ``most`` of them, whose sizes add up to at most ``room``."""

    def __init__(self, pulse: Callable[[], int], *, most: int, room: int = 0) -> None:
        self._pulse = pulse
        self._most = most
        self._room = room
        self._size = 0
        self._lock = threading.Lock()
        self._answers: dict[K, tuple[int, V, int]] = {}
        """With their moments and sizes, the oldest first."""

    def now(self) -> int:
        """The moment, to be taken before the node is asked."""
        return self._pulse()

    def get(self, key: K) -> V | None:
        """What is known, if it is still so."""
        found = self._answers.get(key)
        return found[1] if found is not None and found[0] == self._pulse() else None

    def last(self, key: K) -> V | None:
        """What was known last, if it is still kept, whether or not it is still so."""
        found = self._answers.get(key)
        return None if found is None else found[1]

    def keep(self, key: K, answer: V, moment: int, size: int = 0) -> None:
        """Keep what the node has answered after ``moment``, in the place of what is oldest."""
        if size > self._room or moment != self._pulse():
            return
        with self._lock:
            self._drop(key)
            while len(self._answers) >= self._most or self._size + size > self._room:
                self._drop(next(iter(self._answers)))
            self._size += size
            self._answers[key] = moment, answer, size

    def _drop(self, key: K) -> None:
        self._size -= self._answers.pop(key, (0, None, 0))[2]


class Listing(NamedTuple):
    """What was written of a directory at ``moment``, and its mark, "" for none: the rows by name, and which are loose."""

    moment: int
    mark: str
    rows: dict[bytes, str]
    loose: tuple[bytes, ...] = ()


class Listings:
    """Listings by what was asked, at most ``room`` characters of them; those asked for last stay."""

    def __init__(self, pulse: Callable[[], int], *, room: int) -> None:
        self.now = pulse
        """The moment, to be taken before the node is asked. A listing of the same moment is still so."""
        self._room = room
        self._size = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[int, Listing]] = OrderedDict()

    def get(self, key: Hashable) -> Listing | None:
        """What is kept, whether or not it is still so."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[1]

    def keep(self, key: Hashable, listing: Listing) -> None:
        """Keep a listing, in the place of an older one."""
        size = OVERHEAD * (1 + len(listing.rows)) + sum(map(len, listing.rows.values()))
        with self._lock:
            self._size += size - self._kept.pop(key, (0, None))[0]
            self._kept[key] = size, listing
            while self._size > self._room:
                self._size -= self._kept.popitem(last=False)[1][0]
