"""What each method answers, over the tree in memory."""

import base64
import io
import re
import zipfile

import pytest

from mimeifs.clock import SystemRandomness
from mimeifs.dav.access import Gate
from mimeifs.dav.accounts import Accounts
from mimeifs.dav.interface import Guard
from mimeifs.dav.origins import Origins
from tests.dav.serving import Serving, serving, statuses

X = "/webdav/x"
LOCK = (
    b'<lockinfo xmlns="DAV:"><lockscope><%b/></lockscope><locktype><write/></locktype><owner><href>me</href></owner></lockinfo>'
)
EXCLUSIVE, SHARED = LOCK % b"exclusive", LOCK % b"shared"


def prop(*names: str) -> bytes:
    inside = "".join(f"<{name}/>" for name in names)
    return f'<propfind xmlns="DAV:" xmlns:w="urn:schemas-microsoft-com:"><prop>{inside}</prop></propfind>'.encode()


def patch(inside: str) -> bytes:
    spaces = 'xmlns="DAV:" xmlns:w="urn:schemas-microsoft-com:"'
    return f"<propertyupdate {spaces}><set><prop>{inside}</prop></set></propertyupdate>".encode()


def take_version(served: Serving, label: bytes = b"@1") -> None:
    served.tree.mkdir((b"m",), Guard())
    served.tree.mkdir((b"m", b"@cur"), Guard())
    served.tree.replace((b"m", b"@cur", b"f"), Guard(), b"first", None)
    served.tree.mkdir((b"m", label), Guard())


def test_the_tag_is_the_same_everywhere(served: Serving) -> None:
    put = served.ask("PUT", X, body=b"1")["ETag"]
    assert put == served.ask("GET", X)["ETag"] == served.ask("HEAD", X)["ETag"]
    assert f"<D:getetag>{put}</D:getetag>".encode() in served.ask("PROPFIND", X, {"Depth": "0"}).body


def test_what_has_not_changed_is_not_sent(served: Serving) -> None:
    tag = served.ask("PUT", X, body=b"1")["ETag"]
    reply = served.ask("GET", X, {"If-None-Match": tag})
    assert (reply.status, reply["ETag"], reply.body) == (304, tag, b"")


def test_ranges(served: Serving) -> None:
    served.ask("PUT", X, body=b"0123456789")
    reply = served.ask("GET", X, {"Range": "bytes=-3"})
    assert (reply.status, reply["Content-Range"], reply.body) == (206, "bytes 7-9/10", b"789")
    assert served.ask("GET", X, {"Range": "bytes=10-"})["Content-Range"] == "bytes */10"
    assert served.ask("GET", X, {"Range": "bytes=0-1", "If-Range": '"other"'}).status == 200


def test_a_wrong_digest_changes_nothing(served: Serving) -> None:
    served.ask("PUT", X, body=b"old")
    assert served.ask("PUT", X, {"Content-MD5": base64.b64encode(bytes(16)).decode()}, b"new").status == 400
    assert served.ask("GET", X).body == b"old"


def test_a_verified_digest_is_kept_and_counts_for_that_content_only(served: Serving) -> None:
    asked = b'<propfind xmlns="DAV:"><prop><checksums xmlns="http://owncloud.org/ns"/></prop></propfind>'
    served.ask("PUT", X, {"OC-Checksum": "SHA1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"}, b"hello")
    reply = served.ask("PROPFIND", X, {"Depth": "0"}, asked)
    assert b"<x:checksum>SHA1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d</x:checksum>" in reply.body
    served.tree.replace((b"x",), Guard(), b"other", None)
    reply = served.ask("PROPFIND", X, {"Depth": "0"}, asked)
    assert statuses(reply) == [404]


def test_no_room_is_told_before_the_body_comes(served: Serving) -> None:
    served.tree.room = 10
    with served.client() as client:
        client.head("PUT", X, {"Expect": "100-continue"}, size=11)
        assert client.reply().status == 507


def test_a_time_given_with_an_upload_is_kept(served: Serving) -> None:
    reply = served.ask("PUT", X, {"X-OC-Mtime": "784111777"}, b"1")
    assert (reply["X-OC-MTime"], reply["Last-Modified"]) == ("accepted", "Sun, 06 Nov 1994 08:49:37 GMT")


def test_a_part_is_no_upload(served: Serving) -> None:
    assert served.ask("PUT", X, {"Content-Range": "bytes 0-1/3"}, b"ab").status == 400
    assert served.ask("PUT", "/webdav/none/x", body=b"").status == 409
    assert served.ask("PUT", "/webdav/x/", body=b"").status == 405


def test_windows_sets_its_times(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    when = "Sun, 06 Nov 1994 08:49:37 GMT"
    names = ("CreationTime", "LastAccessTime", "LastModifiedTime")
    inside = "".join(f"<w:Win32{name}>{when}</w:Win32{name}>" for name in names)
    reply = served.ask("PROPPATCH", X, body=patch(f"{inside}<w:Win32FileAttributes>00000020</w:Win32FileAttributes>"))
    assert statuses(reply) == [200]
    assert served.ask("GET", X)["Last-Modified"] == when
    assert b"1994-11-06T08:49:37Z" in served.ask("PROPFIND", X, {"Depth": "0"}, prop("creationdate")).body


def test_properties_are_set_all_or_none(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    reply = served.ask("PROPPATCH", X, body=patch('<getetag>"mine"</getetag><a xmlns="urn:z">1</a>'))
    assert statuses(reply) == [424, 403]
    assert served.tree.look((b"x",), properties=True).properties == {}


def test_a_property_comes_back_as_it_was(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    served.ask("PROPPATCH", X, body=patch('<z:a xmlns:z="urn:z" xml:lang="de">&lt;ü<z:b c="d"/></z:a>'))
    body = served.ask("PROPFIND", X, {"Depth": "0"}, b'<propfind xmlns="DAV:"><prop><a xmlns="urn:z"/></prop></propfind>').body
    for part in ("urn:z", 'xml:lang="de"', "&lt;ü", 'c="d"'):
        assert part.encode() in body


def test_rows_are_short_and_the_listing_is_bounded_by_depth(served: Serving) -> None:
    for number in range(1200):
        served.tree.replace((b"some rather long name %d.jpeg" % number,), Guard(), b"", None)
    body = served.ask("PROPFIND", "/webdav/", {"Depth": "1"}).body
    rows = body.split(b"<D:response>")[2:]
    assert len(rows) == 1200
    assert max(map(len, rows)) < 500
    refused = served.ask("PROPFIND", "/webdav/")
    assert refused.status == 403
    assert b"propfind-finite-depth" in refused.body


def test_quota_is_told_only_by_name(served: Serving) -> None:
    assert b"quota" not in served.ask("PROPFIND", "/webdav/", {"Depth": "0"}).body
    body = served.ask("PROPFIND", "/webdav/", {"Depth": "0"}, prop("quota-used-bytes", "quota-available-bytes")).body
    assert b"<D:quota-used-bytes>0</D:quota-used-bytes>" in body


def test_what_a_lock_keeps_out(served: Serving) -> None:
    made = served.ask("LOCK", X, {"Timeout": "Second-60"}, EXCLUSIVE)
    token = made["Lock-Token"]
    assert made.status == 201
    assert b"Second-5" in made.body or b"Second-60" in made.body
    refused = served.ask("PUT", X, body=b"1")
    assert refused.status == 423
    assert b"<D:lock-token-submitted><D:href>/webdav/x</D:href>" in refused.body
    assert served.ask("DELETE", X).status == 423
    assert served.ask("LOCK", X, body=SHARED).status == 423
    assert served.ask("PUT", X, {"If": f"({token})"}, b"1").status == 204
    assert served.ask("LOCK", X, {"If": f"({token})", "Timeout": "Second-90"}).status == 200
    assert served.ask("UNLOCK", X, {"Lock-Token": "<urn:other>"}).status == 409
    assert served.ask("UNLOCK", X, {"Lock-Token": token}).status == 204
    assert served.ask("DELETE", X).status == 204


def test_a_lock_that_is_refused_leaves_no_trace(served: Serving) -> None:
    assert served.ask("LOCK", "/webdav/none/x", body=EXCLUSIVE).status == 409
    assert served.ask("LOCK", X, {"If": "(<urn:none>)"}, EXCLUSIVE).status == 412
    assert served.tree.root.children == {}


def test_versions_cannot_be_changed_and_the_answer_says_why(served: Serving) -> None:
    take_version(served)
    for method, path in (("PUT", "f"), ("DELETE", "f"), ("MKCOL", "new"), ("PROPPATCH", "f"), ("LOCK", "f"), ("PUT", "new")):
        body = patch("<a/>") if method == "PROPPATCH" else EXCLUSIVE if method == "LOCK" else None
        reply = served.ask(method, f"/webdav/m/@1/{path}", body=body)
        assert reply.status == 405, method
        assert "PUT" not in reply["Allow"]
        assert b"Versions never change" in reply.body
    assert served.ask("GET", "/webdav/m/@1/f")["Cache-Control"].endswith("immutable")


def test_a_copy_out_of_a_version_is_a_restore(served: Serving) -> None:
    take_version(served)
    served.ask("PUT", "/webdav/m/@cur/f", body=b"second")
    assert served.ask("COPY", "/webdav/m/@1/f", {"Destination": "/webdav/m/@cur/f"}).status == 204
    assert served.ask("GET", "/webdav/m/@cur/f").body == b"first"
    assert served.ask("MKCOL", "/webdav/m/@before-move").status == 201
    assert served.ask("GET", "/webdav/m/@before-move/f").body == b"first"
    assert served.ask("DELETE", "/webdav/m/@before-move").status == 204


def test_names_of_macos_and_linux_meet(served: Serving) -> None:
    served.tree.mkdir(("u\u0308".encode(),), Guard())
    assert served.ask("PUT", "/webdav/%C3%BC/e%CC%81", body=b"1").status == 201
    assert list(served.tree.root.children["u\u0308".encode()].children) == ["é".encode()]
    assert served.ask("GET", "/webdav/u%CC%88/%C3%A9").body == b"1"


def test_links_are_followed_inside_the_tree_only(served: Serving) -> None:
    served.ask("MKCOL", "/webdav/d")
    served.ask("PUT", "/webdav/d/x", body=b"1")
    for name, target in (
        (b"in", b"d/x"),
        (b"dir", b"d"),
        (b"out", b"../../etc/passwd"),
        (b"top", b"/etc/passwd"),
        (b"round", b"round"),
    ):
        served.tree.replace((name,), Guard(), b"", None)
        served.tree.root.children[name].target = target
    assert served.ask("GET", "/webdav/in").body == b"1"
    assert served.ask("GET", "/webdav/dir/x").body == b"1"
    for name in ("out", "top", "round"):
        assert [served.ask(method, f"/webdav/{name}").status for method in ("GET", "HEAD")] == [403] * 2
    head = served.ask("HEAD", "/webdav/in")
    assert (head.status, head["Content-Length"]) == (200, "1")


def test_what_a_link_led_to_is_told_where_it_was_asked_for(served: Serving) -> None:
    served.ask("MKCOL", "/webdav/d")
    served.ask("MKCOL", "/webdav/d/e")
    served.ask("PUT", "/webdav/d/e/x", body=b"1")
    for name, target in ((b"file", b"d/e/x"), (b"dir", b"d")):
        served.tree.replace((name,), Guard(), b"", None)
        served.tree.root.children[name].target = target
    few = b'<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>'
    every = b'<propfind xmlns="DAV:"><allprop/><include><supported-report-set/></include></propfind>'
    for path, found in (
        ("file", ["file"]),
        ("dir/", ["dir/", "dir/e/"]),
        ("dir/e", ["dir/e/", "dir/e/x"]),
        ("dir/e/x", ["dir/e/x"]),
        ("d/e", ["d/e/", "d/e/x"]),
    ):
        for body in (few, few, every):
            reply = served.ask("PROPFIND", f"/webdav/{path}", {"Depth": "1"}, body)
            assert [href.decode() for href in re.findall(rb"<D:href>/webdav/([^<]*)</D:href>", reply.body)] == found


def test_overwrite_and_where_there_is_no_place(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    served.ask("PUT", "/webdav/y", body=b"2")
    assert served.ask("MOVE", X, {"Destination": "/webdav/y", "Overwrite": "F"}).status == 412
    assert served.ask("MOVE", X, {"Destination": "/webdav/none/y"}).status == 409
    assert served.ask("MOVE", X, {"Destination": "http://elsewhere/webdav/y"}).status == 502
    assert served.ask("COPY", X, {"Destination": X}).status == 403
    assert served.ask("COPY", X).status == 400
    assert served.ask("MOVE", X, {"Destination": "/webdav/y"}).status == 204


def test_windows_asks_before_it_has_a_name(served: Serving) -> None:
    for path in ("/", "*", "/webdav/"):
        reply = served.ask("OPTIONS", path)
        assert (reply.status, reply["DAV"], reply["MS-Author-Via"]) == (200, "1, 2, 3", "DAV")


def test_what_is_outside_is_the_librarys_to_refuse(served: Serving) -> None:
    assert served.ask("GET", "/")["Location"] == "/webdav/"
    assert served.ask("GET", "/elsewhere").status == 404
    assert served.ask("PROPFIND", "/webdavish", {"Depth": "0"}).status == 404


def test_a_page_escapes_what_it_shows(served: Serving) -> None:
    served.ask("PUT", "/webdav/%3Cscript%3Ealert(1)%3C%2fscript%3E".replace("%2f", "-"), body=b"")
    served.ask("PUT", "/webdav/javascript:alert(1)", body=b"")
    page = served.ask("GET", "/webdav/").body.decode()
    assert "<script>alert" not in page
    assert 'href="./javascript:' in page


def test_a_page_shows_versions_and_the_way_back(served: Serving) -> None:
    take_version(served)
    present, past = (served.ask("GET", f"/webdav/m/{name}/").body.decode() for name in ("@cur", "@1"))
    assert 'href="/webdav/m/@history/f/"' in present
    assert 'data-restore="f" data-to="/webdav/m/@cur/f"' in past
    assert 'href="/webdav/m/@1/"' in present
    assert served.ask("GET", "/webdav/m/@1")["Location"] == "/webdav/m/@1/"


def test_a_collection_comes_as_a_zip(served: Serving) -> None:
    take_version(served)
    reply = served.ask("GET", "/webdav/m/@1/?zip")
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"1/f": b"first"}


def test_a_zip_has_folders_named_like_versions_and_no_versions(served: Serving) -> None:
    take_version(served)
    served.ask("MKCOL", "/webdav/m/@cur/@eaDir")
    served.ask("PUT", "/webdav/m/@cur/@eaDir/f", body=b"kept")
    served.ask("MKCOL", "/webdav/m/@2")
    for place, names in (("", ["@cur/", "@cur/@eaDir/", "@cur/@eaDir/f", "@cur/f"]), ("@2/", ["@eaDir/", "@eaDir/f", "f"])):
        with zipfile.ZipFile(io.BytesIO(served.ask("GET", f"/webdav/m/{place}?zip").body)) as archive:
            assert sorted(name.partition("/")[2] for name in archive.namelist()) == names


def test_litter_is_kept_in_memory(served: Serving) -> None:
    served.ask("MKCOL", "/webdav/d")
    for name in (".DS_Store", "._photo.jpg", "Thumbs.db"):
        assert served.ask("PUT", f"/webdav/d/{name}", body=b"litter").status == 201
        assert served.ask("GET", f"/webdav/d/{name}").body == b"litter"
        assert served.ask("PROPFIND", f"/webdav/d/{name}", {"Depth": "0"}).status == 207
    assert served.tree.root.children[b"d"].children == {}
    token = served.ask("LOCK", "/webdav/d/._photo.jpg", body=EXCLUSIVE)["Lock-Token"]
    assert served.ask("PUT", "/webdav/d/._photo.jpg", body=b"x").status == 423
    assert served.ask("PUT", "/webdav/d/._photo.jpg", {"If": f"({token})"}, b"x").status == 204
    assert served.ask("UNLOCK", "/webdav/d/._photo.jpg", {"Lock-Token": token}).status == 204
    assert served.ask("MOVE", "/webdav/d/._photo.jpg", {"Destination": "/webdav/d/photo"}).status == 201
    assert served.tree.root.children[b"d"].children[b"photo"].data == b"x"
    assert served.ask("DELETE", "/webdav/d/Thumbs.db").status == 204
    assert served.ask("GET", "/webdav/d/Thumbs.db").status == 404
    assert served.ask("PUT", "/webdav/none/.DS_Store", body=b"").status == 409


def test_litter_that_is_in_the_tree_stays_there(served: Serving) -> None:
    served.tree.replace((b".DS_Store",), Guard(), b"old", None)
    assert served.ask("PUT", "/webdav/.DS_Store", body=b"new").status == 204
    assert served.tree.root.children[b".DS_Store"].data == b"new"


def test_litter_does_not_grow_without_bound(served: Serving) -> None:
    for number in range(20):
        assert served.ask("PUT", f"/webdav/._{number}", body=bytes(1 << 20)).status == 201
    assert [served.ask("HEAD", f"/webdav/._{number}").status for number in (0, 19)] == [404, 200]
    assert served.ask("PUT", "/webdav/._big", body=bytes(5 << 20)).status == 413


# Who gets in


@pytest.fixture
def guarded(tmp_path):
    accounts = Accounts(tmp_path / "passwords")
    randomness = SystemRandomness()
    _, writes = accounts.add("ada", "phone", randomness, 0, read_only=False)
    _, looks = accounts.add("bob", "", randomness, 0, read_only=True)
    with serving(Gate(accounts), Origins()) as served:
        yield served, accounts, writes, looks


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_passwords(guarded) -> None:
    served, accounts, writes, looks = guarded
    assert served.ask("GET", "/webdav/").status == 401
    assert "Basic" in served.ask("GET", "/webdav/")["WWW-Authenticate"]
    assert served.ask("PUT", X, basic("ada", writes), b"1").status == 201
    assert served.ask("PUT", X, {"Authorization": f"Bearer {writes}"}, b"1").status == 204
    assert served.ask("PUT", X, basic("bob", looks), b"1").status == 403
    assert served.ask("GET", X, basic("bob", looks)).status == 200
    assert served.ask("GET", X, basic("bob", writes)).status == 401
    assert served.ask("GET", X, {"Authorization": 'Digest username="ada"'}).status == 401
    accounts.remove(writes[:5])
    assert served.ask("GET", X, basic("ada", writes)).status == 401


def test_who_guesses_is_slowed_and_who_knows_is_not(guarded) -> None:
    served, _, writes, looks = guarded
    assert served.ask("GET", "/webdav/", basic("ada", writes)).status == 200
    seen = [served.ask("GET", "/webdav/", basic("ada", f"guess{number}")).status for number in range(6)]
    assert seen[0] == 401
    assert seen[-1] == 429
    assert served.ask("GET", "/webdav/", basic("bob", looks)).status == 429
    assert served.ask("GET", "/webdav/", basic("ada", writes)).status == 200


def test_who_guesses_through_a_proxy_slows_nobody_else(tmp_path) -> None:
    accounts = Accounts(tmp_path / "passwords")
    _, password = accounts.add("ada", "", SystemRandomness(), 0, read_only=False)
    with serving(Gate(accounts), Origins(frozenset({"drive.example.org"}))) as served:
        bad, good = basic("ada", "guess"), basic("ada", password)
        seen = [served.ask("GET", "/webdav/", {**bad, "Forwarded": "for=192.0.2.1, for=192.0.2.7"}).status for _ in range(6)]
        assert seen[-1] == 429
        assert served.ask("GET", "/webdav/", {**bad, "Forwarded": "for=192.0.2.7"}).status == 429
        assert served.ask("GET", "/webdav/", {**bad, "X-Forwarded-For": "192.0.2.1, 192.0.2.7"}).status == 429
        assert served.ask("GET", "/webdav/", {**good, "X-Forwarded-For": "192.0.2.7, 192.0.2.8"}).status == 200


@pytest.mark.parametrize(
    ("headers", "whose"),
    [
        ({}, "127.0.0.1"),
        ({"forwarded": 'proto=https;for="[2001:db8::1]:4711";by=203.0.113.43'}, "2001:db8::1"),
        ({"forwarded": "For=192.0.2.1:80"}, "192.0.2.1"),
        ({"forwarded": "for=_hidden"}, "127.0.0.1"),
        ({"forwarded": "for=192.0.2.1, proto=https"}, "127.0.0.1"),
        ({"x-forwarded-for": "nonsense"}, "127.0.0.1"),
        ({"x-forwarded-for": "192.0.2.1", "forwarded": "for=192.0.2.2"}, "127.0.0.1"),
    ],
)
def test_whose_request_a_proxy_passes_on(headers: dict[str, str], whose: str) -> None:
    behind = Origins(frozenset({"drive.example.org"}))
    assert behind.client(headers, "127.0.0.1") == whose
    assert behind.client(headers, "192.0.2.99") == "192.0.2.99", "only a proxy of this machine is believed"
    assert Origins().client(headers, "127.0.0.1") == "127.0.0.1"


def test_a_lock_belongs_to_its_user(guarded) -> None:
    served, _, writes, _ = guarded
    token = served.ask("LOCK", X, basic("ada", writes), EXCLUSIVE)["Lock-Token"]
    assert served.ask("PUT", X, {**basic("ada", writes), "If": f"({token})"}, b"1").status == 204


def test_anonymous_may_only_look(tmp_path) -> None:
    with serving(Gate(Accounts(tmp_path / "none"), anonymous=True)) as served:
        assert served.ask("GET", "/webdav/").status == 200
        refused = served.ask("PUT", X, body=b"1")
        assert refused.status == 401
        assert "Basic" in refused["WWW-Authenticate"], "clients give a name only when they are asked for it"


def test_somebody_who_only_looked_can_log_in(tmp_path) -> None:
    accounts = Accounts(tmp_path / "passwords")
    _, password = accounts.add("ada", "", SystemRandomness(), 0, read_only=False)
    with serving(Gate(accounts, anonymous=True), Origins()) as served:
        assert b'href="/webdav/?login"' in served.ask("GET", "/webdav/").body
        assert "Basic" in served.ask("GET", "/webdav/?login")["WWW-Authenticate"]
        there = served.ask("GET", "/webdav/?login", basic("ada", password))
        assert (there.status, there["Location"]) == (302, "/webdav/")
        assert b"login" not in served.ask("GET", "/webdav/", basic("ada", password)).body


def test_pages_of_other_sites_change_nothing(served: Serving) -> None:
    assert served.ask("PUT", X, {"Origin": "https://evil.example"}, b"1").status == 403
    assert served.ask("GET", "/webdav/", {"Host": "evil.example:4880"}).status == 421
    assert served.ask("PUT", X, {"Origin": f"http://localhost:{served.address[1]}"}, b"1").status == 201


def test_pages_that_are_allowed_are_told_so() -> None:
    with serving(origins=Origins(allowed=frozenset({"https://app.example"}))) as served:
        asked = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "depth",
        }
        reply = served.ask("OPTIONS", "/webdav/", asked)
        assert reply["Access-Control-Allow-Origin"] == "https://app.example"
        assert "PROPFIND" in reply["Access-Control-Allow-Methods"]
        assert served.ask("PUT", X, {"Origin": "https://app.example"}, b"").status == 201
