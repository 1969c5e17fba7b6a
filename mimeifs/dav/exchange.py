"""One request as a value, what belongs to all of them, and one answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from mimeifs.dav import paths
from mimeifs.dav.interface import Path, Tree
from mimeifs.dav.listening import PREFIX
from mimeifs.dav.wire import Body
from mimeifs.store.pages import Piece

"""Where the tree begins: the node's root is ``/webdav/``."""


class Call(NamedTuple):
    """A request as it came. ``headers`` have their names in lower case."""

    method: str
    target: str
    protocol: str
    headers: Mapping[str, str]
    body: Body
    scheme: str
    address: str
    """Whose it is, as the network says."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: a user's name ("" for nobody in particular), and whether changes are allowed."""

    user: str
    may_write: bool


class Exchange(msgspec.Struct, frozen=True):
    """A request below the prefix. Header names are in lower case; ``raw`` is the path as it came, without the query."""

    method: str
    path: Path
    raw: str
    query: str
    headers: Mapping[str, str]
    body: Body
    visitor: Visitor
    tree: Tree
    hosts: frozenset[str]
    """Names under which this server answers, with ports."""

    def header(self, name: str) -> str | None:
        """A header's value."""
        return self.headers.get(name)

    @property
    def ends_in_slash(self) -> bool:
        """Whether the address is written as a collection's."""
        return self.raw.endswith("/")

    def place(self, address: str) -> Path:
        """The path that a ``Destination`` or a tagged ``If`` names; raises ``Refusal``."""
        return paths.destination(address, PREFIX, self.hosts)


class Answer(msgspec.Struct, frozen=True):
    """What goes back; a body that is an iterator is sent as it comes, each piece before the next is made."""

    status: int
    headers: list[tuple[str, str]] = []
    body: bytes | Iterator[Piece] = b""

    @property
    def has_body(self) -> bool:
        """Whether an answer of this status can have one."""
        return self.status not in (204, 304)

    @property
    def size(self) -> int | None:
        """Bytes of the body, where that was said."""
        for name, value in self.headers:
            if name == "Content-Length":
                return int(value)
        return None

    def close(self) -> None:
        """It is not sent, or no more of it is."""
        close = getattr(self.body, "close", None)
        if close is not None:
            close()


def href(path: Path, *, is_dir: bool) -> str:
    """A resource's address from the server's root; a collection's ends in a slash."""
    return PREFIX + paths.encode(path) + ("/" if is_dir and path else "")
