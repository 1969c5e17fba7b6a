import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from blake3 import blake3

from mimeifs.ids import BlobId
from mimeifs.store import prolly
from mimeifs.store.interfaces import Cold, MemoryBlobs
from mimeifs.store.prolly.cut import FULL_NODE, MIN_NODE
from mimeifs.store.prolly.node import Node, parse

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "prolly_vectors.json").read_text())


@dataclass
class CountingBlobs:
    inner: MemoryBlobs
    read: list[BlobId] = field(default_factory=list)
    written: set[BlobId] = field(default_factory=set)

    def get(self, blob):
        self.read.append(blob)
        return self.inner.get(blob)

    def put(self, data):
        before = len(self.inner.blobs)
        blob = self.inner.put(data)
        if len(self.inner.blobs) > before:
            self.written.add(blob)
        return blob


def numbered(count, size=100, step=1):
    return [(b"name-%08d" % (i * step), bytes([i % 251]) * size) for i in range(count)]


def tree_nodes(blobs, root) -> list[Node]:
    return [parse(blobs.get(blob)) for blob in prolly.nodes(blobs, root)]


@pytest.fixture(scope="module")
def large():
    blobs = MemoryBlobs()
    rows = numbered(20_000, step=3)
    return blobs, rows, prolly.build(blobs, rows)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_build_gives_what_the_independent_encoder_gives(vector):
    rows = [(bytes.fromhex(key) + b"p" * pad, bytes([fill]) * length) for key, pad, length, fill in vector["rows"]]
    blobs = MemoryBlobs()
    root = prolly.build(blobs, rows)
    assert root.hex() == vector["root"]
    assert len(blobs.blobs) == sum(vector["levels"])
    assert blake3("".join(sorted(blob.hex() for blob in blobs.blobs)).encode()).hexdigest() == vector["nodes"]
    if vector["root_bytes"]:
        assert blobs.get(root).hex() == vector["root_bytes"]
    assert list(prolly.scan(blobs, root)) == rows


def test_the_empty_map_has_the_constant_root():
    blobs = MemoryBlobs()
    assert prolly.build(blobs, []) == prolly.EMPTY_ROOT == blobs.put(prolly.EMPTY_NODE)
    assert prolly.count(blobs, prolly.EMPTY_ROOT) == 0
    assert prolly.get(blobs, prolly.EMPTY_ROOT, b"") is None
    assert prolly.floor(blobs, prolly.EMPTY_ROOT, b"x") is None
    assert list(prolly.scan(blobs, prolly.EMPTY_ROOT, after=b"")) == list(prolly.scan_back(blobs, prolly.EMPTY_ROOT)) == []
    assert list(prolly.scan_from(blobs, prolly.EMPTY_ROOT, 3)) == []
    with pytest.raises(IndexError):
        prolly.at(blobs, prolly.EMPTY_ROOT, 0)


@pytest.mark.parametrize("keys", [[b"b", b"a"], [b"a", b"a"]])
def test_rows_and_changes_out_of_order_are_refused(keys):
    blobs = MemoryBlobs()
    root = prolly.build(blobs, [(b"k", b"")])
    with pytest.raises(ValueError, match="ascending"):
        prolly.build(blobs, [(key, b"") for key in keys])
    with pytest.raises(ValueError, match="ascending"):
        prolly.apply(blobs, blobs, root, [(key, b"") for key in keys])


def test_disorder_between_two_batches_of_a_stream_is_refused():
    rows = numbered(1024)
    with pytest.raises(ValueError, match="ascending"):
        prolly.build(MemoryBlobs(), iter([*rows, rows[-1]]))


@pytest.mark.parametrize("row", [(b"k" * (prolly.MAX_KEY + 1), b""), (b"k", b"v" * (prolly.MAX_VALUE + 1))])
def test_rows_over_the_limits_are_refused(row):
    blobs = MemoryBlobs()
    root = prolly.build(blobs, [])
    with pytest.raises(ValueError, match="the limit is"):
        prolly.build(blobs, [row])
    with pytest.raises(ValueError, match="the limit is"):
        prolly.apply(blobs, blobs, root, [row])


def test_rows_at_the_limits_are_kept():
    blobs = MemoryBlobs()
    rows = [(b"%04d" % i + b"k" * (prolly.MAX_KEY - 4), bytes([i]) * prolly.MAX_VALUE) for i in range(30)]
    root = prolly.build(blobs, rows)
    assert list(prolly.scan(blobs, root)) == rows
    assert all(prolly.get(blobs, root, key) == value for key, value in rows)


def test_lookups_agree_with_the_rows(large):
    blobs, rows, root = large
    assert prolly.count(blobs, root) == len(rows)
    for rank in random.Random(1).sample(range(len(rows)), 500):
        key, value = rows[rank]
        assert prolly.get(blobs, root, key) == value
        assert prolly.find(blobs, root, key) == (rank, value)
        assert prolly.at(blobs, root, rank) == (key, value)
        assert prolly.floor(blobs, root, key) == prolly.floor(blobs, root, key + b"\0") == (key, value)
        assert prolly.get(blobs, root, key + b"\0") is prolly.find(blobs, root, key + b"\0") is None


def test_floor_finds_the_last_row_of_the_leaf_before(large):
    blobs, rows, root = large
    places = {key: rank for rank, (key, _) in enumerate(rows)}
    for node in tree_nodes(blobs, root):
        if not node.level and node.keys[0] != rows[0][0]:
            before = node.keys[0][:-1] + bytes([node.keys[0][-1] - 1])
            assert prolly.floor(blobs, root, before) == rows[places[node.keys[0]] - 1]


def test_lookups_beyond_both_ends(large):
    blobs, rows, root = large
    assert prolly.floor(blobs, root, b"") is None
    assert prolly.floor(blobs, root, b"\xff") == rows[-1]
    assert prolly.get(blobs, root, b"") is prolly.get(blobs, root, b"\xff") is prolly.find(blobs, root, b"\xff") is None
    for rank in (-1, len(rows)):
        with pytest.raises(IndexError):
            prolly.at(blobs, root, rank)


def test_a_lookup_reads_one_node_a_level(large):
    blobs, rows, root = large
    counting = CountingBlobs(blobs)
    prolly.get(counting, root, rows[777][0])
    assert len(counting.read) == parse(blobs.get(root)).level + 1


def test_scans_start_anywhere(large):
    blobs, rows, root = large
    assert list(prolly.scan(blobs, root)) == rows
    assert list(prolly.scan_back(blobs, root)) == rows[::-1]
    for rank in (0, 1, 5000, len(rows) - 1):
        key = rows[rank][0]
        assert list(prolly.scan(blobs, root, after=key)) == rows[rank + 1 :]
        assert list(prolly.scan(blobs, root, after=key[:-1])) == [row for row in rows if row[0] > key[:-1]]
        assert list(prolly.scan_from(blobs, root, rank)) == rows[rank:]
        assert list(prolly.scan_back(blobs, root, before=key)) == rows[:rank][::-1]
        assert list(prolly.scan_back(blobs, root, before=key + b"\0")) == rows[: rank + 1][::-1]
    assert list(prolly.scan(blobs, root, after=rows[-1][0])) == list(prolly.scan_from(blobs, root, len(rows) + 1)) == []


def test_a_scan_reads_no_further_than_it_is_asked(large):
    blobs, rows, root = large
    counting = CountingBlobs(blobs)
    scan = prolly.scan(counting, root, after=rows[9000][0])
    assert next(scan) == rows[9001]
    assert len(counting.read) == parse(blobs.get(root)).level + 1


def test_nodes_names_every_node_once_and_prunes(large):
    blobs, rows, root = large
    named = list(prolly.nodes(blobs, root))
    assert len(named) == len(set(named))
    fresh = MemoryBlobs()
    assert prolly.build(fresh, rows) == root
    assert set(named) == set(fresh.blobs)
    top = parse(blobs.get(root))
    spared = BlobId(top.values[0][:32])
    kept = list(prolly.nodes(blobs, root, seen=lambda blob: blob == spared))
    assert set(kept) == set(named) - set(prolly.nodes(blobs, spared))
    assert list(prolly.nodes(blobs, root, seen=lambda blob: True)) == []


def test_nodes_have_the_promised_sizes(large):
    blobs, _, root = large
    leaves = [len(blobs.get(blob)) for blob in prolly.nodes(blobs, root) if not parse(blobs.get(blob)).level]
    assert 3000 < sum(leaves) / len(leaves) < 5000
    assert sum(size < MIN_NODE for size in leaves) <= 1
    inner = [node for node in tree_nodes(blobs, root) if node.level]
    assert sum(len(node.keys) < 2 for node in inner) <= max(node.level for node in inner)


def test_k_changes_write_k_log_n_nodes(large):
    blobs, rows, root = large
    draw = random.Random(5)
    height = parse(blobs.get(root)).level + 1
    for count in (1, 10, 100):
        changes = {key: draw.randbytes(100) for key, _ in draw.sample(rows, count // 2 + 1)}
        changes |= {key + b"+": draw.randbytes(draw.randrange(200)) for key, _ in draw.sample(rows, count // 2)}
        counting = CountingBlobs(MemoryBlobs(dict(blobs.blobs)))
        prolly.apply(counting, counting, root, sorted(changes.items()))
        assert len(counting.written) <= count * (height + 1) + 4
        assert len(counting.read) <= 2 * count * (height + 1) + 8


def test_a_value_of_the_same_size_rewrites_one_path(large):
    blobs, rows, root = large
    counting = CountingBlobs(MemoryBlobs(dict(blobs.blobs)))
    prolly.apply(counting, counting, root, [(rows[11_111][0], b"z" * 100)])
    assert len(counting.written) == parse(blobs.get(root)).level + 1


@pytest.mark.parametrize("changes", [[], [(b"absent", None)], [(b"name-00000003", bytes([1]) * 100), (b"zz", None)]])
def test_changes_that_change_nothing_give_the_same_root_and_write_nothing(large, changes):
    blobs, _, root = large
    counting = CountingBlobs(blobs)
    assert prolly.apply(counting, counting, root, changes) == root
    assert not counting.written


def test_a_map_grows_from_empty_and_shrinks_back_to_it():
    blobs = MemoryBlobs()
    rows = numbered(3000)
    empty = prolly.build(blobs, [])
    grown = prolly.apply(blobs, blobs, empty, rows)
    assert grown == prolly.build(MemoryBlobs(), rows)
    assert prolly.apply(blobs, blobs, grown, [(key, None) for key, _ in rows]) == prolly.EMPTY_ROOT
    for keep in (1, 30, 400):
        shrunk = prolly.apply(blobs, blobs, grown, [(key, None) for key, _ in rows[keep:]])
        assert shrunk == prolly.build(MemoryBlobs(), rows[:keep])
        assert list(prolly.scan(blobs, shrunk)) == rows[:keep]
        shrunk = prolly.apply(blobs, blobs, grown, [(key, None) for key, _ in rows[:-keep]])
        assert shrunk == prolly.build(MemoryBlobs(), rows[-keep:])


def test_one_row_at_a_time_gives_the_root_of_all():
    blobs = MemoryBlobs()
    root = prolly.build(blobs, [])
    rows = numbered(400, size=60)
    for row in random.Random(3).sample(rows, len(rows)):
        root = prolly.apply(blobs, blobs, root, [row])
    assert root == prolly.build(MemoryBlobs(), rows)


def test_deleting_the_row_that_ended_each_leaf_joins_leaves(large):
    blobs, rows, root = large
    ends = sorted(node.keys[-1] for node in tree_nodes(blobs, root) if not node.level)
    gone = set(ends)
    result = prolly.apply(MemoryBlobs(blobs.blobs), MemoryBlobs(), root, [(key, None) for key in ends])
    assert result == prolly.build(MemoryBlobs(), [row for row in rows if row[0] not in gone])


def test_emptying_whole_leaves_in_the_middle(large):
    blobs, rows, root = large
    out = MemoryBlobs()
    result = prolly.apply(blobs, out, root, [(key, None) for key, _ in rows[4000:16000]])
    assert result == prolly.build(MemoryBlobs(), rows[:4000] + rows[16000:])


def test_apply_does_not_read_what_it_wrote(large):
    blobs, rows, root = large
    source = MemoryBlobs(dict(blobs.blobs))
    for kept, gone in ((rows[:1], rows[1:]), (rows[-1:], rows[:-1])):
        shrunk = prolly.apply(source, MemoryBlobs(), root, [(key, None) for key, _ in gone])
        assert shrunk == prolly.build(MemoryBlobs(), kept)


def test_diff_reads_only_around_the_changes(large):
    blobs, rows, root = large
    changed = prolly.apply(blobs, blobs, root, [(rows[100][0], None), (rows[9000][0], b"new"), (b"zzz", b"end")])
    counting = CountingBlobs(blobs)
    changes = list(prolly.diff(counting, root, changed))
    assert changes == [
        prolly.Change(rows[100][0], rows[100][1], None),
        prolly.Change(rows[9000][0], rows[9000][1], b"new"),
        prolly.Change(b"zzz", None, b"end"),
    ]
    assert len(counting.read) < 60
    assert list(prolly.diff(blobs, root, root)) == []


def test_diff_skips_what_is_shared_by_maps_of_different_height():
    blobs = MemoryBlobs()
    rows = numbered(60_000, size=90)
    low = prolly.build(blobs, rows[:1500])
    high = prolly.apply(blobs, blobs, low, rows[1500:])
    assert parse(blobs.get(high)).level > parse(blobs.get(low)).level
    counting = CountingBlobs(blobs)
    changes = prolly.diff(counting, low, high)
    assert next(changes) == prolly.Change(rows[1500][0], None, rows[1500][1])
    assert len(counting.read) < 15
    back = list(prolly.diff(blobs, high, low))
    assert [change.key for change in back] == [key for key, _ in rows[1500:]]
    assert all(change.right is None for change in back)


def test_merge_takes_both_sides_and_asks_only_about_conflicts():
    blobs = MemoryBlobs()
    base = prolly.build(blobs, [(b"%d" % i, b"0") for i in range(9)])
    left = prolly.apply(blobs, blobs, base, [(b"0", b"L"), (b"1", None), (b"2", b"L"), (b"3", b"same"), (b"4", None)])
    right = prolly.apply(blobs, blobs, base, [(b"2", b"R"), (b"3", b"same"), (b"4", b"R"), (b"5", None), (b"9", b"R")])
    asked = []

    def resolve(key, *values):
        asked.append((key, *values))
        return b"both" if key == b"2" else None

    merged = prolly.merge(blobs, blobs, base, left, right, resolve)
    assert asked == [(b"2", b"0", b"L", b"R"), (b"4", b"0", None, b"R")]
    expected = {b"0": b"L", b"2": b"both", b"3": b"same", b"6": b"0", b"7": b"0", b"8": b"0", b"9": b"R"}
    assert dict(prolly.scan(blobs, merged)) == expected
    assert prolly.merge(blobs, blobs, base, base, right, resolve) == right
    assert prolly.merge(blobs, blobs, base, left, base, resolve) == left


def test_cold_passes_through_everything(large):
    blobs, rows, root = large
    leaf = next(node for node in prolly.nodes(blobs, root) if not parse(blobs.get(node)).level)

    class Chilly:
        def get(self, blob):
            if blob == leaf:
                raise Cold((blob,))
            return blobs.get(blob)

    first = rows[0][0]
    other = prolly.apply(blobs, blobs, root, [(first, b"")])
    for call in (
        lambda: prolly.get(Chilly(), root, first),
        lambda: prolly.find(Chilly(), root, first),
        lambda: prolly.at(Chilly(), root, 0),
        lambda: prolly.floor(Chilly(), root, first),
        lambda: list(prolly.scan(Chilly(), root)),
        lambda: list(prolly.scan_back(Chilly(), root)),
        lambda: prolly.apply(Chilly(), blobs, root, [(first, b"")]),
        lambda: list(prolly.diff(Chilly(), root, other)),
    ):
        with pytest.raises(Cold) as caught:
            call()
        assert caught.value.ids[0] == leaf


@pytest.mark.parametrize("name", ["keys that never end a leaf", "keys that always end a leaf", "long keys"])
def test_chosen_keys_cannot_break_the_bounds(name):
    vector = next(vector for vector in VECTORS if vector["name"] == name)
    blobs = MemoryBlobs()
    rows = [(bytes.fromhex(key) + b"p" * pad, bytes([fill]) * length) for key, pad, length, fill in vector["rows"]]
    root = prolly.build(blobs, rows[::2])
    assert prolly.apply(blobs, blobs, root, rows[1::2]).hex() == vector["root"]
    assert max(map(len, blobs.blobs.values())) < FULL_NODE + 500
    leaves = [node for node in tree_nodes(blobs, root) if not node.level]
    assert all(sum(map(len, node.keys + node.values)) + 4 * len(node.keys) + 6 >= MIN_NODE for node in leaves[:-1])
