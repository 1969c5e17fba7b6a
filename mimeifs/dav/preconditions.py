"""What must hold before a request is carried out: HTTP's conditions, the ``If`` header, and locks.

All of it is decided before a body is read; what then changes under way is the guard's matter, in the node.
"""

from mimeifs.dav import conditions, if_header
from mimeifs.dav.conditions import Verdict
from mimeifs.dav.exchange import Exchange, href
from mimeifs.dav.interface import Facts, Guard, Path
from mimeifs.dav.naming import find
from mimeifs.dav.status import Refusal
from mimeifs.errors import NotFoundError, UnsupportedError
from mimeifs.model.resource import TOKEN_SCHEME


def wishes(exchange: Exchange) -> conditions.Wishes:
    """The conditions of HTTP in a request."""
    names = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
    return conditions.Wishes(*(exchange.header(name) for name in names))


def state(facts: Facts | None) -> conditions.State | None:
    """What conditions are judged by; an address that is locked and never got bytes exists all the same."""
    return None if facts is None else conditions.State(facts.etag, facts.mtime_ns)


def guard(exchange: Exchange, path: Path, facts: Facts | None) -> Guard:
    """Judge a request that changes something; raises ``Refusal`` (412). The guard holds what was judged by."""
    wished = wishes(exchange)
    if conditions.judge(wished, state(facts), safe=False) is not Verdict.GO:
        raise Refusal(412, "the resource is not in the state that the request asks for")
    submitted = judge_if(exchange, path)
    decided = (facts.etag if facts is not None else "") if wished.any else None
    return Guard(submitted, exchange.visitor.user, decided)


def judge_if(exchange: Exchange, path: Path) -> tuple[str, ...]:
    """The lock tokens that ``If`` submits; raises ``Refusal`` (400, 412)."""
    header = exchange.header("if")
    if header is None:
        return ()
    lists = if_header.parse(header)
    asks_for_token = TOKEN_SCHEME in header

    def look(resource: str | None) -> if_header.State:
        try:
            place = path if resource is None else exchange.place(resource)
        except Refusal as refusal:
            if refusal.status != 502:
                raise
            return if_header.State(None, frozenset())
        at, facts = find(exchange.tree, place)
        held = frozenset(lock.token for lock in exchange.tree.locks(at))
        if asks_for_token and facts is not None and facts.kind == "dir":
            held |= _sync_token(exchange, at)
        return if_header.State(None if facts is None else facts.etag, held)

    if not if_header.holds(lists, look):
        raise Refusal(412, "none of the lists in the If header holds")
    return if_header.tokens(lists)


def _sync_token(exchange: Exchange, path: Path) -> frozenset[str]:
    """The sync-token of a collection, a state token like those of locks (RFC 6578, section 5)."""
    try:
        return frozenset((exchange.tree.sync_token(path),))
    except (NotFoundError, UnsupportedError):
        return frozenset()


def check_locks(exchange: Exchange, path: Path, submitted: Guard) -> None:
    """Raise ``Refusal`` (423) when a lock on ``path`` keeps this visitor out: early, so that no body is sent for nothing."""
    covering = exchange.tree.locks(path)
    if covering and not any(lock.token in submitted.tokens and lock.user == submitted.user for lock in covering):
        raise locked(covering[0].path)


def locked(path: Path) -> Refusal:
    """The answer that names what is locked."""
    where = href(path, is_dir=False)
    return Refusal(423, f"{where} is locked by somebody else", "lock-token-submitted", place=where)
