"""Frames on the socket: a length, then that many bytes of MessagePack. Bytes in, frames out; no socket here.

A connection opens with :data:`GREETING` from the client, which the server answers with its own; where they differ,
neither speaks the other's protocol. Then the client sends a frame and the server answers with one, in turn. Always
true: a length over its limit is refused before memory is set aside for it. Format page: ``docs/format/api.md``.
"""

import struct

from mimeifs.errors import PeerError, TooLargeError

GREETING = b"MIMEIAPI\x00\x00\x00\x01"
"""Magic and the protocol's number (u32)."""
MAX_REQUEST = 512 << 10
MAX_REPLY = 1 << 20
HEAD = struct.Struct(">I")


def frame(payload: bytes) -> bytes:
    """The payload as a frame."""
    return HEAD.pack(len(payload)) + payload


def check_greeting(found: bytes) -> None:
    """Raise ``PeerError`` unless the other end speaks this protocol."""
    if found == GREETING:
        return
    if len(found) == len(GREETING) and found[:8] == GREETING[:8]:
        theirs, ours = HEAD.unpack(found[8:])[0], HEAD.unpack(GREETING[8:])[0]
        raise PeerError(f"the other end speaks protocol {theirs}, this program speaks {ours}: restart the node")
    raise PeerError("what answers on the node's socket is no mimei node")


class Frames:
    """Cuts a stream of bytes into payloads of at most ``limit`` bytes."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    @property
    def inside(self) -> bool:
        """Whether a frame has begun that is not whole yet."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take in what arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next whole payload, or None. Raises ``TooLargeError``, after which the stream is of no more use."""
        buffer = self._buffer
        if len(buffer) < HEAD.size:
            return None
        size = HEAD.unpack_from(buffer)[0]
        if size > self._limit:
            raise TooLargeError(f"a frame of {size} bytes is over the limit of {self._limit}")
        if len(buffer) < HEAD.size + size:
            return None
        with memoryview(buffer) as view:
            payload = bytes(view[HEAD.size : HEAD.size + size])
        del buffer[: HEAD.size + size]
        return payload
