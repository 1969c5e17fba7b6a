"""Frames: whatever pieces a stream arrives in, the payloads are those that were sent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimeifs.api.frames import GREETING, SMALL, Frames, check_greeting, frame
from mimeifs.errors import PeerError, TooLargeError


def feed(frames: Frames, data: bytes) -> int:
    """What of it there was room for."""
    room = frames.room()
    count = min(len(room), len(data))
    room[:count] = data[:count]
    frames.add(count)
    return count


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(1, 9), min_size=1))
def test_any_cut_of_the_stream_gives_the_payloads(payloads: list[bytes], cuts: list[int]) -> None:
    stream, frames, found, at = b"".join(map(frame, payloads)), Frames(40), [], 0
    while at < len(stream):
        step = cuts[at % len(cuts)]
        at += feed(frames, stream[at : at + step])
        while (payload := frames.next()) is not None:
            found.append(bytes(payload))
    assert found == payloads
    assert not frames.inside


@settings(deadline=None)
@given(st.lists(st.integers(0, 3 * SMALL), max_size=5), st.lists(st.integers(1000, 2 * SMALL), min_size=1))
def test_long_payloads_stay_as_they_are_until_there_is_to_be_room(sizes: list[int], cuts: list[int]) -> None:
    payloads = [bytes([number]) * size for number, size in enumerate(sizes)]
    stream, frames, found, turn = b"".join(map(frame, payloads)), Frames(3 * SMALL), [], 0
    while stream:
        stream, turn = stream[feed(frames, stream[: cuts[turn % len(cuts)]]) :], turn + 1
        here = []
        while (payload := frames.next()) is not None:
            here.append(payload)
        found += [bytes(payload) for payload in here]
    assert found == payloads


def test_memory_is_given_back_when_short_frames_come_again() -> None:
    frames = Frames(3 * SMALL)
    for size in (3 * SMALL, 1):
        stream = frame(bytes(size))
        while stream:
            stream = stream[feed(frames, stream) :]
        assert frames.next() == bytes(size)
    assert len(frames.room()) == SMALL


def test_a_length_over_the_limit_is_refused_before_the_bytes_come() -> None:
    frames = Frames(100)
    feed(frames, (101).to_bytes(4, "big"))
    with pytest.raises(TooLargeError, match="101"):
        frames.next()


def test_a_frame_that_has_begun_is_known_to_have() -> None:
    frames = Frames(100)
    feed(frames, b"\0")
    assert frames.inside
    assert frames.next() is None


def test_our_own_greeting_is_taken() -> None:
    check_greeting(GREETING)


def test_another_protocol_is_named() -> None:
    with pytest.raises(PeerError, match="protocol 7, this program speaks 1"):
        check_greeting(GREETING[:-1] + b"\7")


@pytest.mark.parametrize("found", [b"", b"HTTP/1.1 400", b"MIMEI"])
def test_somebody_else_is_told_apart(found: bytes) -> None:
    with pytest.raises(PeerError, match="no mimei node"):
        check_greeting(found)
