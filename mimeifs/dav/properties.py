"""PROPFIND and PROPPATCH (RFC 4918, sections 9.1 and 9.2): asking for properties, and setting them."""

import re
from collections.abc import Iterable, Iterator
from time import time_ns
from typing import Protocol

from mimeifs.dav import dates, live, members, multistatus, naming, preconditions, xml_in
from mimeifs.dav.exchange import Answer, Exchange
from mimeifs.dav.interface import Facts, Path
from mimeifs.dav.known import Listing, Listings
from mimeifs.dav.live import ATTRIBUTES, CHECKSUMS, KEPT, LAST_ACCESS, WIN32, Context, Value
from mimeifs.dav.multistatus import element, empty_element, row
from mimeifs.dav.reading import missing
from mimeifs.dav.readonly import refuse_unless_writable
from mimeifs.dav.small_headers import Depth, depth
from mimeifs.dav.status import Refusal
from mimeifs.dav.versioned import SUPPORTED, VERSIONED, supported
from mimeifs.dav.xml_in import DAV, Change, Propfind

MAX_NAMES = 256
MAX_KEPT = 4 << 20
"""How long a listing may be, in characters, to be kept for who asks again."""
MAX_LOOSE = 128
"""Of how many members it is worth asking again what the others need not be asked."""
_TIMES = {
    DAV + "getlastmodified": "mtime_ns",
    WIN32 + "Win32LastModifiedTime": "mtime_ns",
    DAV + "creationdate": "birth_ns",
    WIN32 + "Win32CreationTime": "birth_ns",
}
PROTECTED = "cannot-modify-protected-property"
_DIRECTORY = 0x10
_ATTRIBUTES = re.compile(r"[0-9A-Fa-f]{1,8}\Z")
LIVE: dict[str, Value] = {**live.LIVE, **VERSIONED}
LIVE[SUPPORTED] = supported(LIVE)
"""Every live property there is."""


class Writer(Protocol):
    """Writes the row of a resource; ``more`` is XML of further properties that it has."""

    def __call__(self, facts: Facts, path: Path, more: str = "") -> str: ...


def propfind(exchange: Exchange) -> Answer:
    """The properties of a resource and, with Depth 1, of its members."""
    wanted = depth(exchange.header("depth"), Depth.INFINITY, tuple(Depth))
    if wanted is Depth.INFINITY:
        raise Refusal(403, "ask collection by collection: Depth is 0 or 1 here", "propfind-finite-depth")
    asked = xml_in.propfind(exchange.body.whole(xml_in.MAX_BODY))
    check_names(len(asked.names or ()))
    dead = needs_dead(asked)
    path, facts = naming.find(exchange.tree, exchange.path, properties=dead)
    if facts is None:
        raise missing(exchange.path)
    path, facts = naming.followed(exchange.tree, path, facts)
    preconditions.judge_if(exchange, path)
    rows = _rows(exchange, asked, path, facts, dead, wanted, is_brief(exchange))
    headers = [("Content-Type", multistatus.CONTENT_TYPE), ("Cache-Control", "no-cache")]
    return Answer(207, headers, multistatus.document(rows))


def check_names(count: int) -> None:
    """Raise ``Refusal`` (413) where too many properties are named."""
    if count > MAX_NAMES:
        raise Refusal(413, f"a request names at most {MAX_NAMES} properties")


def is_brief(exchange: Exchange) -> bool:
    """Whether the client does not want to hear which properties are not there."""
    return exchange.header("brief") == "t" or "return=minimal" in (exchange.header("prefer") or "")


def needs_dead(asked: Propfind) -> bool:
    """Whether dead properties are wished for."""
    return asked.names is None or any(name not in LIVE or name == CHECKSUMS or name in KEPT for name in asked.names)


def _rows(
    exchange: Exchange, asked: Propfind, path: Path, facts: Facts, dead: bool, wanted: Depth, brief: bool
) -> Iterator[str]:
    context = Context(exchange.tree, time_ns())
    context.lead(exchange.path, path)
    yield writer(asked, live.ALL_OF_ONE, context, brief)(facts, path)
    if wanted is Depth.ZERO or facts.kind != "dir":
        return
    write = writer(asked, live.ALL, context, brief)
    if not members.is_quick(asked):
        for page in exchange.tree.pages(path, properties=dead):
            yield from (write(shown, here) for shown, here in _followed(exchange, path, page.entries))
        return
    quick = members.writer(asked, path, context, brief, write)
    listings = exchange.tree.listings
    key = path, asked, brief, context.address(path, is_dir=True)
    known = None if listings is None else _kept(exchange, listings, key, dead, quick)
    if known is not None:
        yield "".join(known.rows.values())
        return
    yield from _written(exchange, listings, key, dead, quick)


def _followed(exchange: Exchange, path: Path, entries: Iterable[Facts]) -> list[tuple[Facts, Path]]:
    """What members of a collection lead to, and their paths."""
    found = [(one, (*path, one.name)) for one in entries]
    return [(naming.followed(exchange.tree, here, one)[1] if one.kind == "symlink" else one, here) for one, here in found]


Key = tuple[Path, Propfind, bool, str]
"""Where a collection is, what is asked, whether briefly, and where the client finds it."""


def _kept(exchange: Exchange, listings: Listings, key: Key, dead: bool, write: members.Write) -> Listing | None:
    """A listing that was written earlier; where anything has changed since, with those rows written again that may say
    something else. None where nobody knows which."""
    known, moment = listings.get(key), listings.now()
    if known is None or known.moment == moment:
        return known
    page = exchange.tree.again(key[0], known.mark, known.loose, properties=dead) if known.mark else None
    if page is None or not page.mark:
        return None
    rows = known.rows
    if page.entries or page.loose or page.gone:
        found = dict.fromkeys(page.loose, "")  # A link that leads nowhere has no row, and may have one later.
        found |= {here[-1]: write(shown, here) for shown, here in _followed(exchange, key[0], page.entries)}
        rows = {name: text for name, text in (known.rows | found).items() if name not in page.gone}
        if not known.rows.keys() >= found.keys():
            rows = dict(sorted(rows.items()))
    known = Listing(moment, page.mark if len(page.loose) <= MAX_LOOSE else "", rows, page.loose)
    listings.keep(key, known)
    return known


def _written(exchange: Exchange, listings: Listings | None, key: Key, dead: bool, write: members.Write) -> Iterator[str]:
    """Rows as they are now; kept where the node can say later whether they are still so."""
    moment, marks, size = 0 if listings is None else listings.now(), set[str](), 0
    rows: dict[bytes, str] | None = None if listings is None else {}
    loose: list[bytes] = []
    for page in exchange.tree.pages(key[0], properties=dead):
        shown_here = _followed(exchange, key[0], page.entries)
        found = {here[-1]: write(shown, here) for shown, here in shown_here}
        text = "".join(found.values())
        yield text
        size += len(text)
        marks.add(page.mark)
        loose += page.loose
        if rows is None or size > MAX_KEPT or not all(shown.ino for shown, _ in shown_here):
            rows = None  # A lock on an empty name shows as a file without a number, and ends by itself.
        else:
            rows |= dict.fromkeys(page.loose, "") | found
    if listings is not None and rows is not None:
        # Of pages with one mark the first was still so when the last was looked at.
        mark = marks.pop() if len(marks) == 1 and len(loose) <= MAX_LOOSE else ""
        if mark or moment == listings.now():
            listings.keep(key, Listing(moment, mark, rows, tuple(loose)))


def writer(asked: Propfind, everything: tuple[str, ...], context: Context, brief: bool) -> Writer:
    """How one row is written, decided once for all."""
    names = asked.names if asked.names is not None else tuple(dict.fromkeys((*everything, *asked.include)))
    values = [(name, LIVE.get(name)) for name in names]
    complete = asked.names is None

    def write(facts: Facts, path: Path, more: str = "") -> str:
        context.path = path
        found = [more]
        absent: list[str] = []
        for name, value in values:
            kept = facts.properties.get(name) if value is None or name in KEPT else None
            inside = value(facts, context) if value is not None and kept is None else None
            if inside is None and kept is None:
                absent.append(empty_element(name))
            elif asked.names_only:
                found.append(empty_element(name))
            else:
                found.append(kept.decode() if kept is not None else element(name, inside or ""))
        if complete:
            others = (name for name in facts.properties if name not in names and (name not in LIVE or name in KEPT))
            found += [empty_element(name) if asked.names_only else facts.properties[name].decode() for name in others]
        if complete or brief:
            absent.clear()
        return row(context.address(path, is_dir=facts.kind == "dir"), ((200, "".join(found)), (404, "".join(absent))))

    return write


def proppatch(exchange: Exchange) -> Answer:
    """Set and remove properties, all of them or none."""
    changes = xml_in.proppatch(exchange.body.whole(xml_in.MAX_BODY))
    path, facts = naming.find(exchange.tree, exchange.path)
    if facts is None:
        raise missing(exchange.path)
    refuse_unless_writable(facts)
    guard = preconditions.guard(exchange, path, facts)
    preconditions.check_locks(exchange, path, guard)
    dead: dict[str, bytes | None] = {}
    times: dict[str, int] = {}
    refused = {change.name: status for change in changes if (status := _sorted(change, facts, dead, times)) is not None}
    if not refused:
        exchange.tree.patch(path, guard, properties=dead, **times)
    names = dict.fromkeys(change.name for change in changes)
    groups = [(424 if refused else 200, _elements(name for name in names if name not in refused))]
    groups += [(status, _elements(name for name in names if refused.get(name) == status)) for status in (403, 409)]
    context = Context(exchange.tree, time_ns())
    context.lead(exchange.path, path)
    address = context.address(path, is_dir=facts.kind == "dir")
    body = multistatus.document([row(address, groups, {403: PROTECTED})])
    return Answer(207, [("Content-Type", multistatus.CONTENT_TYPE)], b"".join(body))


def _elements(names: Iterable[str]) -> str:
    return "".join(map(empty_element, names))


def _sorted(change: Change, facts: Facts, dead: dict[str, bytes | None], times: dict[str, int]) -> int | None:
    """Put a change where it belongs; the status where that cannot be (RFC 4918, 9.2.1): 403 for what nobody may set, 409 for a
    value that makes no sense."""
    if change.name in _TIMES:
        when = dates.parse_loosely(change.text) if change.xml is not None else None
        if when is None:
            return 403 if change.xml is None else 409
        times[_TIMES[change.name]] = when
        return None
    if change.name in LIVE and change.name not in KEPT:
        return 403
    xml = change.xml
    if xml is not None:
        xml = _as_kept(change, facts)
        if xml is None:
            return 409
    dead[change.name] = xml
    return None


def _as_kept(change: Change, facts: Facts) -> bytes | None:
    """What is kept of a property: what was sent; of those of Windows what they mean; None where that is nothing."""
    if change.name == LAST_ACCESS:
        when = dates.parse_loosely(change.text)
        return None if when is None else element(change.name, dates.modified(when)).encode()
    if change.name == ATTRIBUTES:
        if not _ATTRIBUTES.match(change.text.strip()):
            return None
        bits = int(change.text, 16) & ~_DIRECTORY | (_DIRECTORY if facts.kind == "dir" else 0)
        return element(change.name, f"{bits:08x}").encode()
    return change.xml
