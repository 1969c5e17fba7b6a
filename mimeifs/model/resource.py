"""Resources: a place in the tree as WebDAV sees it, in values that cross a socket.

What this is not: how they are found and changed (``resources``). Always true: a path is a tuple of names, as stored, from the
node's root; times are nanoseconds, sizes bytes; every value is frozen.
"""

from typing import Literal

import msgspec

from mimeifs.store.content import ContentRef

Path = tuple[bytes, ...]
TOKEN_SCHEME = "mimei:sync:"
"""How what names the content of a directory begins; see :mod:`mimeifs.model.syncing`."""
ResourceKind = Literal["dir", "file", "symlink", "other"]


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What there is to say of one resource.

    ``etag`` is strong where the bytes are known for good, and begins with ``W/`` where they are still changing; that of a
    directory changes whenever anything below it does. ``birth_ns`` is the earliest time known where nobody has set one.
    ``writable`` is False inside versions, and ``immutable`` True where even the path leads to the same for ever.
    ``properties`` are dead properties, ``{namespace}name`` to the XML of the value, empty unless asked for. ``content`` names
    the bytes of a file that is sealed.
    """

    name: bytes
    kind: ResourceKind
    size: int
    mtime_ns: int
    ctime_ns: int
    birth_ns: int
    ino: int
    mode: int
    etag: str
    writable: bool
    immutable: bool
    target: bytes = b""
    properties: dict[str, bytes] = {}
    content: ContentRef | None = None


class Page(msgspec.Struct, frozen=True):
    """A page of what is in a directory, and the name to go on behind, b"" at the end.

    While ``mark`` is the directory's, its names and what was said of them stay as they are, but for those in ``loose``, which
    may not even have been shown; an empty mark stands for nothing. ``gone`` were asked for and are not there. See
    :mod:`mimeifs.model.marks`.
    """

    entries: tuple[Facts, ...]
    next: bytes
    mark: str = ""
    loose: tuple[bytes, ...] = ()
    gone: tuple[bytes, ...] = ()


class Guard(msgspec.Struct, frozen=True):
    """What must hold at the very moment of a change. ``tokens`` are those of locks that the caller, ``user``, holds.

    ``etag`` is the state that the caller decided upon: None whatever it is, "" that nothing is there.
    """

    tokens: tuple[str, ...] = ()
    user: str = ""
    etag: str | None = None


class Lock(msgspec.Struct, frozen=True):
    """A write lock (RFC 4918, section 6). ``path`` leads to what it was taken on, where that is now; ``owner`` is XML."""

    token: str
    path: Path
    owner: str
    user: str
    exclusive: bool
    infinite: bool
    expires_ns: int


NO_GUARD = Guard()
