"""Prolly maps against a plain dictionary, which shares no code with them."""

import zlib
from bisect import bisect_right

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mimeifs.store import prolly
from mimeifs.store.interfaces import MemoryBlobs

# Few keys, so that changes meet; long ones and large values, so that a few hundred rows make three levels.
KEYS = [b"%03d" % i + b"k" * (i * 37 % 200) for i in range(600)] + [b"", b"\0", b"\xff" * 300]
keys = st.integers(0, len(KEYS) - 1).map(lambda i: KEYS[i])
values = st.builds(lambda size, fill: bytes([fill]) * size, st.sampled_from([0, 1, 50, 100, 101, 2000]), st.integers(0, 3))
batches = st.dictionaries(keys, st.one_of(st.none(), values), max_size=25)
runs = st.builds(
    lambda start, count, value: dict.fromkeys(sorted(KEYS)[start : start + count], value),
    st.integers(0, 590),
    st.integers(1, 300),
    st.one_of(st.none(), values),
)
changes = st.one_of(batches, runs)


def applied(content, change):
    result = {**content, **change}
    return {key: value for key, value in result.items() if value is not None}


class MapMachine(RuleBasedStateMachine):
    @initialize(content=st.dictionaries(keys, values, max_size=40), run=runs)
    def start(self, content, run):
        self.blobs = MemoryBlobs()
        self.content = applied(content, run)
        self.root = prolly.build(self.blobs, sorted(self.content.items()))
        self.base = (self.root, dict(self.content))

    @rule(change=changes)
    def change(self, change):
        self.root = prolly.apply(self.blobs, self.blobs, self.root, sorted(change.items()))
        self.content = applied(self.content, change)

    @rule()
    def remember(self):
        self.base = (self.root, dict(self.content))

    @rule(key=keys, tail=st.sampled_from([b"", b"\0", b"k"]))
    def look_up(self, key, tail):
        key += tail
        ordered = sorted(self.content)
        value = self.content.get(key)
        assert prolly.get(self.blobs, self.root, key) == value
        rank = bisect_right(ordered, key) - 1
        assert prolly.find(self.blobs, self.root, key) == (None if value is None else (rank, value))
        below = None if rank < 0 else (ordered[rank], self.content[ordered[rank]])
        assert prolly.floor(self.blobs, self.root, key) == below
        if rank >= 0:
            assert prolly.at(self.blobs, self.root, rank) == below

    @rule(key=keys)
    def scan(self, key):
        rows = sorted(self.content.items())
        assert list(prolly.scan(self.blobs, self.root, after=key)) == [row for row in rows if row[0] > key]
        assert list(prolly.scan_back(self.blobs, self.root, before=key)) == [row for row in rows[::-1] if row[0] < key]
        middle = len(rows) // 2
        assert list(prolly.scan_from(self.blobs, self.root, middle)) == rows[middle:]

    @rule()
    def compare(self):
        root, content = self.base
        expected = [
            prolly.Change(key, content.get(key), self.content.get(key))
            for key in sorted(content.keys() | self.content.keys())
            if content.get(key) != self.content.get(key)
        ]
        assert list(prolly.diff(self.blobs, root, self.root)) == expected
        for change in expected[:3] + expected[-2:]:
            for first in (change.key, change.key + b"\0"):
                rest = [other for other in expected if other.key >= first]
                assert list(prolly.diff(self.blobs, root, self.root, first=first)) == rest

    @rule(change=changes)
    def merge(self, change):
        root, content = self.base
        other = applied(content, change)
        right = prolly.apply(self.blobs, self.blobs, root, sorted(change.items()))
        expected = {}
        for key in content.keys() | self.content.keys() | other.keys():
            old, ours, theirs = content.get(key), self.content.get(key), other.get(key)
            if ours == theirs or theirs == old:
                expected[key] = ours
            elif ours == old:
                expected[key] = theirs
            else:
                expected[key] = max(ours or b"", theirs or b"")
        self.root = prolly.merge(
            self.blobs, self.blobs, root, self.root, right, lambda _key, _old, a, b: max(a or b"", b or b"")
        )
        self.content = applied({}, expected)

    @invariant()
    def same_content_has_the_same_root(self):
        if hasattr(self, "content"):
            rows = sorted(self.content.items())
            assert list(prolly.scan(self.blobs, self.root)) == rows
            assert self.root == prolly.build(MemoryBlobs(), rows)
            assert prolly.count(self.blobs, self.root) == len(rows)


TestMap = MapMachine.TestCase
TestMap.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def chosen(level: int, low: bool) -> list[bytes]:
    """Keys whose hash at ``level`` is at one end of its range."""
    out = []
    for i in range(40_000):
        key = b"c%06d" % i
        code = (zlib.crc32(key) ^ ((level + 1) * 0x85EBCA77 & 0xFFFFFFFF)) * 0x9E3779B1 & 0xFFFFFFFF
        if (code < 1 << 26) if low else (code > (1 << 32) - (1 << 26)):
            out.append(key)
    return out


CHOSEN = [chosen(level, low) for level in (0, 1) for low in (False, True)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.integers(0, 300), st.randoms(use_true_random=False))
def test_chosen_keys_keep_history_out_of_the_root(which, size, draw):
    pool = CHOSEN[which]
    blobs = MemoryBlobs()
    content = dict.fromkeys(draw.sample(pool, len(pool) * 2 // 3), b"v" * size)
    root = prolly.build(blobs, sorted(content.items()))
    change = {key: draw.choice([None, b"w" * size, b"x" * draw.randrange(300)]) for key in draw.sample(pool, 40)}
    root = prolly.apply(blobs, blobs, root, sorted(change.items()))
    assert root == prolly.build(MemoryBlobs(), sorted(applied(content, change).items()))
