"""Single lookups: by key, by rank, by the greatest key not above.

Not here: iteration (``scanning.py``). Always true: a lookup reads one node a level and bisects in its bytes; nothing is
decoded whole once a node has been checked.
"""

import struct

from mimeifs.errors import IntegrityError
from mimeifs.ids import ID_SIZE, BlobId
from mimeifs.store.interfaces import BlobSource
from mimeifs.store.prolly.node import admit, header, key_bounds, load, lower, row_at, row_bounds, rows_before, sound, total_rows


def _mismatch() -> IntegrityError:
    return IntegrityError("damaged map node: a child is not what its parent describes")


def get(source: BlobSource, root: BlobId, key: bytes) -> bytes | None:
    """The value of ``key``, or None."""
    # The hottest path of the program: load() and lower() are written out, which saves a third.
    fetch, blob, above = source.get, root, -1
    try:
        while True:
            data = fetch(blob)
            if blob not in sound:
                admit(blob, data)
            _, level, rows = header(data)
            if level != above and above >= 0:
                raise _mismatch()
            low, high = 0, rows
            while low < high:
                middle = (low + high) >> 1
                begin, end = key_bounds(data, 4 + 4 * middle)
                if data[begin:end] < key:
                    low = middle + 1
                else:
                    high = middle
            if low == rows:
                return None
            begin, end, stop = row_bounds(data, 4 + 4 * low)
            if not level:
                return data[end:stop] if data[begin:end] == key else None
            blob, above = BlobId(data[end : end + ID_SIZE]), level - 1
    except struct.error as error:
        raise _mismatch() from error


def load_child(source: BlobSource, data: bytes, index: int) -> bytes:
    """Child ``index`` of the inner node ``data``, held to the level, last key and row count its parent gives."""
    key, value = row_at(data, index)
    child = load(source, BlobId(value[:ID_SIZE]))
    level, (_, child_level, rows) = header(data)[1], header(child)
    if child_level != level - 1 or not rows or row_at(child, rows - 1)[0] != key:
        raise _mismatch()
    if total_rows(child) != rows_before(data, index + 1) - rows_before(data, index):
        raise _mismatch()
    return child


def _descend(source: BlobSource, root: BlobId, key: bytes) -> tuple[int, bytes, int]:
    """Rank of the first key not below ``key``, the leaf it lies in, and its place there; past the end, the place is too."""
    data = load(source, root)
    rank = 0
    while header(data)[1]:
        rows = header(data)[2]
        index = min(lower(data, rows, key), rows - 1)
        rank += rows_before(data, index)
        data = load_child(source, data, index)
    place = lower(data, header(data)[2], key)
    return rank + place, data, place


def find(source: BlobSource, root: BlobId, key: bytes) -> tuple[int, bytes] | None:
    """The rank of ``key`` (how many keys are less) and its value, or None."""
    try:
        rank, leaf, place = _descend(source, root, key)
        if place == header(leaf)[2]:
            return None
        found, value = row_at(leaf, place)
        return (rank, value) if found == key else None
    except struct.error as error:
        raise _mismatch() from error


def floor(source: BlobSource, root: BlobId, key: bytes) -> tuple[bytes, bytes] | None:
    """The row of the greatest key that is not above ``key``, or None."""
    blob, above = root, -1
    below: bytes | None = None
    try:
        while True:
            data = load(source, blob)
            _, level, rows = header(data)
            if level != above and above >= 0:
                raise _mismatch()
            place = lower(data, rows, key)
            if not level:
                break
            place = min(place, rows - 1)
            if place:
                begin, end = key_bounds(data, 4 * place)
                below = data[begin:end]  # The greatest key of the child in front, which has the row if this one begins above.
            end = key_bounds(data, 4 + 4 * place)[1]
            blob, above = BlobId(data[end : end + ID_SIZE]), level - 1
        if place < rows and row_at(data, place)[0] == key:
            return row_at(data, place)
        if place:
            return row_at(data, place - 1)
    except struct.error as error:
        raise _mismatch() from error
    if below is None:
        return None
    value = get(source, root, below)
    if value is None:
        raise _mismatch()
    return below, value


def at(source: BlobSource, root: BlobId, rank: int) -> tuple[bytes, bytes]:
    """The row with ``rank`` keys before it; raises ``IndexError`` past the end or for a negative rank."""
    try:
        data = load(source, root)
        if not 0 <= rank < total_rows(data):
            raise IndexError(f"no row {rank} in a map of {total_rows(data)}")
        while header(data)[1]:
            index = child_of_rank(data, rank)
            rank -= rows_before(data, index)
            data = load_child(source, data, index)
        return row_at(data, rank)
    except struct.error as error:
        raise _mismatch() from error


def child_of_rank(data: bytes, rank: int) -> int:
    """Which child of an inner node holds row ``rank`` of those below it."""
    low, high = 0, header(data)[2] - 1
    while low < high:
        middle = (low + high) >> 1
        if rows_before(data, middle + 1) <= rank:
            low = middle + 1
        else:
            high = middle
    return low


def count(source: BlobSource, root: BlobId) -> int:
    """How many rows the map has; reads the root only."""
    try:
        return total_rows(load(source, root))
    except struct.error as error:
        raise _mismatch() from error
