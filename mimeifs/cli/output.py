"""Where a command's results go: text for people, or one JSON document for programs.

A command gives values; an :class:`Output` writes them. Always true: the JSON on standard output is one document per
command, whose field names are those of the reply; bytes appear as text with undecodable ones as lone surrogates
(``os.fsdecode``), and each ``..._ns`` has an ISO 8601 companion without the ending.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from mimeifs.cli.show import Colour, Column, Paint, Table, clean, coloured, iso, plain

T = TypeVar("T", bound=msgspec.Struct)
Lines = Callable[[Paint], Iterable[str]]
_IN_MEMORY = 4 << 20
_LAID_OUT = 50


class Output(Protocol):
    """Takes the results of one command."""

    def one(self, value: msgspec.Struct, lines: Lines) -> None:
        """A single result, and how to tell it to a person."""
        ...

    def many(self, field: str, pages: Iterable[Sequence[T]], columns: Sequence[Column[T]], empty: str) -> None:
        """A list by pages, the field that holds it, its columns, and what to say when there is nothing."""
        ...

    def note(self, text: str) -> None:
        """Something worth knowing beside the result."""
        ...


class Text:
    """For people."""

    def __init__(self, paint: Paint) -> None:
        self._paint = paint

    def one(self, value: msgspec.Struct, lines: Lines) -> None:
        """See ``Output``."""
        for line in lines(self._paint):
            print(line)

    def many(self, field: str, pages: Iterable[Sequence[T]], columns: Sequence[Column[T]], empty: str) -> None:
        """See ``Output``."""
        table, any_row = Table(columns, self._paint), False
        for page in _begun(iter(pages)):
            any_row = any_row or bool(page)
            for line in table.lines(page):
                print(line)
        if not any_row:
            print(empty, file=sys.stderr)

    def note(self, text: str) -> None:
        """See ``Output``."""
        print(clean(text), file=sys.stderr)


def _begun(pages: Iterator[Sequence[T]]) -> Iterator[Sequence[T]]:
    """The pages, of which the first has the rows that the widths of a table are taken from, however few come at once."""
    first: list[T] = []
    for page in pages:
        first += page
        if len(first) >= _LAID_OUT:
            break
    yield first
    yield from pages


class Json:
    """For programs."""

    def one(self, value: msgspec.Struct, lines: Lines) -> None:
        """See ``Output``."""
        print(json.dumps(jsonable(value)))

    def many(self, field: str, pages: Iterable[Sequence[T]], columns: Sequence[Column[T]], empty: str) -> None:
        """See ``Output``."""
        # Written when the last page is there: half a document, where a later page fails, is of no use.
        with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="ascii") as whole:
            separator = ""
            for page in pages:
                for row in page:
                    whole.write(separator + json.dumps(jsonable(row)))
                    separator = ",\n"
            whole.seek(0)
            print(f"{{{json.dumps(field)}: [", end="")
            shutil.copyfileobj(whole, sys.stdout)
            print("]}")

    def note(self, text: str) -> None:
        """See ``Output``: a program has no use for it."""


def jsonable(value: Any) -> Any:
    """A reply as what ``json`` takes."""
    if isinstance(value, msgspec.Struct):
        return dict(_fields(value))
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, tuple | list):
        return [jsonable(item) for item in value]
    return value


def _fields(value: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    for name in value.__struct_fields__:
        found = getattr(value, name)
        yield name, jsonable(found)
        if name.endswith("_ns") and isinstance(found, int):
            yield name.removesuffix("_ns"), iso(found)


def text_output(environment: dict[str, str]) -> Text:
    """Text, coloured where a terminal shows it and nobody asked for none (https://no-color.org)."""
    wanted = sys.stdout.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return Text(coloured if wanted else plain)


__all__ = ["Colour", "Json", "Lines", "Output", "Text", "jsonable", "text_output"]
