"""What differs between two maps.

Not here: what to do about it (``merging.py``). Always true: changes come in ascending order of keys; equal subtrees are
skipped by their names, also when the maps differ in height, so that the cost is that of the changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.store.interfaces import BlobSource
from mimeifs.store.prolly.node import EMPTY_NODE, EMPTY_ROOT, Node, child_value, decode, decode_child, node_rows, parse


@dataclass(frozen=True, slots=True)
class Change:
    """One key on which two maps differ; None where the key is absent. Never the same on both sides."""

    key: bytes
    left: bytes | None
    right: bytes | None


class _Side:
    """A place in one map: before a subtree, as large as can be, or before a row. Level 0 is a row, -1 the end."""

    __slots__ = ("_source", "_stack", "index", "last", "level", "node")

    def __init__(self, source: BlobSource, root: BlobId) -> None:
        self._source = source
        self._stack: list[tuple[Node, int]] = []
        self.last: bytes | None = None
        # The empty map need not be stored to be compared with.
        node = parse(EMPTY_NODE) if root == EMPTY_ROOT else decode(source, root)
        whole = [child_value(root, node_rows(node))] if node.keys else []
        self.node = Node(node.level + 1, node.keys[-1:], whole)
        self.index = 0
        self.level = self.node.level if node.keys else -1

    def child(self) -> bytes:
        """What names the subtree stood before."""
        return self.node.values[self.index]

    def enter(self) -> None:
        """Stand before the first part of the subtree."""
        node = self.node
        child = decode_child(self._source, node.level, node.keys[self.index], node.values[self.index])
        if self.last is not None and child.keys[0] <= self.last:
            raise IntegrityError("damaged map: nodes out of order")
        self._stack.append((node, self.index))
        self.node, self.index, self.level = child, 0, child.level

    def skip(self, count: int = 1) -> None:
        """Stand behind the next ``count`` subtrees or rows of this node."""
        self.index += count
        self.last = self.node.keys[self.index - 1]
        while self.index == len(self.node.keys):
            if not self._stack:
                self.level = -1
                return
            self.node, index = self._stack.pop()
            self.index = index + 1
        self.level = self.node.level

    def seek(self, first: bytes) -> None:
        """Stand before the row of that key, or the next one."""
        while self.level >= 0:
            if self.node.keys[self.index] < first:
                self.skip()
            elif self.level:
                self.enter()
            else:
                return


def _pair(left: _Side, right: _Side) -> Iterator[Change]:
    """Compare rows until a leaf of either side is used up."""
    keys, values, i = left.node.keys, left.node.values, left.index
    other_keys, other_values, j = right.node.keys, right.node.values, right.index
    changes: list[Change] = []
    while i < len(keys) and j < len(other_keys):
        key, other = keys[i], other_keys[j]
        if key == other:
            if values[i] != other_values[j]:
                changes.append(Change(key, values[i], other_values[j]))
            i += 1
            j += 1
        elif key < other:
            changes.append(Change(key, values[i], None))
            i += 1
        else:
            changes.append(Change(other, None, other_values[j]))
            j += 1
    if i > left.index:
        left.skip(i - left.index)
    if j > right.index:
        right.skip(j - right.index)
    yield from changes


def diff(source: BlobSource, left: BlobId, right: BlobId, *, first: bytes = b"") -> Iterator[Change]:
    """Every key from ``first`` on whose value differs, ascending."""
    if left == right:
        return
    a, b = _Side(source, left), _Side(source, right)
    if first:
        a.seek(first)
        b.seek(first)
    while a.level >= 0 and b.level >= 0:
        if a.level == b.level == 0:
            yield from _pair(a, b)
        elif a.level > b.level:
            a.enter()
        elif b.level > a.level:
            b.enter()
        elif a.child() == b.child():
            a.skip()
            b.skip()
        else:
            a.enter()
            b.enter()
    for side in (a, b):
        while side.level >= 0:
            if side.level:
                side.enter()
                continue
            key, value = side.node.keys[side.index], side.node.values[side.index]
            side.skip()
            yield Change(key, value, None) if side is a else Change(key, None, value)
