"""PROPFIND and PROPPATCH (RFC 4918, sections 9.1 and 9.2): asking for properties, and setting them."""

from collections.abc import Callable, Hashable, Iterator
from time import time_ns

from mimeifs.dav import dates, live, members, multistatus, naming, preconditions, xml_in
from mimeifs.dav.exchange import Answer, Exchange, href
from mimeifs.dav.interface import Facts, Path
from mimeifs.dav.live import CHECKSUMS, LIVE, WIN32, Context
from mimeifs.dav.multistatus import element, empty_element, row
from mimeifs.dav.reading import missing
from mimeifs.dav.readonly import refuse_unless_writable
from mimeifs.dav.small_headers import Depth, depth
from mimeifs.dav.status import Refusal
from mimeifs.dav.xml_in import DAV, Change, Propfind

PAGE = 500
MAX_NAMES = 256
MAX_KEPT = 4 << 20
"""How long a listing may be, in characters, to be kept for who asks again."""
_TIMES = {
    DAV + "getlastmodified": "mtime_ns",
    WIN32 + "Win32LastModifiedTime": "mtime_ns",
    DAV + "creationdate": "birth_ns",
    WIN32 + "Win32CreationTime": "birth_ns",
}
_TAKEN = (WIN32 + "Win32LastAccessTime", WIN32 + "Win32FileAttributes")
"""What Windows sets with every copy: taken, and not kept, because a copy that is refused is worse."""

Writer = Callable[[Facts, Path], str]


def propfind(exchange: Exchange) -> Answer:
    """The properties of a resource and, with Depth 1, of its members."""
    wanted = depth(exchange.header("depth"), Depth.INFINITY, tuple(Depth))
    if wanted is Depth.INFINITY:
        raise Refusal(403, "ask collection by collection: Depth is 0 or 1 here", "propfind-finite-depth")
    asked = xml_in.propfind(exchange.body.whole(xml_in.MAX_BODY))
    if len(asked.names or ()) > MAX_NAMES:
        raise Refusal(413, f"a propfind names at most {MAX_NAMES} properties")
    dead = _needs_dead(asked)
    path, facts = naming.find(exchange.tree, exchange.path, properties=dead)
    if facts is None:
        raise missing(exchange.path)
    path, facts = naming.followed(exchange.tree, path, facts)
    preconditions.judge_if(exchange, path)
    brief = exchange.header("brief") == "t" or "return=minimal" in (exchange.header("prefer") or "")
    rows = _rows(exchange, asked, path, facts, dead, wanted, brief)
    headers = [("Content-Type", multistatus.CONTENT_TYPE), ("Cache-Control", "no-cache")]
    return Answer(207, headers, multistatus.document(rows))


def _needs_dead(asked: Propfind) -> bool:
    return asked.names is None or any(name not in LIVE or name == CHECKSUMS for name in asked.names)


def _rows(
    exchange: Exchange, asked: Propfind, path: Path, facts: Facts, dead: bool, wanted: Depth, brief: bool
) -> Iterator[str]:
    context = Context(exchange.tree, time_ns())
    yield _writer(asked, live.ALL_OF_ONE, context, brief)(facts, path)
    if wanted is Depth.ZERO or facts.kind != "dir":
        return
    write = _writer(asked, live.ALL, context, brief)
    if not members.is_quick(asked):
        for page in _members(exchange, path, dead):
            yield from (write(shown, here) for shown, here in page)
        return
    write = members.writer(asked, path, context, brief, write)
    yield from _kept(exchange, (path, asked, brief), _members(exchange, path, dead), write)


def _members(exchange: Exchange, path: Path, dead: bool) -> Iterator[list[tuple[Facts, Path]]]:
    """The members of a collection and their paths, page by page; links are followed."""
    after, tree = b"", exchange.tree
    while True:
        page, after = tree.entries(path, after, PAGE, properties=dead)
        found = [(one, (*path, one.name)) for one in page]
        yield [(naming.followed(tree, here, one)[1] if one.kind == "symlink" else one, here) for one, here in found]
        if not after:
            return


def _kept(exchange: Exchange, key: Hashable, pages: Iterator[list[tuple[Facts, Path]]], write: Writer) -> Iterator[str]:
    """Rows as they were written the last time where nothing has changed since; else as they are written now, and kept."""
    listings = exchange.tree.listings
    known = None if listings is None else listings.get(key)
    if known is not None:
        yield known
        return
    moment = 0 if listings is None else listings.now()
    rows: list[str] | None = [] if listings is not None else None
    size = 0
    for page in pages:
        text = "".join([write(shown, here) for shown, here in page])
        size += len(text)
        if rows is not None:
            # A lock on an empty name shows as a file without a number, and ends by itself.
            rows = [*rows, text] if size <= MAX_KEPT and all(shown.ino for shown, _ in page) else None
        yield text
    if listings is not None and rows is not None:
        listings.keep(key, "".join(rows), moment, size)


def _writer(asked: Propfind, everything: tuple[str, ...], context: Context, brief: bool) -> Writer:
    """How one row is written, decided once for all."""
    names = asked.names if asked.names is not None else tuple(dict.fromkeys((*everything, *asked.include)))
    values = [(name, LIVE.get(name)) for name in names]
    complete = asked.names is None

    def write(facts: Facts, path: Path) -> str:
        context.path = path
        found: list[str] = []
        absent: list[str] = []
        for name, value in values:
            inside = value(facts, context) if value is not None else None
            if inside is not None:
                found.append(empty_element(name) if asked.names_only else element(name, inside))
            elif value is None and name in facts.properties:
                found.append(facts.properties[name].decode())
            elif not complete and not brief:
                absent.append(empty_element(name))
        if complete:
            for name, xml in facts.properties.items():
                if name not in LIVE:
                    found.append(empty_element(name) if asked.names_only else xml.decode())
        return row(href(path, is_dir=facts.kind == "dir"), ((200, "".join(found)), (404, "".join(absent))))

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
    refused = {change.name for change in changes if not _sorted(change, dead, times)}
    if not refused:
        exchange.tree.patch(path, guard, properties=dead, **times)
    names = dict.fromkeys(change.name for change in changes)
    groups = [
        (424 if refused else 200, "".join(empty_element(name) for name in names if name not in refused)),
        (403, "".join(empty_element(name) for name in names if name in refused)),
    ]
    body = multistatus.document([row(href(path, is_dir=facts.kind == "dir"), groups)])
    return Answer(207, [("Content-Type", multistatus.CONTENT_TYPE)], b"".join(body))


def _sorted(change: Change, dead: dict[str, bytes | None], times: dict[str, int]) -> bool:
    """Put a change where it belongs; False for what nobody may set."""
    if change.name in _TAKEN:
        return True
    if change.name in _TIMES:
        when = dates.parse_loosely(change.text) if change.xml is not None else None
        if when is not None:
            times[_TIMES[change.name]] = when
        return when is not None
    if change.name in LIVE:
        return False
    dead[change.name] = change.xml
    return True
