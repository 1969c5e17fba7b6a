"""Programs at a desk: scripts of the requests that they send, played against a running node, and what comes of them.

A script is a table: the status that must come back, the request line, its headers, its body. ``{token}`` in a header is that of
the last lock. Addresses are as they are sent, below the folder of the script.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dav.serving import Client, Reply
from tests.serving import LIFE, Served, serving

Step = tuple[int, str, dict[str, str], bytes]


@contextmanager
def driven(folder: Path, *options: str, life: int = LIFE) -> Iterator[tuple[Served, str]]:
    """A node with a drive, and the drive's address."""
    with serving(folder, options=("--dav", "127.0.0.1:0", *options), life=life) as served:
        yield served, address(served)


def address(served: Served) -> str:
    """Where the drive is, once it is there."""
    drive = served.home / "drive"
    served.until(drive.exists, "the drive is there")
    served.until(lambda: drive.read_text().endswith("\n"), "its address is known")
    return drive.read_text().strip()


class Folder:
    """A new MiMei, from the mount's side."""

    def __init__(self, served: Served, url: str, name: str) -> None:
        self.served = served
        self.name = name
        self.present = served.mimei(name)
        self.place = f"/webdav/{name}/"
        host, _, port = url.split("/")[2].rpartition(":")
        self.at = host, int(port)
        self.taken = 0

    @property
    def files(self) -> dict[str, bytes | None]:
        """What the mount shows: bytes of files, None for directories."""
        return contents(self.present)

    def version(self) -> dict[str, bytes | None]:
        """Take a version; what it holds."""
        self.taken += 1
        label = self.present / ".mimei" / f"@v{self.taken}"
        label.mkdir()
        return contents(label)

    def states(self, path: str) -> list[bytes]:
        """The distinct states of a file in the versions, oldest first."""
        found = sorted((self.present / "@history" / path).iterdir())
        return [state.read_bytes() for state in found if state.is_file()]

    def history(self, path: str) -> list[str]:
        """How ``mimei history`` says that it came about, newest first."""
        rows = self.served.command("history", self.name, path).stdout.decode().splitlines()
        return [word for row in rows for word in row.split() if word in ("added", "removed", "changed")]


def contents(top: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(top)): None if path.is_dir() else path.read_bytes() for path in top.rglob("*")}


class Desk:
    """A program on one connection; ``headers`` go with each request."""

    def __init__(self, folder: Folder, **headers: str) -> None:
        self.folder = folder
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.client = Client(folder.at)
        self.token = ""
        self.in_between = lambda: None

    def destination(self, name: str) -> str:
        """An absolute address in this folder."""
        return f"http://localhost:{self.folder.at[1]}{self.folder.place}{name}"

    def ask(self, line: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Reply:
        method, _, name = line.partition(" ")
        own = {key: value.replace("{token}", self.token) for key, value in (headers or {}).items()}
        path = name if name.startswith("/") else self.folder.place + name
        if "Transfer-Encoding" in own:
            self.client.head(method, path, {**self.headers, **own})
            self.client.send(chunked(body))
            reply = self.client.reply(method)
        else:
            sends = body or method in ("PUT", "LOCK", "PROPPATCH")
            reply = self.client.ask(method, path, {**self.headers, **own}, body if sends else None)
        if method == "LOCK" and reply.status in (200, 201) and "lock-token" in reply.headers:
            self.token = reply["Lock-Token"].strip("<>")
        return reply

    def play(self, *steps: Step) -> list[Reply]:
        """Send the requests one after the other; each must be answered with its status."""
        replies = []
        for number, (status, line, headers, body) in enumerate(steps):
            reply = self.ask(line, headers, body)
            assert reply.status == status, (number, line, reply.status, reply.body)
            replies.append(reply)
            self.in_between()
        return replies

    def close(self) -> None:
        self.client.close()


def chunked(body: bytes) -> bytes:
    """A body in chunks, as macOS sends them."""
    middle = len(body) // 2
    pieces = [piece for piece in (body[:middle], body[middle:]) if piece]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def lockinfo(owner: str, scope: str = "exclusive") -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope>'
        f"<D:locktype><D:write/></D:locktype><D:owner><D:href>{owner}</D:href></D:owner></D:lockinfo>"
    ).encode()
