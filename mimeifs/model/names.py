"""What may follow ``@``: the names of versions, and which labels people may give.

What this is not: looking anything up. A name is parsed into what it asks for; the model finds it. The local time zone
comes in as a function, so that nothing here reads the environment.

Always true: a text has one reading (tried as: reserved word, number, time, label), and no label that
:func:`check_label` lets through reads as anything else.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from mimeifs.errors import InvalidError

MAX_LABEL = 250  # bytes; '@' and a fork's suffix still fit in a file name of 255
_SHOWN = 64  # characters of what is too long, in messages
MAX_NUMBER = (1 << 63) - 1
RELEASE: Final = "release"


class WallTime(NamedTuple):
    """What a clock on the wall shows: no zone, no fraction. Always a real date and time."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int


LocalToNs = Callable[[WallTime], int]  # nanoseconds since the epoch; the earlier one where a clock shows a time twice


@dataclass(frozen=True, slots=True)
class Cur:
    """The writable present."""


@dataclass(frozen=True, slots=True)
class Last:
    """The newest version."""


@dataclass(frozen=True, slots=True)
class Release:
    """The published version."""


@dataclass(frozen=True, slots=True)
class All:
    """The directory of every version by number."""


@dataclass(frozen=True, slots=True)
class History:
    """The directory of the distinct versions of one path."""


@dataclass(frozen=True, slots=True)
class Number:
    """The version of this number; after a fork, the one with the lower digest."""

    number: int


@dataclass(frozen=True, slots=True)
class NumberFork:
    """Of the versions that share a number, the one whose RecordId begins with these lower-case hex digits."""

    number: int
    prefix: str


@dataclass(frozen=True, slots=True)
class Moment:
    """The version that was newest at this time (a version of exactly this time counts)."""

    time_ns: int


@dataclass(frozen=True, slots=True)
class Label:
    """The version somebody gave this label."""

    text: str


VersionName = Cur | Last | Release | All | History | Number | NumberFork | Moment | Label

_WORDS: dict[str, VersionName] = {"cur": Cur(), "last": Last(), RELEASE: Release(), "all": All(), "history": History()}
_NUMBER = re.compile(r"([0-9]{1,19})(?:~([0-9a-f]{1,64}))?")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[Tt ]([0-9]{2})[:.]([0-9]{2})(?:[:.]([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?([Zz]?)"
)
_GMT = re.compile(r"GMT-([0-9]{4})\.([0-9]{2})\.([0-9]{2})-([0-9]{2})\.([0-9]{2})\.([0-9]{2})")
_GMT_LIKE = "gmt-"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000
_REST = _SECOND - 1
"""A version is named by the second it was taken in: everything of that second had happened."""


def parse_version_name(text: str, local_to_ns: LocalToNs) -> VersionName:
    """What the text after ``@`` asks for; ``InvalidError`` when it can name nothing.

    A time may stop at the day or the minute, and means the first instant of what it shows: a bare date is its midnight. One to
    the second means the last instant of it, since lists show when a version was taken to the second.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] in set("0123456789"):
        return _parse_time(text, local_to_ns) if "-" in text else _parse_number(text)
    if text[:4].lower() == _GMT_LIKE:
        match = _GMT.fullmatch(text)
        if match is None:
            raise InvalidError(f"not a time: {text!r} (expected GMT-YYYY.MM.DD-HH.MM.SS)")
        return Moment(utc_to_ns(_wall_time(text, match.groups())) + _REST)
    check_label(text)
    return Label(text)


def show_gmt(time_ns: int) -> str:
    """The moment as Samba and Windows name a previous version, to the second, without the ``@``."""
    return (_EPOCH + timedelta(seconds=time_ns // _SECOND)).strftime("GMT-%Y.%m.%d-%H.%M.%S")


def _parse_number(text: str) -> Number | NumberFork:
    match = _NUMBER.fullmatch(text)
    # One number, one spelling: a directory must not appear under @7 and @07.
    if match is None or text[0] == "0" or int(match[1]) > MAX_NUMBER:
        raise InvalidError(
            f"not a version number: {text!r} (expected 1, 2, 3... or, after a fork, 13~ab3f; labels do not start with a digit)"
        )
    number, prefix = int(match[1]), match[2]
    return Number(number) if prefix is None else NumberFork(number, prefix)


def _parse_time(text: str, local_to_ns: LocalToNs) -> Moment:
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidError(
            f"not a time: {text!r} (expected 2026-11-20, 2026-11-20T18:00 or 2026-11-20T18:00:30, with Z at the end for UTC)"
        )
    wall = _wall_time(text, match.groups()[:6])
    to_ns = utc_to_ns if match[8] else local_to_ns
    try:
        start_ns = to_ns(wall)
    except (OverflowError, ValueError) as error:
        raise InvalidError(f"no such local time: {text!r}") from error
    if match[7]:
        return Moment(start_ns + int(match[7].ljust(9, "0")))
    return Moment(start_ns + _REST if match[6] else start_ns)


def _wall_time(text: str, fields: tuple[str | None, ...]) -> WallTime:
    wall = WallTime(*(int(field or 0) for field in fields))
    try:
        datetime(*wall, tzinfo=UTC)
    except ValueError as error:
        raise InvalidError(f"no such time: {text!r} ({error})") from error
    return wall


def utc_to_ns(wall: WallTime) -> int:
    """The instant at which a clock in UTC shows this."""
    return (datetime(*wall, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1) * _SECOND


# Characters no label holds. The set is fixed, not Unicode's of the day: signed labels must stay valid.
_CONTROLS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
_INVISIBLE = frozenset(map(chr, (*range(0x200E, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)))


def check_label(text: str) -> None:
    """Return if people may give this label to a version; ``InvalidError`` says what is wrong with it otherwise."""
    reason = _fault(text)
    if reason is not None:
        shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
        raise InvalidError(f"not a label: {shown!r} ({reason})")


def _fault(text: str) -> str | None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    if not 1 <= size <= MAX_LABEL:
        return "it is empty" if not size else f"it has {size} bytes, at most {MAX_LABEL} fit"
    if text[0] in set("0123456789"):
        return "labels do not start with a digit; those are version numbers and times"
    if text[0] == "." or text != text.strip(" "):
        return "labels do not start with '.', or start or end with a space"
    if "/" in text or "~" in text:
        return "labels contain no '/' and no '~'"
    if not _CONTROLS.isdisjoint(text) or not _INVISIBLE.isdisjoint(text):
        return "labels contain no control characters"
    # Blind to case, because @Last beside @last misleads, and some clients cannot tell them apart.
    if text.lower() in _WORDS or text[:4].lower() == _GMT_LIKE:
        return "that is a reserved name"
    return None


def show_number(number: int, prefix: str = "") -> str:
    """How a version's number is written after ``@``, with the hex digits that tell it from its namesakes if there are
    any."""
    return f"{number}~{prefix}" if prefix else str(number)
