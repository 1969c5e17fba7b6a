"""Where nodes end: the boundary rule, and the cutter that follows it.

A node ends after a row when a hash of the row's *key* falls under a threshold, which rises with the bytes the node holds and
with the row's own size, so that nodes gather around 4 KiB whatever the size of rows. Not here: which rows to cut.

Always true: whether a node ends after a row depends on that node's rows up to there and on nothing else, so that two row
sequences cut alike from the first boundary they share until they differ again. All but the last node of a level have at least
:data:`MIN_NODE` bytes, and two rows if inner; no node reaches :data:`FULL_NODE` bytes before its last row.
"""

from itertools import accumulate
from typing import Final
from zlib import crc32

from mimeifs.ids import BlobId
from mimeifs.store.interfaces import BlobSink
from mimeifs.store.prolly.node import HEAD_SIZE, ROW_OVERHEAD, Node, child_blob, child_value, encode, node_rows

MIN_NODE: Final = 512
FULL_NODE: Final = 13 * 1024
RISE: Final = 540  # 2**32 / variance parameter of a Rayleigh hazard; gives nodes of 4 KiB in the mean
_MIX: Final = 0x9E3779B1
_MASK: Final = 0xFFFFFFFF


def salt(level: int) -> int:
    """What is mixed into the hashes of one level, so that keys that end a node do not also end its parent."""
    return (level + 1) * 0x85EBCA77 & _MASK


class Cutter:
    """Cuts the rows of one level, fed in ascending order, into nodes, and stores them.

    ``made`` collects the rows for the level above. ``only_child`` tells of every inner node made whether it has just one
    child, and which.
    """

    __slots__ = ("_keys", "_level", "_salt", "_sink", "_size", "_values", "made", "only_child")

    def __init__(self, sink: BlobSink, level: int) -> None:
        self._sink = sink
        self._level = level
        self._salt = salt(level)
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._size = HEAD_SIZE
        self.made: list[tuple[bytes, bytes]] = []
        self.only_child: dict[BlobId, BlobId | None] = {}

    @property
    def idle(self) -> bool:
        """Whether the last row fed ended a node."""
        return not self._keys

    def feed(self, keys: list[bytes], values: list[bytes]) -> None:
        """Take more rows; stores the nodes that end among them."""
        mark, least = self._salt, 2 if self._level else 1
        begin, base = -len(self._keys), -self._size
        sizes = [key + value + ROW_OVERHEAD for key, value in zip(map(len, keys), map(len, values), strict=True)]
        rows = zip(accumulate(sizes), sizes, map(crc32, keys), strict=True)
        for index, (total, row, code) in enumerate(rows, 1):
            size = total - base
            if size < MIN_NODE:
                continue
            if ((code ^ mark) * _MIX & _MASK < (size - MIN_NODE) * row * RISE or size >= FULL_NODE) and index - begin >= least:
                first = max(begin, 0)
                self._emit(self._keys + keys[first:index], self._values + values[first:index])
                self._keys, self._values = [], []
                begin, base = index, total - HEAD_SIZE
        first = max(begin, 0)
        self._keys += keys[first:]
        self._values += values[first:]
        self._size = sum(sizes) - base

    def keep(self, keys: list[bytes], values: list[bytes]) -> None:
        """Take, while idle, the rows of a node cut before, whose keys and sizes of values are the same as then."""
        self._emit(keys, values)

    def flush(self) -> None:
        """End the last node of the level, where no rule but the end of rows ends it."""
        if self._keys:
            self._emit(self._keys, self._values)
            self._keys, self._values, self._size = [], [], HEAD_SIZE

    def _emit(self, keys: list[bytes], values: list[bytes]) -> None:
        node = Node(self._level, keys, values)
        blob = self._sink.put(encode(node))
        if self._level:
            self.only_child[blob] = child_blob(values[0]) if len(values) == 1 else None
        self.made.append((keys[-1], child_value(blob, node_rows(node))))
