"""Answers every request: below ``/webdav`` by a handler for each method, elsewhere by the library's application.

Always true: one request, one answer; an error of the model becomes the status its table says, anything unforeseen a 500
that tells nothing, and both are logged.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimeifs.dav import (
    access_log,
    locking,
    moving,
    naming,
    options,
    pages,
    paths,
    properties,
    reading,
    reports,
    uploading,
    versioning,
)
from mimeifs.dav.access import CHALLENGE, Gate
from mimeifs.dav.exchange import Answer, Call, Exchange, Visitor
from mimeifs.dav.interface import Tree
from mimeifs.dav.listening import PREFIX
from mimeifs.dav.litter import LitterTree
from mimeifs.dav.origins import Origins, is_loopback
from mimeifs.dav.preconditions import locked
from mimeifs.dav.readonly import allowed, read_only
from mimeifs.dav.status import Headers, Refusal, status_of
from mimeifs.errors import IsADirError, LockHeldError, MimeiError, ReadOnlyError

if TYPE_CHECKING:
    from mimeifs.dav.outside import Outside

log = logging.getLogger(__name__)

Handler = Callable[[Exchange], Answer]


def get(exchange: Exchange) -> Answer:
    """A file's content, or a collection's page."""
    if not exchange.ends_in_slash and exchange.path and not exchange.query:
        try:
            return reading.get(exchange)
        except IsADirError:
            pass
    path, facts = naming.find(exchange.tree, exchange.path)
    if facts is None:
        raise reading.missing(exchange.path)
    path, facts = naming.followed(exchange.tree, path, facts)
    return pages.page(exchange, path, facts) if facts.kind == "dir" else reading.get(exchange)


METHODS: dict[str, Handler] = {
    "OPTIONS": options.options,
    "GET": get,
    "HEAD": reading.head,
    "PUT": uploading.put,
    "PROPFIND": properties.propfind,
    "PROPPATCH": properties.proppatch,
    "MKCOL": moving.mkcol,
    "DELETE": moving.delete,
    "COPY": moving.copy,
    "MOVE": moving.move,
    "LOCK": locking.lock,
    "UNLOCK": locking.unlock,
    "REPORT": reports.report,
    "VERSION-CONTROL": versioning.version_control,
}
READING = {"OPTIONS", "GET", "HEAD", "PROPFIND", "REPORT"}


@dataclass(frozen=True, slots=True)
class Site:
    """What is served: which tree, to whom, and under which names."""

    tree: Tree
    gate: Gate
    origins: Origins
    litter: LitterTree | None = None
    """Where what desktops leave is kept; None to treat it as any file."""
    log: access_log.AccessLog | None = None


class Surface:
    """Answers every request; may be called from many threads, and raises nothing."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._outside: Outside | None = None

    def __call__(self, call: Call) -> Answer:
        """The answer. What is not below the prefix is the library's."""
        entry = access_log.Entry(self._site.log, call, self._site.origins.client(call.headers, call.address))
        try:
            answer = self._answer(call, entry)
        except Refusal as refusal:
            answer = _refused(refusal)
        except MimeiError as error:
            answer = _refused(_refusal_of(error))
        except Exception:
            log.exception("a request met an unforeseen error")
            answer = _refused(Refusal(500, "an unforeseen error; the server's log says more"))
        more = self._site.origins.response(call.headers)
        return entry.written(_complete(answer, more))

    def _answer(self, call: Call, entry: access_log.Entry) -> Answer:
        method, headers = call.method, call.headers
        target, _, query = call.target.partition("?")
        raw = paths.below(PREFIX, target)
        hosts = self._site.origins.admit(method, headers, call.scheme)
        if method == "OPTIONS" and raw is None:
            return options.of_server()
        unknown = "authorization" not in headers
        if method == "OPTIONS" and unknown and ("access-control-request-method" in headers or not self._site.gate.open):
            return self._preflight(headers)
        if raw is None:
            home = target in ("", "/") and method in ("GET", "HEAD")
            return Answer(302, [("Location", PREFIX + "/")]) if home else self._elsewhere(call)
        secure = call.scheme == "https" or is_loopback(call.address)
        visitor = self._site.gate.admit(headers, entry.address, secure=secure)
        entry.user = visitor.user
        path = paths.decode(raw)
        tree, litter = self._site.tree, self._site.litter
        if litter is not None and litter.apart(path):
            tree = litter
        exchange = Exchange(method, path, raw, query, headers, call.body, visitor, tree, hosts)
        return _carried_out(exchange, visitor)

    def _elsewhere(self, call: Call) -> Answer:
        if self._outside is None:
            from mimeifs.dav.outside import outside  # Here, because next to nobody asks for it.

            self._outside = outside(PREFIX)
        return self._outside(call)

    def _preflight(self, headers: Mapping[str, str]) -> Answer:
        """OPTIONS without the login that is asked for, or of another site's page: only what everybody may know."""
        every = ", ".join(METHODS)
        return Answer(200, [*options.HEADERS, ("Allow", every), *self._site.origins.preflight(headers, every)])


def _carried_out(exchange: Exchange, visitor: Visitor) -> Answer:
    handler = METHODS.get(exchange.method)
    if handler is None:
        _, facts = naming.find(exchange.tree, exchange.path)
        why = versioning.WHY_NOT.get(exchange.method, f"{exchange.method} is nothing that can be done here")
        raise Refusal(405, why, headers=(("Allow", allowed(facts)),))
    if exchange.method not in READING and not visitor.may_write:
        if visitor.user:
            raise Refusal(403, "this app password is good for looking only")
        raise Refusal(401, "without a login one can only look: give a user's name and an app password", headers=CHALLENGE)
    return handler(exchange)


def _refusal_of(error: MimeiError) -> Refusal:
    status = status_of(error)
    if status >= 500 and status != 507:
        log.error("%s", error)
    if isinstance(error, ReadOnlyError):
        return read_only()
    headers = (("Allow", allowed(None)),) if status == 405 else ()
    if isinstance(error, LockHeldError):
        return locked(error.path)
    return Refusal(status, str(error), headers=headers)


def _refused(refusal: Refusal) -> Answer:
    kind, body = refusal.body()
    return Answer(refusal.status, [("Content-Type", kind), *refusal.headers], body)


def _complete(answer: Answer, more: Headers) -> Answer:
    """The answer with all its headers."""
    if isinstance(answer.body, bytes) and answer.has_body and answer.size is None:
        more = (*more, ("Content-Length", str(len(answer.body))))
    return Answer(answer.status, [*answer.headers, *more], answer.body) if more else answer
