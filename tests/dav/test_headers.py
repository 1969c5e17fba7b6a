"""The pieces of HTTP that need no server, by the tables of their standards."""

import pytest

from mimeifs.dav import conditions, dates, if_header, paths, ranges, small_headers
from mimeifs.dav.conditions import State, Verdict, Wishes
from mimeifs.dav.digests import Digests
from mimeifs.dav.small_headers import Depth
from mimeifs.dav.status import STATUS, Refusal
from mimeifs.errors import MimeiError


def every(kind: type[MimeiError]) -> set[type[MimeiError]]:
    return {kind, *(found for child in kind.__subclasses__() for found in every(child))}


def test_every_error_has_a_status() -> None:
    assert {kind for kind in every(MimeiError) if kind.__module__ == "mimeifs.errors"} == set(STATUS)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("bytes=0-4", [(0, 5)]),
        ("bytes=0-", [(0, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=8-99", [(8, 10)]),
        ("Bytes = 0-0", [(0, 1)]),
        ("bytes=0-0, 9-9", [(0, 1), (9, 10)]),
        ("bytes=10-", []),
        ("bytes=-0", []),
        ("bytes=10-,3-4", [(3, 5)]),
        ("bytes=5-4", None),
        ("bytes=", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("bytes=1-2-3", None),
        ("bytes=٣-", None),
        ("lines=0-4", None),
        ("bytes=" + ",".join(["0-9"] * 3), None),
        ("bytes=" + ",".join(["0-0"] * 65), None),
    ],
)
def test_ranges(header: str, found: list[tuple[int, int]] | None) -> None:
    parts = ranges.parse(header, 10)
    assert (None if parts is None else [(part.start, part.end) for part in parts]) == found


def test_nothing_of_an_empty_file_can_be_had() -> None:
    assert ranges.parse("bytes=0-", 0) == []


@pytest.mark.parametrize(
    ("if_range", "holds"),
    [
        ('"a"', True),
        ('"b"', False),
        ('W/"a"', False),
        ("Thu, 01 Jan 1970 00:00:01 GMT", True),
        ("Thu, 01 Jan 1970 00:00:02 GMT", False),
        ("nonsense", False),
    ],
)
def test_if_range(if_range: str, holds: bool) -> None:
    assert ranges.still_holds(if_range, "a", 1_500_000_000) is holds


def test_a_weak_tag_never_makes_a_range() -> None:
    assert not ranges.still_holds('W/"a"', "W/a", 0)


EPOCH1, EPOCH2 = "Thu, 01 Jan 1970 00:00:01 GMT", "Thu, 01 Jan 1970 00:00:02 GMT"
HERE = State("a", 2_000_000_000)


@pytest.mark.parametrize(
    ("wishes", "state", "safe", "verdict"),
    [
        (Wishes(), HERE, True, Verdict.GO),
        (Wishes(match='"a"'), HERE, False, Verdict.GO),
        (Wishes(match='"b", "a"'), HERE, False, Verdict.GO),
        (Wishes(match='"b"'), HERE, False, Verdict.FAILED),
        (Wishes(match="*"), HERE, False, Verdict.GO),
        (Wishes(match="*"), None, False, Verdict.FAILED),
        (Wishes(match='"a'), HERE, False, Verdict.FAILED),
        (Wishes(match='W/"c"'), State("W/c", 0), False, Verdict.GO),
        (Wishes(match='"c"'), State("W/c", 0), False, Verdict.FAILED),
        (Wishes(none_match="*"), HERE, False, Verdict.FAILED),
        (Wishes(none_match="*"), None, False, Verdict.GO),
        (Wishes(none_match='"a"'), HERE, True, Verdict.NOT_MODIFIED),
        (Wishes(none_match='W/"a"'), HERE, True, Verdict.NOT_MODIFIED),
        (Wishes(none_match='"b"', modified_since=EPOCH2), HERE, True, Verdict.GO),
        (Wishes(modified_since=EPOCH2), HERE, True, Verdict.NOT_MODIFIED),
        (Wishes(modified_since=EPOCH1), HERE, True, Verdict.GO),
        (Wishes(modified_since=EPOCH2), HERE, False, Verdict.GO),
        (Wishes(modified_since="nonsense"), HERE, True, Verdict.GO),
        (Wishes(unmodified_since=EPOCH1), HERE, False, Verdict.FAILED),
        (Wishes(unmodified_since=EPOCH2), HERE, False, Verdict.GO),
        (Wishes(match='"a"', unmodified_since=EPOCH1), HERE, False, Verdict.GO),
    ],
)
def test_conditions(wishes: Wishes, state: State | None, safe: bool, verdict: Verdict) -> None:
    assert conditions.judge(wishes, state, safe=safe) is verdict


# RFC 4918, 10.4.6 to 10.4.11, against a resource /a with the tag "t" and the lock urn:l.
@pytest.mark.parametrize(
    ("header", "holds", "tokens"),
    [
        ('(<urn:l> ["t"])', True, ("urn:l",)),
        ('(<urn:l> ["u"])', False, ("urn:l",)),
        ('(<urn:l> ["u"]) (["t"])', True, ("urn:l",)),
        ("(Not <urn:l>)", False, ()),
        ("(Not <DAV:no-lock>)", True, ()),
        ("(<urn:x>) (Not <DAV:no-lock>)", True, ("urn:x",)),
        ("</b> (<urn:l>)", False, ("urn:l",)),
        ('</a> (<urn:l>) </b> ([W/"t"])', True, ("urn:l",)),
        ('(["t"]   Not<urn:x>)', True, ()),
    ],
)
def test_if(header: str, holds: bool, tokens: tuple[str, ...]) -> None:
    def look(resource: str | None) -> if_header.State:
        here = resource in (None, "/a")
        return if_header.State("t" if here else None, frozenset({"urn:l"} if here else ()))

    lists = if_header.parse(header)
    assert if_header.holds(lists, look) is holds
    assert if_header.tokens(lists) == tokens


@pytest.mark.parametrize(
    "header", ["", "(", "()", "(<a>", "<a>", "(<a>) <b> (<c>)", "([t])", "(Not)", "(<>)", "x", "</a> </b> (<c>)", '(["t)']
)
def test_an_if_that_makes_no_sense(header: str) -> None:
    with pytest.raises(Refusal) as caught:
        if_header.parse(header)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("", ()),
        ("/", ()),
        ("/a/b/", (b"a", b"b")),
        ("//a", (b"a",)),
        ("/%C3%BC", "ü".encode()),
        ("/a%2Eb", b"a.b"),
        ("/%252e", b"%2e"),
        ("/a;v=1", b"a;v=1"),
        ("/a%5Cb", b"a\\b"),
        ("/a%0d%0aX:%20y", b"a\r\nX: y"),
        ("/%FF", b"\xff"),
        ("/\xc3\xbc", "ü".encode()),
    ],
)
def test_paths(raw: str, path: tuple[bytes, ...] | bytes) -> None:
    expected = (path,) if isinstance(path, bytes) else path
    assert paths.decode(raw) == expected
    assert paths.decode(paths.encode(expected)) == expected
    assert paths.encode(expected).isascii()
    assert not any(ord(sign) < 33 for sign in paths.encode(expected))


@pytest.mark.parametrize("raw", ["/..", "/a/%2e%2E", "/.", "/%2e", "/a%2fb", "/a%00", "/%", "/%4", "/%zz", "/%+1"])
def test_paths_that_are_refused(raw: str) -> None:
    with pytest.raises(Refusal) as caught:
        paths.decode(raw)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("header", "outcome"),
    [
        ("http://host:1/webdav/a", (b"a",)),
        ("HTTP://HOST:1/webdav/a%20b", (b"a b",)),
        ("/webdav/a?b;c", (b"a?b;c",)),
        ("http://user@host:1/webdav/a", (b"a",)),
        ("http://other/webdav/a", 502),
        ("http://host:1/elsewhere", 502),
        ("http://host:1/webdavish", 502),
        ("/webdav/../a", 400),
        ("a", 400),
        ("ftp://host:1/webdav/a", 400),
        ("http://[/webdav/a", 400),
        ("http://host:1/webdav/a\nb", 400),
    ],
)
def test_destinations(header: str, outcome: tuple[bytes, ...] | int) -> None:
    try:
        found: tuple[bytes, ...] | int = paths.destination(header, "/webdav", frozenset({"host:1"}))
    except Refusal as refusal:
        found = refusal.status
    assert found == outcome


def test_other_spellings_of_a_name() -> None:
    composed, taken_apart = "ü".encode(), "u\u0308".encode()
    assert set(paths.spellings(composed)) == set(paths.spellings(taken_apart)) == {composed, taken_apart}
    assert list(paths.spellings(b"\xff")) == [b"\xff"]
    assert paths.to_make(taken_apart) == composed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_of_http(text: str, seconds: int | None) -> None:
    assert dates.parse(text) == seconds


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("784111777", 784111777 * 10**9),
        ("784111777.25", 784111777_250_000_000),
        ("-1.5", -1_500_000_000),
        ("1994-11-06T08:49:37Z", 784111777 * 10**9),
        ("1994-11-06T09:49:37+01:00", 784111777 * 10**9),
        ("Sun, 06 Nov 1994 09:49:37 +0100", 784111777 * 10**9),
        ("nonsense", None),
        ("1e9", None),
        ("9" * 40, None),
    ],
)
def test_times_as_clients_set_them(text: str, at_ns: int | None) -> None:
    assert dates.parse_loosely(text) == at_ns


def test_dates_that_formats_cannot_hold_are_the_farthest_there_are() -> None:
    assert dates.modified(1 << 70) == "Fri, 31 Dec 9999 23:59:59 GMT"
    assert dates.created(-(1 << 70)) == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 3600), ("Second-60", 60), ("Infinite, Second-5", 604800), ("Extend, second-5", 5), ("Second-9999999999", 604800)],
)
def test_timeouts(header: str | None, seconds: int) -> None:
    assert small_headers.timeout(header) == seconds


def test_depth_and_overwrite() -> None:
    assert small_headers.depth("Infinity", Depth.ZERO, tuple(Depth)) is Depth.INFINITY
    assert small_headers.depth(None, Depth.ZERO, tuple(Depth)) is Depth.ZERO
    assert (small_headers.overwrite(None), small_headers.overwrite("f")) == (True, False)
    for wrong in (lambda: small_headers.depth("2", Depth.ZERO, tuple(Depth)), lambda: small_headers.overwrite("x")):
        with pytest.raises(Refusal):
            wrong()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
        ("repr-digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:, unknown=:AAAA:"),
        ("content-digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"),
        ("digest", "SHA-256=LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="),
        ("oc-checksum", "SHA1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"),
        ("oc-checksum", "ADLER32:062c0215"),
    ],
)
def test_digests_of_hello(name: str, value: str) -> None:
    right, wrong = Digests({name: value}), Digests({name: value})
    right.update(b"hel")
    right.update(b"lo")
    right.check()
    wrong.update(b"hellO")
    with pytest.raises(Refusal):
        wrong.check()


@pytest.mark.parametrize(
    ("name", "value"),
    [("content-md5", "?"), ("content-md5", "aGVsbG8="), ("repr-digest", "sha-256=x"), ("oc-checksum", "SHA1:zz")],
)
def test_digests_that_make_no_sense(name: str, value: str) -> None:
    with pytest.raises(Refusal) as caught:
        Digests({name: value})
    assert caught.value.status == 400
