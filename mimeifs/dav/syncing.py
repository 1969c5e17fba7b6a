"""The report ``sync-collection`` (RFC 6578): what changed in a collection since a client last asked. What a token is:
:mod:`mimeifs.model.syncing`.

Always true: the token at the end of an answer stands for what was told in it and in those before, and for no more; an answer
that ends early, for a limit or because something is gone, ends with a token that goes on.
"""

from collections.abc import Iterator
from time import time_ns

from mimeifs.dav import multistatus
from mimeifs.dav.exchange import Answer, Exchange
from mimeifs.dav.interface import ChangesFound, Facts, Path
from mimeifs.dav.live import Context, text
from mimeifs.dav.naming import followed
from mimeifs.dav.properties import check_names, is_brief, needs_dead, writer
from mimeifs.dav.status import Refusal
from mimeifs.dav.xml_reports import SyncCollection
from mimeifs.errors import UnsupportedError

PAGE = 128
NOT_TRAVERSED = "sync-traversal-supported"
TRUNCATED = "number-of-matches-within-limits"


def sync_collection(exchange: Exchange, report: SyncCollection, path: Path, facts: Facts) -> Answer:
    """What changed, or everything there is."""
    if facts.kind != "dir":
        raise Refusal(403, "only collections can be synchronized", "supported-report")
    check_names(len(report.asked.names or ()))
    pages = _Pages(exchange, report, path)
    first = pages.get(report.token, 0)
    if not first.known:
        raise Refusal(403, "the sync-token is none of this collection, or too old: begin anew without one", "valid-sync-token")
    rows = _rows(pages, first)
    headers = [("Content-Type", multistatus.CONTENT_TYPE), ("Cache-Control", "no-cache")]
    return Answer(207, headers, multistatus.document(rows))


class _Pages:
    """The answers of the tree, a page at a time, as rows."""

    def __init__(self, exchange: Exchange, report: SyncCollection, path: Path) -> None:
        self.limit = report.limit
        self.path = path
        self._tree = exchange.tree
        self._deep = report.deep
        self._dead = needs_dead(report.asked)
        self.context = Context(exchange.tree, time_ns())
        self.context.lead(exchange.path, path)
        self._write = writer(report.asked, (), self.context, is_brief(exchange))

    def get(self, token: str, told: int) -> ChangesFound:
        """The next page, when so many members were told; raises ``Refusal``."""
        limit = PAGE if self.limit is None else min(self.limit - told, PAGE)
        try:
            return self._tree.changes(self.path, token, deep=self._deep, limit=limit, properties=self._dead)
        except UnsupportedError as error:
            raise Refusal(403, str(error), "supported-report") from None

    def row(self, below: Path, facts: Facts | None, *, closed: bool) -> str:
        """A member as it is now."""
        path = (*self.path, *below)
        if facts is None:
            return multistatus.failed(self.context.address(path, is_dir=False), 404)
        if closed and self._deep:
            return multistatus.failed(self.context.address(path, is_dir=True), 403, NOT_TRAVERSED)
        shown = followed(self._tree, path, facts)[1] if facts.kind == "symlink" else facts
        return self._write(shown, path)


def _rows(pages: _Pages, page: ChangesFound) -> Iterator[str]:
    told = 0
    while True:
        for change in page.changes:
            yield pages.row(change.path, change.facts, closed=change.closed)
        told += len(page.changes)
        token = page.token
        if not page.more:
            break
        following = None if told == pages.limit else pages.get(token, told)
        if following is None or not following.known:
            yield multistatus.failed(pages.context.address(pages.path, is_dir=True), 507, TRUNCATED)
            break
        page = following
    yield f"<D:sync-token>{text(token)}</D:sync-token>\n"
