"""The pack format: frames, headers, torn tails and damage, and the vectors made by the independent encoder."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mimeifs.errors import IntegrityError, UnknownFormatError
from mimeifs.ids import blob_id
from mimeifs.store import packs
from mimeifs.store.packfiles import scan_pack
from mimeifs.store.packs import Frame, IndexRow, Kind, PackEnd

VECTORS = Path(__file__).parents[1] / "data" / "packs"
NUMBER = 7


def frame(data: bytes, kind: Kind = Kind.BLOB) -> bytes:
    return packs.encode_frame(kind, 0, blob_id(data), len(data), len(data)) + data


def pack(*contents: bytes) -> bytes:
    return packs.encode_header(NUMBER) + b"".join(frame(data) for data in contents)


def frames(data: bytes, number: int = NUMBER, offset: int = packs.HEADER_SIZE) -> Iterator[Frame]:
    while (found := packs.parse_header(data[offset:], offset, number)) is not None and found.stop <= len(data):
        yield found
        offset = found.stop


def contents(data: bytes) -> list[bytes]:
    return [data[found.row.offset : found.stop] for found in frames(data)]


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_scan_gives_back_every_frame_in_order(pieces: list[bytes]) -> None:
    assert contents(pack(*pieces)) == pieces


def test_scan_of_a_torn_tail_stops_before_it_whichever_byte_is_the_last() -> None:
    whole = pack(b"first", b"the last one")
    start = len(pack(b"first"))
    for size in range(start, len(whole)):
        assert contents(whole[:size]) == [b"first"]


def test_scan_stops_at_a_header_with_any_flipped_bit() -> None:
    whole = pack(b"first", b"second")
    start = len(pack(b"first"))
    for bit in range(packs.FRAME_SIZE * 8):
        damaged = bytearray(whole)
        damaged[start + bit // 8] ^= 1 << bit % 8
        assert contents(bytes(damaged)) == [b"first"]


@pytest.mark.parametrize(
    ("kind", "flags", "plain", "stored"),
    [(0, 0, 4, 4), (3, 0, 4, 4), (1, 2, 4, 4), (1, 0, packs.MAX_PLAIN + 1, 4), (1, 1, 3, 4)],
)
def test_a_frame_outside_the_format_is_none_though_its_checksum_holds(kind: int, flags: int, plain: int, stored: int) -> None:
    header = packs.encode_frame(kind, flags, blob_id(b"data"), plain, stored)  # type: ignore[arg-type]
    assert packs.parse_header(header + b"data", 0, NUMBER) is None


@given(st.binary(max_size=300))
def test_any_bytes_scan_without_an_error(data: bytes) -> None:
    list(frames(data, offset=0))


def test_a_frame_behind_damage_is_among_the_candidates() -> None:
    whole = bytearray(pack(b"first", b"second", b"third"))
    start = len(pack(b"first"))
    whole[start] ^= 0xFF
    assert len(pack(b"first", b"second")) - start in list(packs.candidates(whole[start:]))


def test_candidates_may_overlap_and_are_few_in_noise() -> None:
    start = frame(b"any")[: packs.CANDIDATE_SIZE]
    assert list(packs.candidates(b"\x01" + start + start)) == [1, 1 + len(start)]
    assert list(packs.candidates(bytes(1000) + b"\x01\x00" * 100)) == []


def test_an_unknown_pack_format_is_refused_naming_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "00000007.pack"
    path.write_bytes(b"MIMEIPAK" + (9).to_bytes(4, "big") + NUMBER.to_bytes(4, "big"))
    with pytest.raises(UnknownFormatError, match=r"format 9, this program knows 1"):
        list(scan_pack(path))


@pytest.mark.parametrize("start", [b"", b"MIMEI", b"X" * 16, packs.encode_header(8)])
def test_a_file_that_is_not_this_pack_is_damage(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "00000007.pack"
    path.write_bytes(start)
    with pytest.raises(IntegrityError, match=r"00000007\.pack"):
        list(scan_pack(path))


@given(st.integers(0, 2**32 - 1), st.integers(0, packs.MAX_OFFSET), st.integers(0, packs.MAX_PLAIN), st.integers(0, 3))
def test_index_rows_and_ends_come_back_from_their_bytes(number: int, offset: int, size: int, flags: int) -> None:
    row, end = IndexRow(number, offset, size // 2, size, flags), PackEnd(number, offset)
    assert IndexRow.decode(row.encode()) == row
    sliced = IndexRow(number, offset, size, size, 0, bytes(-(-size // (16 << 10)) * 32))
    assert IndexRow.decode(sliced.encode()) == sliced
    assert PackEnd.decode(end.encode()) == end


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x" * 20,
        b"\xff" * 21,
        IndexRow(1, 16, 9, 8, 0).encode(),
        *(IndexRow(1, 16, 9, 9, flags, bytes(size)).encode() for flags, size in ((0, 31), (0, 64), (1, 32))),
    ],
)
def test_a_damaged_index_row_is_refused(raw: bytes) -> None:
    with pytest.raises(IntegrityError, match="mimei rebuild"):
        IndexRow.decode(raw)


def test_a_damaged_end_is_refused() -> None:
    with pytest.raises(IntegrityError, match="mimei rebuild"):
        PackEnd.decode(b"short")


@pytest.mark.parametrize("content_size", [1 << 40, 99])
def test_a_compressed_frame_that_claims_another_size_is_damage(content_size: int) -> None:
    stored = b"\x28\xb5\x2f\xfd\xe0" + content_size.to_bytes(8, "little") + b"\x01\x00\x00"
    row = IndexRow(NUMBER, 66, len(stored), 100, packs.ZSTD)
    with pytest.raises(IntegrityError, match="damaged"):
        packs.unpack(row, stored, blob_id(b"x" * 100), zstandard.ZstdDecompressor())


def test_the_independent_encoders_pack_reads_as_its_contents_say() -> None:
    path = VECTORS / "0000002a.pack"
    data, decompressor = path.read_bytes(), zstandard.ZstdDecompressor()
    found = [
        {
            "kind": int(one.kind),
            "flags": one.row.flags & packs.ZSTD,
            "digest": one.digest.hex(),
            "offset": one.row.offset,
            "row": one.row.encode().hex(),
            "plain": packs.unpack(one.row, data[one.row.offset : one.stop], one.digest, decompressor).hex(),
        }
        for one in scan_pack(path)
    ]
    assert found == json.loads((VECTORS / "vectors.json").read_text())["frames"]


def test_our_headers_are_the_independent_encoders() -> None:
    data = (VECTORS / "0000002a.pack").read_bytes()
    assert packs.encode_header(42) == data[: packs.HEADER_SIZE]
    for one in frames(data, 42):
        header = packs.encode_frame(one.kind, one.row.flags & packs.ZSTD, one.digest, one.row.plain, one.row.stored)
        assert header == data[one.row.offset - packs.FRAME_SIZE : one.row.offset]


def test_a_row_with_a_place_that_no_file_has_is_damage() -> None:
    row = IndexRow(1, 1 << 63, 10, 10, 0)
    with pytest.raises(IntegrityError, match="blob index is damaged"):
        IndexRow.decode(row.encode())
