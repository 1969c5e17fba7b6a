"""OPTIONS: what this server is, told to everybody, since Windows asks before it has a name to give."""

from mimeifs.dav import naming
from mimeifs.dav.exchange import Answer, Exchange
from mimeifs.dav.readonly import allowed

HEADERS = [("DAV", "1, 2, 3"), ("MS-Author-Via", "DAV"), ("Accept-Ranges", "bytes")]


def options(exchange: Exchange) -> Answer:
    """What can be done with a resource."""
    _, facts = naming.find(exchange.tree, exchange.path)
    return Answer(200, [*HEADERS, ("Allow", allowed(facts))])


def of_server() -> Answer:
    """What this server can do at all."""
    return Answer(200, [*HEADERS, ("Allow", "OPTIONS, GET, HEAD, PROPFIND")])
