"""OPTIONS: what this server is, told to everybody, since Windows asks before it has a name to give."""

from mimeifs.dav import naming
from mimeifs.dav.exchange import Answer, Exchange
from mimeifs.dav.live import Context
from mimeifs.dav.readonly import allowed

HEADERS = [("DAV", "1, 2, 3"), ("MS-Author-Via", "DAV"), ("Accept-Ranges", "bytes")]


def options(exchange: Exchange) -> Answer:
    """What can be done with a resource; ``version-control`` where there are versions of it (RFC 3253, 3.8)."""
    path, facts = naming.find(exchange.tree, exchange.path)
    context = Context(exchange.tree, 0)
    context.path = path
    standing = context.standing() if facts is not None and path else None
    classes = "1, 2, 3" if standing is None or standing.here is None else "1, 2, 3, version-control"
    return Answer(200, [("DAV", classes), *HEADERS[1:], ("Allow", allowed(facts))])


def of_server() -> Answer:
    """What this server can do at all."""
    return Answer(200, [*HEADERS, ("Allow", "OPTIONS, GET, HEAD, PROPFIND")])
