"""The head of a map is the map of the rows in front of the key, and costs a path."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mimeifs.ids import BlobId
from mimeifs.store.interfaces import MemoryBlobs
from mimeifs.store.prolly import EMPTY_ROOT, build, cut_off


class Counting(MemoryBlobs):
    """Blobs that count their use."""

    used = 0

    def get(self, blob: BlobId) -> bytes:
        self.used += 1
        return super().get(blob)

    def put(self, data: bytes) -> BlobId:
        self.used += 1
        return super().put(data)


def rows_of(count: int, width: int) -> list[tuple[bytes, bytes]]:
    return [(index.to_bytes(8, "big"), bytes([index % 251]) * width) for index in range(0, 2 * count, 2)]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3000), st.sampled_from([0, 36, 400]), st.data())
def test_a_head_is_the_map_of_the_rows_in_front(count: int, width: int, data: st.DataObject) -> None:
    blobs, rows = MemoryBlobs(), rows_of(count, width)
    key = data.draw(st.integers(0, 2 * count + 1)).to_bytes(8, "big")
    expected = build(MemoryBlobs(), [row for row in rows if row[0] < key])
    assert cut_off(blobs, blobs, build(blobs, rows), key) == expected


def test_a_head_cut_at_any_row_of_a_map_of_several_levels_is_the_map_of_what_stays() -> None:
    blobs, rows = MemoryBlobs(), rows_of(600, 400)
    root = build(blobs, rows)
    for place, (key, _) in enumerate(rows):
        assert cut_off(blobs, blobs, root, key) == build(MemoryBlobs(), rows[:place])


def test_nothing_in_front_is_the_empty_map_and_everything_in_front_the_same_map() -> None:
    blobs, rows = MemoryBlobs(), rows_of(1000, 36)
    root = build(blobs, rows)
    assert cut_off(blobs, blobs, root, b"") == EMPTY_ROOT
    assert cut_off(blobs, blobs, root, b"\xff") == root
    assert cut_off(blobs, blobs, EMPTY_ROOT, b"") == EMPTY_ROOT


def test_a_head_costs_a_path_and_not_its_rows() -> None:
    blobs, rows = Counting(), rows_of(30_000, 36)
    root = build(blobs, rows)
    blobs.used = 0
    cut_off(blobs, blobs, root, rows[9_999][0])
    assert blobs.used < 12
