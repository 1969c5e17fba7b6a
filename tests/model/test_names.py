"""What may follow ``@``, in tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimeifs.errors import InvalidError
from mimeifs.model.names import (
    MAX_LABEL,
    All,
    Cur,
    History,
    Label,
    Last,
    Moment,
    Number,
    NumberFork,
    Release,
    VersionName,
    WallTime,
    check_label,
    parse_version_name,
    show_gmt,
    show_number,
    utc_to_ns,
)

SECOND = 10**9
HOUR = 3600 * SECOND
DAY = 1_795_132_800 * SECOND  # 2026-11-20T00:00:00Z, by date -u


def local(wall: WallTime) -> int:
    """A zone one hour east of Greenwich."""
    return utc_to_ns(wall) - HOUR


NAMES: list[tuple[str, VersionName]] = [
    ("cur", Cur()),
    ("last", Last()),
    ("release", Release()),
    ("all", All()),
    ("history", History()),
    ("1", Number(1)),
    ("2026", Number(2026)),
    ("20261120", Number(20261120)),
    ("9223372036854775807", Number(2**63 - 1)),
    ("13~ab3f", NumberFork(13, "ab3f")),
    ("13~0", NumberFork(13, "0")),
    ("13~" + "f" * 64, NumberFork(13, "f" * 64)),
    ("2026-11-20", Moment(DAY - HOUR)),
    ("2026-11-20Z", Moment(DAY)),
    ("2026-11-20T18:00", Moment(DAY + 17 * HOUR)),
    ("2026-11-20T18.00", Moment(DAY + 17 * HOUR)),
    ("2026-11-20 18:00", Moment(DAY + 17 * HOUR)),
    ("2026-11-20t18:00z", Moment(DAY + 18 * HOUR)),
    ("2026-11-20T18:00:05", Moment(DAY + 17 * HOUR + 6 * SECOND - 1)),
    ("2026-11-20T18.00.05Z", Moment(DAY + 18 * HOUR + 6 * SECOND - 1)),
    ("2026-11-20T18:00:05.25Z", Moment(DAY + 18 * HOUR + 5 * SECOND + 250_000_000)),
    ("2026-11-20T18.00.05.000000001Z", Moment(DAY + 18 * HOUR + 5 * SECOND + 1)),
    ("2026-11-20T18:00:05,123456789", Moment(DAY + 17 * HOUR + 5 * SECOND + 123_456_789)),
    ("2024-02-29Z", Moment(1_709_164_800 * SECOND)),
    ("1969-12-31T23:59:59.5Z", Moment(-500_000_000)),
    ("GMT-2026.11.20-18.00.05", Moment(DAY + 18 * HOUR + 6 * SECOND - 1)),
    ("before-move", Label("before-move")),
    ("v1.0", Label("v1.0")),
    ("current", Label("current")),
    ("laster", Label("laster")),
    ("Ünïcode 2026-11-20", Label("Ünïcode 2026-11-20")),
    ("@eaDir", Label("@eaDir")),
    ("-x", Label("-x")),
]

NO_NAMES = [
    "",
    "0",
    "07",
    "9223372036854775808",
    "1" * 5000,
    "1x",
    "1.5",
    "+1~",
    "13~",
    "13~AB",
    "13~xy",
    "13~" + "f" * 65,
    "13~ab~cd",
    "1\n",
    "2026-11",
    "2026-11-20T",
    "2026-11-20T18",
    "2026-11-20T18:0",
    "2026-11-20T18:00:05.",
    "2026-11-20T18:00:05.1234567890",
    "2026-11-20T18:00+01:00",
    "2026-11-20T24:00",
    "2026-11-20T18:60",
    "2026-11-20T18:00:60",
    "2026-13-01",
    "2026-02-29",
    "0000-01-01",
    "26-11-20",
    "2026-11-20\n",
    "2026-11-20ZZ",
    "GMT-2026.11.20",
    "GMT-2026.13.20-18.00.05",
    "gmt-2026.11.20-18.00.05",
    "GMT-2026.11.20-18.00.05\n",
    "GMT-",
    "Last",
    "CUR",
    "a/b",
    "..",
    ".mimei",
    "a~b",
]

NO_LABELS = [
    ("", "empty"),
    ("x" * (MAX_LABEL + 1), "251 bytes"),
    ("ü" * 126, "252 bytes"),
    ("2nd", "digit"),
    ("2026-11-20", "digit"),
    (".", "start with '.'"),
    ("..", "start with '.'"),
    (".hidden", "start with '.'"),
    (" x", "space"),
    ("x ", "space"),
    ("a/b", "no '/'"),
    ("a~b", "no '~'"),
    ("a\nb", "control"),
    ("a\0b", "control"),
    ("a\x7fb", "control"),
    ("a\x9bb", "control"),
    ("a\u202eb", "control"),
    ("\ufeffa", "control"),
    ("\udcff", "UTF-8"),
    ("cur", "reserved"),
    ("last", "reserved"),
    ("release", "reserved"),
    ("Release", "reserved"),
    ("ALL", "reserved"),
    ("history", "reserved"),
    ("GMT-2026.11.20-18.00.05", "reserved"),
    ("gmt-x", "reserved"),
]


@pytest.mark.parametrize(("text", "meaning"), NAMES)
def test_a_name_asks_for(text: str, meaning: VersionName) -> None:
    assert parse_version_name(text, local) == meaning


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_can_name_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_version_name(text, local)


@pytest.mark.parametrize(("text", "reason"), NO_LABELS)
def test_what_is_no_label_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidError, match=reason):
        check_label(text)


@pytest.mark.parametrize("text", ["x", "x" * MAX_LABEL, "ü" * 125, "before move", "New Folder", "日本", "a\\b", "a:b"])
def test_labels_may_be(text: str) -> None:
    check_label(text)


@pytest.mark.parametrize("error", [OverflowError, ValueError])
def test_a_local_time_the_zone_does_not_know_is_refused(error: type[Exception]) -> None:
    def unknown(wall: WallTime) -> int:
        raise error

    with pytest.raises(InvalidError, match="no such local time"):
        parse_version_name("2026-03-29T02:30", unknown)


def test_the_zone_is_asked_for_whole_seconds() -> None:
    asked: list[WallTime] = []
    parse_version_name("2026-11-20T18:00:05.5", lambda wall: asked.append(wall) or 0)  # type: ignore[func-returns-value]
    assert asked == [WallTime(2026, 11, 20, 18, 0, 5)]


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_version_name(text, local)
    except InvalidError:
        return


@given(st.text(min_size=1, max_size=20))
def test_every_label_reads_as_itself(text: str) -> None:
    try:
        check_label(text)
    except InvalidError:
        return
    assert parse_version_name(text, local) == Label(text)


@given(st.integers(1, 2**63 - 1), st.text("0123456789abcdef", max_size=64))
def test_a_shown_number_reads_as_itself(number: int, prefix: str) -> None:
    expected = NumberFork(number, prefix) if prefix else Number(number)
    assert parse_version_name(show_number(number, prefix), local) == expected


@pytest.mark.parametrize("time_ns", [0, DAY + 18 * HOUR + 5 * SECOND, DAY + 18 * HOUR + 6 * SECOND - 1])
def test_a_moment_shown_for_samba_finds_what_was_taken_then(time_ns: int) -> None:
    named = parse_version_name(show_gmt(time_ns), lambda _: 0)
    assert isinstance(named, Moment)
    assert 0 <= named.time_ns - time_ns < SECOND
