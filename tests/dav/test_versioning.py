"""Versions by RFC 3253, over the tree in memory."""

import re
import xml.etree.ElementTree as ET

import pytest

from mimeifs.dav import timeline
from mimeifs.dav.interface import Guard, Path, VersionsAt
from mimeifs.dav.versioning import WHY_NOT
from tests.dav.serving import Reply, Serving, statuses

CUR, ONE = "/webdav/m/@cur/f", "/webdav/m/@1/f"
D = "{DAV:}"


@pytest.fixture
def past(served: Serving) -> Serving:
    """``f`` in five versions, of which the third changed nothing in it, and ``d`` with a file."""
    served.tree.mkdir((b"m",), Guard())
    served.tree.mkdir((b"m", b"@cur"), Guard())
    served.tree.mkdir((b"m", b"@cur", b"d"), Guard())
    served.tree.replace((b"m", b"@cur", b"d", b"x"), Guard(), b"x", None)
    for number, data in enumerate((b"1", b"22", b"22", b"333", b"4444"), 1):
        served.tree.replace((b"m", b"@cur", b"f"), Guard(), data, number * 10**9)
        served.tree.mkdir((b"m", b"@%d" % number), Guard())
    return served


def ask(served: Serving, path: str, body: str, **headers: str) -> Reply:
    return served.ask("REPORT", path, headers, body.encode())


def tree(*names: str) -> str:
    return f'<version-tree xmlns="DAV:"><prop>{"".join(f"<{name}/>" for name in names)}</prop></version-tree>'


def find(served: Serving, path: str, *names: str) -> ET.Element:
    """The properties of a resource that are there."""
    body = f'<propfind xmlns="DAV:"><prop>{"".join(f"<{name}/>" for name in names)}</prop></propfind>'
    reply = served.ask("PROPFIND", path, {"Depth": "0"}, body.encode())
    return found(ET.fromstring(reply.body)[0])


def found(response: ET.Element) -> ET.Element:
    for stat in response.findall(D + "propstat"):
        if " 200 " in stat.findtext(D + "status", ""):
            return stat.find(D + "prop")
    return ET.Element("none")


def hrefs(element: ET.Element | None) -> list[str]:
    return [] if element is None else [each.text for each in element.iter(D + "href")]


def test_the_tree_of_versions_has_each_state_once_and_links_them(past: Serving) -> None:
    names = ("version-name", "predecessor-set", "successor-set", "getcontentlength", "getetag", "creator-displayname", "nope")
    reply = ask(past, CUR, tree(*names))
    assert reply.status == 207
    rows = ET.fromstring(reply.body)
    addresses = [f"/webdav/m/@{number}/f" for number in (1, 2, 4, 5)]
    assert [row.findtext(D + "href") for row in rows] == addresses
    props = [found(row) for row in rows]
    assert [prop.findtext(D + "version-name") for prop in props] == ["1", "2", "4", "5"]
    assert [prop.findtext(D + "getcontentlength") for prop in props] == ["1", "2", "3", "4"]
    assert [hrefs(prop.find(D + "successor-set")) for prop in props] == [[one] for one in addresses[1:]] + [[]]
    assert [hrefs(prop.find(D + "predecessor-set")) for prop in props] == [[]] + [[one] for one in addresses[:-1]]
    for address in addresses:
        assert past.ask("GET", address)["Cache-Control"].endswith("immutable")
    assert b"<D:nope/></D:prop><D:status>HTTP/1.1 404" in reply.body


@pytest.mark.parametrize(("most", "older"), [(3, True), (5, False), (9, False)])
def test_a_timeline_has_as_many_versions_however_few_come_at_once(
    past: Serving, most: int, older: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "SHOWN", most)
    whole = past.tree.versions((b"m", b"@cur"))

    def one_by_one(path: Path, after: bytes = b"") -> VersionsAt:
        at = int(after or b"0")
        following = b"%d" % (at + 1) if at + 1 < len(whole.versions) else b""
        return VersionsAt(whole.mimei, whole.base, whole.inside, whole.versions[at : at + 1], following)

    monkeypatch.setattr(past.tree, "versions", one_by_one)
    found = timeline.find(past.tree, (b"m", b"@cur"))
    assert found is not None
    assert (found.versions, found.older) == (whole.versions[:most], older)
    page = past.ask("GET", "/webdav/m/@cur/").body
    assert (b'href="/webdav/m/@all/"' in page) is older


def test_a_collection_has_versions_too(past: Serving) -> None:
    past.tree.replace((b"m", b"@cur", b"d", b"x"), Guard(), b"y", None)
    past.tree.mkdir((b"m", b"@6"), Guard())
    rows = ET.fromstring(ask(past, "/webdav/m/@cur/d/", tree("version-name")).body)
    assert [row.findtext(D + "href") for row in rows] == ["/webdav/m/@1/d/", "/webdav/m/@6/d/"]


def test_a_version_tells_the_same_when_it_is_asked_itself(past: Serving) -> None:
    prop = find(past, "/webdav/m/@3/f", "version-name", "predecessor-set", "successor-set", "checked-in", "auto-version")
    assert prop.findtext(D + "version-name") == "2", "the third has what the second had first"
    assert (hrefs(prop.find(D + "predecessor-set")), hrefs(prop.find(D + "successor-set"))) == ([ONE], ["/webdav/m/@4/f"])
    assert prop.find(D + "checked-in") is None
    assert prop.find(D + "auto-version") is None


def test_the_present_is_checked_in_until_it_is_changed(past: Serving) -> None:
    names = ("checked-in", "checked-out", "auto-version", "predecessor-set", "version-name")
    prop = find(past, CUR, *names)
    assert hrefs(prop.find(D + "checked-in")) == ["/webdav/m/@5/f"]
    assert [child.tag for child in prop] == [D + "checked-in", D + "auto-version"]
    assert prop.find(D + "auto-version")[0].tag == D + "checkout"
    past.ask("PUT", CUR, body=b"changed")
    prop = find(past, CUR, *names)
    assert hrefs(prop.find(D + "checked-out")) == hrefs(prop.find(D + "predecessor-set")) == ["/webdav/m/@5/f"]
    assert prop.find(D + "checked-in") is None


def test_version_control_of_what_is_under_control_is_nothing(past: Serving) -> None:
    for body in (None, b'<version-control xmlns="DAV:"/>'):
        reply = past.ask("VERSION-CONTROL", CUR, body=body)
        assert (reply.status, reply["Cache-Control"]) == (200, "no-cache")
    past.ask("PUT", "/webdav/m/@cur/new", body=b"1")
    refused = past.ask("VERSION-CONTROL", "/webdav/m/@cur/new")
    assert refused.status == 409
    assert b"the next one will" in refused.body
    assert past.ask("VERSION-CONTROL", "/webdav/m/@cur/none").status == 404
    assert past.ask("VERSION-CONTROL", ONE).status == 405
    workspace = b'<version-control xmlns="DAV:"><workspace><href>/w</href></workspace></version-control>'
    assert past.ask("VERSION-CONTROL", CUR, body=workspace).status == 403


@pytest.mark.parametrize("method", sorted(WHY_NOT))
def test_other_methods_of_versioning_say_what_to_do_instead(past: Serving, method: str) -> None:
    reply = past.ask(method, CUR)
    assert reply.status == 405
    assert method not in reply["Allow"]
    assert "REPORT" in reply["Allow"]
    assert b"nothing that can be done" not in reply.body


def test_options_name_version_control_where_there_are_versions(past: Serving) -> None:
    assert past.ask("OPTIONS", CUR)["DAV"] == "1, 2, 3, version-control"
    assert past.ask("OPTIONS", ONE)["DAV"] == "1, 2, 3, version-control"
    assert past.ask("OPTIONS", "/webdav/")["DAV"] == "1, 2, 3"
    assert "VERSION-CONTROL" in past.ask("OPTIONS", CUR)["Allow"]
    assert "VERSION-CONTROL" not in past.ask("OPTIONS", ONE)["Allow"]
    past.ask("PUT", "/webdav/m/@cur/new", body=b"1")
    assert past.ask("OPTIONS", "/webdav/m/@cur/new")["DAV"] == "1, 2, 3"


def test_what_is_supported_is_told_and_holds(past: Serving) -> None:
    for path in (CUR, ONE, "/webdav/m/@cur/d/", "/webdav/m/", "/webdav/"):
        prop = find(past, path, "supported-method-set", "supported-live-property-set", "supported-report-set")
        methods = {each.get("name") for each in prop.find(D + "supported-method-set")}
        assert methods == set(past.ask("OPTIONS", path)["Allow"].split(", "))
        names = [each[0][0].tag for each in prop.find(D + "supported-live-property-set")]
        listed = "".join(
            f'<p{index}:{tag[1:].partition("}")[2]} xmlns:p{index}="{tag[1:].partition("}")[0]}"/>'
            for index, tag in enumerate(names)
        )
        body = f'<propfind xmlns="DAV:"><prop>{listed}</prop></propfind>'.encode()
        assert statuses(past.ask("PROPFIND", path, {"Depth": "0"}, body)) == [200], path
        for report in prop.find(D + "supported-report-set"):
            name = report[0][0].tag[len(D) :]
            inside = "<sync-token/><sync-level>1</sync-level><prop/>" if name == "sync-collection" else ""
            assert ask(past, path, f'<{name} xmlns="DAV:">{inside}</{name}>').status == 207, (path, name)


def test_versions_are_in_no_answer_to_who_asks_for_everything(past: Serving) -> None:
    body = past.ask("PROPFIND", CUR, {"Depth": "0"}).body
    for name in (b"checked-in", b"auto-version", b"supported-report-set", b"sync-token"):
        assert name not in body
    included = b'<propfind xmlns="DAV:"><allprop/><include><checked-in/></include></propfind>'
    assert b"<D:checked-in>" in past.ask("PROPFIND", CUR, {"Depth": "0"}, included).body


def test_an_unknown_report_is_refused_by_its_condition(past: Serving) -> None:
    for path, body in (
        (CUR, '<locate-by-history xmlns="DAV:"/>'),
        (CUR, '<calendar-query xmlns="urn:ietf:params:xml:ns:caldav"/>'),
        (CUR, '<sync-collection xmlns="DAV:"><sync-token/><sync-level>1</sync-level></sync-collection>'),
        ("/webdav/", '<version-tree xmlns="DAV:"/>'),
        ("/webdav/", '<sync-collection xmlns="DAV:"><sync-token/><sync-level>1</sync-level></sync-collection>'),
    ):
        reply = ask(past, path, body)
        assert (reply.status, b"<D:supported-report/>" in reply.body) == (403, True), body
    assert ask(past, CUR, tree(), Depth="1").status == 400
    assert ask(past, "/webdav/none", tree()).status == 404


def test_reports_read_within_bounds(past: Serving) -> None:
    deep = "<property name='checked-in'>" * 100 + "</property>" * 100
    many = "".join(f"<property name='p{index}'/>" for index in range(300))
    for body, status in (
        ("", 400),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><version-tree xmlns='DAV:'/>", 400),
        (f"<expand-property xmlns='DAV:'>{deep}</expand-property>", 400),
        (f"<expand-property xmlns='DAV:'>{many}</expand-property>", 413),
        ("<expand-property xmlns='DAV:'><property/></expand-property>", 400),
        ("<expand-property xmlns='DAV:'><property name='a b=\"c\"'/></expand-property>", 400),
        ("<expand-property xmlns='DAV:'><property name='a' namespace=''/></expand-property>", 400),
        ("<version-tree xmlns='DAV:'><prop/><prop/></version-tree>", 400),
        (tree(*(f"p{index}" for index in range(300))), 413),
    ):
        assert ask(past, CUR, body).status == status, body[:80]


def test_properties_are_expanded_along_the_versions(past: Serving) -> None:
    inside = '<property name="version-name"/><property name="predecessor-set"><property name="version-name"/></property>'
    body = f'<expand-property xmlns="DAV:"><property name="getetag"/><property name="checked-in">{inside}</property>'
    body += '<property name="checked-out"><property name="getetag"/></property></expand-property>'
    rows = ET.fromstring(ask(past, CUR, body).body)
    assert len(rows) == 1
    prop = found(rows[0])
    assert prop.findtext(D + "getetag") == past.ask("GET", CUR)["ETag"]
    version = prop.find(f"{D}checked-in/{D}response")
    assert version.findtext(D + "href") == "/webdav/m/@5/f"
    assert found(version).findtext(D + "version-name") == "5"
    before = found(version).find(f"{D}predecessor-set/{D}response")
    assert (before.findtext(D + "href"), found(before).findtext(D + "version-name")) == ("/webdav/m/@4/f", "4")
    assert prop.find(D + "checked-out") is None


def test_labels_and_names_are_escaped(past: Serving) -> None:
    past.tree.mkdir((b"m", b"@a<b&c"), Guard())
    past.tree.root.children[b"m"].children[b"@6"] = past.tree.root.children[b"m"].children.pop(b"@a<b&c")
    prop = find(past, ONE, "label-name-set")
    assert [each.text for each in prop.find(D + "label-name-set")] == ["1"]
    assert re.search(
        rb"<D:label-name>1</D:label-name>",
        past.ask("PROPFIND", ONE, {"Depth": "0"}, (b'<propfind xmlns="DAV:"><prop><label-name-set/></prop></propfind>')).body,
    )
