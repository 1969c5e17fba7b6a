"""Merging two maps that come from one.

Not here: what a conflict means. Always true: a key changed on one side takes that side's value; a key changed alike on both
takes it; only for other keys is ``resolve`` asked, in ascending order.
"""

from collections.abc import Callable, Iterator

from mimeifs.ids import BlobId
from mimeifs.store.interfaces import BlobSink, BlobSource
from mimeifs.store.prolly.comparing import Change, diff
from mimeifs.store.prolly.editing import apply

Resolve = Callable[[bytes, bytes | None, bytes | None, bytes | None], bytes | None]


def _onto_left(ours: Iterator[Change], theirs: Iterator[Change], resolve: Resolve) -> Iterator[tuple[bytes, bytes | None]]:
    """What to change in the left map: ``ours`` and ``theirs`` are its and the other's differences from the base."""
    own = next(ours, None)
    for change in theirs:
        while own is not None and own.key < change.key:
            own = next(ours, None)
        if own is None or own.key != change.key:
            yield (change.key, change.right)
        elif own.right != change.right:
            yield (change.key, resolve(change.key, change.left, own.right, change.right))


def merge(source: BlobSource, sink: BlobSink, base: BlobId, left: BlobId, right: BlobId, resolve: Resolve) -> BlobId:
    """The map that holds the changes of both sides; ``resolve(key, base, left, right)`` decides conflicts (None: absent)."""
    if left == right or right == base:
        return left
    if left == base:
        return right
    return apply(source, sink, left, list(_onto_left(diff(source, base, left), diff(source, base, right), resolve)))
