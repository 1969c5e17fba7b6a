"""Sealing: the content of base, extents and zeros is the content of the bytes they stand for."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimeifs.errors import IntegrityError
from mimeifs.store import content, operations
from mimeifs.store.content import EMPTY
from mimeifs.store.extents import ZEROS, ExtentMap
from mimeifs.store.interfaces import MemoryBlobs
from mimeifs.store.journal import FRAME_SIZE, JournalWriter
from mimeifs.store.journalreader import JournalReader
from mimeifs.store.overlay import FileRow
from mimeifs.store.seal import seal

SIZES = [0, 1, 1000, 65_535, 65_536, 65_537, 250_000, 700_000]
OFFSETS = [0, 1, 5000, 65_536, 200_000, 600_000, 3_500_000]
acts = st.lists(st.tuples(st.sampled_from(["write", "resize"]), st.sampled_from(OFFSETS), st.sampled_from(SIZES)), max_size=5)


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal")
    writer, reader = JournalWriter(path, 1), JournalReader(path)
    yield writer, reader
    writer.close()
    reader.close()


def played(journal, blobs, base, script):
    """A row and its extents after ``script``, and the bytes they stand for."""
    writer, _ = journal
    plain = bytearray(random.Random(base).randbytes(base))
    ref = content.write_all(blobs, [bytes(plain)])
    extents, size = ExtentMap(), base
    for index, (act, offset, length) in enumerate(script):
        if act == "write" and length:
            data = random.Random(index).randbytes(length)
            head = operations.write(7, offset, length, 0)
            at = writer.append(head, data)
            if offset > size:
                extents.put(size, offset - size, at | ZEROS)
            extents.put(offset, length, at + FRAME_SIZE + len(head))
            plain.extend(bytes(max(0, offset - len(plain))))
            plain[offset : offset + length] = data
            size = max(size, offset + length)
        elif act == "resize":
            extents.cut(length, 1 << 62)
            if length > size:
                extents.put(size, length - size, writer.position | ZEROS)
            del plain[length:]
            plain.extend(bytes(length - len(plain)))
            size = length
    return FileRow(ref, size, 0, 0), extents, bytes(plain)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SIZES), acts)
def test_a_sealed_file_is_its_bytes_stored_anew(journal, base, script):
    blobs = MemoryBlobs()
    row, extents, plain = played(journal, blobs, base, script)
    sealed = seal(row, extents, journal[1], blobs)
    assert sealed == content.write_all(MemoryBlobs(), [plain])
    assert content.read(blobs, sealed, 0, len(plain)) == plain


def test_a_file_nobody_changed_keeps_its_content(journal):
    row, extents, _ = played(journal, MemoryBlobs(), 100_000, [])
    assert seal(row, extents, journal[1], MemoryBlobs()) is row.base


def test_an_emptied_file_is_the_empty_content(journal):
    row, extents, _ = played(journal, MemoryBlobs(), 1000, [("resize", 0, 0)])
    assert seal(row, extents, journal[1], MemoryBlobs()) == EMPTY


def test_a_file_cut_off_and_grown_again_has_zeros_there(journal):
    blobs = MemoryBlobs()
    row, extents, plain = played(journal, blobs, 1000, [("resize", 0, 1), ("resize", 0, 1000)])
    assert plain[1:] == bytes(999)
    assert content.read(blobs, seal(row, extents, journal[1], blobs), 0, 1000) == plain


class Counting(MemoryBlobs):
    """Blobs that count the bytes handed to them."""

    def __init__(self):
        super().__init__()
        self.taken = 0

    def put(self, data):
        self.taken += len(data)
        return super().put(data)


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_hole_costs_its_map_and_no_bytes_even_where_it_was_made_piece_by_piece(journal, pieces):
    blobs, step = Counting(), (3 << 30) + 12_345
    extents = ExtentMap()
    for index in range(pieces):
        extents.put(index * step, step, index | ZEROS)
    sealed = seal(FileRow(EMPTY, pieces * step, 0, 0), extents, journal[1], blobs)
    assert blobs.taken < 4 << 20
    assert content.read(blobs, sealed, step - 15, 10) == bytes(10)
    parts = content.plan(blobs, sealed, 0, sealed.size)
    assert len(parts) == (pieces * step >> 20) + 1
    assert len({blob for blob, _, _ in parts}) == 2


@pytest.mark.parametrize(
    ("size", "extents"),
    [
        (10, [(0, 20, 1)]),
        (0, [(0, 1, 1)]),
        (200_000, [(0, 100_000, 1), (99_999, 100_001, 200_000)]),
        (200_000, [(0, 100_000, ZEROS)]),
        (300_000, [(0, 100_000, ZEROS), (100_000, 100_001, ZEROS)]),
    ],
)
def test_rows_that_do_not_fit_make_no_content(journal, size, extents):
    with pytest.raises(IntegrityError):
        seal(FileRow(EMPTY, size, 0, 0), ExtentMap(extents), journal[1], MemoryBlobs())
