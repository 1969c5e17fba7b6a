"""What can be asked about versions (RFC 3253): the report ``version-tree``, the method VERSION-CONTROL, and why the other
methods of versioning are none here. What a version is: :mod:`mimeifs.dav.versioned`."""

from collections.abc import Iterator
from time import time_ns

from mimeifs.api.tree_requests import State
from mimeifs.dav import multistatus, naming, xml_in
from mimeifs.dav.exchange import Answer, Exchange
from mimeifs.dav.interface import Path, Standing, StatesAt
from mimeifs.dav.live import Context
from mimeifs.dav.properties import check_names, is_brief, needs_dead, writer
from mimeifs.dav.reading import missing
from mimeifs.dav.readonly import refuse_unless_writable
from mimeifs.dav.status import Refusal
from mimeifs.dav.versioned import version_path
from mimeifs.dav.xml_reports import VersionTree
from mimeifs.errors import NotFoundError

_TAKING = "Versions are taken of a whole MiMei: make a collection named @ and a label beside @cur, or use `mimei backup`."
WHY_NOT = {
    "CHECKOUT": "Everything in the present is checked out by changing it; there is nothing else to do.",
    "CHECKIN": _TAKING,
    "UNCHECKOUT": "To go back to a version, copy it out of its collection.",
    "UPDATE": "To go back to a version, copy it out of its collection.",
    "LABEL": _TAKING,
    "MERGE": "Versions are not merged by WebDAV.",
    "MKWORKSPACE": "There are no workspaces; a fork (`mimei fork`) is one.",
    "MKACTIVITY": "There are no activities.",
    "BASELINE-CONTROL": "Every version is one of its whole MiMei.",
}
"""Methods of RFC 3253 that are not allowed, and what to do instead."""


def version_control(exchange: Exchange) -> Answer:
    """VERSION-CONTROL (section 3.5): what a version has is under control already; the rest will be with the next one."""
    body = exchange.body.whole(xml_in.MAX_BODY)
    if body.strip() and len(xml_in.parse(body, "version-control")):
        raise Refusal(403, "a resource cannot be put under the control of another history or workspace")
    path, facts = naming.find(exchange.tree, exchange.path)
    if facts is None:
        raise missing(exchange.path)
    refuse_unless_writable(facts)
    try:
        standing = exchange.tree.standing(path)
    except NotFoundError:
        standing = None
    if standing is None or standing.here is None:
        raise Refusal(409, f"No version has this yet; the next one will. {_TAKING}")
    return Answer(200, [("Cache-Control", "no-cache")])


def version_tree(exchange: Exchange, report: VersionTree, path: Path) -> Answer:
    """Every version of a resource, the oldest first (section 3.7)."""
    check_names(len(report.asked.names or ()))
    dead = needs_dead(report.asked)
    first = exchange.tree.states(path, properties=dead)
    rows = _rows(exchange, report, path, first, dead)
    headers = [("Content-Type", multistatus.CONTENT_TYPE), ("Cache-Control", "no-cache")]
    return Answer(207, headers, multistatus.document(rows))


def _rows(exchange: Exchange, report: VersionTree, path: Path, first: StatesAt, dead: bool) -> Iterator[str]:
    context = Context(exchange.tree, time_ns())
    write = writer(report.asked, (), context, is_brief(exchange))
    before, here = "", None

    def row(state: State, after: str) -> str:
        standing = Standing(first.base, first.inside, state.version, before, after, past=True, same=False, tracked=False)
        context.path = version_path(standing, state.version.name)
        context.stands(standing)
        return write(state.facts, context.path)

    for state in _states(exchange, path, first, dead):
        if here is not None:
            yield row(here, state.version.name)
            before = here.version.name
        here = state
    if here is not None:
        yield row(here, "")


def _states(exchange: Exchange, path: Path, page: StatesAt, dead: bool) -> Iterator[State]:
    while True:
        yield from page.states
        if not page.next:
            return
        page = exchange.tree.states(path, page.next, properties=dead)
