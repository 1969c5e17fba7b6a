"""One node of a prolly map: its bytes, their checks, and bisection inside them.

Not here: where a node ends (``cut.py``) and how nodes make a tree. Layout: ``docs/format/prolly.md``.

Always true: what :func:`load` and :func:`decode` let through has keys strictly ascending inside its bytes and, in inner nodes,
children of at least one row each; what they refuse raises ``IntegrityError``. Encoding a decoded node gives its bytes again.
"""

import struct
from functools import lru_cache
from itertools import accumulate, chain
from operator import lt
from typing import Any, Final

import msgspec

from mimeifs.errors import IntegrityError
from mimeifs.ids import ID_SIZE, BlobId, blob_id, show_blob
from mimeifs.store.interfaces import BlobSource

FORMAT: Final = 1
MAX_KEY: Final = 1024
MAX_VALUE: Final = 16 * 1024
MAX_NODE: Final = 32 * 1024
MAX_LEVEL: Final = 64
MAX_TOTAL: Final = (1 << 63) - 1  # leaves room for every sum an edit can make
HEAD_SIZE: Final = 6  # header and the first offset: the size of a node without rows
ROW_OVERHEAD: Final = 4  # two offsets
CHILD_SIZE: Final = ID_SIZE + 8
_REMEMBERED: Final = 16_384

header = struct.Struct("<BBH").unpack_from
key_bounds = struct.Struct("<HH").unpack_from
row_bounds = struct.Struct("<HHH").unpack_from
total_at = struct.Struct("<Q").unpack_from

EMPTY_NODE: Final = struct.pack("<BBHH", FORMAT, 0, 0, HEAD_SIZE)
EMPTY_ROOT: Final = blob_id(EMPTY_NODE)

# Names of nodes found sound. A name fixes the bytes, so the answer never changes: this saves repeating the check, no more.
sound: Final[set[bytes]] = set()


class Node(msgspec.Struct, frozen=True):
    """A node decoded whole. In inner nodes (level over 0) a value is :func:`child_value` of the child named by the key."""

    level: int
    keys: list[bytes]
    values: list[bytes]


def child_value(blob: bytes, rows: int) -> bytes:
    """The value of an inner row as it stands in memory: the child's name and the number of rows below it."""
    return blob + rows.to_bytes(8, "little")


def child_blob(value: bytes) -> BlobId:
    """The name in a :func:`child_value`."""
    return BlobId(value[:ID_SIZE])


def child_rows(value: bytes) -> int:
    """The number of rows in a :func:`child_value`."""
    return int.from_bytes(value[ID_SIZE:], "little")


@lru_cache(maxsize=1024)
def _offsets(rows: int) -> struct.Struct:
    return struct.Struct(f"<{2 * rows + 1}H")


@lru_cache(maxsize=1024)
def _totals(rows: int) -> struct.Struct:
    return struct.Struct("<" + "32xQ" * rows)


def node_rows(node: Node) -> int:
    """How many rows of the map lie at or below a decoded node."""
    if not node.level:
        return len(node.keys)
    return sum(_totals(len(node.values)).unpack(b"".join(node.values)))


def encode(node: Node) -> bytes:
    """The bytes of a node; the caller has kept the limits."""
    values = node.values
    if node.level:
        totals = accumulate(_totals(len(values)).unpack(b"".join(values)))
        values = [value[:ID_SIZE] + total.to_bytes(8, "little") for value, total in zip(values, totals, strict=True)]
    rows = len(node.keys)
    parts = list(chain.from_iterable(zip(node.keys, values, strict=True)))
    offsets = accumulate(map(len, parts), initial=HEAD_SIZE + ROW_OVERHEAD * rows)
    return b"".join([struct.pack("<BBH", FORMAT, node.level, rows), _offsets(rows).pack(*offsets), *parts])


def _refuse(problem: str) -> IntegrityError:
    return IntegrityError(f"damaged map node: {problem}")


def _table(data: bytes) -> tuple[int, tuple[int, ...]]:
    """Level and offsets, checked against each other and the size."""
    size = len(data)
    if not HEAD_SIZE <= size <= MAX_NODE:
        raise _refuse(f"{size} bytes, expected {HEAD_SIZE} to {MAX_NODE}")
    form, level, rows = header(data)
    if form != FORMAT:
        raise _refuse(f"format {form}, this program knows {FORMAT}")
    if level > MAX_LEVEL or (level and not rows):
        raise _refuse(f"level {level} with {rows} rows")
    start = HEAD_SIZE + ROW_OVERHEAD * rows
    if start > size:
        raise _refuse(f"{rows} rows in {size} bytes")
    offsets: tuple[int, ...] = _offsets(rows).unpack_from(data, 4)
    if offsets[0] != start or offsets[-1] != size or sorted(offsets) != list(offsets):
        raise _refuse("offsets out of order")
    return level, offsets


def parse(data: bytes) -> Node:
    """Decode and check everything that can be seen in one node."""
    level, offsets = _table(data)
    key_ends = offsets[1::2]
    keys = [data[begin:end] for begin, end in zip(offsets[::2], key_ends, strict=False)]
    values = [data[begin:end] for begin, end in zip(key_ends, offsets[2::2], strict=True)]
    if not all(map(lt, keys, keys[1:])):
        raise _refuse("keys out of order")
    if level:
        values = _own_rows(values)
    return Node(level, keys, values)


def _own_rows(values: list[bytes]) -> list[bytes]:
    """Stored values, which hold running totals, as child values, which hold each child's own rows."""
    joined = b"".join(values)
    if any(len(value) != CHILD_SIZE for value in values):
        raise _refuse("child reference of a wrong size")
    totals = (0, *_totals(len(values)).unpack(joined))
    if not all(map(lt, totals, totals[1:])) or totals[-1] > MAX_TOTAL:
        raise _refuse("row counts out of order")
    return [
        child_value(value[:ID_SIZE], after - before) for value, before, after in zip(values, totals, totals[1:], strict=False)
    ]


def decode(source: BlobSource, blob: BlobId) -> Node:
    """Fetch, check and decode a root."""
    return parse(source.get(blob))


def decode_child(source: BlobSource, level: int, key: bytes, value: bytes) -> Node:
    """Fetch, check and decode the child of an inner row of a node at ``level``, and hold it to what the row says."""
    node = parse(source.get(child_blob(value)))
    if node.level != level - 1 or not node.keys or node.keys[-1] != key or node_rows(node) != child_rows(value):
        raise _refuse(f"{show_blob(child_blob(value))} is not the child its parent describes")
    return node


def load(source: BlobSource, blob: BlobId) -> bytes:
    """Fetch a node for bisection; checked as by :func:`parse`, but once only for each name."""
    data = source.get(blob)
    if blob not in sound:
        admit(blob, data)
    return data


def admit(blob: BlobId, data: bytes) -> None:
    """Check a node and remember that it is sound."""
    parse(data)
    remember(blob)


def remember(blob: BlobId) -> None:
    """Note that a node is sound."""
    if len(sound) >= _REMEMBERED:
        sound.clear()
    sound.add(blob)


def lower(data: bytes, rows: int, key: bytes) -> int:
    """How many of the node's keys are less than ``key``."""
    low = 0
    while low < rows:
        middle = (low + rows) >> 1
        begin, end = key_bounds(data, 4 + 4 * middle)
        if data[begin:end] < key:
            low = middle + 1
        else:
            rows = middle
    return low


def row_at(data: bytes, index: int) -> tuple[bytes, bytes]:
    """Key and stored value of one row."""
    begin, end, stop = row_bounds(data, 4 + 4 * index)
    return data[begin:end], data[end:stop]


def rows_before(data: bytes, index: int) -> int:
    """How many rows of the map lie below the children in front of child ``index`` of an inner node."""
    if not index:
        return 0
    end: Any = key_bounds(data, 2 + 4 * index)[0]
    total: int = total_at(data, end + ID_SIZE)[0]
    return total


def total_rows(data: bytes) -> int:
    """How many rows of the map lie at or below a loaded node."""
    _, level, rows = header(data)
    return rows_before(data, rows) if level else int(rows)
