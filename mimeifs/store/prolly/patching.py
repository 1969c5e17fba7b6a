"""Replacing values of a map by others of the same size: the commonest edit, and the cheapest.

Where a node ends is decided by keys and sizes, so such an edit leaves every node where it was: the new values, and the names of
the children that hold them, are written over the old ones in the nodes' bytes, and nothing is decoded or cut. Not here: every
other edit (``editing.py``), which this leaves alone.

Always true: the result is the root that ``build`` would give; nothing is stored before the whole batch is known to fit.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from mimeifs.ids import ID_SIZE, BlobId
from mimeifs.store.interfaces import BlobSink, BlobSource
from mimeifs.store.prolly.node import header, load, lower, remember, row_bounds
from mimeifs.store.prolly.reading import load_child

_KEY: Final = itemgetter(0)
Replaced = Callable[[bytes, bytes], object]


@dataclass(slots=True)
class _Patched:
    """A node's bytes, and what is to be written over them where."""

    data: bytes
    edits: list[tuple[int, "bytes | _Patched"]]


class _Misfit(Exception):
    """A change that is no replacement by a value of the same size."""


class _Plan:
    """One batch of changes on its way down the map."""

    def __init__(self, source: BlobSource, changes: Sequence[tuple[bytes, bytes | None]]) -> None:
        self._source = source
        self._changes = changes
        self.old: list[tuple[bytes, bytes]] = []

    def node(self, data: bytes, begin: int, end: int) -> _Patched:
        """What changes ``begin`` to ``end`` do to a loaded node and those below."""
        patched = _Patched(data, [])
        if header(data)[1]:
            self._inner(patched, begin, end)
        else:
            self._leaf(patched, begin, end)
        return patched

    def _leaf(self, patched: _Patched, begin: int, end: int) -> None:
        data = patched.data
        rows = header(data)[2]
        for index in range(begin, end):
            key, value = self._changes[index]
            place = lower(data, rows, key)
            if place == rows or value is None:
                raise _Misfit
            first, middle, stop = row_bounds(data, 4 + 4 * place)
            if data[first:middle] != key or stop - middle != len(value):
                raise _Misfit
            old = data[middle:stop]
            self.old.append((key, old))
            if old != value:
                patched.edits.append((middle, value))

    def _inner(self, patched: _Patched, begin: int, end: int) -> None:
        data, changes = patched.data, self._changes
        rows = header(data)[2]
        while begin < end:
            place = lower(data, rows, changes[begin][0])
            if place == rows:
                raise _Misfit
            first, middle, _ = row_bounds(data, 4 + 4 * place)
            until = bisect_right(changes, data[first:middle], begin, end, key=_KEY)
            child = self.node(load_child(self._source, data, place), begin, until)
            if child.edits:
                patched.edits.append((middle, child))
            begin = until


def _store(sink: BlobSink, patched: _Patched) -> BlobId:
    data = bytearray(patched.data)
    for offset, new in patched.edits:
        if isinstance(new, _Patched):
            data[offset : offset + ID_SIZE] = _store(sink, new)
        else:
            data[offset : offset + len(new)] = new
    blob = sink.put(bytes(data))
    remember(blob)
    return blob


def patch(
    source: BlobSource,
    sink: BlobSink,
    root: BlobId,
    changes: Sequence[tuple[bytes, bytes | None]],
    replaced: Replaced | None,
) -> BlobId | None:
    """What ``apply`` gives, if each of ``changes`` puts a value of the same size in an old one's place; else None."""
    if any(value is None for _, value in changes):
        return None
    plan = _Plan(source, changes)
    try:
        patched = plan.node(load(source, root), 0, len(changes))
    except _Misfit:
        return None
    if replaced is not None:
        for key, old in plan.old:
            replaced(key, old)
    return _store(sink, patched) if patched.edits else root
