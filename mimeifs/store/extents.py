"""Which bytes of a file being edited come from where: the extent map.

An extent is ``(start, length, address)``. ``address`` is a position in the journal where the bytes lie, or, with :data:`ZEROS`
set, the position of the operation that made the range read as zeros. What no extent covers is the file's base content.

This is not a cache and holds no bytes. Always true: extents are sorted, disjoint and not empty; addresses are positions, so
"what was written since position P" is exactly the extents whose :func:`position` is at least P.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Extent = tuple[int, int, int]

ZEROS = 1 << 63


def position(address: int) -> int:
    """The journal position an address stands for, for bytes and for zeros alike."""
    return address & ~ZEROS


def remainders(extent: Extent, start: int, stop: int) -> Iterator[Extent]:
    """What is left of ``extent`` when ``[start, stop)`` is taken out of it: none, one or two extents."""
    first, length, address = extent
    end = first + length
    if first < start:
        yield first, min(end, start) - first, address
    if end > stop:
        cut = max(first, stop) - first
        yield first + cut, length - cut, address if address & ZEROS else address + cut


class ExtentMap:
    """The extents of one file in memory, in packed arrays (24 bytes an extent)."""

    __slots__ = ("addresses", "lengths", "starts")

    def __init__(self, extents: Iterable[Extent] = ()) -> None:
        self.starts = array("Q")
        self.lengths = array("Q")
        self.addresses = array("Q")
        for start, length, address in extents:
            self._append(start, length, address)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Extent]:
        return zip(self.starts, self.lengths, self.addresses, strict=True)

    def _append(self, start: int, length: int, address: int) -> None:
        self.starts.append(start)
        self.lengths.append(length)
        self.addresses.append(address)

    def _overlapping(self, start: int, stop: int) -> tuple[int, int]:
        """Indices ``[low, high)`` of the extents that touch ``[start, stop)``."""
        low = bisect_right(self.starts, start)
        if low and self.starts[low - 1] + self.lengths[low - 1] > start:
            low -= 1
        return low, bisect_left(self.starts, stop, low)

    def put(self, start: int, length: int, address: int) -> None:
        """``[start, start + length)`` now comes from ``address``; whatever was there is hidden."""
        if not length:
            return
        count = len(self.starts)
        if not count or start >= self.starts[-1] + self.lengths[-1]:
            self._append(start, length, address)
            return
        self._replace(start, start + length, (start, length, address))

    def cut(self, start: int, stop: int) -> None:
        """Forget what ``[start, stop)`` came from."""
        if self.starts and start < self.starts[-1] + self.lengths[-1]:
            self._replace(start, stop, None)

    def _replace(self, start: int, stop: int, new: Extent | None) -> None:
        low, high = self._overlapping(start, stop)
        pieces: list[Extent] = []
        for index in range(low, high):
            pieces.extend(remainders((self.starts[index], self.lengths[index], self.addresses[index]), start, stop))
        if new is not None:
            pieces.append(new)
            pieces.sort()
        self.starts[low:high] = array("Q", [piece[0] for piece in pieces])
        self.lengths[low:high] = array("Q", [piece[1] for piece in pieces])
        self.addresses[low:high] = array("Q", [piece[2] for piece in pieces])

    def ranges(self, start: int, stop: int) -> Iterator[tuple[int, int, int | None]]:
        """Cover ``[start, stop)`` in order with ``(start, length, address)``; ``None`` is the base content."""
        low, high = self._overlapping(start, stop)
        at = start
        for index in range(low, high):
            first, length, address = self.starts[index], self.lengths[index], self.addresses[index]
            if first > at:
                yield at, first - at, None
                at = first
            skip = at - first
            take = min(first + length, stop) - at
            yield at, take, address if address & ZEROS else address + skip
            at += take
        if at < stop:
            yield at, stop - at, None

    def newest(self) -> int:
        """The highest position of an extent, -1 where there is none. With the file's size it stands for one content only: a
        change in place adds a higher one, and a cut takes only what lies behind it."""
        top = max(self.addresses, default=-1)
        return max(map(position, self.addresses)) if top >= ZEROS else top

    def since(self, when: int) -> "ExtentMap":
        """Only what was written at or after journal position ``when``."""
        return ExtentMap([extent for extent in self if position(extent[2]) >= when])

    def overlay(self, newer: "ExtentMap") -> None:
        """Put every extent of ``newer`` on top."""
        for extent in newer:
            self.put(*extent)
