import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimeifs.errors import IntegrityError, MissingError
from mimeifs.ids import BlobId
from mimeifs.store import prolly
from mimeifs.store.interfaces import MemoryBlobs
from mimeifs.store.prolly.node import EMPTY_NODE, MAX_NODE, Node, child_value, encode, parse

ROWS = [(b"key%05d" % i, b"v" * (i % 90)) for i in range(1200)]
HONEST = MemoryBlobs()
ROOT = prolly.build(HONEST, ROWS)
TOP = parse(HONEST.get(ROOT))


def all_operations(source, root):
    """Every way in; each may fail with IntegrityError, or as the source does for a blob it does not have, and not otherwise."""
    other = MemoryBlobs()
    for call in (
        lambda: prolly.count(source, root),
        lambda: [prolly.get(source, root, key) for key, _ in ROWS[::37]],
        lambda: [prolly.find(source, root, key) for key, _ in ROWS[::111]],
        lambda: [prolly.floor(source, root, key + b"x") for key, _ in ROWS[::111]],
        lambda: [prolly.at(source, root, rank) for rank in range(0, min(prolly.count(source, root), 5000), 501)],
        lambda: list(prolly.scan(source, root)),
        lambda: list(prolly.scan(source, root, after=ROWS[600][0])),
        lambda: list(prolly.scan_from(source, root, 700)),
        lambda: list(prolly.scan_back(source, root)),
        lambda: list(prolly.scan_back(source, root, before=ROWS[600][0])),
        lambda: list(prolly.nodes(source, root)),
        lambda: list(prolly.diff(source, root, ROOT)),
        lambda: list(prolly.diff(source, ROOT, root)),
        lambda: prolly.apply(source, other, root, [(key, b"new") for key, _ in ROWS[::97]]),
        lambda: prolly.apply(source, other, root, [(key, None) for key, _ in ROWS]),
        lambda: prolly.apply(source, other, root, [(b"", b"first"), (b"zzz", b"last")]),
    ):
        with suppress(IntegrityError, MissingError):
            call()


def with_root(node: Node | bytes) -> tuple[MemoryBlobs, BlobId]:
    source = MemoryBlobs(dict(HONEST.blobs))
    return source, source.put(node if isinstance(node, bytes) else encode(node))


@st.composite
def damaged(draw, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.one_of(st.integers(0, 40), st.integers(0, len(out) - 1))) % len(out)
        out[place] = draw(st.one_of(st.sampled_from([0, 1, 255, out[place] ^ 1]), st.integers(0, 255)))
    cut = draw(st.integers(0, 20))
    return bytes(out[: len(out) - cut] if cut < 10 and cut < len(out) else out)


@settings(max_examples=60, deadline=None)
@given(damaged(HONEST.get(ROOT)))
def test_a_damaged_root_raises_integrity_errors_only(data):
    all_operations(*with_root(data))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_leaf_under_an_honest_parent_raises_integrity_errors_only(data):
    index = data.draw(st.integers(0, len(TOP.keys) - 1))
    leaf = data.draw(damaged(HONEST.get(BlobId(TOP.values[index][:32]))))
    source = MemoryBlobs(dict(HONEST.blobs))
    values = list(TOP.values)
    values[index] = source.put(leaf) + values[index][32:]
    all_operations(source, source.put(encode(Node(TOP.level, TOP.keys, values))))


@settings(max_examples=60, deadline=None)
@given(damaged(HONEST.get(ROOT)))
def test_a_source_that_lies_raises_integrity_errors_only(data):
    source = MemoryBlobs(dict(HONEST.blobs))
    source.blobs[BlobId(TOP.values[2][:32])] = data
    all_operations(source, ROOT)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: EMPTY_NODE[:2] + tail)))
def test_random_bytes_raise_integrity_errors_only(data):
    source, root = with_root(data)
    all_operations(source, root)


def inner(level, *rows):
    return Node(level, [key for key, _ in rows], [value for _, value in rows])


LEAF = encode(Node(0, [b"a", b"b"], [b"", b""]))
LEAF_ID = HONEST.put(LEAF)
SOUND = child_value(LEAF_ID, 2)


@pytest.mark.parametrize(
    "node",
    [
        b"",
        EMPTY_NODE[:5],
        EMPTY_NODE + b"\0",
        bytes([2]) + EMPTY_NODE[1:],
        bytes([1, 1]) + EMPTY_NODE[2:],
        LEAF + bytes(MAX_NODE),
        struct.pack("<BBHHHH", 1, 0, 1, 10, 12, 11) + b"k",
        struct.pack("<BBHHHH", 1, 0, 1, 9, 10, 11) + b"k",
        struct.pack("<BBHHHH", 1, 1, 1, 10, 11, 11) + b"k",
        encode(Node(0, [b"b", b"a"], [b"", b""])),
        encode(Node(0, [b"a", b"a"], [b"", b""])),
        encode(Node(200, [b"b"], [SOUND])),
        encode(inner(1, (b"a", child_value(LEAF_ID, 0)), (b"b", SOUND))),
        encode(inner(1, (b"b", child_value(LEAF_ID, 1 << 63)))),
    ],
)
def test_a_node_that_is_wrong_in_itself_is_refused(node):
    source, root = with_root(node)
    for call in (prolly.count, lambda *at: list(prolly.scan(*at)), lambda *at: prolly.get(*at, b"a")):
        with pytest.raises(IntegrityError, match="damaged map node"):
            call(source, root)


@pytest.mark.parametrize(
    "node",
    [
        inner(1, (b"c", SOUND)),
        inner(1, (b"b", child_value(LEAF_ID, 3))),
        inner(2, (b"b", SOUND)),
        inner(1, (b"", child_value(HONEST.put(EMPTY_NODE), 1))),
    ],
)
def test_a_child_that_is_not_what_its_parent_says_is_refused(node):
    source, root = with_root(node)
    for call in (
        lambda: list(prolly.scan(source, root)),
        lambda: list(prolly.scan_back(source, root)),
        lambda: prolly.find(source, root, b""),
        lambda: prolly.at(source, root, 0),
        lambda: list(prolly.diff(source, root, ROOT)),
        lambda: prolly.apply(source, MemoryBlobs(), root, [(b"a", b"x")]),
    ):
        with pytest.raises(IntegrityError):
            call()


def test_leaves_that_overlap_are_refused_by_scans():
    source = MemoryBlobs(dict(HONEST.blobs))
    wide = source.put(encode(Node(0, [b"a", b"z"], [b"", b""])))
    root = source.put(encode(inner(1, (b"b", SOUND), (b"z", child_value(wide, 2)))))
    for call in (prolly.scan, prolly.scan_back):
        with pytest.raises(IntegrityError, match="out of order"):
            list(call(source, root))
    with pytest.raises(IntegrityError, match="out of order"):
        list(prolly.diff(source, root, ROOT))
