"""Dates as HTTP and WebDAV write them (RFC 9110, 5.6.7; RFC 3339), and as nanoseconds.

Whole seconds are rounded down, as clients do. A date that is none is None, never an error: RFC 9110 has such headers ignored.
"""

import re
from calendar import timegm
from datetime import UTC, datetime
from email.utils import parsedate_tz
from functools import lru_cache
from time import gmtime, strptime

SECOND = 10**9
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_NUMBER = re.compile(r"-?\d{1,11}(\.\d{1,9}\d*)?\Z", re.ASCII)
_LOWEST, _HIGHEST = -62135596800, 253402300799  # the years 1 and 9999: what the formats can hold


def _clipped(seconds: int) -> int:
    return min(max(seconds, _LOWEST), _HIGHEST)


@lru_cache(4096)
def http_date(seconds: int) -> str:
    """``Sun, 06 Nov 1994 08:49:37 GMT`` of whole seconds."""
    when = gmtime(_clipped(seconds))
    return (
        f"{_DAYS[when.tm_wday]}, {when.tm_mday:02} {_MONTHS[when.tm_mon - 1]} {when.tm_year:04}"
        f" {when.tm_hour:02}:{when.tm_min:02}:{when.tm_sec:02} GMT"
    )


def modified(at_ns: int) -> str:
    """A time as ``Last-Modified`` has it."""
    return http_date(at_ns // SECOND)


@lru_cache(4096)
def _created(seconds: int) -> str:
    when = gmtime(_clipped(seconds))
    return f"{when.tm_year:04}-{when.tm_mon:02}-{when.tm_mday:02}T{when.tm_hour:02}:{when.tm_min:02}:{when.tm_sec:02}Z"


def created(at_ns: int) -> str:
    """A time as ``creationdate`` has it: ``1997-12-01T17:42:21Z``."""
    return _created(at_ns // SECOND)


def parse(text: str) -> int | None:
    """Seconds since 1970 of a date in one of HTTP's three forms, None for anything else."""
    for form in _FORMS:
        try:
            return timegm(strptime(text.strip(), form))
        except ValueError:
            continue
    return None


def parse_loosely(text: str) -> int | None:
    """Nanoseconds of a time as clients set it: HTTP's forms, RFC 3339, RFC 5322, or seconds with or without a fraction."""
    text = text.strip()[:64]
    if _NUMBER.match(text):
        whole, _, fraction = text.partition(".")
        part = int((fraction + "0" * 9)[:9] or "0")
        return int(whole) * SECOND + (-part if whole.startswith("-") else part)
    seconds = parse(text)
    if seconds is not None:
        return seconds * SECOND
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return _parse_mail(text)
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return timegm(when.utctimetuple()) * SECOND + when.microsecond * 1000


def _parse_mail(text: str) -> int | None:
    """Nanoseconds of a date as mail has it, with a numeric zone, which some clients send."""
    try:
        parts = parsedate_tz(text)
        return None if parts is None else (timegm(parts[:9]) - (parts[9] or 0)) * SECOND
    except (ValueError, OverflowError, TypeError):
        return None
