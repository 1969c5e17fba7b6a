"""Ranges of bytes (RFC 9110, section 14): which parts of a representation a request asks for. Pure.

A header that makes no sense is ignored, as the standard has it; one that asks only for what is not there is unsatisfiable.
"""

import re
from dataclasses import dataclass

from mimeifs.dav import dates

MAX_RANGES = 64
"""More parts than that in one request are no reader's but an attacker's: the header is ignored."""

_SPEC = re.compile(r"[ \t]*(\d{1,19})?-(\d{1,19})?[ \t]*\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes ``start`` up to, not including, ``end``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.end - self.start

    def header(self, total: int) -> str:
        """The value of ``Content-Range``."""
        return f"bytes {self.start}-{self.end - 1}/{total}"


def parse(header: str, total: int) -> list[Range] | None:
    """The ranges wished for that exist, in the order asked; [] when none of them does, None to ignore the header."""
    unit, equals, rest = header.partition("=")
    specs = rest.split(",")
    if not equals or unit.strip().lower() != "bytes" or len(specs) > MAX_RANGES:
        return None
    found: list[Range] = []
    for spec in specs:
        match = _SPEC.match(spec)
        if match is None or match[1] is None is match[2]:
            return None
        if match[1] is None:
            start, end = max(total - int(match[2]), 0), total
        else:
            start, end = int(match[1]), total if match[2] is None else int(match[2]) + 1
            if end <= start and match[2] is not None:
                return None
        if start < min(end, total):
            found.append(Range(start, min(end, total)))
    return None if _greedy(found, total) else found


def _greedy(found: list[Range], total: int) -> bool:
    """Whether the parts overlap so that more is asked for than there is (RFC 9110, 17.15)."""
    return len(found) > 1 and sum(part.size for part in found) > total


def still_holds(if_range: str, etag: str, modified_ns: int) -> bool:
    """Whether ``If-Range`` names the present state, so that a range of it makes sense: strong comparison, exact date."""
    value = if_range.strip()
    if value.startswith(("W/", '"')):
        return value == f'"{etag}"' and not etag.startswith("W/")
    seconds = dates.parse(value)
    return seconds is not None and seconds == modified_ns // dates.SECOND
