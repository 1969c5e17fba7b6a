"""The table of errors is complete, and errors cross the wire as themselves."""

import inspect
import re
from pathlib import Path

import pytest

from mimeifs import errors
from mimeifs.api.errors import TABLE, from_wire, row_of
from mimeifs.errors import MimeiError, NotFoundError, PeerError

CLASSES = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MimeiError) and kind is not MimeiError
]
PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_has_a_row(kind: type[MimeiError]) -> None:
    assert kind in TABLE or kind in (errors.UsageError,)


@pytest.mark.parametrize("kind", list(TABLE))
def test_an_error_crosses_the_wire_as_itself(kind: type[MimeiError]) -> None:
    crossed = from_wire(row_of(kind("what it says")).name, "what it says")
    assert (type(crossed), str(crossed)) == (kind, "what it says")


def test_no_two_classes_share_a_name() -> None:
    assert len({row.name for row in TABLE.values()}) == len(TABLE)


def test_a_class_without_a_row_goes_as_its_ancestor() -> None:
    class Finer(NotFoundError):
        pass

    assert row_of(Finer("x")) == TABLE[NotFoundError]


def test_an_unknown_name_is_the_peers_fault() -> None:
    assert isinstance(from_wire("nobody-knows-this", "x"), PeerError)


@pytest.mark.parametrize("row", list(TABLE.values()), ids=lambda row: row.name)
def test_every_row_is_documented(row: tuple[str, int]) -> None:
    lines = [line for line in PAGE.splitlines() if re.search(rf"`{row[0]}`", line)]
    assert [line for line in lines if line.endswith(f"| {row[1]} |")]
