"""Frames on the socket: a length, then that many bytes of MessagePack. Bytes in, frames out; no socket here.

A connection opens with :data:`GREETING` from the client, which the server answers with its own; where they differ,
neither speaks the other's protocol. Then the client sends a frame and the server answers with one, in turn. Always
true: a length over its limit is refused before memory is set aside for it. Format page: ``docs/format/api.md``.
"""

import struct

from mimeifs.errors import PeerError, TooLargeError

GREETING = b"MIMEIAPI\x00\x00\x00\x01"
"""Magic and the protocol's number (u32)."""
MAX_REQUEST = 1 << 20
MAX_REPLY = 1 << 20
SMALL = 16 << 10
"""The memory of a connection on which no longer frames come, in bytes."""
HEAD = struct.Struct(">I")


def frame(payload: bytes, behind: int = 0) -> bytes:
    """The payload as a frame; the frame of one that so many more bytes follow."""
    return HEAD.pack(len(payload) + behind) + payload


def check_greeting(found: bytes) -> None:
    """Raise ``PeerError`` unless the other end speaks this protocol."""
    if found == GREETING:
        return
    if len(found) == len(GREETING) and found[:8] == GREETING[:8]:
        theirs, ours = HEAD.unpack(found[8:])[0], HEAD.unpack(GREETING[8:])[0]
        raise PeerError(f"the other end speaks protocol {theirs}, this program speaks {ours}: restart the node")
    raise PeerError("what answers on the node's socket is no mimei node")


class Frames:
    """Cuts a stream of bytes into payloads of at most ``limit`` bytes, in the memory that they were received into."""

    __slots__ = ("_buffer", "_end", "_limit", "_start")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray(SMALL)
        self._start = self._end = 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun that is not whole yet."""
        return self._end > self._start

    def room(self) -> memoryview:
        """Where to put what arrives: what is left of the frame that has begun fits. Payloads handed out before are gone."""
        there, needed = self._end - self._start, max(min(self._size(), HEAD.size + self._limit), SMALL)
        if len(self._buffer) - self._start < needed:
            with memoryview(self._buffer)[self._start : self._end] as begun:
                buffer = self._buffer if len(self._buffer) >= needed else bytearray(needed)
                buffer[:there] = begun
            self._buffer, self._start, self._end = buffer, 0, there
        return memoryview(self._buffer)[self._end :]

    def add(self, count: int) -> None:
        """So many bytes were put there."""
        self._end += count

    def _size(self) -> int:
        """Bytes of the frame that has begun; 0 while that is not known."""
        if self._end - self._start < HEAD.size:
            return 0
        return HEAD.size + int(HEAD.unpack_from(self._buffer, self._start)[0])

    def next(self) -> memoryview | None:
        """The next whole payload, or None. Raises ``TooLargeError``, after which the stream is of no more use."""
        size = self._size()
        if size > HEAD.size + self._limit:
            raise TooLargeError(f"a frame of {size - HEAD.size} bytes is over the limit of {self._limit}")
        if not size or self._end - self._start < size:
            return None
        payload = memoryview(self._buffer)[self._start + HEAD.size : self._start + size]
        self._start += size
        if self._start == self._end:
            self._start = self._end = 0
            if size <= SMALL < len(self._buffer):
                self._buffer = bytearray(SMALL)  # Whoever sent much is done with that.
        return payload
