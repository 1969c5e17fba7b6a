"""LOCK and UNLOCK (RFC 4918, sections 9.10 and 9.11)."""

from time import time_ns

from mimeifs.dav import naming, preconditions, xml_in
from mimeifs.dav.exchange import Answer, Exchange
from mimeifs.dav.interface import Lock, Path
from mimeifs.dav.live import lock_discovery
from mimeifs.dav.multistatus import CONTENT_TYPE
from mimeifs.dav.reading import missing
from mimeifs.dav.readonly import refuse_unless_writable
from mimeifs.dav.small_headers import Depth, depth, lock_token, timeout
from mimeifs.dav.status import Refusal
from mimeifs.errors import LockHeldError, NotADirError, NotFoundError


def lock(exchange: Exchange) -> Answer:
    """Lock a resource, or refresh a lock; a name that is not there yet is kept with an empty resource."""
    body = exchange.body.whole(xml_in.MAX_BODY)
    path, facts = naming.to_create(exchange.tree, exchange.path)
    if facts is not None:
        refuse_unless_writable(facts)
    seconds = timeout(exchange.header("timeout"))
    if not body.strip():
        return _refresh(exchange, path, seconds)
    wanted = xml_in.lockinfo(body)
    infinite = depth(exchange.header("depth"), Depth.INFINITY, (Depth.ZERO, Depth.INFINITY)) is Depth.INFINITY
    guard = preconditions.guard(exchange, path, facts)
    try:
        made, created = exchange.tree.lock(
            path, guard, owner=wanted.owner, exclusive=wanted.exclusive, infinite=infinite, timeout_s=seconds
        )
    except LockHeldError as error:
        raise Refusal(423, str(error), "no-conflicting-lock") from None
    except (NotFoundError, NotADirError):
        raise Refusal(409, "the collection that it would be in does not exist") from None
    return _told(201 if created else 200, made, [("Lock-Token", f"<{made.token}>")])


def _refresh(exchange: Exchange, path: Path, seconds: int) -> Answer:
    submitted = preconditions.judge_if(exchange, path)
    for held in exchange.tree.locks(path):
        if held.token in submitted and held.user == exchange.visitor.user:
            return _told(200, exchange.tree.refresh(path, held.token, seconds), [])
    raise Refusal(412, "a lock is refreshed by naming its token in the If header", "lock-token-matches-request-uri")


def _told(status: int, made: Lock, headers: list[tuple[str, str]]) -> Answer:
    body = (
        '<?xml version="1.0" encoding="utf-8"?>\n<D:prop xmlns:D="DAV:"><D:lockdiscovery>'
        f"{lock_discovery([made], time_ns())}</D:lockdiscovery></D:prop>\n"
    ).encode()
    return Answer(status, [("Content-Type", CONTENT_TYPE), *headers], body)


def unlock(exchange: Exchange) -> Answer:
    """End a lock."""
    token = lock_token(exchange.header("lock-token"))
    path, facts = naming.find(exchange.tree, exchange.path)
    if facts is None:
        raise missing(exchange.path)
    preconditions.guard(exchange, path, facts)
    held = [one for one in exchange.tree.locks(path) if one.token == token]
    if not held:
        raise Refusal(409, "no such lock covers this resource", "lock-token-matches-request-uri")
    if held[0].user != exchange.visitor.user:
        raise Refusal(403, "the lock is somebody else's")
    exchange.tree.unlock(path, token, exchange.visitor.user)
    return Answer(204)
