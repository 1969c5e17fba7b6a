"""Bytes of one connection: a buffered end to read from, one to write to, and the body of a request. In the place of
cheroot's own, which copy through Python's slow buffers, take a cut-off body for a whole one, and are quadratic in chunks.

The socket never blocks: whether to wait, and for how long, is decided here. Always true: a body is whole or reading it raises;
waiting for the network ends, and is visible to whoever needs the thread.
"""

import errno
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from mimeifs.dav.heads import END, MAX_CHUNK_LINE, chunk_size
from mimeifs.dav.status import Refusal
from mimeifs.store.pages import Pages, Piece

T = TypeVar("T")
BUFFER = 64 << 10
SEND_PIECE = 1 << 20
TLS_PIECE = 128 << 10
MAX_TRAILERS = 16 << 10
_CUT_OFF = "the upload was cut off; nothing was changed: send it again"
_NOT_NOW = {errno.EAGAIN, 2, 3}
"""Of a socket that does not block, and of one with TLS, which wants to read or write first (ssl.SSLErrorNumber)."""


def not_now(error: OSError) -> bool:
    """Whether a socket only says that it would have to wait."""
    return error.errno in _NOT_NOW


def speaks_tls(sock: socket.socket) -> bool:
    """Whether what goes over it is encrypted."""
    return hasattr(sock, "do_handshake")


class Patience:
    """Since when a thread waits for this connection's network; 0.0 while it does not."""

    def __init__(self) -> None:
        self.since = 0.0

    def wait(self, sock: socket.socket, event: int, seconds: float) -> None:
        """Wait until the socket is ready; raises ``TimeoutError``."""
        poll = select.poll()
        poll.register(sock.fileno(), event)
        self.since = monotonic()
        try:
            if not poll.poll(max(seconds, 0.0) * 1000):
                raise TimeoutError("the other end is silent")
        finally:
            self.since = 0.0


class Inflow:
    """The reading end: heads, lines, any bytes for bodies. ``deadline`` bounds a whole head, however slowly it drips; once it
    is ``late``, there is no more waiting at all."""

    def __init__(self, sock: socket.socket, patience: Patience, timeout: float) -> None:
        self._socket = sock
        self._patience = patience
        self._timeout = timeout
        self._buffer = b""
        self._at = 0
        self._pending: Callable[[], int] | None = getattr(sock, "pending", None)
        """How much TLS holds back that the socket no longer tells of."""
        self.deadline = 0.0
        self.late = False
        self.ended = False
        self.closed = False

    def has_data(self) -> bool:
        """Whether there is something to read without the network, TLS's own buffer included."""
        return self._at < len(self._buffer) or (self._pending is not None and self._pending() > 0)

    def waiting(self) -> tuple[bytes, int]:
        """What was received and not read: a buffer, and from where on."""
        return self._buffer, self._at

    def head(self) -> bytes | None:
        """The head of the next request with its empty line, if it is whole; an empty line before it is passed over."""
        if self._buffer.startswith(b"\r\n", self._at):
            self._at += 2
        end = self._buffer.find(END, self._at)
        return None if end < 0 else self._take(end + len(END))

    def receive(self) -> bool:
        """Take in what is there without waiting; False where that is nothing yet."""
        try:
            self._add(self._socket.recv(BUFFER))
        except OSError as error:
            if not not_now(error):
                raise
            return False
        return True

    def receive_more(self) -> None:
        """Wait for more; raises ``TimeoutError``."""
        self._add(self._received(lambda: self._socket.recv(BUFFER)))

    def _add(self, more: bytes) -> None:
        self.ended = not more
        self._buffer, self._at = self._buffer[self._at :] + more if self._buffer else more, 0

    def readline(self, size: int) -> bytes:
        """Up to and with the next newline, at most ``size`` bytes; short only at the end."""
        while True:
            end = self._buffer.find(b"\n", self._at) + 1
            if end or len(self._buffer) - self._at >= size:
                return self._take(min(end or len(self._buffer), self._at + size))
            self.receive_more()
            if self.ended:
                return self._take(len(self._buffer))

    def read_into(self, place: memoryview) -> int:
        """What is there, as far as it fits; waits for the first byte. How many there were, 0 at the end."""
        if self._at < len(self._buffer):
            piece = self._take(min(self._at + len(place), len(self._buffer)))
            place[: len(piece)] = piece
            return len(piece)
        return self._received(lambda: self._socket.recv_into(place))

    def _take(self, end: int) -> bytes:
        piece = self._buffer[self._at : end]
        self._at = end
        if end == len(self._buffer):
            self._buffer, self._at = b"", 0
        return piece

    def _received(self, receive: Callable[[], T]) -> T:
        while True:
            try:
                return receive()
            except OSError as error:
                if not not_now(error):
                    raise
                if self.late:
                    raise TimeoutError("the other end was silent for too long") from None
                left = min(self._timeout, self.deadline - monotonic()) if self.deadline else self._timeout
                self._patience.wait(self._socket, select.POLLIN, left)

    def close(self) -> None:
        """See ``io``."""
        self.closed = True


class Outflow:
    """The writing end: no copies where the bytes need not be encrypted, and pieces of a size that TLS is quick with."""

    def __init__(self, sock: socket.socket, patience: Patience, timeout: float) -> None:
        self._socket = sock
        self._patience = patience
        self._timeout = timeout
        self._encrypts = speaks_tls(sock)
        self._piece = TLS_PIECE if self._encrypts else SEND_PIECE

    def write(self, data: Piece) -> None:
        """Send it all; raises ``TimeoutError`` where the other end takes nothing for too long."""
        if isinstance(data, Pages):
            if not self._encrypts:
                self._send(data)
                return
            data = data.read()
        at, end = 0, len(data)
        with memoryview(data) as view:
            while at < end:
                try:
                    at += self._socket.send(view[at : at + self._piece])
                except OSError as error:
                    if not not_now(error):
                        raise
                    self._patience.wait(self._socket, select.POLLOUT, self._timeout)

    def _send(self, pages: Pages) -> None:
        while pages.left:
            try:
                pages.send(self._socket.fileno())
            except BlockingIOError:
                self._patience.wait(self._socket, select.POLLOUT, self._timeout)


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
        place = bytearray(size if self._chunked else min(size, self._left))
        with memoryview(place) as view:
            count = self.read_into(view)
        return bytes(place[:count])

    def read_into(self, place: memoryview) -> int:
        """As many bytes as came and fit, 0 when the body is complete; raises as :meth:`read`."""
        if self.done:
            return 0
        if self._begin is not None:
            begin, self._begin = self._begin, None
            begin()
        try:
            return self._next(place)
        except TimeoutError:
            raise Refusal(408, "the upload stalled; nothing was changed: send it again") from None
        except (ConnectionError, OSError):
            raise Refusal(400, _CUT_OFF) from None

    def _next(self, place: memoryview) -> int:
        if self._left == 0 and self._chunked:
            self._left = self._chunk_size()
            if self._left == 0:
                self._trailers()
                self.done = True
                return 0
        count = self._source.read_into(place[: self._left])
        if not count:
            raise Refusal(400, _CUT_OFF)
        self._left -= count
        if self._left == 0:
            if self._chunked:
                if self._source.readline(2) != b"\r\n":
                    raise Refusal(400, "a chunk of the body does not end where it said")
            else:
                self.done = True
        return count

    def _chunk_size(self) -> int:
        line = self._source.readline(MAX_CHUNK_LINE)
        if not line:
            raise Refusal(400, _CUT_OFF)
        return chunk_size(line)

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
