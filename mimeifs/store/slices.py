"""Digests of the slices of blobs that were verified whole, so that a small read verifies 16 KiB instead of a whole chunk.

A chunk has a name for all of its bytes only: whoever wants 4 KiB has up to 1 MiB read and hashed. Where that was done once,
each slice is hashed by itself, and what is read later is held to those digests, which have been in memory ever since.

What this is not: a cache; no bytes are kept, and nothing is read here. Always true: the digests of a blob were made from bytes
that hash to its name; memory is bounded by the number of slices, and what was used longest ago goes first.
"""

from collections import OrderedDict

from blake3 import blake3

from mimeifs.store.interfaces import Buffer
from mimeifs.store.packs import IndexRow

SLICE = 16 << 10
MAX_SLICES = 1 << 17
"""Of 2 GiB; their digests take 4 MiB."""
_DIGEST = 32


class Sliced:
    """One blob's digests, and where it lay when they were made."""

    __slots__ = ("_digests", "row")

    def __init__(self, row: IndexRow, plain: Buffer) -> None:
        self.row = row
        with memoryview(plain) as view:
            self._digests = b"".join([blake3(view[at : at + SLICE]).digest() for at in range(0, len(view), SLICE)])

    def __len__(self) -> int:
        """How many slices there are."""
        return len(self._digests) // _DIGEST

    def around(self, start: int, stop: int) -> tuple[int, int]:
        """The whole slices around these bytes of the blob: where they begin and end."""
        return start - start % SLICE, min(stop + -stop % SLICE, self.row.plain)

    def hold(self, begin: int, data: memoryview) -> bool:
        """Whether ``data`` is what was verified, from ``begin``, the beginning of a slice, to the end of another."""
        made = b"".join([blake3(data[at : at + SLICE]).digest() for at in range(0, len(data), SLICE)])
        at = begin // SLICE * _DIGEST
        return made == self._digests[at : at + len(made)]


class Slices:
    """The digests known to one reader, at most ``most`` of them. For one thread."""

    def __init__(self, *, most: int = MAX_SLICES) -> None:
        self._room = most
        self._known: OrderedDict[bytes, Sliced] = OrderedDict()

    def of(self, blob: bytes) -> Sliced | None:
        """Those of a blob."""
        found = self._known.get(blob)
        if found is not None:
            self._known.move_to_end(blob)
        return found

    def note(self, blob: bytes, row: IndexRow, plain: Buffer) -> None:
        """``plain`` are the verified bytes of ``blob``, of which nothing was known."""
        self._known[blob] = made = Sliced(row, plain)
        self._room -= len(made)
        while self._room < 0:
            self._room += len(self._known.popitem(last=False)[1])

    def forget(self, blob: bytes) -> None:
        """What is read is not what was verified, wherever the fault is."""
        self._room += len(self._known.pop(blob))
