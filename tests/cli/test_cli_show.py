"""How values look."""

import sys
from collections.abc import Iterator

import msgspec
import pytest

from mimeifs.cli import show
from mimeifs.cli.output import Text, jsonable, text_output
from mimeifs.cli.show import Colour, Column, Table


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (10 << 10, "10 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (123 << 30, "123 GiB"),
        (1 << 70, "1024 EiB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert show.size(count) == text


def test_a_name_cannot_speak_to_the_terminal() -> None:
    assert show.name(b"a\x1b[2J\n\xff\tb") == "a\\x1b[2J\\n\\xff\\tb"


def test_an_ordinary_name_stays() -> None:
    assert show.name("Grüße 2026.txt".encode()) == "Grüße 2026.txt"


def test_a_time_no_calendar_has_is_shown_all_the_same() -> None:
    assert show.time(1 << 100) == f"{(1 << 100) // 10**9} s"
    assert show.iso(1 << 100) == ""


def test_iso_times_are_exact() -> None:
    assert show.iso(1_700_000_000_000_000_007) == "2023-11-14T22:13:20.000000007Z"


COLUMNS: tuple[Column[tuple[str, int]], ...] = (
    Column("NAME", lambda row: row[0]),
    Column("N", lambda row: str(row[1]), ">"),
)


def test_a_table_is_aligned() -> None:
    lines = list(Table(COLUMNS, show.plain).lines([("a", 1), ("longer", 100)]))
    assert lines == ["NAME      N", "a         1", "longer  100"]


def test_later_pages_keep_the_widths_and_have_no_heading() -> None:
    table = Table(COLUMNS, show.plain)
    list(table.lines([("longer", 100)]))
    assert list(table.lines([("b", 2)])) == ["b         2"]


class Row(msgspec.Struct):
    name: str


NAMES: tuple[Column[Row], ...] = (Column("NAME", lambda row: row.name), Column("N", lambda _row: "1"))


def test_short_pages_are_laid_out_together(capsys: pytest.CaptureFixture[str]) -> None:
    Text(show.plain).many("rows", iter([[Row("a")], [], [Row("longer")]]), NAMES, "nothing")
    assert capsys.readouterr().out.splitlines() == ["NAME    N", "a       1", "longer  1"]


def test_a_long_list_does_not_wait_for_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    def pages() -> Iterator[list[Row]]:
        yield [Row("a")] * 60
        seen.append(len(capsys.readouterr().out.splitlines()))
        yield [Row("b")]

    seen: list[int] = []
    Text(show.plain).many("rows", pages(), NAMES, "nothing")
    assert seen == [61]


def test_a_wide_cell_is_wide_in_its_own_row_only() -> None:
    wide = "w" * (show.WIDEST + 1)
    lines = list(Table(COLUMNS, show.plain).lines([("a", 1), (wide, 2), ("longer", 100)]))
    assert lines == ["NAME      N", "a         1", f"{wide}    2", "longer  100"]


def test_colours_stand_outside_the_padding() -> None:
    table = Table((Column("A", str, colour=lambda _: Colour.RED), Column("B", str)), show.coloured)
    assert list(table.lines(["x"]))[1] == "\x1b[31mx\x1b[0m  x"


def test_json_keeps_odd_bytes() -> None:
    assert jsonable((b"\xff", None, 1)) == ["\udcff", None, 1]


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    terminal: bool,
    environment: dict[str, str],
    colour: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    text_output(environment).many("rows", [["x"]], (Column("A", str, colour=lambda _: Colour.RED),), "nothing")  # type: ignore[type-var]
    assert ("\x1b[31mx" in capsys.readouterr().out) == colour
