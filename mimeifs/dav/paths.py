"""Paths in URLs: from a request's target to the names of the tree, and back (RFC 3986). Pure.

A path is cut at its slashes first and decoded after, once, so that nothing encoded can become a slash, and ``..`` never
means anything. Names are bytes: those that are no UTF-8 can be reached as they are, only not made. ``;`` and all else that
RFC 3986 reserves is part of a name here.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, urlsplit

from mimeifs.dav.status import Refusal

Path = tuple[bytes, ...]

MAX_TARGET = 16 << 10
MAX_KNOWN = 256
"""How long a path may be to be known when it comes again."""
_ESCAPE = re.compile(rb"%(.{0,2})", re.DOTALL)
_HEX = re.compile(rb"[0-9A-Fa-f]{2}\Z")
_KEPT = "!$&'()*+,=:@~"
"""What a segment may hold unescaped besides letters, digits and ``-._``; ``;`` is escaped for clients that cut there."""


def decode(raw: str) -> Path:
    """The names in the path of a target (without a query). Raises ``Refusal`` (400, 414)."""
    if len(raw) > MAX_TARGET:
        raise Refusal(414, f"an address has at most {MAX_TARGET} characters")
    return _known(raw) if len(raw) <= MAX_KNOWN else _decoded(raw)


def _decoded(raw: str) -> Path:
    try:
        data = raw.encode("latin-1")
    except UnicodeEncodeError:
        data = raw.encode()
    return tuple(_segment(part) for part in data.split(b"/") if part)


_known = lru_cache(4096)(_decoded)


def _segment(part: bytes) -> bytes:
    name = _ESCAPE.sub(_unescaped, part) if b"%" in part else part
    if name in (b".", b".."):
        raise Refusal(400, "an address must not contain '.' or '..': send the path that is meant")
    if b"\0" in name or b"/" in name:
        raise Refusal(400, "a name can hold neither a slash nor a zero byte, however it is encoded")
    return name


def _unescaped(match: re.Match[bytes]) -> bytes:
    if not _HEX.match(match[1]):
        raise Refusal(400, "a % in an address must be followed by two hexadecimal digits")
    return bytes((int(match[1], 16),))


def encode(path: Path) -> str:
    """A path as a URL has it, with a slash in front and none at the end."""
    return "".join(["/" + segment(name) for name in path]) or "/"


def segment(name: bytes) -> str:
    """One name, escaped."""
    return quote(name, safe=_KEPT)


def below(prefix: str, raw: str) -> str | None:
    """What of a raw path comes after ``prefix`` (``/webdav``), None when it lies elsewhere."""
    if raw == prefix:
        return ""
    return raw[len(prefix) :] if raw.startswith(prefix + "/") else None


def destination(header: str, prefix: str, hosts: frozenset[str]) -> Path:
    """The path that a ``Destination`` or a tagged ``If`` names: absolute, or absolute in its path alone.

    ``hosts`` are the names, in lower case and with their ports, under which this server answers. Raises ``Refusal``: 400
    when it makes no sense, 502 when it is another server's (RFC 4918, 9.8.5).
    """
    if any(ord(sign) < 32 for sign in header):
        raise Refusal(400, "an address holds no control characters")
    text = header.strip()
    authority = ""
    if not text.startswith("/"):
        try:
            scheme, authority = urlsplit(text)[:2]
        except ValueError:
            raise Refusal(400, f"{text[:200]!r} is no address") from None
        if scheme.lower() not in ("http", "https") or not authority:
            raise Refusal(400, f"{text[:200]!r} is no address of a WebDAV server")
        if authority.lower().rpartition("@")[2] not in hosts:
            raise Refusal(502, f"{authority} is another server; only places on this one can be written to")
        rest = text[len(scheme) + 3 + len(authority) :] or "/"
    else:
        rest = text
    # Clients forget to escape "?" and ";" in a name here; nothing in a destination can be a query.
    inside = below(prefix, rest.partition("#")[0])
    if inside is None:
        raise Refusal(502, f"{rest[:200]} is outside {prefix}/")
    return decode(inside)


def spellings(name: bytes) -> Iterator[bytes]:
    """The name, and its other normal forms: macOS takes names apart (NFD) where others put them together (NFC)."""
    yield name
    if name.isascii():
        return
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, text).encode()
        if other != name:
            yield other


def to_make(name: bytes) -> bytes:
    """The name under which something new is made: NFC. Raises ``Refusal`` (400) when it is no UTF-8."""
    if name.isascii():
        return name
    try:
        return unicodedata.normalize("NFC", name.decode()).encode()
    except UnicodeDecodeError:
        raise Refusal(400, "a new name must be UTF-8") from None
