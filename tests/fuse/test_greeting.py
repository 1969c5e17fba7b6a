"""The reply to the kernel's greeting goes on with one more wish, whatever it is, and the descriptor is the kernel's again."""

import os
import select
import struct
from collections.abc import Iterator

import pytest

from mimeifs.fuse.greeting import DONT_MASK, Detour, amended

HEADER = struct.Struct("=IiQ")
FLAGS = 0x8010_0001


def reply(flags: int, *, error: int = 0) -> bytes:
    """fuse_out_header and fuse_init_out as linux/fuse.h has them."""
    body = struct.pack("=IIIIHHIIHHI28x", 7, 36, 131072, flags, 12, 9, 1 << 20, 1, 256, 0, 0)
    return HEADER.pack(HEADER.size + len(body), error, 2) + body


@pytest.fixture
def kernel() -> Iterator[tuple[int, int]]:
    """What the kernel reads from, and the descriptor that leads there."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_one_bit_is_added_and_nothing_else() -> None:
    assert amended(reply(FLAGS), DONT_MASK) == reply(FLAGS | DONT_MASK)
    assert amended(reply(FLAGS | DONT_MASK), DONT_MASK) == reply(FLAGS | DONT_MASK)


@pytest.mark.parametrize("other", [b"", HEADER.pack(16, -71, 2), reply(FLAGS, error=-71), reply(FLAGS)[:30]])
def test_what_is_no_such_reply_stays_as_it_is(other: bytes) -> None:
    assert amended(other, DONT_MASK) == other


def test_a_reply_written_meanwhile_goes_on_and_what_is_written_after_goes_straight(kernel: tuple[int, int]) -> None:
    reads, writes = kernel
    detour = Detour(writes, DONT_MASK)
    os.write(writes, reply(FLAGS))
    assert select.select([reads], [], [], 0)[0] == []
    detour.end()
    os.write(writes, b"next")
    assert os.read(reads, 4096) == reply(FLAGS | DONT_MASK) + b"next"


def test_without_a_reply_the_descriptor_comes_back_and_none_is_left_open(kernel: tuple[int, int]) -> None:
    reads, writes = kernel
    before = os.listdir("/proc/self/fd")
    Detour(writes, DONT_MASK).end()
    assert os.listdir("/proc/self/fd") == before
    assert not os.get_inheritable(writes)
    os.write(writes, b"next")
    assert os.read(reads, 4096) == b"next"
