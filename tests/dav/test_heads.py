"""Heads of HTTP, by the tables of RFC 9112."""

import pytest

from mimeifs.dav.heads import MAX_CHUNK_LINE, SMALL_BODY, Head, answer, is_there, parse
from mimeifs.dav.status import Refusal

GET = b"GET /a?b HTTP/1.1\r\nHost: h\r\n"


def test_a_head() -> None:
    head = parse(b"PUT /\xc3\xbc HTTP/1.1\r\nHOST: h\r\nX-a:  b c \t\r\nIf: (<a>)\r\nif: (<b>)\r\nContent-Length: 5\r\n\r\n")
    fields = {"host": "h", "x-a": "b c", "if": "(<a>), (<b>)", "content-length": "5"}
    assert head == Head("PUT", "/\xc3\xbc", "HTTP/1.1", fields, 5, stays=True)
    assert parse(b"GET / HTTP/1.0\r\n\r\n").fields == {}


def test_the_same_lines_are_judged_by_the_protocol_they_come_with() -> None:
    chunks = b"Host: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(2):
        assert parse(b"GET / HTTP/1.0\r\nX: y\r\n\r\n").fields == {"x": "y"}
        with pytest.raises(Refusal):
            parse(b"GET / HTTP/1.1\r\nX: y\r\n\r\n")
        assert parse(b"PUT / HTTP/1.1\r\n" + chunks).size is None
        with pytest.raises(Refusal):
            parse(b"PUT / HTTP/1.0\r\n" + chunks)


def test_a_whole_address_says_the_host() -> None:
    head = parse(b"GET http://there:1/a?b HTTP/1.1\r\nHost: here\r\n\r\n")
    assert (head.target, head.fields) == ("/a?b", {"host": "there:1"})
    assert parse(b"OPTIONS HTTPS://there HTTP/1.1\r\nHost: here\r\n\r\n").target == "/"
    assert parse(GET + b"\r\n").fields == {"host": "h"}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.2\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET http://h/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET http://a@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /#a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (GET + b"Host: h\r\n\r\n", 400),
        (GET + b" a: b\r\n\r\n", 400),
        (GET + b"a : b\r\n\r\n", 400),
        (GET + b"a: b\nc: d\r\n\r\n", 400),
        (GET + b"Content-Length: -1\r\n\r\n", 400),
        (GET + b"Content-Length: 1, 1\r\n\r\n", 400),
        (GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (GET + b"Expect: 200-ok\r\n\r\n", 417),
    ],
)
def test_what_is_no_head(data: bytes, status: int) -> None:
    for _ in range(2):  # A second time, because what was read once is remembered.
        with pytest.raises(Refusal) as refused:
            parse(data)
        assert refused.value.status == status


@pytest.mark.parametrize(
    ("protocol", "said", "stays"),
    [("1.1", "", True), ("1.1", "Close", False), ("1.1", "TE, close", False), ("1.0", "", False), ("1.0", "Keep-Alive", True)],
)
def test_whether_a_connection_stays(protocol: str, said: str, stays: bool) -> None:
    assert parse(f"GET / HTTP/{protocol}\r\nHost: h\r\nConnection: {said}\r\n\r\n".encode()).stays is stays


@pytest.mark.parametrize(
    ("fields", "body", "there"),
    [
        (b"", b"", True),
        (b"Content-Length: 3\r\n", b"ab", False),
        (b"Content-Length: 3\r\n", b"abcGET", True),
        (b"Content-Length: %d\r\n" % (SMALL_BODY + 1), b"", True),
        (b"Content-Length: 3\r\nExpect: 100-continue\r\n", b"", True),
        (b"Transfer-Encoding: chunked\r\n", b"", False),
        (b"Transfer-Encoding: chunked\r\n", b"3", False),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nab", False),
        (b"Transfer-Encoding: chunked\r\n", b"4\r\n\r\n\r\n\r\n", False),
        (b"Transfer-Encoding: chunked\r\n", b"3;x=y\r\nabc\r\n0\r\n\r\n", True),
        (b"Transfer-Encoding: chunked\r\n", b"0\r\nA: b\r\n", False),
        (b"Transfer-Encoding: chunked\r\n", b"0\r\nA: b\r\n\r\nGE", True),
        (b"Transfer-Encoding: chunked\r\n", b"x\r\n", True),
        (b"Transfer-Encoding: chunked\r\n", b"0" * (MAX_CHUNK_LINE + 1), True),
        (b"Transfer-Encoding: chunked\r\n", b"f0000\r\n" + bytes(SMALL_BODY), True),
    ],
)
def test_whether_more_of_a_body_is_to_be_waited_for(fields: bytes, body: bytes, there: bool) -> None:
    head = parse(GET + fields + b"\r\n")
    assert is_there(head, b"before" + body, 6) is there


def test_the_head_of_an_answer() -> None:
    lines = answer(207, [("A", "b"), ("C", "d")], last=True).split(b"\r\n")
    assert lines[:4] == [b"HTTP/1.1 207 Multi-Status", b"A: b", b"C: d", b"Connection: close"]
    assert lines[-2:] == [b"", b""]


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\nb", "a\r\n"])
def test_no_value_begins_another_header(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        answer(200, [("A", value)], last=False)
