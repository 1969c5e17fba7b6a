"""A client of HTTP that costs next to nothing, so that what is measured is the server.

Not a client to be used: it takes a well-behaved server for granted. A body is read into one buffer and forgotten.
"""

import socket
from types import TracebackType

BUFFER = 256 << 10
PATIENCE_S = 120.0


class Connection:
    """One connection, kept open."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = f"localhost:{address[1]}"
        self._buffer = memoryview(bytearray(BUFFER))

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def head(self, method: str, path: str, *fields: str) -> bytes:
        """The head of a request."""
        return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {self._host}", *fields, "", "")).encode()

    def ask(self, method: str, path: str, *fields: str, body: bytes = b"", expect: tuple[int, ...] = (200,)) -> int:
        """Make a request and read its answer; the bytes of its body. Raises ``RuntimeError`` for another status."""
        if body:
            fields = (*fields, f"Content-Length: {len(body)}")
        self.socket.sendall(self.head(method, path, *fields) + body)
        return self.answer(expect)

    def send(self, pieces: int, piece: bytes) -> None:
        """Send a body of so many equal pieces."""
        for _ in range(pieces):
            self.socket.sendall(piece)

    def answer(self, expect: tuple[int, ...] = (200,)) -> int:
        """Read an answer to its end; the bytes of its body."""
        count = self.socket.recv_into(self._buffer)
        while (end := bytes(self._buffer[:count]).find(b"\r\n\r\n")) < 0:
            more = self.socket.recv_into(self._buffer[count:])
            if not more:
                raise RuntimeError(f"the server hung up after {bytes(self._buffer[:count])!r}")
            count += more
        head = bytes(self._buffer[:end]).lower()
        status = int(head[9:12])
        if status not in expect:
            raise RuntimeError(f"{status} instead of {expect}: {bytes(self._buffer[:count])!r}")
        there = count - end - 4
        if status == 204 or b"content-length: 0\r\n" in head + b"\r\n":
            return 0
        at = head.find(b"content-length: ")
        if at >= 0:
            size = int(head[at + 16 :].split(b"\r\n", 1)[0])
            self._read(size - there)
            return size
        return self._chunked(bytes(self._buffer[end + 4 : count]))

    def _read(self, left: int) -> None:
        while left > 0:
            count = self.socket.recv_into(self._buffer, min(left, BUFFER))
            if not count:
                raise RuntimeError("the server hung up")
            left -= count

    def _chunked(self, data: bytes) -> int:
        total = 0
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self.socket.recv(BUFFER)
            size = int(data[:end].partition(b";")[0], 16)
            left = size + 2 - (len(data) - end - 2)
            total += size
            if left > 0:
                self._read(left)
                data = b""
            else:
                data = data[end + 4 + size :]
            if not size:
                return total
