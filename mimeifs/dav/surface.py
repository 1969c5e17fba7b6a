"""The middleware that answers every request below ``/webdav``, in the place of the library's own handlers; and the
library's application around it, which routes, and answers for all addresses outside.

Always true: one request, one answer; an error of the model becomes the status its table says, anything unforeseen a 500
that tells nothing, and both are logged.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wsgidav.dav_provider import DAVProvider
from wsgidav.error_printer import ErrorPrinter
from wsgidav.request_resolver import RequestResolver
from wsgidav.wsgidav_app import WsgiDAVApp

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
from mimeifs.dav.access import Gate
from mimeifs.dav.exchange import Answer, Exchange, Visitor
from mimeifs.dav.interface import Tree
from mimeifs.dav.listening import PREFIX
from mimeifs.dav.litter import LitterTree
from mimeifs.dav.origins import Origins
from mimeifs.dav.preconditions import locked
from mimeifs.dav.readonly import allowed, read_only
from mimeifs.dav.status import Headers, Refusal, line, status_of
from mimeifs.errors import IsADirError, LockHeldError, MimeiError, ReadOnlyError

log = logging.getLogger(__name__)

Handler = Callable[[Exchange], Answer]
Start = Callable[..., Any]


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


class Surface:
    """The middleware."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.next: Callable[..., Iterator[bytes]] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        """See PEP 3333. What is not below the prefix is the library's."""
        start: Start = environ.get("mimeifs.start") or start_response
        entry = access_log.Entry(environ)
        headers = _headers(environ)
        try:
            answer = self._answer(environ, headers, entry)
            if answer is None:
                assert self.next is not None
                return self.next(environ, start_response)
        except Refusal as refusal:
            answer = _refused(refusal)
        except MimeiError as error:
            answer = _refused(_refusal_of(error))
        except Exception:
            log.exception("a request met an unforeseen error")
            answer = _refused(Refusal(500, "an unforeseen error; the server's log says more"))
        entry.status = answer.status
        more = self._site.origins.response(headers)
        return entry.followed(_sent(environ["REQUEST_METHOD"], start, answer, more))

    def _answer(self, environ: dict[str, Any], headers: dict[str, str], entry: access_log.Entry) -> Answer | None:
        method: str = environ["REQUEST_METHOD"]
        target, _, query = environ["mimeifs.target"].partition("?")
        raw = paths.below(PREFIX, target)
        hosts = self._site.origins.admit(method, headers, environ["wsgi.url_scheme"])
        if method == "OPTIONS" and raw is None:
            return options.of_server()
        unknown = "authorization" not in headers
        if method == "OPTIONS" and unknown and ("access-control-request-method" in headers or not self._site.gate.open):
            return self._preflight(headers)
        if raw is None:
            home = target in ("", "/") and method in ("GET", "HEAD")
            return Answer(302, [("Location", PREFIX + "/")]) if home else None
        visitor = self._site.gate.admit(headers, environ["REMOTE_ADDR"], secure=environ["wsgi.url_scheme"] == "https")
        entry.user = visitor.user
        path = paths.decode(raw)
        tree, litter = self._site.tree, self._site.litter
        if litter is not None and litter.apart(path):
            tree = litter
        exchange = Exchange(method, path, raw, query, headers, environ["wsgi.input"], visitor, tree, hosts)
        return _carried_out(exchange, visitor)

    def _preflight(self, headers: dict[str, str]) -> Answer:
        """OPTIONS without the login that is asked for, or of another site's page: only what everybody may know."""
        every = ", ".join(METHODS)
        return Answer(200, [*options.HEADERS, ("Allow", every), *self._site.origins.preflight(headers, every)])


def _carried_out(exchange: Exchange, visitor: Visitor) -> Answer:
    handler = METHODS.get(exchange.method)
    if handler is None:
        facts = exchange.tree.look(exchange.path)
        why = versioning.WHY_NOT.get(exchange.method, f"{exchange.method} is nothing that can be done here")
        raise Refusal(405, why, headers=(("Allow", allowed(facts)),))
    if exchange.method not in READING and not visitor.may_write:
        raise Refusal(403, "without a login one can only look")
    return handler(exchange)


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    found = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    if "CONTENT_TYPE" in environ:
        found["content-type"] = environ["CONTENT_TYPE"]
    return found


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


def _sent(method: str, start: Start, answer: Answer, more: Headers) -> Iterator[bytes]:
    """Begin the answer; its body."""
    headers = [*answer.headers, *more]
    body = answer.body
    bodyless = answer.status in (204, 304)
    if isinstance(body, bytes) and not bodyless and all(name != "Content-Length" for name, _ in headers):
        headers.append(("Content-Length", str(len(body))))
    start(line(answer.status), headers)
    if method == "HEAD" or bodyless:
        close = getattr(body, "close", None)
        if close is not None:
            close()
        return iter(())
    return iter((body,)) if isinstance(body, bytes) else body


class _Provider(DAVProvider):  # type: ignore[misc]
    """What the library needs to route by; it is never asked for a resource."""

    def get_resource_inst(self, path: str, environ: dict[str, Any]) -> None:
        """Nothing: the middleware has answered before."""


def application(site: Site) -> WsgiDAVApp:
    """The library's application with our middleware first in its stack."""
    surface = Surface(site)
    config = {
        "provider_mapping": {PREFIX: _Provider()},
        "middleware_stack": [surface],
        "lock_storage": None,
        "property_manager": None,
        "verbose": 0,
        "logging": {"enable": False},
        "http_authenticator": {"accept_basic": False},
    }
    app = WsgiDAVApp(config)
    surface.next = ErrorPrinter(app, RequestResolver(app, app, app.config), app.config)
    return app
