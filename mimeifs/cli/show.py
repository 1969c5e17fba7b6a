"""How values look to a person: names, sizes, times, colours, tables.

What this is not: output (``output``). Always true: nothing that comes back can move a terminal's cursor or change its
state, whatever bytes a name or memo holds, but for the colours asked for here.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SECOND = 10**9
WIDEST = 48
"""Characters to which a column of a table grows."""


class Colour(Enum):
    """SGR parameters (ECMA-48)."""

    NONE = ""
    BOLD = "1"
    DIM = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"


Paint = Callable[[str, Colour], str]


def coloured(text: str, colour: Colour) -> str:
    """For a terminal."""
    return f"\x1b[{colour.value}m{text}\x1b[0m" if colour.value and text else text


def plain(text: str, _colour: Colour) -> str:
    """For everything else."""
    return text


def clean(text: str) -> str:
    """The text with all that is not printable as backslash escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def name(raw: bytes) -> str:
    """A file name or path."""
    return clean(os.fsdecode(raw))


def size(count: int) -> str:
    """A size in bytes, to three digits: ``812 B``, ``1.2 KiB``, ``40 MiB``."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit and value < 9.95 else f"{value:.0f} {_UNITS[unit]}"


def time(time_ns: int) -> str:
    """An instant, in local time to the second."""
    try:
        return datetime.fromtimestamp(time_ns // _SECOND, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return f"{time_ns // _SECOND} s"


def iso(time_ns: int) -> str:
    """An instant, in UTC to the nanosecond."""
    try:
        seconds = datetime.fromtimestamp(time_ns // _SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError):
        return ""
    return f"{seconds}.{time_ns % _SECOND:09}Z"


def count(number: int, noun: str) -> str:
    """``1 file``, ``3 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table."""

    heading: str
    cell: Callable[[T], str]
    align: str = "<"
    colour: Callable[[T], Colour] = field(default=lambda _row: Colour.NONE)


class Table(Generic[T]):
    """Lays out rows that come page by page: a width only grows, so that what was printed stays aligned; a cell over
    ``WIDEST`` pushes aside what follows in its own row only."""

    def __init__(self, columns: Sequence[Column[T]], paint: Paint) -> None:
        self._columns = columns
        self._paint = paint
        self._widths = [len(column.heading) for column in columns]
        self._headed = False

    def lines(self, rows: Iterable[T]) -> Iterator[str]:
        """A page as lines, the headings before the first."""
        page = [(row, [column.cell(row) for column in self._columns]) for row in rows]
        for _, cells in page:
            fitting = [len(cell) if len(cell) <= WIDEST else 0 for cell in cells]
            self._widths = [max(width, size) for width, size in zip(self._widths, fitting, strict=True)]
        if page and not self._headed:
            self._headed = True
            yield self._line([column.heading for column in self._columns], [Colour.BOLD] * len(self._columns))
        for row, cells in page:
            yield self._line(cells, [column.colour(row) for column in self._columns])

    def _line(self, cells: list[str], colours: list[Colour]) -> str:
        parts = []
        for place, (cell, column, width, colour) in enumerate(zip(cells, self._columns, self._widths, colours, strict=True)):
            last = place == len(cells) - 1
            padded = cell if last and column.align == "<" else f"{cell:{column.align}{width}}"
            parts.append(self._paint(padded, colour))
        return "  ".join(parts).rstrip()
