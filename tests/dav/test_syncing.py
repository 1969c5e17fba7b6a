"""Synchronizing collections by RFC 6578, over the tree in memory."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from mimeifs.dav import syncing
from tests.dav.serving import Reply, Serving

D = "{DAV:}"
C = "/webdav/c/"


@pytest.fixture
def filled(served: Serving) -> Serving:
    served.ask("MKCOL", "/webdav/c")
    served.ask("MKCOL", "/webdav/c/d")
    for name in ("a", "b", "d/x"):
        served.ask("PUT", C + name, body=name.encode())
    return served


def ask(served: Serving, token: str, level: str = "1", limit: str = "", prop: str = "<getetag/>", path: str = C) -> Reply:
    bound = f"<limit><nresults>{limit}</nresults></limit>" if limit else ""
    body = f"<sync-token>{token}</sync-token><sync-level>{level}</sync-level>{bound}<prop>{prop}</prop>"
    return served.ask("REPORT", path, body=f'<sync-collection xmlns="DAV:">{body}</sync-collection>'.encode())


def told(reply: Reply) -> tuple[dict[str, int], str]:
    """Each member with its status (200 where it has properties), and the token."""
    assert reply.status == 207, reply.body
    root = ET.fromstring(reply.body)
    assert root[-1].tag == D + "sync-token"
    return dict(rows(root)), root[-1].text


def rows(root: ET.Element) -> Iterator[tuple[str, int]]:
    for row in root.findall(D + "response"):
        status = row.findtext(D + "status") or row.findtext(f"{D}propstat/{D}status")
        yield row.findtext(D + "href"), int(status.split()[1])


def token_of(served: Serving, path: str = C) -> str | None:
    asked = b'<propfind xmlns="DAV:"><prop><sync-token/></prop></propfind>'
    return ET.fromstring(served.ask("PROPFIND", path, {"Depth": "0"}, asked).body).findtext(f".//{D}sync-token") or None


def test_first_everything_then_what_changed(filled: Serving) -> None:
    members, token = told(ask(filled, ""))
    assert members == {C + "a": 200, C + "b": 200, C + "d/": 200}
    assert token == token_of(filled)
    assert told(ask(filled, token)) == ({}, token)
    tag = filled.ask("PUT", C + "new", body=b"1")["ETag"]
    filled.ask("DELETE", C + "b")
    reply = ask(filled, token)
    members, after = told(reply)
    assert members == {C + "new": 200, C + "b": 404}
    assert f"<D:getetag>{tag}</D:getetag>".encode() in reply.body
    assert after == token_of(filled) != token


def test_all_levels(filled: Serving) -> None:
    members, token = told(ask(filled, "", "infinite"))
    assert members == {C + "a": 200, C + "b": 200, C + "d/": 200, C + "d/x": 200}
    filled.ask("PUT", C + "d/x", body=b"2")
    assert told(ask(filled, token, "infinite"))[0] == {C + "d/": 200, C + "d/x": 200}


def test_what_another_mimei_shows_is_not_gone_into(filled: Serving) -> None:
    filled.ask("MKCOL", C + "closed")
    reply = ask(filled, "", "infinite")
    assert told(reply)[0][C + "closed/"] == 403
    assert b"<D:error><D:sync-traversal-supported/></D:error>" in reply.body
    assert told(ask(filled, ""))[0][C + "closed/"] == 200


def test_a_limit_ends_the_answer_with_a_token_that_goes_on(filled: Serving) -> None:
    for number in range(20):
        filled.ask("PUT", f"{C}{number:02}", body=b"")
    seen: list[str] = []
    token = ""
    for _ in range(20):
        reply = ask(filled, token, limit="4")
        members, token = told(reply)
        truncated = members.pop(C, 0) == 507
        assert (b"<D:error><D:number-of-matches-within-limits/></D:error>" in reply.body) is truncated
        assert len(members) <= 4
        seen += members
        if not truncated:
            break
    assert seen == sorted(set(seen))
    assert len(seen) == 23
    assert token == token_of(filled)


def test_long_answers_come_page_by_page(filled: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "PAGE", 1)
    members, token = told(ask(filled, "", "infinite"))
    assert (len(members), token) == (4, token_of(filled))


def test_an_answer_that_cannot_go_on_ends_with_what_was_told(filled: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "PAGE", 2)
    changes = filled.tree.changes

    def once(path, token, **how):
        if token:
            filled.tree.tokens.pop(token, None)
        return changes(path, token, **how)

    monkeypatch.setattr(filled.tree, "changes", once)
    members, token = told(ask(filled, ""))
    assert members == {C + "a": 200, C + "b": 200, C: 507}
    assert b"valid-sync-token" in ask(filled, token).body


def test_what_is_no_token_is_refused(filled: Serving) -> None:
    _, other = told(ask(filled, "", path=C + "d/"))
    for token in ("urn:x", other, "data:,&lt;&gt;"):
        reply = ask(filled, token)
        assert (reply.status, b"<D:valid-sync-token/>" in reply.body) == (403, True), token


def test_a_request_that_makes_no_sense_is_refused(filled: Serving) -> None:
    assert ask(filled, "", "2").status == 400
    for limit in ("0", "-1", "x", "9" * 5000):
        assert ask(filled, "", limit=limit).status == 400
    assert filled.ask("REPORT", C, {"Depth": "1"}, b'<sync-collection xmlns="DAV:"/>').status == 400
    assert (
        filled.ask("REPORT", C, body=b'<sync-collection xmlns="DAV:"><sync-level>1</sync-level></sync-collection>').status
        == 400
    )
    assert ask(filled, "", path=C + "a").status == 403
    assert ask(filled, "", path=C + "none").status == 404


def test_a_token_is_a_state_of_its_collection(filled: Serving) -> None:
    token = token_of(filled)
    header = {"If": f"<{C}> (<{token}>)"}
    assert filled.ask("PUT", C + "a", header, b"first").status == 204
    assert filled.ask("PUT", C + "a", header, b"second").status == 412
    assert filled.ask("PUT", C + "a", {"If": f"<{C}> (Not <{token}>)"}, b"third").status == 204
    assert filled.ask("GET", C + "a").body == b"third"
    assert token_of(filled, C + "a") is None
    assert token_of(filled, "/webdav/") is None
