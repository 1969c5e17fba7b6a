"""The drive over a running node: the same tree through FUSE and WebDAV, and the clients people use."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.dav.desks import Desk, Folder, contents, driven
from tests.dav.serving import Client, Reply
from tests.dav.test_methods import EXCLUSIVE
from tests.serving import Served, serving

pytestmark = pytest.mark.mount


def ask(url: str, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Reply:
    host, _, port = url.split("/")[2].rpartition(":")
    with Client((host, int(port))) as client:
        return client.ask(method, f"/webdav/{path}", headers, body)


def run(*words: str, folder: Path, words_in: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, input=words_in, text=True, capture_output=True, timeout=120, check=False)


def test_one_file_through_both_by_turns_with_a_handle_open(drive: tuple[Served, str]) -> None:
    served, url = drive
    name = served.mimei("turns") / "f"
    assert ask(url, "PUT", "turns/f", body=b"zero").status == 201
    tags = set()
    with name.open("rb") as held:
        for turn in range(20):
            data = b"%d" % turn * (turn * 500 + 1)
            if turn % 2:
                name.write_bytes(data)
            else:
                assert ask(url, "PUT", "turns/f", body=data).status == 204
            reply = ask(url, "GET", "turns/f")
            assert reply.body == name.read_bytes() == data
            assert name.stat().st_size == len(data)
            tags.add(reply["ETag"])
        assert held.read() == b"zero"
    assert len(tags) == 20


def test_a_replaced_file_keeps_what_belongs_to_the_object(drive: tuple[Served, str]) -> None:
    served, url = drive
    name = served.mimei("kept") / "f"
    name.write_bytes(b"old")
    os.link(name, name.with_name("other"))
    os.setxattr(name, "user.a", b"1")
    name.chmod(0o640)
    assert ask(url, "PUT", "kept/f", body=b"new").status == 204
    assert (name.read_bytes(), name.stat().st_mode & 0o777, os.getxattr(name, "user.a")) == (b"new", 0o640, b"1")
    assert name.with_name("other").read_bytes() == b"old"


def test_what_is_known_of_a_sealed_file_ends_with_its_change(drive: tuple[Served, str]) -> None:
    served, url = drive
    name = served.mimei("known") / "f"
    name.write_bytes(b"old")
    assert ask(url, "MKCOL", "known/.mimei/@one").status == 201  # Now it is sealed.

    def listed() -> bytes:
        return ask(url, "PROPFIND", "known/", {"Depth": "1"}).body

    for _ in range(2):
        assert ask(url, "GET", "known/f").body == b"old"
        assert b"<D:getcontentlength>3<" in listed()
    known = ask(url, "GET", "known/f")
    assert known.headers == ask(url, "GET", "known/f", {"If-None-Match": '"another"'}).headers | {"date": known["Date"]}
    assert ask(url, "GET", "known/f", {"If-None-Match": known["ETag"]}).status == 304
    assert ask(url, "GET", "known/f", {"Range": "bytes=1-"}).body == b"ld"
    name.write_bytes(b"newer")
    assert ask(url, "GET", "known/f").body == b"newer"
    assert b"<D:getcontentlength>5<" in listed()
    assert ask(url, "MKCOL", "known/.mimei/@two").status == 201
    for _ in range(2):
        assert ask(url, "GET", "known/f").body == b"newer"
    name.rename(name.with_name("g"))
    assert ask(url, "GET", "known/f").status == 404
    assert b"/known/f<" not in listed()
    assert ask(url, "GET", "known/g").body == b"newer"


def test_a_large_file_that_was_read_before_comes_as_it_is(drive: tuple[Served, str]) -> None:
    served, url = drive
    name, data = served.mimei("large") / "f", os.urandom(3_000_000)
    name.write_bytes(data)
    assert ask(url, "MKCOL", "large/.mimei/@one").status == 201  # Now it is sealed.
    for _ in range(2):  # Verified, then from the page cache.
        assert ask(url, "GET", "large/f").body == data
        assert ask(url, "GET", "large/f", {"Range": "bytes=70001-2900000"}).body == data[70_001:2_900_001]
        several = ask(url, "GET", "large/f", {"Range": "bytes=0-99999,1000000-1999999"})
        assert data[:100_000] in several.body
        assert data[1_000_000:2_000_000] in several.body


def test_versions_by_the_drive(drive: tuple[Served, str]) -> None:
    served, url = drive
    name = served.mimei("past") / "f"
    name.write_bytes(b"first")
    assert ask(url, "MKCOL", "past/.mimei/@before").status == 201
    name.write_bytes(b"second")
    assert ask(url, "GET", "past/@before/f").body == b"first"
    assert ask(url, "PUT", "past/@before/f", body=b"x").status == 405
    assert ask(url, "COPY", "past/@before/f", {"Destination": "/webdav/past/f"}).status == 204
    assert name.read_bytes() == b"first"
    assert b"Restore all of it" not in ask(url, "GET", "past/.mimei/@all/").body
    page = ask(url, "GET", "past/.mimei/@before/").body.decode()
    assert "Restore all of it" in page
    assert 'data-to="/webdav/past/f"' in page
    present = ask(url, "GET", "past/").body.decode()
    assert 'href="/webdav/past/@1/"' in present
    assert 'data-in="/webdav/past/.mimei/"' in present
    assert 'href="/webdav/past/@history/f/"' in present
    was = ask(url, "GET", "past/@history/f/")
    assert was.body.count(b'data-to="/webdav/past/f"') == 1
    assert 'data-to="/webdav/past/f"' in ask(url, "GET", "past/@before/").body.decode()


def test_a_time_and_a_history_resolve_through_the_drive(folder: Folder) -> None:
    (folder.present / "f.txt").write_bytes(b"1")
    folder.version()
    then = int(time.time()) + 1
    folder.served.until(lambda: time.time() >= then + 1, "the second of the first version is over")
    moment = time.strftime("@%Y-%m-%dT%H.%M.%SZ", time.gmtime(then))
    (folder.present / "f.txt").write_bytes(b"22")
    folder.version()
    desk = Desk(folder)
    first, second = desk.play((200, "GET .mimei/@history/f.txt/00001.txt", {}, b""), (200, "GET .mimei/@all/@2/f.txt", {}, b""))
    (past,) = desk.play((200, f"GET .mimei/{moment}/f.txt", {}, b""))
    assert (first.body, second.body, past.body) == (b"1", b"22", b"1")
    desk.play((404, "GET .mimei/@1999-12-31/f.txt", {}, b""), (405, f"PUT .mimei/{moment}/f.txt", {}, b"no"))
    desk.close()


def test_a_name_that_is_too_long_in_another_form_is_not_too_long(drive: tuple[Served, str]) -> None:
    served, url = drive
    place, name = served.mimei("long"), "\ud55c" * 80
    together, apart = (quote(unicodedata.normalize(form, name)) for form in ("NFC", "NFD"))
    for first, second in ((together, apart), (apart, together)):
        assert ask(url, "PUT", f"long/{first}", body=b"1").status == 201
        assert ask(url, "GET", f"long/{second}").body == b"1"
        assert [path.name for path in place.iterdir()] == [name]
        assert ask(url, "DELETE", f"long/{second}").status == 204
    assert ask(url, "GET", "long/" + "x" * 256).status == 414
    assert ask(url, "PUT", "long/" + quote("\ud55c" * 86), body=b"1").status == 414
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("view", "versions", "present"), [("all", "", "@cur"), ("cur", ".mimei/", "")])
def test_a_copy_of_a_whole_version_over_the_present_brings_it_back(
    drive: tuple[Served, str], view: str, versions: str, present: str
) -> None:
    served, url = drive
    name = f"whole-{view}"
    served.command("create", name, "--view", view)
    place, there = served.mount / name / present, f"{name}/{present}".strip("/")
    (place / "d").mkdir()
    (place / "d" / "f").write_bytes(b"first")
    assert ask(url, "MKCOL", f"{name}/{versions}@before").status == 201
    (place / "d" / "f").write_bytes(b"second")
    (place / "more").write_bytes(b"not in any version")
    asked = {"Destination": f"/webdav/{there}"}
    token = ask(url, "LOCK", f"{there}/more", body=EXCLUSIVE)["Lock-Token"]
    assert ask(url, "COPY", f"{name}/{versions}@before", asked).status == 423
    assert ask(url, "UNLOCK", f"{there}/more", {"Lock-Token": token}).status == 204
    assert ask(url, "COPY", f"{name}/{versions}@before", {**asked, "Overwrite": "F"}).status == 412
    assert (place / "more").read_bytes() == b"not in any version"
    assert ask(url, "COPY", f"{name}/{versions}@all", asked).status == 403
    assert ask(url, "COPY", f"{name}/{versions}@before/", asked).status == 204
    assert contents(place) == {"d": None, "d/f": b"first"}
    assert ask(url, "GET", f"{name}/@2/more").body == b"not in any version", "what was there is in a version"
    page = ask(url, "GET", f"{name}/@1/").body.decode()
    assert f'data-restore="/webdav/{name}/@1/" data-to="/webdav/{there}/"' in page


def test_a_port_that_is_taken_keeps_no_mount_from_coming_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(tmp_path, options=("--dav", f"127.0.0.1:{port}")) as served:
            served.until(lambda: "there is no network drive" in served.tail(), "the log says so")
            (served.mount / "d").mkdir()
            assert served.end() == 0


def test_links_in_the_tree_lead_where_they_do_on_the_mount(drive: tuple[Served, str]) -> None:
    served, url = drive
    present = served.mimei("links")
    (present / "d").mkdir()
    (present / "d" / "t").write_bytes(b"target")
    for name, target in (("rel", "d/t"), ("dir", "d"), ("out", "/etc/passwd"), ("up", "../../../etc/passwd"), ("none", "gone")):
        (present / name).symlink_to(target)
    for path in ("rel", "dir/t", ".mimei/@cur/rel"):
        assert ask(url, "GET", f"links/{path}").body == b"target"
        assert ask(url, "HEAD", f"links/{path}")["Content-Length"] == "6"
        assert ask(url, "GET", f"links/{path}", {"Range": "bytes=0-2"}).body == b"tar"
    for path in ("out", "up", "none"):
        assert [ask(url, method, f"links/{path}").status for method in ("GET", "HEAD")] == [403] * 2
    for path in ("links/dir/", "links/.mimei/@cur/d/"):
        listed = ask(url, "PROPFIND", path, {"Depth": "1"}).body
        assert re.findall(rb"<D:href>([^<]*)</D:href>", listed) == [f"/webdav/{path}".encode(), f"/webdav/{path}t".encode()]


def test_what_makes_no_sense_about_the_drive_is_refused(tmp_path: Path) -> None:
    for words, why in (
        (("--no-dav", "--dav-login"), "--no-dav leaves nothing for --dav-login to say"),
        (("--dav-public", "http://x/"), "a proxy's name is written as HOST or HOST:PORT"),
        (("--dav-login",), "--dav-login asks for a login"),
    ):
        refused = run(sys.executable, "-m", "mimeifs", "serve", "--home", str(tmp_path / "h"), *words, folder=tmp_path)
        assert refused.returncode
        assert why in refused.stderr
        assert not (tmp_path / "h").exists()


def test_a_drive_that_dies_is_replaced(tmp_path: Path) -> None:
    with driven(tmp_path) as (served, _):
        (served.home / "drive").unlink()
        served.kill("drive")
        served.until((served.home / "drive").exists, "another one is there")
        url = (served.home / "drive").read_text().strip()
        assert ask(url, "OPTIONS", "").status == 200
        assert served.end() == 0
        assert not (served.home / "drive").exists()


def test_others_come_in_by_name_and_tls_only(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        password = served.command("password", "add", "ada").stdout.decode().split()[0]
        served.end()
    with driven(tmp_path, "--dav-login") as (_, url):
        assert ask(url, "GET", "").status == 401
        assert ask(url, "GET", "", {"Authorization": f"Bearer {password}"}).status == 200
    refused = run(
        sys.executable, "-m", "mimeifs", "serve", "--home", str(tmp_path / "other"), "--dav", "0.0.0.0:0", folder=tmp_path
    )
    assert refused.returncode == 5
    assert "mimei password add" in refused.stderr


@pytest.mark.parametrize("view", ["all", "cur"])
@pytest.mark.skipif(shutil.which("litmus") is None, reason="litmus is not installed")
def test_litmus(drive: tuple[Served, str], tmp_path: Path, view: str) -> None:
    served, url = drive
    served.command("create", f"litmus-{view}", "--view", view)
    place = f"{url}litmus-{view}/" + ("@cur/" if view == "all" else "")
    done = run("litmus", place, folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("<- summary")] == ["100.0%"] * 5


@pytest.mark.skipif(shutil.which("litmus") is None, reason="litmus is not installed")
def test_litmus_with_a_login(tmp_path: Path) -> None:
    with driven(tmp_path, "--dav-login", "--dav-anonymous") as (served, url):
        password = served.command("password", "add", "ada").stdout.decode().split()[0]
        served.mimei("litmus")
        done = run("litmus", f"{url}litmus/", "ada", password, folder=tmp_path)
    assert [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("<- summary")] == ["100.0%"] * 5


@pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")
def test_rclone(drive: tuple[Served, str], tmp_path: Path) -> None:
    served, url = drive
    served.mimei("rclone")
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "ü ;%23 #?.txt").write_bytes(b"hello")
    os.utime(source / "sub" / "ü ;%23 #?.txt", (981173106, 981173106))

    def rclone(*words: str) -> str:
        config = tmp_path / "rclone.conf"
        config.write_text(f"[m]\ntype = webdav\nurl = {url}\nvendor = owncloud\n")
        done = run("rclone", "--config", str(config), *words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    rclone("copy", "source", "m:rclone/r")
    rclone("check", "source", "m:rclone/r")
    assert rclone("hashsum", "sha1", "m:rclone/r").startswith("aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d")
    assert "Free:" in rclone("about", "m:")
    assert (served.mount / "rclone" / "r" / "sub" / "ü ;%23 #?.txt").stat().st_mtime == 981173106


@pytest.mark.skipif(shutil.which("cadaver") is None, reason="cadaver is not installed")
def test_cadaver(drive: tuple[Served, str], tmp_path: Path) -> None:
    served, url = drive
    served.mimei("cadaver")
    (tmp_path / "f").write_bytes(b"hello")
    words = "cd cadaver\nput f\nlock f\nunlock f\ncopy f g\nmove g h\nmkcol d\npropset h a b\npropget h a\ndelete f\nquit\n"
    done = run("cadaver", url, folder=tmp_path, words_in=words)
    assert "failed" not in done.stdout
    assert sorted(os.listdir(served.mount / "cadaver")) == ["d", "h"]


@pytest.mark.skipif(shutil.which("cadaver") is None, reason="cadaver is not installed")
def test_cadaver_shows_versions(drive: tuple[Served, str], tmp_path: Path) -> None:
    served, url = drive
    name = served.mimei("history") / "x"
    for turn in range(1, 4):
        name.write_bytes(b"1" * turn)
        served.command("backup", "history")
    (name.parent / "other").touch()
    served.command("backup", "history")
    done = run("cadaver", f"{url}history/", folder=tmp_path, words_in="history x\nversion x\nls\nquit\n")
    assert "failed" not in done.stdout, done.stdout
    assert "Version history of" in done.stdout
    shown = done.stdout.partition("Version history of")[2].partition("dav:")[0]
    assert [shown.count(f"/webdav/history/@{number}/x") > 0 for number in (1, 2, 3, 4)] == [True, True, True, False], shown
    for number in (1, 2, 3):
        assert ask(url, "GET", f"history/@{number}/x").body == b"1" * number


SYNC = '<sync-collection xmlns="DAV:"><sync-token>{}</sync-token><sync-level>infinite</sync-level><prop/></sync-collection>'


def changes(url: str, token: str) -> tuple[list[str], str]:
    """What is told of the MiMei ``told``, and the next token."""
    reply = ask(url, "REPORT", "told/", body=SYNC.format(token).encode())
    assert reply.status == 207, reply.body
    hrefs = re.findall(r"<D:href>/webdav/told/(.*?)</D:href>", reply.body.decode())
    return hrefs, re.findall(r"<D:sync-token>(.*?)</D:sync-token>", reply.body.decode())[0]


def test_changes_by_both_ways_are_told_over_a_kill(tmp_path: Path) -> None:
    with driven(tmp_path) as (served, url):
        top = served.mimei("told")
        (top / "d").mkdir()
        (top / "d" / "f").write_bytes(b"1")
        served.command("backup", "told")
        hrefs, token = changes(url, "")
        assert hrefs == ["d/", "d/f"]
        (top / "d" / "f").write_bytes(b"through the mount")
        assert ask(url, "PUT", "told/new", body=b"by the drive").status == 201
        hrefs, token = changes(url, token)
        assert hrefs == ["d/", "d/f", "new"]
        assert changes(url, token) == ([], token)
        served.kill_everything()
        (served.home / "drive").unlink(missing_ok=True)
        served.start()
        served.until((served.home / "drive").exists, "another drive is there")
        served.until(lambda: (served.home / "drive").read_text().endswith("\n"), "its address is known")
        url = (served.home / "drive").read_text().strip()
        assert changes(url, token) == ([], token)
        (top / "d" / "f").unlink()
        assert changes(url, token)[0] == ["d/", "d/f"]
        assert served.end() == 0
        served.command("check")


def test_what_a_real_node_says_of_versions(drive: tuple[Served, str]) -> None:
    served, url = drive
    top = served.mimei("versioned")
    (top / "d").mkdir()
    (top / "d" / "f").write_bytes(b"1")
    served.command("backup", "versioned")
    asked = b'<propfind xmlns="DAV:"><prop><checked-in/><checked-out/><supported-report-set/></prop></propfind>'

    def says(path: str) -> bytes:
        return ask(url, "PROPFIND", f"versioned/{path}", {"Depth": "0"}, asked).body

    assert b"<D:checked-in><D:href>/webdav/versioned/@1/d/f</D:href>" in says("d/f")
    assert b"<D:checked-in><D:href>/webdav/versioned/@1/d/</D:href>" in says("d/")
    (top / "d" / "f").write_bytes(b"2")
    assert b"<D:checked-out><D:href>/webdav/versioned/@1/d/f</D:href>" in says("d/f")
    assert b"<D:checked-out><D:href>/webdav/versioned/@1/d/</D:href>" in says("d/")
    assert b"<D:sync-collection/>" in says("d/")
    assert b"<D:sync-collection/>" not in says("d/f") + ask(url, "PROPFIND", "", {"Depth": "0"}, asked).body
    assert ask(url, "OPTIONS", "versioned/d/")["DAV"] == "1, 2, 3, version-control"
    assert ask(url, "OPTIONS", "")["DAV"] == "1, 2, 3"
    assert ask(url, "VERSION-CONTROL", "versioned/d/f").status == 200


@pytest.mark.skipif(shutil.which("mount.davfs") is None or os.geteuid() != 0, reason="davfs2 is not installed, or not root")
def test_davfs2_writes(drive: tuple[Served, str], tmp_path: Path) -> None:
    served, url = drive
    served.mimei("davfs")
    where = tmp_path / "davfs"
    where.mkdir()
    (tmp_path / "conf").write_text("ask_auth 0\nuse_locks 1\n")
    mounted = run("mount", "-t", "davfs", "-o", f"conf={tmp_path}/conf", f"{url}davfs/", str(where), folder=tmp_path)
    assert mounted.returncode == 0, mounted.stderr
    try:
        (where / "a").write_text("hello")
        (where / "d").mkdir()
        (where / "d" / "b").write_text("more")
        (where / "d" / "b").rename(where / "c")
        (where / "a").unlink()
    finally:
        run("umount", str(where), folder=tmp_path)
    found = {path.name: path.read_text() for path in (served.mount / "davfs").rglob("*") if path.is_file()}
    assert found == {"c": "more"}
