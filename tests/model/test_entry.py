"""Entries: one value, one encoding; anything else is damage."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId, MimeiId
from mimeifs.model.entry import (
    INLINE_XATTRS,
    Entry,
    Kind,
    Link,
    LinkedInode,
    TreeRoot,
    View,
    decode,
    decode_linked,
    decode_tree,
    decode_xattrs,
    encode,
    encode_linked,
    encode_tree,
    encode_xattrs,
    slim,
)
from mimeifs.store.content import EMPTY, ContentKind, ContentRef
from mimeifs.store.overlay import Totals

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "tree" / "vectors.json").read_text())
HEAD = {"mode": 0o644, "uid": 1000, "gid": 100, "mtime_ns": 1_700_000_000_000_000_001, "ctime_ns": 1_700_000_000_000_000_002}
DIGEST, OTHER = BlobId(bytes(range(32))), BlobId(bytes(range(100, 132)))
BLOB = ContentRef(ContentKind.BLOB, DIGEST, 5)
CHUNKS = ContentRef(ContentKind.CHUNKS, DIGEST, 100_000)
DIRECTORY = Entry(Kind.DIRECTORY, **HEAD | {"mode": 0o755}, size=12345, root=DIGEST, totals=Totals(3, 12345, 1, 2))
ENTRIES = {
    "empty file": Entry(Kind.FILE, **HEAD),
    "file of one blob": Entry(Kind.FILE, **HEAD, size=5, content=BLOB),
    "file of chunks": Entry(Kind.FILE, **HEAD | {"mode": 0o4755}, size=100_000, content=CHUNKS),
    "file being edited": Entry(Kind.FILE, **HEAD, live=77),
    "file with everything": Entry(
        Kind.FILE, **HEAD, size=5, content=BLOB, atime_ns=-5, xattrs=((b"user.a", b""), (b"user.b", b"value"))
    ),
    "file with large attributes": Entry(Kind.FILE, **HEAD, size=5, content=BLOB, xattr_blob=OTHER),
    "directory": DIRECTORY,
    "directory with rows": Entry(Kind.DIRECTORY, **HEAD | {"mode": 0o2755}, live=12),
    "symbolic link": Entry(Kind.SYMLINK, **HEAD | {"mode": 0o777}, size=6, target=b"target"),
    "fifo": Entry(Kind.FIFO, **HEAD | {"mode": 0o600}),
    "device": Entry(Kind.CHARACTER, **HEAD | {"mode": 0o600}, rdev=0x501),
    "link to a MiMei": Entry(
        Kind.LINK, **HEAD | {"mode": 0o755}, link=Link(MimeiId(bytes(range(32))), View.VERSION, "release")
    ),
    "hard link": Entry(Kind.HARD, link_id=0x1122334455667788),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_the_bytes_of_the_format_page(name):
    raw = bytes.fromhex(VECTORS["entries"][name])
    assert encode(ENTRIES[name]) == raw
    assert decode(raw) == ENTRIES[name]


def test_every_vector_is_tested():
    assert set(VECTORS["entries"]) == set(ENTRIES)
    linked = LinkedInode(2, ENTRIES["file of one blob"])
    assert encode_linked(linked).hex() == VECTORS["linked"]
    assert decode_linked(bytes.fromhex(VECTORS["linked"])) == linked
    tree = TreeRoot(DIRECTORY, OTHER, 1, 5)
    assert encode_tree(tree).hex() == VECTORS["tree"]
    assert decode_tree(bytes.fromhex(VECTORS["tree"])) == tree


def test_a_tree_counts_linked_files_once():
    tree = TreeRoot(DIRECTORY, OTHER, 1, 5)
    assert (tree.files, tree.size) == (4, 12350)


encoded = st.sampled_from([bytes.fromhex(raw) for raw in VECTORS["entries"].values()])


@settings(max_examples=400)
@given(encoded, st.data())
def test_bytes_that_were_changed_are_another_entry_or_damage(raw, data):
    at = data.draw(st.integers(0, len(raw) - 1))
    found = raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + data.draw(st.integers(0, 3)) :]
    try:
        entry = decode(found)
    except IntegrityError:
        return
    assert encode(entry) == found
    assert entry.mode <= 0o7777


@given(st.binary(max_size=120))
def test_any_bytes_are_an_entry_or_damage(raw):
    for read, write in ((decode, encode), (decode_linked, encode_linked), (decode_tree, encode_tree)):
        try:
            found = read(raw)
        except IntegrityError:
            continue
        assert write(found) == raw


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_tree_that_was_cut_off_is_damage(cut):
    with pytest.raises(IntegrityError):
        decode_tree(bytes.fromhex(VECTORS["tree"])[:-cut])


def test_a_tree_of_another_format_is_refused():
    with pytest.raises(IntegrityError, match="format"):
        decode_tree(b"\2" + bytes.fromhex(VECTORS["tree"])[1:])


@given(st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=50), max_size=6))
def test_attributes_come_back_in_order_whatever_theirs_was(pairs):
    data = encode_xattrs(tuple(pairs.items()))
    assert decode_xattrs(data) == tuple(sorted(pairs.items()))
    assert data == encode_xattrs(tuple(reversed(pairs.items())))


def test_small_attributes_stay_and_large_ones_become_a_blob():
    small = Entry(Kind.FILE, xattrs=((b"a", b"v" * (INLINE_XATTRS - 5)),))
    large = Entry(Kind.FILE, xattrs=((b"a", b"v" * INLINE_XATTRS),))
    assert slim(small) is small
    assert slim(large).xattrs == ()
    assert slim(large).xattr_blob is not None
    assert slim(Entry(Kind.FILE)) == Entry(Kind.FILE, content=EMPTY)
