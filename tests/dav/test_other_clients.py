"""What file managers of Linux, phones and programs that synchronise send, replayed against a running node."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dav.desks import Desk, Folder
from tests.dav.serving import statuses

pytestmark = pytest.mark.mount

NONE: dict[str, str] = {}
ZERO = {"Depth": "0"}


@pytest.fixture
def desk(folder: Folder) -> Iterator[Desk]:
    made = Desk(folder, Accept_Encoding="gzip, deflate")
    yield made
    made.close()


def prop(*names: str) -> bytes:
    inside = "".join(f"<D:{name}/>" for name in names)
    return f'<?xml version="1.0" encoding="utf-8" ?><D:propfind xmlns:D="DAV:"><D:prop>{inside}</D:prop></D:propfind>'.encode()


# GNOME (gvfs) and KDE (kio)


def test_gnome_saves_with_the_tag_it_read_and_hears_of_changes_by_others(desk: Desk) -> None:
    folder = desk.folder
    names = ("creationdate", "displayname", "getcontentlength", "getcontenttype", "getetag", "getlastmodified", "resourcetype")
    desk.play(
        (207, "PROPFIND ", ZERO, prop("resourcetype", "getcontentlength")),
        (404, "PROPFIND notes.txt", ZERO, prop(*names)),
        (201, "PUT notes.txt", {"If-None-Match": "*"}, b"first"),
        (412, "PUT notes.txt", {"If-None-Match": "*"}, b"another program's"),
        (207, "PROPFIND notes.txt", ZERO, prop(*names)),
    )
    tag = desk.ask("HEAD notes.txt")["ETag"]
    desk.play((204, "PUT notes.txt", {"If-Match": tag}, b"second"))
    (folder.present / "notes.txt").write_bytes(b"by the mount")
    desk.play((412, "PUT notes.txt", {"If-Match": tag}, b"third"))
    assert folder.files == folder.version() == {"notes.txt": b"by the mount"}


def test_gnome_shows_what_room_there_is(desk: Desk) -> None:
    reply = desk.ask("PROPFIND ", ZERO, prop("quota-available-bytes", "quota-used-bytes"))
    assert statuses(reply) == [200]
    room = int(reply.body.partition(b"<D:quota-available-bytes>")[2].partition(b"<")[0])
    system = os.statvfs(desk.folder.present)
    assert abs(room - system.f_bavail * system.f_frsize) < 64 << 20


def test_gnome_makes_and_renames_a_folder(desk: Desk) -> None:
    desk.play(
        (201, "MKCOL Unbenannter%20Ordner/", NONE, b""),
        (207, "PROPFIND Unbenannter%20Ordner/", ZERO, prop("resourcetype")),
        (201, "MOVE Unbenannter%20Ordner", {"Destination": desk.destination("Neu/"), "Overwrite": "F"}, b""),
        (405, "MKCOL Neu/", NONE, b""),
        (204, "DELETE Neu/", NONE, b""),
    )
    assert desk.folder.files == {}


def test_kde_uploads_a_part_and_moves_it_over_the_file(desk: Desk) -> None:
    folder, versions = desk.folder, []
    desk.play((201, "PUT film.ogv", NONE, b"first"))
    (folder.present / "film.ogv").chmod(0o600)
    folder.version()
    desk.in_between = lambda: versions.append(folder.version()["film.ogv"])
    desk.play(
        (404, "PROPFIND film.ogv.part", ZERO, prop("getcontentlength")),
        (201, "PUT film.ogv.part", NONE, b"second"),
        (204, "MOVE film.ogv.part", {"Destination": desk.destination("film.ogv"), "Overwrite": "T"}, b""),
        (207, "PROPFIND film.ogv", ZERO, prop("getlastmodified", "executable")),
    )
    assert versions == [b"first", b"first", b"second", b"second"]
    assert folder.states("film.ogv") == [b"first", b"second"]
    assert (folder.present / "film.ogv").stat().st_mode & 0o777 == 0o600


# Phones


def test_a_phone_sends_times_and_digests_and_goes_on_where_a_download_broke_off(desk: Desk) -> None:
    folder = desk.folder
    data = os.urandom(300_000)
    digest = hashlib.sha1(data).hexdigest()
    wrong = {"OC-Checksum": f"SHA1:{'0' * 40}", "X-OC-Mtime": "1600000000"}
    sent = desk.ask("PUT IMG_1.jpg", {"OC-Checksum": f"SHA1:{digest}", "X-OC-Mtime": "1600000000"}, data)
    assert (sent.status, sent["X-OC-MTime"], sent["OC-ETag"]) == (201, "accepted", sent["ETag"])
    desk.play((400, "PUT IMG_1.jpg", wrong, b"broken on the way"), (400, "PUT IMG_2.jpg", wrong, b"broken"))
    found = folder.present / "IMG_1.jpg"
    assert (folder.files, found.stat().st_mtime) == ({"IMG_1.jpg": data}, 1600000000)
    folder.version()
    half = desk.ask("GET IMG_1.jpg", {"Range": "bytes=0-99999"})
    rest = desk.ask("GET IMG_1.jpg", {"Range": "bytes=100000-", "If-Range": half["ETag"]})
    assert (rest.status, half.body + rest.body) == (206, data)
    assert half["ETag"] == sent["ETag"]


def test_empty_files_of_programs_that_mean_them_are_in_the_version_taken_at_once(desk: Desk) -> None:
    desk.play(
        (201, "MKCOL package", NONE, b""),
        (201, "PUT package/__init__.py", {"X-OC-Mtime": "1600000000"}, b""),
        (201, "PUT package/new.py", NONE, b"1"),
        (201, "PUT old.py", NONE, b"1"),
    )
    assert desk.folder.version()["package/__init__.py"] == b""
    desk.play((201, "PUT b.py", NONE, b"2"), (204, "DELETE old.py", NONE, b""))
    assert desk.folder.version().keys() == {"package", "package/__init__.py", "package/new.py", "b.py"}


# Programs themselves


def run(*words: str, folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("vendor", ["other", "owncloud"])
@pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")
def test_rclone_keeps_two_trees_the_same(folder: Folder, tmp_path: Path, vendor: str) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "empty").touch()
    (source / "sub" / "Grüße #1 & 50% +.txt").write_bytes(b"hello")
    (source / "gone").write_bytes(b"gone")
    (source / "big").write_bytes(os.urandom(3_000_000))
    for path in source.rglob("*"):
        os.utime(path, (1500000000, 1500000000))
    address = f"http://localhost:{folder.at[1]}/webdav"
    (tmp_path / "rclone.conf").write_text(f"[m]\ntype = webdav\nurl = {address}\nvendor = {vendor}\n")

    def rclone(*words: str) -> str:
        return run("rclone", "--config", "rclone.conf", *words, folder=tmp_path)

    there = f"m:{folder.name}"
    rclone("sync", "source", there)
    rclone("check", "--download", "source", there)
    assert folder.version() == folder.files
    (source / "gone").unlink()
    (source / "big").write_bytes(b"smaller")
    rclone("sync", "source", there)
    assert "gone" not in folder.version()
    assert folder.files == {
        "big": b"smaller",
        "sub": None,
        "sub/empty": b"",
        "sub/Grüße #1 & 50% +.txt": b"hello",
    }
    if vendor == "owncloud":
        assert (folder.present / "sub" / "empty").stat().st_mtime == 1500000000
        assert hashlib.sha1(b"hello").hexdigest() in rclone("hashsum", "sha1", there)
    rclone("copy", there, "back")
    assert (tmp_path / "back" / "sub" / "Grüße #1 & 50% +.txt").read_bytes() == b"hello"


@pytest.mark.skipif(shutil.which("mount.davfs") is None or os.geteuid() != 0, reason="davfs2 is not installed, or not root")
def test_davfs2_and_the_mount_by_turns(folder: Folder, tmp_path: Path) -> None:
    where = tmp_path / "davfs"
    where.mkdir()
    (tmp_path / "conf").write_text("ask_auth 0\nuse_locks 1\nfile_refresh 0\ndir_refresh 0\n")
    address = f"http://localhost:{folder.at[1]}{folder.place}"
    (folder.present / "ours").write_text("ours")
    run("mount", "-t", "davfs", "-o", f"conf={tmp_path}/conf", address, str(where), folder=tmp_path)
    try:
        assert (where / "ours").read_text() == "ours"
        (where / "theirs").write_text("theirs")
        (where / "empty").touch()
        (where / "d").mkdir()
        (where / "theirs").rename(where / "d" / "Grüße")
    finally:
        run("umount", str(where), folder=tmp_path)
    assert folder.files == folder.version() == {"ours": b"ours", "empty": b"", "d": None, "d/Grüße": b"theirs"}
