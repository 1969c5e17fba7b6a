"""Applying a batch of changes to a map, by rewriting only the nodes they touch.

Level by level, from the leaves up: each run of changes opens the node it falls into, cuts again from that node's beginning, and
stops as soon as a cut meets an old one with no change left in between. What was replaced and what was made are the changes of
the level above. Not here: how rows are cut.

Always true: the result is the root that ``build`` would give for the changed rows; a batch of k changes reads and writes
O(k log n) nodes; the old map stays as it was.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.store.interfaces import BlobSink, BlobSource
from mimeifs.store.prolly.cut import Cutter
from mimeifs.store.prolly.node import Node, child_blob, decode, decode_child
from mimeifs.store.prolly.patching import Replaced, patch
from mimeifs.store.prolly.scanning import Walk
from mimeifs.store.prolly.writing import Tower, build, check_row

RowChange = tuple[bytes, bytes | None]
_KEY: Final = itemgetter(0)


class _Remembering(Walk):
    """A walk that keeps the inner nodes it decoded: neighbouring changes go through the same ones."""

    __slots__ = ("_known", "_root")

    def __init__(self, source: BlobSource, root: Node, level: int, known: dict[bytes, Node]) -> None:
        super().__init__(source, root, level)
        self._root = root
        self._known = known

    def child(self, node: Node, index: int) -> Node:
        """Fetch one child, unless it is known."""
        if node.level == 1:
            return super().child(node, index)
        value = node.values[index]
        known = self._known.get(value)
        if known is None or known.level != node.level - 1 or known.keys[-1] != node.keys[index]:
            known = self._known[value] = decode_child(self._source, node.level, node.keys[index], value)
        return known

    def find(self, key: bytes) -> None:
        """Stand on the node of the level where ``key`` belongs."""
        self.node = self._root
        self.path.clear()
        self.seek(lambda node: min(bisect_left(node.keys, key), len(node.keys) - 1))

    @property
    def at_end(self) -> bool:
        """Whether no node of the level follows."""
        return all(index == len(node.keys) - 1 for node, index in self.path)

    def row(self) -> RowChange:
        """The row, one level up, of the node stood on."""
        if not self.path:
            return (self.node.keys[-1], None)
        node, index = self.path[-1]
        return (node.keys[index], node.values[index])


@dataclass(frozen=True, slots=True)
class _Rows:
    """A node's rows after changes. ``cut_alike``: keys and sizes, which decide the cuts, are what they were."""

    keys: list[bytes]
    values: list[bytes]
    cut_alike: bool


def _changed(node: Node, changes: Sequence[RowChange], replaced: Replaced | None) -> _Rows | None:
    """The node's rows after ``changes``, or None if they change nothing."""
    rows = dict(zip(node.keys, node.values, strict=True))
    touched, cut_alike = False, True
    for key, value in changes:
        old = rows.get(key)
        if replaced is not None and old is not None:
            replaced(key, old)
        if old == value:
            continue
        touched = True
        if value is None:
            del rows[key]
            cut_alike = False
        else:
            rows[key] = value
            cut_alike = cut_alike and old is not None and len(old) == len(value)
    if not touched:
        return None
    if cut_alike:
        return _Rows(node.keys, list(rows.values()), True)
    keys = sorted(rows)
    return _Rows(keys, [rows[key] for key in keys], False)


def _edit_level(walk: _Remembering, cutter: Cutter, changes: Sequence[RowChange], replaced: Replaced | None) -> list[RowChange]:
    """Cut one level again around ``changes``; returns the changes of the level above."""
    removed: dict[bytes, bytes | None] = {}
    at = 0
    while at < len(changes):
        walk.find(changes[at][0])
        while True:
            end = walk.at_end
            stop = len(changes) if end else bisect_right(changes, walk.node.keys[-1], at, key=_KEY)
            rows = _changed(walk.node, changes[at:stop], replaced)
            at = stop
            if rows is None:
                if cutter.idle:
                    break
                rows = _Rows(walk.node.keys, walk.node.values, True)
            key, value = walk.row()
            removed[key] = value
            if rows.cut_alike and cutter.idle:
                cutter.keep(rows.keys, rows.values)
                break
            cutter.feed(rows.keys, rows.values)
            if end:
                cutter.flush()
            if cutter.idle:
                break
            walk.forward()
    made: dict[bytes, bytes | None] = dict(cutter.made)
    above: dict[bytes, bytes | None] = dict.fromkeys(removed, None)
    above.update(made)
    return sorted((key, value) for key, value in above.items() if value is None or removed.get(key) != value)


def _collapse(source: BlobSource, blob: BlobId, level: int, written: dict[BlobId, BlobId | None]) -> BlobId:
    """The lowest node that holds all rows, under a top that may have come down to one child."""
    while level:
        if blob in written:
            only = written[blob]
        else:
            node = decode(source, blob)
            if node.level != level:
                raise IntegrityError("damaged map: a child of a wrong level")
            only = child_blob(node.values[0]) if len(node.values) == 1 else None
        if only is None:
            break
        blob = only
        level -= 1
    return blob


def _check(changes: Sequence[RowChange]) -> None:
    last: bytes | None = None
    for key, value in changes:
        if last is not None and key <= last:
            raise ValueError("map changes are not in strictly ascending order of keys")
        check_row(key, value)
        last = key


def apply(
    source: BlobSource, sink: BlobSink, root: BlobId, changes: Sequence[RowChange], replaced: Replaced | None = None
) -> BlobId:
    """The map ``root`` with each key of ``changes`` set to its value, or deleted where that is None (absent: no matter).

    ``changes`` ascend strictly and keep the limits of rows, else ``ValueError``. Gives ``root`` itself if nothing changes.
    ``replaced`` is told, in ascending order, each key of ``changes`` that the map has, and its value there.
    """
    _check(changes)
    if not changes:
        return root
    patched = patch(source, sink, root, changes, replaced)
    if patched is not None:
        return patched
    top = decode(source, root)
    if not top.keys:
        return build(sink, [(key, value) for key, value in changes if value is not None])
    known: dict[bytes, Node] = {}
    written: dict[BlobId, BlobId | None] = {}
    pending: Sequence[RowChange] = changes
    for level in range(top.level + 1):
        cutter = Cutter(sink, level)
        pending = _edit_level(_Remembering(source, top, level, known), cutter, pending, None if level else replaced)
        written.update(cutter.only_child)
        if not pending:
            return root
    rows = [(key, value) for key, value in pending if value is not None]
    if len(rows) == 1:
        return _collapse(source, child_blob(rows[0][1]), top.level, written)
    tower = Tower(sink, top.level + 1)
    tower.feed([key for key, _ in rows], [value for _, value in rows])
    return tower.finish()
