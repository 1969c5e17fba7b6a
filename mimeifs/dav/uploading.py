"""PUT: received aside, verified, and then put in place at once; whatever goes wrong before that changes nothing."""

from contextlib import suppress

from mimeifs.dav import conditions, dates, live, naming, preconditions
from mimeifs.dav.digests import Digests
from mimeifs.dav.exchange import Answer, Exchange
from mimeifs.dav.interface import Facts, Guard, Path, Staged
from mimeifs.dav.readonly import refuse_unless_writable
from mimeifs.dav.status import Refusal
from mimeifs.dav.stepwise import EMPTY_S, is_stepwise
from mimeifs.errors import MimeiError

SLICE = 512 << 10
"""What an upload holds in memory, in bytes; as much as goes to the node at once."""


def put(exchange: Exchange) -> Answer:
    """Replace or make a file."""
    path, facts = naming.to_create(exchange.tree, exchange.path)
    guard = _admitted(exchange, path, facts)
    digests = Digests(exchange.headers)
    mtime_ns = _mtime(exchange)
    size = _size(exchange)
    staged = exchange.tree.stage(size)
    try:
        _receive(exchange, staged, digests)
        made = staged.commit(path, guard, mtime_ns, EMPTY_S if is_stepwise(exchange) else 0)
    except BaseException:
        staged.discard()
        raise
    checksum = digests.checksum()
    if checksum:
        _keep_checksum(exchange, path, Guard(guard.tokens, guard.user, made.etag), checksum)
    headers = [("ETag", conditions.quoted(made.etag)), ("Last-Modified", dates.modified(made.mtime_ns))]
    if mtime_ns is not None:
        headers.append(("X-OC-MTime", "accepted"))
    if checksum:
        headers.append(("OC-Checksum", checksum))
    headers.append(("OC-ETag", conditions.quoted(made.etag)))
    return Answer(201 if facts is None else 204, headers)


def _keep_checksum(exchange: Exchange, path: Path, guard: Guard, checksum: str) -> None:
    """Keep a verified digest beside the file, with the tag of what it is of: it counts for nothing else."""
    with suppress(MimeiError):  # Whoever changed the file meanwhile has made it worthless.
        exchange.tree.patch(path, guard, properties={live.CHECKSUMS: live.kept_checksum(checksum, guard.etag or "")})


def _admitted(exchange: Exchange, path: Path, facts: Facts | None) -> Guard:
    """Everything that can be refused before a body is read."""
    if exchange.header("content-range") is not None:
        raise Refusal(400, "a part of a file cannot be uploaded: send the whole file")
    if exchange.header("content-encoding") not in (None, "identity"):
        raise Refusal(415, "a file is uploaded as it is, without a Content-Encoding")
    if (facts is not None and facts.kind == "dir") or exchange.ends_in_slash or not path:
        raise Refusal(405, "a collection cannot be uploaded; make it with MKCOL", headers=(("Allow", "OPTIONS, MKCOL"),))
    if facts is None:
        parent = naming.find(exchange.tree, path[:-1])[1]
        if parent is None or parent.kind != "dir":
            raise Refusal(409, "the collection that it would be in does not exist")
        refuse_unless_writable(parent)
    else:
        refuse_unless_writable(facts)
    guard = preconditions.guard(exchange, path, facts)
    preconditions.check_locks(exchange, path, guard)
    return guard


def _mtime(exchange: Exchange) -> int | None:
    header = exchange.header("x-oc-mtime")
    if header is None:
        return None
    mtime_ns = dates.parse_loosely(header)
    if mtime_ns is None:
        raise Refusal(400, "X-OC-Mtime is a number of seconds")
    return mtime_ns


def _size(exchange: Exchange) -> int | None:
    """How much will come; clients that send in chunks may still know (Finder)."""
    if exchange.body.size is not None:
        return exchange.body.size
    expected = exchange.header("x-expected-entity-length") or ""
    return int(expected) if expected.isascii() and expected.isdigit() and len(expected) < 19 else None


def _receive(exchange: Exchange, staged: Staged, digests: Digests) -> None:
    """Hand the body on in slices, received into the memory of one."""
    size = exchange.body.size
    place, there = memoryview(bytearray(SLICE if size is None else min(size, SLICE))), 0
    while count := exchange.body.read_into(place[there:]):
        there += count
        if there == len(place):
            digests.update(place)
            staged.write(place)
            there = 0
    if there:
        digests.update(place[:there])
        staged.write(place[:there])
    digests.check()
