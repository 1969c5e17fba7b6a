"""Frames: whatever pieces a stream arrives in, the payloads are those that were sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimeifs.api.frames import GREETING, Frames, check_greeting, frame
from mimeifs.errors import PeerError, TooLargeError


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(1, 9), min_size=1))
def test_any_cut_of_the_stream_gives_the_payloads(payloads: list[bytes], cuts: list[int]) -> None:
    stream, frames, found, at = b"".join(map(frame, payloads)), Frames(40), [], 0
    while at < len(stream):
        step = cuts[at % len(cuts)]
        frames.feed(stream[at : at + step])
        at += step
        while (payload := frames.next()) is not None:
            found.append(payload)
    assert found == payloads
    assert not frames.inside


def test_a_length_over_the_limit_is_refused_before_the_bytes_come() -> None:
    frames = Frames(100)
    frames.feed((101).to_bytes(4, "big"))
    with pytest.raises(TooLargeError, match="101"):
        frames.next()


def test_a_frame_that_has_begun_is_known_to_have() -> None:
    frames = Frames(100)
    frames.feed(b"\0")
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
