"""Edits that put values of the same size in place of old ones, and what an edit says of the values it replaces."""

import random

import pytest

from mimeifs.store import prolly
from mimeifs.store.interfaces import Cold, MemoryBlobs
from mimeifs.store.prolly import node, patching

ROWS = [(b"key-%06d" % number, bytes([number % 251]) * 70) for number in range(5000)]


class Counting(MemoryBlobs):
    """Counts what is stored."""

    def __init__(self, blobs):
        super().__init__(blobs)
        self.puts = 0

    def put(self, data):
        self.puts += 1
        return super().put(data)


@pytest.fixture
def blobs():
    return MemoryBlobs()


@pytest.fixture
def root(blobs):
    return prolly.build(blobs, ROWS)


def same_size(seed, count):
    draw = random.Random(seed)
    return [(key, draw.randbytes(len(value))) for key, value in sorted(draw.sample(ROWS, count))]


@pytest.mark.parametrize("count", [1, 7, 100, 5000])
def test_values_of_the_same_size_give_the_root_of_a_fresh_map(blobs, root, count):
    changes = same_size(count, count)
    expected = prolly.build(MemoryBlobs(), sorted({**dict(ROWS), **dict(changes)}.items()))
    assert patching.patch(blobs, blobs, root, changes, None) == expected
    assert prolly.apply(blobs, blobs, root, changes) == expected


def test_a_patch_stores_only_the_nodes_on_the_way(blobs, root):
    counting = Counting(blobs.blobs)
    patching.patch(counting, counting, root, same_size(1, 1), None)
    assert counting.puts == 1 + node.load(blobs, root)[1]


def test_the_values_that_were_there_change_nothing(blobs, root):
    counting = Counting(blobs.blobs)
    assert patching.patch(counting, counting, root, ROWS[10:20], None) == root
    assert counting.puts == 0


@pytest.mark.parametrize(
    "change",
    [(b"key-000500", None), (b"key-000500", b"shorter"), (b"key-0005000", bytes(70)), (b"zzz", bytes(70)), (b"", bytes(70))],
)
def test_any_other_change_is_left_alone_and_nothing_is_stored(blobs, root, change):
    counting, told = Counting(blobs.blobs), []
    changes = sorted([(b"key-000400", bytes(70)), change])
    assert patching.patch(counting, counting, root, changes, lambda *row: told.append(row)) is None
    assert (counting.puts, told) == (0, [])


@pytest.mark.parametrize("more", [[], [(b"key-0020000", b"new"), (b"zzz", None)]], ids=["same sizes", "others too"])
def test_an_edit_tells_the_values_it_replaces_in_order(blobs, root, more):
    changes, told = sorted([*same_size(3, 50), *more]), []
    prolly.apply(blobs, blobs, root, changes, lambda *row: told.append(row))
    assert told == [(key, dict(ROWS)[key]) for key, _ in changes if key in dict(ROWS)]


def test_a_listing_that_is_cold_names_the_leaves_behind_the_one_it_needs(blobs, root):
    leaves = [blob for blob in prolly.nodes(blobs, root) if not blobs.get(blob)[1]]

    class Chilly(MemoryBlobs):
        def get(self, blob):
            if blob in leaves:
                raise Cold((blob,))
            return super().get(blob)

    with pytest.raises(Cold) as cold:
        next(prolly.scan(Chilly(blobs.blobs), root))
    assert len(cold.value.ids) > 1
    assert list(cold.value.ids) == leaves[: len(cold.value.ids)]
