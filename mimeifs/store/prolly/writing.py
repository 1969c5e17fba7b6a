"""Building a map from all its rows, streaming.

Not here: changing an existing map (``editing.py``). Always true: memory holds one unfinished node a level and one batch of
rows; no node is stored that is not part of the map.
"""

from collections.abc import Iterable
from itertools import islice
from operator import lt
from typing import Final

from mimeifs.ids import BlobId
from mimeifs.store.interfaces import BlobSink
from mimeifs.store.prolly.cut import Cutter
from mimeifs.store.prolly.node import EMPTY_NODE, MAX_KEY, MAX_VALUE, child_blob

_BATCH: Final = 1024


class Tower:
    """One cutter a level, each fed by the one below, from ``base`` (0: leaves) up."""

    __slots__ = ("_base", "_cutters", "_firsts", "_sink")

    def __init__(self, sink: BlobSink, base: int) -> None:
        self._sink = sink
        self._base = base
        self._cutters = [Cutter(sink, base)]
        self._firsts: list[bytes | None] = [None]  # the only node of a level so far, None after the second

    def feed(self, keys: list[bytes], values: list[bytes]) -> None:
        """Take more rows of the lowest level, ascending."""
        self._cutters[0].feed(keys, values)
        self._raise_made(0)

    def _raise_made(self, index: int) -> None:
        made = self._cutters[index].made
        if not made:
            return
        if index + 1 == len(self._cutters):
            self._firsts[index] = made[0][1] if len(made) == 1 else None
            self._cutters.append(Cutter(self._sink, self._base + index + 1))
            self._firsts.append(None)
        else:
            self._firsts[index] = None
        self._cutters[index + 1].feed([key for key, _ in made], [value for _, value in made])
        made.clear()
        self._raise_made(index + 1)

    def finish(self) -> BlobId:
        """The root of everything fed: the only node of the lowest level that has just one."""
        index = 0
        while index < len(self._cutters):
            self._cutters[index].flush()
            self._raise_made(index)
            only = self._firsts[index]
            if only is not None:
                return child_blob(only)
            index += 1
        return self._sink.put(EMPTY_NODE)


def check_row(key: bytes, value: bytes | None) -> None:
    """Raise ``ValueError`` for a row over the limits."""
    if len(key) > MAX_KEY:
        raise ValueError(f"map key of {len(key)} bytes, the limit is {MAX_KEY}")
    if value is not None and len(value) > MAX_VALUE:
        raise ValueError(f"map value of {len(value)} bytes, the limit is {MAX_VALUE}")


def build(sink: BlobSink, rows: Iterable[tuple[bytes, bytes]]) -> BlobId:
    """Store the map of ``rows``; raises ``ValueError`` unless keys ascend strictly and rows keep the limits."""
    tower = Tower(sink, 0)
    source = iter(rows)
    last: list[bytes] = []
    while batch := list(islice(source, _BATCH)):
        keys = [key for key, _ in batch]
        values = [value for _, value in batch]
        ordered = last + keys
        if not all(map(lt, ordered, ordered[1:])):
            raise ValueError("map rows are not in strictly ascending order of keys")
        if max(map(len, keys)) > MAX_KEY or max(map(len, values)) > MAX_VALUE:
            for key, value in batch:
                check_row(key, value)
        tower.feed(keys, values)
        last = keys[-1:]
    return tower.finish()
