"""Iteration over a map, forwards, backwards and over its nodes.

Not here: comparing two maps. Always true: rows come in strict order or ``IntegrityError`` is raised; an iterator that raised
is spent, and going on means asking again from the last key delivered.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.store.interfaces import BlobSource, Cold
from mimeifs.store.prolly.node import Node, child_blob, child_rows, decode, decode_child

_AHEAD: Final = 48
"""How many nodes of about 4 KiB are named ahead: what one listing's reply holds, several times."""


class Walk:
    """A place in the level ``depth`` of a map: the inner nodes above it and which child was taken in each."""

    __slots__ = ("_floor", "_source", "node", "path")

    def __init__(self, source: BlobSource, root: Node, level: int = 0) -> None:
        self._source = source
        self._floor = level
        self.node = root
        self.path: list[tuple[Node, int]] = []

    def seek(self, choose: Callable[[Node], int]) -> None:
        """Go down to the level, taking in every node the child that ``choose`` says."""
        while self.node.level > self._floor:
            self._enter(self.node, choose(self.node))

    def _enter(self, node: Node, index: int) -> None:
        self.path.append((node, index))
        self.node = self.child(node, index)

    def child(self, node: Node, index: int) -> Node:
        """Fetch one child. ``Cold`` also names the children behind it, which will be needed next."""
        try:
            return decode_child(self._source, node.level, node.keys[index], node.values[index])
        except Cold as cold:
            following = map(child_blob, node.values[index + 1 : index + 1 + _AHEAD])
            raise Cold((*cold.ids, *following)) from None

    def forward(self) -> bool:
        """Go to the next node of the level; False at the end."""
        return self._step(1)

    def backward(self) -> bool:
        """Go to the previous node of the level; False at the beginning."""
        return self._step(-1)

    def _step(self, by: int) -> bool:
        while self.path:
            node, index = self.path.pop()
            if 0 <= index + by < len(node.keys):
                self._enter(node, index + by)
                self.seek((lambda _: 0) if by > 0 else (lambda inner: len(inner.keys) - 1))
                return True
        return False


Rows = Iterator[tuple[bytes, bytes]]


def _leaves_on(walk: Walk, place: int) -> Iterator[Rows]:
    """All rows from ``place`` in the leaf where ``walk`` stands, leaf by leaf."""
    yield zip(walk.node.keys[place:], walk.node.values[place:], strict=True)
    last = walk.node.keys[-1:]
    while walk.forward():
        keys = walk.node.keys
        if keys[:1] <= last:
            raise IntegrityError("damaged map: leaves out of order")
        last = keys[-1:]
        yield zip(keys, walk.node.values, strict=True)


def _leaves_after(source: BlobSource, root: BlobId, after: bytes | None) -> Iterator[Rows]:
    walk = Walk(source, decode(source, root))
    if after is None:
        walk.seek(lambda _: 0)
        yield from _leaves_on(walk, 0)
    elif walk.node.keys and walk.node.keys[-1] > after:
        walk.seek(lambda node: bisect_right(node.keys, after))
        yield from _leaves_on(walk, bisect_right(walk.node.keys, after))


def _leaves_from(source: BlobSource, root: BlobId, rank: int) -> Iterator[Rows]:
    walk = Walk(source, decode(source, root))
    left = max(rank, 0)

    def choose(node: Node) -> int:
        nonlocal left
        for index, value in enumerate(node.values):
            rows = child_rows(value)
            if left < rows:
                return index
            left -= rows
        left += rows
        return len(node.values) - 1

    walk.seek(choose)
    yield from _leaves_on(walk, left)


def _leaves_before(source: BlobSource, root: BlobId, before: bytes | None) -> Iterator[Rows]:
    walk = Walk(source, decode(source, root))
    if before is None:
        walk.seek(lambda node: len(node.keys) - 1)
        place = len(walk.node.keys)
    else:
        walk.seek(lambda node: min(bisect_left(node.keys, before), len(node.keys) - 1))
        place = bisect_left(walk.node.keys, before)
    yield zip(walk.node.keys[:place][::-1], walk.node.values[:place][::-1], strict=True)
    first = walk.node.keys[:1]
    while walk.backward():
        keys = walk.node.keys
        if keys[-1:] >= first:
            raise IntegrityError("damaged map: leaves out of order")
        first = keys[:1]
        yield zip(keys[::-1], walk.node.values[::-1], strict=True)


# Rows reach the caller through one C iterator: a generator for each row would halve the speed.


def scan(source: BlobSource, root: BlobId, *, after: bytes | None = None) -> Rows:
    """Rows in ascending order, with keys greater than ``after`` if given."""
    return chain.from_iterable(_leaves_after(source, root, after))


def scan_from(source: BlobSource, root: BlobId, rank: int) -> Rows:
    """Rows in ascending order, without the first ``rank`` of them."""
    return chain.from_iterable(_leaves_from(source, root, rank))


def scan_back(source: BlobSource, root: BlobId, *, before: bytes | None = None) -> Rows:
    """Rows in descending order, with keys less than ``before`` if given."""
    return chain.from_iterable(_leaves_before(source, root, before))


def nodes(source: BlobSource, root: BlobId, *, seen: Callable[[BlobId], bool] | None = None) -> Iterator[BlobId]:
    """The names of all nodes, parents first, each once; where ``seen`` says True, nothing of that subtree.

    Leaves are named without being read, except when the root is one.
    """
    if seen is not None and seen(root):
        return
    yield root
    stack = [decode(source, root)]
    while stack:
        node = stack.pop()
        inner: list[Node] = []
        for key, value in zip(node.keys, node.values, strict=True) if node.level else ():
            blob = child_blob(value)
            if seen is not None and seen(blob):
                continue
            yield blob
            if node.level > 1:
                inner.append(decode_child(source, node.level, key, value))
        stack += reversed(inner)
