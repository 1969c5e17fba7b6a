"""The access log: whole lines, in files that make way for each other."""

import re
from pathlib import Path
from typing import cast

import pytest

from mimeifs.dav.access_log import OLD, AccessLog, Entry
from mimeifs.dav.exchange import Answer, Body, Call


def test_old_lines_go_in_the_end(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log", most=10)
    for number in range(20):
        log.write(f"line {number}")
    kept = [(tmp_path / name).read_text() for name in ("log", *(f"log.{number}" for number in range(1, OLD + 1)))]
    assert "".join(reversed(kept)).split("\n")[-5:] == ["line 16", "line 17", "line 18", "line 19", ""]
    assert len(list(tmp_path.iterdir())) == OLD + 1


@pytest.mark.parametrize("streamed", [False, True])
def test_a_line_is_in_the_combined_format(tmp_path: Path, streamed: bool) -> None:
    headers = {"user-agent": 'a "quoted"\nname', "referer": "http://here/"}
    call = Call("PUT", "/webdav/a%20b", "HTTP/1.1", headers, cast(Body, None), "https", "127.0.0.1")
    entry = Entry(AccessLog(tmp_path / "log"), call, "192.0.2.7")
    entry.user = "ada"
    answer = entry.written(Answer(201, [], iter((b"abc", b"de")) if streamed else b"abcde"))
    if not isinstance(answer.body, bytes):
        assert b"".join(bytes(piece) for piece in answer.body) == b"abcde"
        answer.close()
    line = (tmp_path / "log").read_text()
    told = re.fullmatch(r'192\.0\.2\.7 - ada \[(.+)\] "PUT /webdav/a%20b HTTP/1\.1" 201 5 "http://here/" "(.*)"\n', line)
    assert told is not None, line
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", told[1])
    assert told[2] == 'a \\"quoted\\"\\x0aname'


@pytest.mark.parametrize("where", ["user", "target", "referer", "user-agent"])
def test_whatever_a_client_says_stays_within_its_quotes(tmp_path: Path, where: str) -> None:
    said = {"user": "ada", "target": "/webdav/a", "referer": "r", "user-agent": "u", where: 'x"\ny\\'}
    call = Call("GET", said["target"], "HTTP/1.1", said, cast(Body, None), "https", "127.0.0.1")
    entry = Entry(AccessLog(tmp_path / "log"), call, "192.0.2.7")
    entry.user = said["user"]
    entry.written(Answer(200, [], b""))
    assert re.sub(r"\[.*\]", "[]", (tmp_path / "log").read_text()) == (
        '192.0.2.7 - {user} [] "GET {target} HTTP/1.1" 200 - "{referer}" "{user-agent}"\n'.format(
            **{**said, where: 'x\\"\\x0ay\\\\'}
        )
    )
