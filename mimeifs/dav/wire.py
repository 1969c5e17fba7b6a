"""Bytes of one connection: a buffered end to read from, one to write to, and the body of a request. In the place of
cheroot's own, which copy through Python's slow buffers, take a cut-off body for a whole one, and are quadratic in chunks.

Always true: a body is whole or reading it raises; waiting for the network ends, and is visible to whoever needs the thread.
"""

import re
import socket
from collections.abc import Callable
from time import monotonic

from mimeifs.dav.status import Refusal

BUFFER = 64 << 10
SEND_PIECE = 1 << 20
TLS_PIECE = 128 << 10
MAX_CHUNK_LINE = 1024
MAX_TRAILERS = 16 << 10
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?\r\n\Z")
_CUT_OFF = "the upload was cut off; nothing was changed: send it again"


class Patience:
    """Since when a thread waits for this connection's network; 0.0 while it does not."""

    def __init__(self) -> None:
        self.since = 0.0


class Inflow:
    """The reading end: lines for heads, any bytes for bodies. ``deadline`` bounds a whole head, however slowly it drips."""

    def __init__(self, sock: socket.socket, patience: Patience, timeout: float) -> None:
        self._socket = sock
        self._patience = patience
        self._timeout = timeout
        self._buffer = b""
        self._at = 0
        self.deadline = 0.0
        self.closed = False
        self.bytes_read = 0

    def has_data(self) -> bool:
        """Whether there is something to read without the network, TLS's own buffer included."""
        pending = getattr(self._socket, "pending", None)
        return self._at < len(self._buffer) or (pending is not None and pending() > 0)

    def readline(self, size: int = -1) -> bytes:
        """Up to and with the next newline, at most ``size`` bytes; short only at the end."""
        limit = size if size >= 0 else 1 << 62
        while True:
            end = self._buffer.find(b"\n", self._at) + 1
            if end or len(self._buffer) - self._at >= limit:
                end = min(end or len(self._buffer), self._at + limit)
                return self._take(end)
            more = self._receive(BUFFER)
            if not more:
                return self._take(len(self._buffer))
            self._buffer, self._at = self._buffer[self._at :] + more, 0

    def read(self, size: int) -> bytes:
        """What is there, at most ``size`` bytes; waits for the first, b"" at the end."""
        if self._at < len(self._buffer):
            return self._take(min(self._at + size, len(self._buffer)))
        return self._receive(size)

    def _take(self, end: int) -> bytes:
        piece = self._buffer[self._at : end]
        self._at = end
        if end == len(self._buffer):
            self._buffer, self._at = b"", 0
        return piece

    def _receive(self, size: int) -> bytes:
        wait = self._timeout
        self._patience.since = monotonic()
        if self.deadline:
            wait = min(wait, max(self.deadline - self._patience.since, 0.001))
        try:
            self._socket.settimeout(wait)
            data = self._socket.recv(size)
        finally:
            self._patience.since = 0.0
        self.bytes_read += len(data)
        return data

    def close(self) -> None:
        """See ``io``."""
        self.closed = True


class Outflow:
    """The writing end: no copies, and pieces of a size that TLS is quick with."""

    def __init__(self, sock: socket.socket, patience: Patience, timeout: float) -> None:
        self._socket = sock
        self._patience = patience
        self._timeout = timeout
        self._piece = TLS_PIECE if hasattr(sock, "cipher") else SEND_PIECE
        self._held = b""
        self.bytes_written = 0

    def hold(self, data: bytes) -> None:
        """Keep a head back, so that it leaves together with the first of its body."""
        self._held += data

    def write(self, data: bytes) -> int:
        """Send it all."""
        size = len(data)
        if self._held:
            self._held, data = b"", self._held + data
        view = memoryview(data)
        self._patience.since = monotonic()
        try:
            self._socket.settimeout(self._timeout)
            for start in range(0, len(view), self._piece):
                self._socket.sendall(view[start : start + self._piece])
                self._patience.since = monotonic()
        finally:
            self._patience.since = 0.0
        self.bytes_written += size
        return size

    def flush(self) -> None:
        """Send what was held."""
        if self._held:
            self.write(b"")


class Body:
    """The body of a request. ``begin`` is called before the first byte is read: it asks a waiting client to go on."""

    def __init__(self, source: Inflow, size: int | None, begin: Callable[[], None] | None = None) -> None:
        self._source = source
        self.size = size
        """Bytes announced, None where it comes in chunks."""
        self._left = size if size is not None else 0
        self._chunked = size is None
        self._begin = begin
        self.done = size == 0

    @property
    def waiting(self) -> bool:
        """Whether the client still waits to be asked for it."""
        return self._begin is not None and not self.done

    @property
    def left(self) -> int | None:
        """Bytes still to come, None where nobody knows."""
        return None if self._chunked and not self.done else self._left

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, b"" when the body is complete; raises ``Refusal`` (400, 408) where it is cut off."""
        if self.done:
            return b""
        if self._begin is not None:
            begin, self._begin = self._begin, None
            begin()
        try:
            return self._next(size)
        except TimeoutError:
            raise Refusal(408, "the upload stalled; nothing was changed: send it again") from None
        except (ConnectionError, OSError):
            raise Refusal(400, _CUT_OFF) from None

    def _next(self, size: int) -> bytes:
        if self._left == 0 and self._chunked:
            self._left = self._chunk_size()
            if self._left == 0:
                self._trailers()
                self.done = True
                return b""
        data = self._source.read(min(size, self._left))
        if not data:
            raise Refusal(400, _CUT_OFF)
        self._left -= len(data)
        if self._left == 0:
            if self._chunked:
                if self._source.readline(2) != b"\r\n":
                    raise Refusal(400, "a chunk of the body does not end where it said")
            else:
                self.done = True
        return data

    def _chunk_size(self) -> int:
        line = self._source.readline(MAX_CHUNK_LINE)
        if not line:
            raise Refusal(400, _CUT_OFF)
        match = _CHUNK.match(line)
        if match is None:
            raise Refusal(400, "the body's chunks make no sense")
        return int(match[1], 16)

    def _trailers(self) -> None:
        size = 0
        while (line := self._source.readline(MAX_CHUNK_LINE)) != b"\r\n":
            size += len(line)
            if not line or size > MAX_TRAILERS:
                raise Refusal(400, _CUT_OFF)

    def whole(self, limit: int) -> bytes:
        """All of it, of a small one; raises ``Refusal`` (413) when it is larger."""
        if self.size is not None and self.size > limit:
            raise Refusal(413, f"the body of this request has at most {limit} bytes")
        pieces: list[bytes] = []
        total = 0
        while data := self.read(BUFFER):
            total += len(data)
            if total > limit:
                raise Refusal(413, f"the body of this request has at most {limit} bytes")
            pieces.append(data)
        return b"".join(pieces)

    def drop(self, limit: int, seconds: float) -> bool:
        """Read what is left and forget it, within bounds, so that the client hears the answer; whether all was read."""
        if self.waiting:
            return False
        end = monotonic() + seconds
        try:
            while not self.done and limit > 0 and monotonic() < end:
                limit -= len(self.read(BUFFER))
        except Refusal:
            return False
        return self.done
