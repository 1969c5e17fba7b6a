"""Contents at rest: storing, reading and editing them, held against plain bytes; and the independent encoder's cuts."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimeifs.errors import IntegrityError, InvalidError, MissingError
from mimeifs.ids import BlobId, blob_id
from mimeifs.store import chunker, content, prolly
from mimeifs.store.chunker import ChunkSizes
from mimeifs.store.content import EMPTY, Chunk, ContentKind, ContentRef, chunks_from, encode_chunk, plan, read, write_all
from mimeifs.store.editing import edit
from mimeifs.store.interfaces import Cold, MemoryBlobs

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "content" / "vectors.json").read_text())
MIB = 1 << 20
SMALL = ChunkSizes(64, 256, 1024)
fixtures_stay = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few hundred bytes, so that short contents have many."""
    monkeypatch.setattr(chunker, "SIZES", SMALL)
    monkeypatch.setattr(content, "SINGLE_LIMIT", 100)


class Watched(MemoryBlobs):
    """Blobs in memory that count what passes through."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[BlobId] = []
        self.put_ids: list[BlobId] = []

    def get(self, blob: BlobId) -> bytes:
        self.got.append(blob)
        return super().get(blob)

    def put(self, data: bytes) -> BlobId:
        name = super().put(data)
        self.put_ids.append(name)
        return name

    def forget(self) -> None:
        self.got, self.put_ids = [], []

    def volume(self, ids: list[BlobId]) -> int:
        return sum(len(self.blobs[blob]) for blob in ids)


def noise(size: int, seed: int = 0) -> bytes:
    return blake3(seed.to_bytes(8, "big")).digest(size)


def stored(blobs: MemoryBlobs, data: bytes) -> ContentRef:
    return write_all(blobs, [data])


def chunk_ids(blobs: MemoryBlobs, ref: ContentRef) -> list[BlobId]:
    return [blob for blob, _, _ in plan(blobs, ref, 0, ref.size)]


# The format


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["recipe"])[:60])
def test_contents_are_cut_as_the_independent_encoder_cuts_them(vector: dict) -> None:
    data = b"".join(
        blake3(what.encode()).digest(number) if kind == "random" else bytes.fromhex(what) * number
        for kind, what, number in vector["recipe"]
    )
    blobs = MemoryBlobs()
    ref = stored(blobs, data)
    assert (ref.kind, ref.size) == (vector["kind"], vector["size"])
    if ref.kind is ContentKind.CHUNKS:
        rows = [[key.hex(), value.hex()] for key, value in prolly.scan(blobs, ref.digest)]
        assert rows == vector["rows"]
    else:
        assert ref.digest.hex() == (vector["whole"] if data else "")


@pytest.mark.parametrize("sizes", [chunker.SIZES, SMALL])
def test_zeros_are_never_cut_before_the_largest_size(sizes: ChunkSizes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunker, "SIZES", sizes)
    assert chunker.first_cut(bytes(sizes.maximum - 1), 1) == sizes.maximum - 1
    assert chunker.first_cut(bytes(sizes.maximum - 1), 0) is None
    assert chunker.first_cut(bytes(sizes.maximum - 1) + b"\1", 0) == sizes.maximum


def test_a_first_cut_is_the_same_however_much_follows(small: None) -> None:
    data = noise(3000)
    length = chunker.first_cut(data, 0)
    assert length is not None
    assert {chunker.first_cut(data[:size], 0) for size in range(length)} == {None}
    assert {chunker.first_cut(data[:size], 0) for size in range(length, 3000)} == {length}


@pytest.mark.parametrize(
    ("kind", "digest", "size"),
    [
        (ContentKind.EMPTY, bytes(32), 0),
        (ContentKind.EMPTY, b"", 1),
        (ContentKind.BLOB, bytes(32), 0),
        (ContentKind.BLOB, bytes(31), 5),
        (ContentKind.BLOB, bytes(32), 65537),
        (ContentKind.CHUNKS, bytes(32), 65536),
        (ContentKind.EMPTY, b"", -1),
    ],
)
def test_a_reference_that_cannot_be_is_refused(kind: ContentKind, digest: bytes, size: int) -> None:
    with pytest.raises(IntegrityError):
        ContentRef(kind, BlobId(digest), size)


# Storing and reading


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 3 * MIB + 17])
def test_what_was_stored_is_read_whole_and_in_part(size: int) -> None:
    blobs, data = MemoryBlobs(), noise(size)
    ref = stored(blobs, data)
    assert ref.kind == (size > 0) + (size > 65536)
    assert read(blobs, ref, 0, size + 10) == data
    for offset in (0, 1, size // 2, size - 1, size, size + 5):
        assert read(blobs, ref, max(offset, 0), 70_000) == data[max(offset, 0) : max(offset, 0) + 70_000]


@given(st.integers(0, 5000), st.lists(st.integers(1, 1500), max_size=12), st.integers(0, 6000), st.integers(0, 3000))
@fixtures_stay
def test_pieces_of_any_size_give_one_reference_and_any_range_reads_back(
    small: None, size: int, cuts: list[int], offset: int, length: int
) -> None:
    blobs, data = MemoryBlobs(), noise(size)
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(data[start : start + cut])
        start += cut
    ref = write_all(blobs, [*pieces, data[start:]])
    assert ref == stored(blobs, data)
    assert read(blobs, ref, offset, length) == data[offset : offset + length]


def test_storing_holds_little_more_than_a_chunk_and_a_piece() -> None:
    held, worst = 0, 0

    class Sink(MemoryBlobs):
        def put(self, data: bytes) -> BlobId:
            nonlocal held
            held -= len(data)
            return blob_id(data)

    def pieces() -> Iterator[bytes]:
        nonlocal held, worst
        for seed in range(60):
            held += 100_000
            worst = max(worst, held)
            yield noise(100_000, seed)

    write_all(Sink(), pieces())
    assert worst <= 2 * MIB


def test_a_plan_names_the_pieces_without_reading_a_chunk() -> None:
    blobs, data = Watched(), noise(3 * MIB)
    ref = stored(blobs, data)
    chunks = set(chunk_ids(blobs, ref))
    blobs.forget()
    parts = plan(blobs, ref, 100_000, 2 * MIB)
    assert not chunks & set(blobs.got)
    assert b"".join(blobs.blobs[blob][start : start + size] for blob, start, size in parts) == data[100_000 : 100_000 + 2 * MIB]


def test_a_read_names_all_that_is_cold_at_once() -> None:
    blobs, data = MemoryBlobs(), noise(3 * MIB)
    ref = stored(blobs, data)
    chunks = chunk_ids(blobs, ref)

    class Half(MemoryBlobs):
        def get(self, blob: BlobId) -> bytes:
            if blob in chunks[1:4]:
                raise Cold((blob,))
            return super().get(blob)

    with pytest.raises(Cold) as caught:
        read(Half(blobs.blobs), ref, 0, ref.size)
    assert caught.value.ids == tuple(chunks[1:4])


@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (0, -1)])
def test_a_negative_range_is_refused(offset: int, size: int) -> None:
    with pytest.raises(InvalidError):
        read(MemoryBlobs(), EMPTY, offset, size)


def test_an_absent_chunk_is_not_found_and_costs_only_its_range() -> None:
    blobs, data = MemoryBlobs(), noise(2 * MIB)
    ref = stored(blobs, data)
    first = chunk_ids(blobs, ref)[0]
    size = len(blobs.blobs.pop(first))
    with pytest.raises(MissingError):
        read(blobs, ref, 0, 10)
    assert read(blobs, ref, size, 10) == data[size : size + 10]


CHUNK = noise(50_000)
ROWS = [encode_chunk(Chunk(start, start + 50_000, blob_id(CHUNK))) for start in (0, 50_000, 100_000)]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ROWS[1:],
        [ROWS[0], ROWS[2]],
        ROWS[:2],
        [*ROWS[:2], encode_chunk(Chunk(100_000, 150_001, blob_id(CHUNK)))],
        [*ROWS[:2], encode_chunk(Chunk(100_000, 100_000, blob_id(CHUNK)))],
        [ROWS[0], encode_chunk(Chunk(49_999, 100_000, blob_id(CHUNK))), ROWS[2]],
        [*ROWS[:2], (b"short", ROWS[2][1])],
        [*ROWS[:2], (ROWS[2][0], b"short")],
        [encode_chunk(Chunk(0, 150_000, blob_id(CHUNK)))],
    ],
)
def test_a_map_that_does_not_fit_its_content_is_damage(rows: list[tuple[bytes, bytes]]) -> None:
    blobs = MemoryBlobs()
    blobs.put(CHUNK)
    ref = ContentRef(ContentKind.CHUNKS, prolly.build(blobs, sorted(rows)), 150_000)
    with pytest.raises(IntegrityError):
        read(blobs, ref, 0, 150_000)


def test_a_blob_shorter_than_its_reference_is_damage() -> None:
    blobs = MemoryBlobs()
    with pytest.raises(IntegrityError):
        read(blobs, ContentRef(ContentKind.BLOB, blobs.put(b"short"), 10), 0, 10)


# Editing


Edit = tuple[bytes, bytes, list[tuple[int, int]]]


@st.composite
def runs(draw: st.DrawFn, unit: int) -> bytes:
    """Random stretches and zeros, so that contents have natural cuts and none."""
    pieces = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6 * unit)), max_size=6))
    return b"".join(noise(size, seed) if seed else bytes(size) for seed, size in pieces)


@st.composite
def edits(draw: st.DrawFn, unit: int) -> Edit:
    """An old content, a new one, and the ranges in which they differ below the end of the shorter."""
    old = draw(runs(unit))
    new = bytearray(old)
    if draw(st.booleans()):
        new += draw(runs(unit))
    else:
        del new[draw(st.integers(0, len(old))) :]
    marks = sorted(draw(st.lists(st.integers(0, len(new) + unit), max_size=6, unique=True)))
    dirty = list(zip(marks[::2], marks[1::2], strict=False))
    for start, stop in dirty:
        size = len(new[start:stop])
        new[start:stop] = draw(st.sampled_from([bytes(size), noise(size, start), bytes(new[start:stop])]))
    return old, bytes(new), dirty


def reader(old: bytes, new: bytes, dirty: list[tuple[int, int]]) -> Callable[[int, int], bytes]:
    def read_new(offset: int, size: int) -> bytes:
        inside = any(start <= offset and offset + size <= stop for start, stop in dirty)
        assert inside or offset >= len(old), "asked for bytes that did not change"
        assert 0 < size <= len(new) - offset
        return new[offset : offset + size]

    return read_new


def check_edit(old: bytes, new: bytes, dirty: list[tuple[int, int]]) -> None:
    """The edit gives what storing gives; and for chunks it costs what changed, to the chunk."""
    blobs = Watched()
    before = stored(blobs, old)
    blobs.forget()
    after = edit(blobs, blobs, before, len(new), dirty, reader(old, new, dirty))
    got, put_ids = set(blobs.got), blobs.put_ids
    assert after == stored(MemoryBlobs(), new)
    assert read(blobs, after, 0, len(new)) == new
    if before.kind is after.kind is ContentKind.CHUNKS:
        old_chunks, new_chunks = set(chunks_from(blobs, before, 0)), list(chunks_from(blobs, after, 0))
        ranges = [*dirty, (len(old) - 1, len(new))] if len(new) > len(old) else dirty
        cut = [chunk for chunk in new_chunks if chunk not in old_chunks or meets(chunk, ranges)]
        needed = {chunk.blob for chunk in old_chunks if meets(chunk, [(made.start, made.stop) for made in cut])}
        names = {chunk.blob for chunk in new_chunks}
        assert len([blob for blob in put_ids if blob in names]) == len(cut)
        assert got & {chunk.blob for chunk in old_chunks} <= needed


def meets(chunk: Chunk, ranges: list[tuple[int, int]]) -> bool:
    return any(max(chunk.start, start) < min(chunk.stop, stop) for start, stop in ranges)


@given(edits(unit=500))
@settings(fixtures_stay, max_examples=300)
def test_an_edit_equals_storing_the_whole_new_content(small: None, change: Edit) -> None:
    check_edit(*change)


def holes(draw: st.DrawFn, new: bytes, unit: int) -> list[tuple[int, int]]:
    """Some of the ranges in which ``new`` is zeros, known whole or in part."""
    ranges = []
    for stretch in re.finditer(rb"\0{2,}", new):
        start = draw(st.integers(stretch.start(), min(stretch.end(), stretch.start() + unit)))
        stop = draw(st.integers(max(start, stretch.end() - unit), stretch.end()))
        ranges += [(start, stop)] * draw(st.sampled_from([0, 1, 1]))
    return ranges


@st.composite
def sparse_edits(draw: st.DrawFn, unit: int) -> tuple[bytes, bytes, list[tuple[int, int]], list[tuple[int, int]]]:
    """An edit that leaves long zeros, and the ranges known to be zeros."""
    old, changed, dirty = draw(edits(unit))
    new = bytearray(changed)
    for start, stop in draw(st.lists(st.tuples(st.integers(0, 20 * unit), st.integers(0, 20 * unit)), max_size=2)):
        start = min(start, len(new))
        if start < stop:
            new.extend(bytes(max(0, stop - len(new))))
            new[start:stop] = bytes(stop - start)
            dirty = joined([*dirty, (start, stop)])
    return old, bytes(new), dirty, holes(draw, bytes(new), unit)


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if made and start <= made[-1][1]:
            made[-1] = made[-1][0], max(stop, made[-1][1])
        else:
            made.append((start, stop))
    return made


def check_sparse(old: bytes, new: bytes, dirty: list[tuple[int, int]], zeros: list[tuple[int, int]]) -> None:
    """An edit that knows of zeros gives what storing gives, and puts the largest chunk of them once."""
    blobs = Watched()
    before = stored(blobs, old)
    blobs.forget()
    read_new, largest = reader(old, new, dirty), chunker.SIZES.maximum

    def read_rest(offset: int, size: int) -> bytes:
        first = -(-offset // largest) * largest
        for start, stop in zeros:
            assert max(first, start) + 2 * largest > min(offset + size, stop), "read what is known"
        return read_new(offset, size)

    after = edit(blobs, blobs, before, len(new), dirty, read_rest, zeros)
    assert after == stored(MemoryBlobs(), new)
    assert read(blobs, after, 0, len(new)) == new


@given(sparse_edits(unit=500))
@settings(fixtures_stay, max_examples=300)
def test_an_edit_that_knows_of_zeros_equals_storing_the_whole_new_content(
    small: None, change: tuple[bytes, bytes, list[tuple[int, int]], list[tuple[int, int]]]
) -> None:
    check_sparse(*change)


@given(sparse_edits(unit=200_000))
@settings(fixtures_stay, max_examples=25)
def test_an_edit_with_real_sizes_that_knows_of_zeros_equals_storing_the_whole_new_content(
    change: tuple[bytes, bytes, list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    check_sparse(*change)


@given(edits(unit=200_000))
@settings(fixtures_stay, max_examples=25)
def test_an_edit_with_real_sizes_equals_storing_the_whole_new_content(change: Edit) -> None:
    check_edit(*change)


@pytest.mark.parametrize("old_size", [0, 1, 65536, 65537, 400_000])
@pytest.mark.parametrize("new_size", [0, 1, 65536, 65537, 400_000])
def test_a_content_grows_and_shrinks_over_the_limit_of_one_blob(old_size: int, new_size: int) -> None:
    whole = noise(400_000)
    check_edit(whole[:old_size], whole[:new_size], [])
    check_edit(whole[:old_size], whole[: new_size // 2] + bytes(new_size - new_size // 2), [(new_size // 2, new_size)])


def test_nothing_dirty_is_the_same_content_unread() -> None:
    blobs = Watched()
    ref = stored(blobs, noise(MIB))
    blobs.forget()
    assert edit(blobs, blobs, ref, MIB, [(5, 5), (2 * MIB, 3 * MIB)], reader(b"", b"", [])) is ref
    assert blobs.got == blobs.put_ids == []


def test_a_write_into_a_large_file_reads_and_stores_only_chunks_near_it() -> None:
    blobs = Watched()
    period = noise(8 * MIB)
    old = period * 8
    before = stored(blobs, old)
    blobs.forget()
    start, stop = 30 * MIB + 5, 31 * MIB + 5
    new = old[:start] + noise(MIB, 1) + old[stop:]
    after = edit(blobs, blobs, before, len(new), [(start, stop)], reader(old, new, [(start, stop)]))
    assert blobs.volume(blobs.got) < 3 * MIB
    assert blobs.volume(blobs.put_ids) < 4 * MIB
    assert after == stored(MemoryBlobs(), new)


def test_a_write_into_a_sparse_file_moves_no_cut_beyond_the_next_mark() -> None:
    blobs = Watched()
    zeros = bytes(MIB)
    size = 1024 * MIB
    before = write_all(blobs, (zeros for _ in range(1024)))
    assert len(set(chunk_ids(blobs, before))) == 1
    blobs.forget()
    start, stop = 500 * MIB + 7, 500 * MIB + 300_007
    new = noise(300_000)
    edit(blobs, blobs, before, size, [(start, stop)], lambda offset, size: new[offset - start : offset - start + size])
    assert blobs.volume(blobs.got) < 4 * MIB
    assert blobs.volume(blobs.put_ids) < 4 * MIB


def test_a_hole_is_stored_unread_and_as_its_zeros_would_be() -> None:
    blobs = Watched()
    size = 64 * MIB + 100
    hole = (3, size - 50)
    asked: list[int] = []

    def read_new(offset: int, length: int) -> bytes:
        asked.append(length)
        return bytes(length)

    after = edit(blobs, blobs, EMPTY, size, [(0, size)], read_new, [hole])
    assert sum(asked) < 3 * MIB
    assert blobs.volume(blobs.put_ids) < 3 * MIB
    assert after == write_all(MemoryBlobs(), [bytes(size)])


def test_a_hole_of_many_gibibytes_is_grown_cut_off_and_written_into_for_little() -> None:
    blobs, size = Watched(), 8 << 30
    holes = [(0, size)]
    sparse = edit(blobs, blobs, EMPTY, size, holes, lambda offset, length: bytes(length), holes)
    assert prolly.count(blobs, sparse.digest) == size // MIB
    blobs.forget()
    place = size // 2 + 7
    written = edit(blobs, blobs, sparse, size, [(place, place + 5)], lambda offset, length: b"12345"[:length])
    shorter = edit(blobs, blobs, written, 2 * MIB, [], lambda offset, length: bytes(length))
    assert read(blobs, written, place - 1, 7) == b"\x0012345\0"
    assert shorter == write_all(MemoryBlobs(), [bytes(2 * MIB)])
    assert len(blobs.put_ids) < 40
    assert len(blobs.got) < 80


def test_appending_reads_only_the_last_chunk() -> None:
    blobs = Watched()
    old = noise(16 * MIB)
    before = stored(blobs, old)
    last = chunk_ids(blobs, before)[-1]
    chunks = set(chunk_ids(blobs, before))
    blobs.forget()
    new = old + noise(1000, 1)
    after = edit(blobs, blobs, before, len(new), [], reader(old, new, []))
    assert chunks & set(blobs.got) == {last}
    assert after == stored(MemoryBlobs(), new)


def test_many_changed_rows_are_applied_in_batches(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimeifs.store.editing._BATCH", 5)
    old, new = noise(30_000), noise(25_000, 1)
    check_edit(old, new, [(0, 25_000)])


@pytest.mark.parametrize("dirty", [[(5, 3)], [(10, 20), (15, 30)], [(20, 30), (0, 5)], [(-1, 5)]])
def test_ranges_out_of_order_are_refused(dirty: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="sorted and disjoint"):
        edit(MemoryBlobs(), MemoryBlobs(), EMPTY, 100, dirty, lambda offset, size: bytes(size))


def test_a_read_of_new_bytes_that_comes_short_is_refused() -> None:
    with pytest.raises(IntegrityError, match="where it says"):
        edit(MemoryBlobs(), MemoryBlobs(), EMPTY, 100, [(0, 100)], lambda offset, size: b"short")
