"""Multi-Status bodies (RFC 4918, section 13), written as they go: one row a resource, nothing kept. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from xml.sax.saxutils import quoteattr

from mimeifs.dav.live import text
from mimeifs.dav.status import line
from mimeifs.dav.xml_in import DAV

NO_ERRORS: Mapping[int, str] = MappingProxyType({})
CONTENT_TYPE = "application/xml; charset=utf-8"
PIECE = 64 << 10
_BEGIN = b'<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">\n'
_END = b"</D:multistatus>\n"


def document(rows: Iterable[str]) -> Iterator[bytes]:
    """The whole body in pieces worth sending."""
    pending = bytearray(_BEGIN)
    for row in rows:
        pending += row.encode()
        if len(pending) >= PIECE:
            yield bytes(pending)
            pending.clear()
    yield bytes(pending + _END)


def empty_element(name: str) -> str:
    """``<D:getetag/>``, or with its namespace declared."""
    if name.startswith(DAV):
        return f"<D:{name[len(DAV) :]}/>"
    space, _, local = name[1:].partition("}")
    return f"<{local} xmlns={quoteattr(space)}/>"


def element(name: str, inside: str) -> str:
    """A property with its value, which is XML already."""
    if not inside:
        return empty_element(name)
    if name.startswith(DAV):
        local = name[len(DAV) :]
        return f"<D:{local}>{inside}</D:{local}>"
    space, _, local = name[1:].partition("}")
    return f"<x:{local} xmlns:x={quoteattr(space)}>{inside}</x:{local}>"


def row(address: str, groups: Iterable[tuple[int, str]], errors: Mapping[int, str] = NO_ERRORS) -> str:
    """A resource and its properties, a group for each status; empty groups are left out. ``errors`` are the conditions
    (elements of ``DAV:``) that a status comes from."""
    stats = "".join(
        f"<D:propstat><D:prop>{props}</D:prop><D:status>HTTP/1.1 {line(status)}</D:status>{_error(errors.get(status, ''))}"
        "</D:propstat>"
        for status, props in groups
        if props
    )
    if not stats:
        stats = f"<D:propstat><D:prop/><D:status>HTTP/1.1 {line(200)}</D:status></D:propstat>"
    return f"<D:response><D:href>{text(address)}</D:href>{stats}</D:response>\n"


def failed(address: str, status: int, condition: str = "") -> str:
    """A resource for which something did not work, and the condition of ``DAV:`` that it comes from."""
    said = f"<D:href>{text(address)}</D:href><D:status>HTTP/1.1 {line(status)}</D:status>"
    return f"<D:response>{said}{_error(condition)}</D:response>\n"


def _error(condition: str) -> str:
    return f"<D:error><D:{condition}/></D:error>" if condition else ""
