"""What may be asked of a resource (``Allow``), and the answer to whoever wants to change a version."""

from mimeifs.dav.interface import Facts
from mimeifs.dav.status import Refusal

_READ = "OPTIONS, GET, HEAD, PROPFIND, REPORT, COPY"
_CHANGE = "PROPPATCH, MOVE, DELETE, LOCK, UNLOCK, VERSION-CONTROL"


def allowed(facts: Facts | None) -> str:
    """The methods that make sense, as ``Allow`` has them."""
    if facts is None:
        return "OPTIONS, PUT, MKCOL, LOCK"
    if not facts.writable:
        return _READ
    return f"{_READ}, {_CHANGE}" if facts.kind == "dir" else f"{_READ}, PUT, {_CHANGE}"


def refuse_unless_writable(facts: Facts) -> None:
    """Raise ``Refusal`` (405) for what nobody can change."""
    if not facts.writable:
        raise read_only(facts)


def read_only(facts: Facts | None = None) -> Refusal:
    """The refusal itself."""
    message = (
        "Versions never change, and neither do the collections that show them. To go on from an old state, copy it into @cur;"
        " to take a version, make a collection named @ and a label beside @cur."
    )
    return Refusal(405, message, headers=(("Allow", allowed(facts) if facts is not None else _READ),))
