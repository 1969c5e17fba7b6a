"""Extent maps against a plain list of where each byte comes from."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mimeifs.store.extents import ZEROS, ExtentMap, position, remainders

SPACE = 60
acts = st.lists(
    st.tuples(st.sampled_from(["put", "zeros", "cut"]), st.integers(0, SPACE - 1), st.integers(0, SPACE // 2)), max_size=15
)


def played(script):
    """A map and a list of addresses made by the same acts; act number i lies at journal position 1000 * (i + 1)."""
    extents, plain = ExtentMap(), [None] * (2 * SPACE)
    for index, (act, start, length) in enumerate(script):
        at = 1000 * (index + 1)
        if act == "cut":
            extents.cut(start, start + length)
            plain[start : start + length] = [None] * length
        elif act == "zeros":
            extents.put(start, length, at | ZEROS)
            plain[start : start + length] = [at | ZEROS] * length
        else:
            extents.put(start, length, at)
            plain[start : start + length] = range(at, at + length)
    return extents, plain


def spread(ranges):
    out = []
    for start, length, address in ranges:
        assert length > 0
        assert start == len(out)
        step = 0 if address is None or address & ZEROS else 1
        out += [None if address is None else address + step * index for index in range(length)]
    return out


@given(acts)
def test_every_byte_comes_from_where_it_was_last_written(script):
    extents, plain = played(script)
    assert spread(extents.ranges(0, len(plain))) == plain


@given(acts, st.integers(0, SPACE), st.integers(1, SPACE))
def test_a_part_is_that_part_of_the_whole(script, start, length):
    extents, plain = played(script)
    found = list(extents.ranges(start, start + length))
    assert spread((first - start, size, address) for first, size, address in found) == plain[start : start + length]


@given(acts)
def test_extents_are_sorted_disjoint_and_not_empty(script):
    extents = list(played(script)[0])
    assert all(length > 0 for _, length, _ in extents)
    assert all(one[0] + one[1] <= two[0] for one, two in pairwise(extents))


@given(acts, st.integers(0, 15))
def test_since_a_position_is_what_was_written_from_then_on(script, index):
    extents, plain = played(script)
    when = 1000 * (index + 1)
    expected = [address if address is not None and position(address) >= when else None for address in plain]
    assert spread(extents.since(when).ranges(0, len(plain))) == expected


@given(acts, acts)
def test_overlaying_puts_the_newer_on_top(script, later):
    extents, plain = played(script)
    newer, above = played(later)
    extents.overlay(newer)
    assert spread(extents.ranges(0, len(plain))) == [
        up if up is not None else low for low, up in zip(plain, above, strict=True)
    ]


def test_what_is_left_of_an_extent():
    assert list(remainders((10, 10, 500), 12, 15)) == [(10, 2, 500), (15, 5, 505)]
    assert list(remainders((10, 10, 500 | ZEROS), 12, 15)) == [(10, 2, 500 | ZEROS), (15, 5, 500 | ZEROS)]
    assert list(remainders((10, 10, 500), 0, 100)) == []
    assert list(remainders((10, 10, 500), 20, 30)) == [(10, 10, 500)]
