"""Requests and replies: one table each, and what crosses the wire is what was sent."""

import typing

import msgspec
import pytest

from mimeifs.api import requests
from mimeifs.api.frames import frame
from mimeifs.api.handlers import HANDLERS
from mimeifs.api.requests import (
    AnyReply,
    Create,
    List,
    ListAll,
    Mimeis,
    Request,
    decode_reply,
    decode_request,
    encode,
    in_parts,
)
from mimeifs.api.tree_requests import SLICE, WriteStaged

ALL = typing.get_args(requests.AnyRequest)


def test_every_request_has_a_handler() -> None:
    assert set(HANDLERS) == set(ALL)


def test_every_request_class_is_in_the_union() -> None:
    made = {kind for kind in vars(requests).values() if isinstance(kind, type) and issubclass(kind, Request)}
    assert made - {Request} == set(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_every_request_names_a_reply_that_can_be_sent(kind: type) -> None:
    (base,) = kind.__orig_bases__
    assert typing.get_args(base)[0] in typing.get_args(AnyReply)


def test_a_request_crosses_the_wire() -> None:
    request = Create(b"\xff name", "file", "cur", "txt", mark=b"\0")
    assert decode_request(encode(request)) == request


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_536, SLICE])
def test_bytes_of_a_file_end_their_request_and_are_not_copied(size: int) -> None:
    data = memoryview(bytearray(number % 251 for number in range(size)))
    request = WriteStaged(7, 1 << 40, 3, data)
    head, behind = in_parts(request)
    assert behind is data
    assert decode_request(head + bytes(behind)) == request
    assert in_parts(List()) == (encode(List()), b"")


def test_the_worked_example_of_the_format_page() -> None:
    assert decode_request(bytes.fromhex("81a474797065a26c73")) == List()
    assert frame(encode(Mimeis((), b""))).hex(" ") == (
        "00 00 00 1c 83 a4 74 79 70 65 a6 6d 69 6d 65 69 73 a6 6d 69 6d 65 69 73 90 a4 6e 65 78 74 c4 00"
    )
    assert decode_reply(encode(Mimeis((), b""))) == Mimeis((), b"")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([1, 2]),
        msgspec.msgpack.encode({"type": "no-such"}),
        msgspec.msgpack.encode({"type": "info"}),
        msgspec.msgpack.encode({"type": "info", "name": 7}),
        msgspec.msgpack.encode({"type": "ls", "unknown": 1}),
        msgspec.msgpack.encode({"type": "create", "name": b"x", "kind": "database"}),
        encode(ListAll()) + b"x",
    ],
)
def test_what_is_no_request_is_refused(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_request(payload)
