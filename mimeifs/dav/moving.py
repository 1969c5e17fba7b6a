"""MKCOL, DELETE, COPY and MOVE (RFC 4918, sections 9.3 to 9.9): each is one change of the tree, whole or not at all."""

from mimeifs.dav import naming, preconditions
from mimeifs.dav.exchange import Answer, Exchange, href
from mimeifs.dav.interface import Facts, Guard, Path
from mimeifs.dav.reading import missing
from mimeifs.dav.readonly import allowed, refuse_unless_writable
from mimeifs.dav.small_headers import Depth, depth, overwrite
from mimeifs.dav.status import Refusal
from mimeifs.dav.stepwise import GONE_S, is_stepwise
from mimeifs.errors import ExistsError, NotADirError, NotFoundError


def mkcol(exchange: Exchange) -> Answer:
    """Make a collection; ``@label`` beside ``@cur`` takes a version of that name."""
    if exchange.body.size != 0:
        exchange.body.whole(1 << 20)
        raise Refusal(415, "MKCOL takes no body")
    path, facts = naming.to_create(exchange.tree, exchange.path)
    if facts is not None:
        raise Refusal(405, f"{href(path, is_dir=False)} is there already", headers=(("Allow", allowed(facts)),))
    guard = preconditions.guard(exchange, path, facts)
    try:
        exchange.tree.mkdir(path, guard)
    except (NotFoundError, NotADirError):
        raise _no_parent(path) from None
    except ExistsError as error:
        raise Refusal(405, str(error), headers=(("Allow", allowed(None)),)) from None
    return Answer(201)


def delete(exchange: Exchange) -> Answer:
    """Take a resource away with all below it; a label goes, its version stays."""
    if depth(exchange.header("depth"), Depth.INFINITY, (Depth.INFINITY, Depth.ZERO, Depth.ONE)) is not Depth.INFINITY:
        raise Refusal(400, "a collection is deleted with all that is in it: Depth is infinity")
    path, facts = _there(exchange)
    guard = preconditions.guard(exchange, path, facts)
    exchange.tree.remove(path, guard, hold_s=GONE_S if is_stepwise(exchange) else 0)
    return Answer(204)


def copy(exchange: Exchange) -> Answer:
    """Copy a resource; out of a version it is a restore."""
    shallow = depth(exchange.header("depth"), Depth.INFINITY, (Depth.ZERO, Depth.INFINITY)) is Depth.ZERO
    path, _, target, guard = _two_places(exchange)
    may_replace = overwrite(exchange.header("overwrite"))
    try:
        replaced = exchange.tree.copy(path, target, guard, overwrite=may_replace, shallow=shallow)
    except (ExistsError, NotFoundError, NotADirError) as error:
        raise _misplaced(error, target) from None
    return _placed(target, replaced=replaced)


def move(exchange: Exchange) -> Answer:
    """Rename a resource, locks and all."""
    depth(exchange.header("depth"), Depth.INFINITY, (Depth.INFINITY,))
    path, _, target, guard = _two_places(exchange)
    may_replace = overwrite(exchange.header("overwrite"))
    try:
        hold_s = GONE_S if is_stepwise(exchange) else 0
        replaced = exchange.tree.move(path, target, guard, overwrite=may_replace, hold_s=hold_s)
    except (ExistsError, NotFoundError, NotADirError) as error:
        raise _misplaced(error, target) from None
    return _placed(target, replaced=replaced)


def _there(exchange: Exchange) -> tuple[Path, Facts]:
    path, facts = naming.find(exchange.tree, exchange.path)
    if facts is None:
        raise missing(exchange.path)
    return path, facts


def _two_places(exchange: Exchange) -> tuple[Path, Facts, Path, Guard]:
    """Where from, and where to, as far as can be judged beforehand."""
    header = exchange.header("destination")
    if header is None:
        raise Refusal(400, "a Destination must say where to")
    path, facts = _there(exchange)
    wanted = exchange.place(header)
    target, there = naming.to_create(exchange.tree, wanted)
    if target == path and wanted == exchange.path:
        raise Refusal(403, "source and destination are the same")
    if facts.kind == "dir" and target[: len(path)] == path and target != path:
        raise Refusal(409, "a collection cannot be put into itself")
    guard = preconditions.guard(exchange, path, facts)
    if there is not None and not overwrite(exchange.header("overwrite")):
        raise Refusal(412, f"{href(target, is_dir=False)} is there already, and Overwrite is F")
    if there is not None and exchange.method == "COPY":
        refuse_unless_writable(there)
    # What was judged is the source's state; a destination is judged by Overwrite, at the moment of the change.
    return path, facts, target, Guard(guard.tokens, guard.user)


def _misplaced(error: Exception, target: Path) -> Exception:
    if isinstance(error, ExistsError):
        return Refusal(412, f"{href(target, is_dir=False)} is there already, and Overwrite is F")
    return _no_parent(target)


def _no_parent(path: Path) -> Refusal:
    return Refusal(409, f"there is no collection {href(path[:-1], is_dir=True)} for it to be in")


def _placed(target: Path, *, replaced: bool) -> Answer:
    return Answer(204) if replaced else Answer(201, [("Location", href(target, is_dir=False))])
