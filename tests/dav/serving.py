"""A server of the surface on a thread, over the tree in memory; and a client that sends bytes as they are."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mimeifs.dav.access import Gate
from mimeifs.dav.http import Server
from mimeifs.dav.litter import LitterTree
from mimeifs.dav.origins import Origins
from mimeifs.dav.surface import Site, Surface
from tests.dav.memory_tree import MemoryTree

PATIENCE = 20.0


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]


class Client:
    """One connection. Nothing is checked or added but what a request cannot do without."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.socket = socket.create_connection(address, PATIENCE)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self, method: str, path: str, headers: dict[str, str] | None = None, size: int | None = None) -> None:
        fields = {
            "Host": f"localhost:{self.address[1]}",
            **({} if size is None else {"Content-Length": str(size)}),
            **(headers or {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Reply:
        self.head(method, path, headers, None if body is None else len(body))
        if body:
            self.send(body)
        return self.reply(method)

    def reply(self, method: str = "GET") -> Reply:
        line = self._file.readline()
        if not line:
            raise EOFError("the server hung up")
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while (field := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if status < 200 or status in (204, 304) or method == "HEAD":
            return Reply(status, headers, b"")
        if "content-length" in headers:
            return Reply(status, headers, self._file.read(int(headers["content-length"])))
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size)
            self._file.readline()
        self._file.readline()
        return Reply(status, headers, body)

    def ended(self) -> bool:
        """Whether the server hangs up without another word."""
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Serving:
    tree: MemoryTree
    server: Server

    @property
    def address(self) -> tuple[str, int]:
        return self.server.bind_addr

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}/webdav/"

    def client(self) -> Client:
        return Client(self.address)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Reply:
        with self.client() as client:
            return client.ask(method, path, headers, body)


@contextmanager
def serving(gate: Gate | None = None, origins: Origins | None = None, threads: int = 64) -> Iterator[Serving]:
    tree = MemoryTree()
    site = Site(tree, gate or Gate(None), origins or Origins(local_only=True), LitterTree(tree))
    server = Server(("127.0.0.1", 0), Surface(site), threads)
    server.expiration_interval = 0.02  # How long its loop may sleep, and so its end takes.
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield Serving(tree, server)
    finally:
        server.stop()
        thread.join(PATIENCE)
    assert not tree.staged, "an upload was neither committed nor discarded"


def statuses(reply: Reply) -> list[int]:
    return [int(found) for found in re.findall(rb"<D:status>HTTP/1.1 (\d+)", reply.body)]
