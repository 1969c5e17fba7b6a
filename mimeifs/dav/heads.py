"""Heads of HTTP messages: a request's from bytes to values, an answer's from values to bytes (RFC 9112). Pure.

Always true: whatever can be read in two ways is refused; where a request ends is known before anything is done for it.
"""

import re
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import NamedTuple

from mimeifs.dav.status import Refusal, line

MAX_HEAD = 64 << 10
SMALL_BODY = 64 << 10
"""Bodies up to so many bytes are waited for without a thread."""
MAX_CHUNK_LINE = 1024
MAX_KEPT = 1024
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[!-\"$-~\x80-\xff]*) (HTTP/1\.[01])\Z")
_ABSOLUTE = re.compile(r"https?://([^/?@]+)(/[^ ]*)?\Z", re.IGNORECASE)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^`|~0-9A-Za-z]+\Z")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_SIZE = re.compile(r"\d{1,18}\Z", re.ASCII)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?\r\n\Z")
_ONCE = {"content-length", "transfer-encoding", "host", "authorization", "destination", "range", "content-range"}
_LISTS = {"if", "if-match", "if-none-match", "accept", "connection", "forwarded", "x-forwarded-for", "repr-digest"}
END = b"\r\n\r\n"


class Head(NamedTuple):
    """The head of a request. Names of fields are in lower case, values as latin-1 says."""

    method: str
    target: str
    protocol: str
    fields: Mapping[str, str]
    size: int | None
    """Bytes of the body; None where it comes in chunks."""
    stays: bool
    """Whether the client wants to go on with this connection."""


Framed = tuple[Mapping[str, str], int | None, bool]
"""The last three of a head."""


def parse(data: bytes) -> Head:
    """The head in ``data``, which ends with its empty line. Raises ``Refusal``: 400, 417, 505."""
    first, _, rest = data[: -len(END)].partition(b"\r\n")
    match = _REQUEST_LINE.match(first)
    method, target, protocol = _request_line(first) if match is None else first.decode("latin-1").split(" ")
    # A client says the same with every request; what may be a secret is not kept.
    read = _same if len(rest) <= MAX_KEPT and b"authorization" not in rest.lower() else _framed
    head = Head(method, target, protocol, *read(rest, protocol))
    return head if match is not None or target[0] in "/*" else _absolute(head)


def _absolute(head: Head) -> Head:
    """The same request where its target was a whole address, as for a proxy: that is the host then (RFC 9112, 3.2.2)."""
    match = _ABSOLUTE.match(head.target)
    if match is None:
        raise Refusal(400, "the address of a request begins with a slash, or with http:// and a host")
    return head._replace(target=match[2] or "/", fields={**head.fields, "host": match[1]})


def _framed(data: bytes, protocol: str) -> Framed:
    fields = _fields(data)
    _check_framing(fields, protocol)
    size = None if "transfer-encoding" in fields else int(fields.get("content-length", 0))
    wish = fields.get("connection", "").lower()
    return fields, size, "close" not in wish if protocol == "HTTP/1.1" else "keep-alive" in wish


_same = lru_cache(256)(_framed)


def _fields(data: bytes) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for each in data.split(b"\r\n") if data else ():
        raw, colon, rest = each.partition(b":")
        name = _name(raw)
        if not colon or name is None:
            raise Refusal(400, "a header needs a name, with neither blanks nor line folding around it")
        found = rest.strip(b" \t")
        if _CONTROL.search(found):
            raise Refusal(400, "a header holds no control characters; a line ends in CR LF")
        value = found.decode("latin-1")
        if name not in fields:
            fields[name] = value
        elif name in _ONCE:
            raise Refusal(400, f"there can be only one {name.title()}")
        else:
            fields[name] = f"{fields[name]}, {value}" if name in _LISTS else value
    return fields


@lru_cache(1024)
def _name(raw: bytes) -> str | None:
    return raw.decode("ascii").lower() if _TOKEN.match(raw) else None


def _request_line(data: bytes) -> tuple[str, str, str]:
    parts = data.split(b" ")
    if len(parts) != 3 or not _TOKEN.match(parts[0]) or _CONTROL.search(data) or not parts[2].startswith(b"HTTP/"):
        raise Refusal(400, "a request begins with a method, an address and HTTP/1.1, with one blank between them")
    if parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Refusal(505, "this server speaks HTTP/1.1")
    if parts[0] != parts[0].upper():
        raise Refusal(400, "methods are written in capital letters")
    if not parts[1] or b"#" in parts[1] or (parts[1].startswith(b"*") and parts[1] != b"*"):
        raise Refusal(400, "the address of a request begins with a slash, and has no fragment")
    return parts[0].decode("ascii"), parts[1].decode("latin-1"), parts[2].decode("ascii")


def _check_framing(fields: Mapping[str, str], protocol: str) -> None:
    """Everybody is to read the end of the body at the same place (RFC 9112, 6.3)."""
    size, coding = fields.get("content-length"), fields.get("transfer-encoding")
    if size is not None and not _SIZE.match(size):
        raise Refusal(400, "Content-Length is a number")
    if coding is not None and size is not None:
        raise Refusal(400, "a body has a Content-Length or comes in chunks, not both")
    if coding is not None and (coding.lower() != "chunked" or protocol == "HTTP/1.0"):
        raise Refusal(400, "the only transfer coding here is chunked, of HTTP/1.1")
    if protocol == "HTTP/1.1" and "host" not in fields:
        raise Refusal(400, "a request of HTTP/1.1 says its Host")
    if fields.get("expect", "").lower() not in ("", "100-continue"):
        raise Refusal(417, "the only expectation here is 100-continue")


def chunk_size(data: bytes) -> int:
    """The size in the line that begins a chunk; raises ``Refusal``."""
    match = _CHUNK.match(data)
    if match is None:
        raise Refusal(400, "the body's chunks make no sense")
    return int(match[1], 16)


# Whether a body is all there: decides nothing but who waits for the rest


def is_there(head: Head, data: bytes, at: int) -> bool:
    """Whether nobody needs to wait without a thread for more of the body that begins at ``at``: it is there, or it is so large
    that a thread is to receive it, or its sender waits to be asked for it, or it makes no sense."""
    size = head.size
    if size == 0 or "expect" in head.fields:
        return True
    if (len(data) - at if size is None else size) > SMALL_BODY:
        return True
    return has_come(head, data, at)


def has_come(head: Head, data: bytes, at: int) -> bool:
    """Whether all of the body that begins at ``at`` has been received, or can be seen to make no sense."""
    size = head.size
    if size is not None:
        return len(data) - at >= size
    try:
        return _chunks_end(data, at)
    except Refusal:
        return True


def _chunks_end(data: bytes, at: int) -> bool:
    while True:
        end = data.find(b"\r\n", at) + 2
        if end < 2:
            return len(data) - at > MAX_CHUNK_LINE
        size = chunk_size(data[at:end])
        if not size:
            return data.startswith(b"\r\n", end) or END in data[end:]
        at = end + size + 2


# Answers


@lru_cache(2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def answer(status: int, headers: Sequence[tuple[str, str]], *, last: bool) -> bytes:
    """The head of an answer; ``last`` where the connection ends with it."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if fields.count("\n") != fields.count("\r\n") or fields.count("\n") != len(headers):
        raise ValueError("a header of an answer holds a line break")
    closing = "Connection: close\r\n" if last else ""
    return f"HTTP/1.1 {line(status)}\r\n{fields}{closing}Date: {_date(int(time()))}\r\nServer: mimeifs\r\n\r\n".encode(
        "latin-1"
    )
