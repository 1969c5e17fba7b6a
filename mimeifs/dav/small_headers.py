"""The small headers of WebDAV: Depth, Overwrite, Timeout, Lock-Token (RFC 4918, section 10). Pure; raise ``Refusal`` (400)."""

import re
from enum import Enum

from mimeifs.dav.status import Refusal

DEFAULT_TIMEOUT = 3600
MAX_TIMEOUT = 7 * 24 * 3600
_SECONDS = re.compile(r"Second-(\d{1,10})\Z", re.IGNORECASE | re.ASCII)


class Depth(Enum):
    """How far below a collection a request reaches."""

    ZERO = "0"
    ONE = "1"
    INFINITY = "infinity"


def depth(header: str | None, default: Depth, allowed: tuple[Depth, ...]) -> Depth:
    """The depth asked for."""
    if header is None:
        return default
    for one in allowed:
        if header.strip().lower() == one.value:
            return one
    choice = ", ".join(one.value for one in allowed)
    raise Refusal(400, f"Depth can be {choice} here")


def overwrite(header: str | None) -> bool:
    """Whether what is at the destination may be replaced."""
    value = (header or "T").strip().upper()
    if value not in ("T", "F"):
        raise Refusal(400, "Overwrite is T or F")
    return value == "T"


def timeout(header: str | None) -> int:
    """Seconds that a lock is to last: the first wish that is understood, within bounds."""
    for wish in (header or "").split(",")[:16]:
        if wish.strip().lower() == "infinite":
            return MAX_TIMEOUT
        match = _SECONDS.match(wish.strip())
        if match is not None:
            return min(max(int(match[1]), 1), MAX_TIMEOUT)
    return DEFAULT_TIMEOUT


def lock_token(header: str | None) -> str:
    """The token in ``Lock-Token: <...>``."""
    value = (header or "").strip()
    if len(value) < 3 or value[0] != "<" or value[-1] != ">":
        raise Refusal(400, "Lock-Token must name the lock's token in angle brackets")
    return value[1:-1]
