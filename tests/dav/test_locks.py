"""Locks over a running node: whom they keep out, where they go, and when they end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dav.desks import Desk, Folder, address, driven, lockinfo

pytestmark = pytest.mark.mount

NONE: dict[str, str] = {}
ZERO = {"Depth": "0"}
HELD = {"If": "(<{token}>)"}
FREE = {"Lock-Token": "<{token}>"}
MINE, SHARED = lockinfo("ada"), lockinfo("ada", "shared")


@pytest.fixture
def ada(folder: Folder) -> Iterator[Desk]:
    made = Desk(folder)
    yield made
    made.close()


@pytest.fixture
def bob(folder: Folder) -> Iterator[Desk]:
    made = Desk(folder)
    yield made
    made.close()


def discovered(desk: Desk, name: str) -> bytes:
    """What a client is told about the locks on a resource."""
    body = b'<propfind xmlns="DAV:"><prop><lockdiscovery/></prop></propfind>'
    return desk.ask(f"PROPFIND {name}", ZERO, body).body


@pytest.mark.parametrize("way", ["drive", "mount", "mount, the folder above"])
def test_a_lock_follows_what_it_is_on(ada: Desk, bob: Desk, way: str) -> None:
    present = ada.folder.present
    ada.play((201, "MKCOL d", NONE, b""), (201, "PUT d/x", NONE, b"1"), (200, "LOCK d/x", NONE, MINE))
    if way == "drive":
        ada.play((201, "MOVE d/x", {"Destination": ada.destination("d/y"), **HELD}, b""))
    elif way == "mount":
        (present / "d" / "x").rename(present / "d" / "y")
    else:
        (present / "d" / "x").rename(present / "d" / "y")
        (present / "d").rename(present / "e")
        (present / "d").mkdir()
    here = "e/y" if "above" in way else "d/y"
    bob.play((423, f"PUT {here}", NONE, b"2"), (423, f"DELETE {here}", NONE, b""), (201, "PUT d/x", NONE, b"free"))
    assert f"<D:lockroot><D:href>{ada.folder.place}{here}</D:href>".encode() in discovered(bob, here)
    ada.play((204, f"PUT {here}", HELD, b"3"), (204, f"UNLOCK {here}", FREE, b""), (204, f"PUT {here}", NONE, b"4"))
    assert (present / here).read_bytes() == b"4"


def test_a_lock_ends_with_its_time_and_with_what_it_is_on(ada: Desk, bob: Desk) -> None:
    ada.play((201, "PUT x", NONE, b"1"), (200, "LOCK x", {"Timeout": "Second-1"}, MINE))
    ada.folder.served.until(lambda: bob.ask("PUT x", body=b"2").status == 204, "the lock has ended")
    assert b"activelock" not in discovered(bob, "x")
    ada.play((412, "LOCK x", HELD, b""), (409, "UNLOCK x", FREE, b""), (200, "LOCK x", NONE, MINE))
    (ada.folder.present / "x").unlink()
    (ada.folder.present / "x").write_bytes(b"another")
    bob.play((204, "PUT x", NONE, b"free"))


def test_a_lock_binds_nobody_on_the_mount(ada: Desk, bob: Desk) -> None:
    ada.play((201, "PUT x", NONE, b"1"), (200, "LOCK x", NONE, MINE))
    (ada.folder.present / "x").write_bytes(b"by the mount")
    bob.play((423, "PUT x", NONE, b"2"))
    assert ada.folder.files == {"x": b"by the mount"}
    ada.play((204, "PUT x", HELD, b"3"))


@pytest.mark.parametrize("line", ["LOCK d/new", "MKCOL d/new", "PUT d/new", "LOCK none/new", "MKCOL none/new"])
def test_what_is_refused_leaves_no_trace(ada: Desk, bob: Desk, line: str) -> None:
    ada.play((201, "MKCOL d", NONE, b""), (200, "LOCK d", {"Depth": "infinity"}, MINE))
    reply = bob.ask(line, NONE, MINE if line.startswith("LOCK") else b"")
    assert reply.status == (409 if "none" in line else 423)
    assert ada.folder.files == ada.folder.version() == {"d": None}
    bob.play((404, f"PROPFIND {line.split()[1]}", ZERO, b""))
    ada.play((204, "UNLOCK d", FREE, b""), (201, "MKCOL d/new", NONE, b""))


def test_shared_locks_go_together_and_an_exclusive_one_with_none(ada: Desk, bob: Desk) -> None:
    ada.play((201, "PUT x", NONE, b"1"), (200, "LOCK x", NONE, SHARED))
    bob.play((423, "LOCK x", NONE, MINE), (200, "LOCK x", NONE, SHARED))
    assert discovered(bob, "x").count(b"<D:activelock>") == 2
    ada.play((423, "PUT x", NONE, b"none"), (204, "PUT x", HELD, b"ada's"))
    bob.play((204, "PUT x", HELD, b"bob's"), (204, "UNLOCK x", FREE, b""))
    ada.play((423, "PUT x", NONE, b"none"), (204, "UNLOCK x", FREE, b""), (200, "LOCK x", NONE, MINE))
    bob.play((423, "LOCK x", NONE, SHARED))


def test_a_lock_on_a_folder_covers_what_is_in_it_and_what_comes(ada: Desk, bob: Desk) -> None:
    tagged = {"If": f"<{ada.destination('d/')}> (<{{token}}>)"}
    ada.play(
        (201, "MKCOL d", NONE, b""),
        (201, "MKCOL d/e", NONE, b""),
        (201, "PUT d/e/x", NONE, b"1"),
        (200, "LOCK d/", {"Depth": "infinity"}, MINE),
    )
    bob.play(
        (423, "PUT d/e/x", NONE, b"2"),
        (423, "PUT d/e/new", NONE, b"2"),
        (423, "DELETE d", NONE, b""),
        (423, "LOCK d/e/x", NONE, MINE),
        (423, "MOVE d/e/x", {"Destination": bob.destination("x")}, b""),
        (201, "COPY d/e/x", {"Destination": bob.destination("x")}, b""),
    )
    ada.play((204, "PUT d/e/x", tagged, b"3"), (201, "PUT d/e/new", tagged, b"4"), (200, "LOCK d/e/new", HELD, b""))
    assert discovered(bob, "d/e/new").count(b"<D:depth>infinity</D:depth>") == 1
    ada.play((204, "UNLOCK d/e/new", FREE, b""))
    bob.play((204, "DELETE d", NONE, b""))


def test_a_lock_on_the_folder_alone_keeps_its_names_and_not_what_is_in_it(ada: Desk, bob: Desk) -> None:
    ada.play((201, "MKCOL d", NONE, b""), (201, "PUT d/x", NONE, b"1"), (200, "LOCK d", {"Depth": "0"}, MINE))
    bob.play((423, "PUT d/new", NONE, b""), (423, "DELETE d/x", NONE, b""), (204, "PUT d/x", NONE, b"2"))
    assert ada.folder.files == {"d": None, "d/x": b"2"}


def test_locks_and_properties_survive_the_death_of_node_and_drive(tmp_path: Path) -> None:
    """wsgidav keeps both in memory."""
    mark = b'<propertyupdate xmlns="DAV:"><set><prop><mark xmlns="urn:mine">1</mark></prop></set></propertyupdate>'
    asked = b'<propfind xmlns="DAV:"><prop><mark xmlns="urn:mine"/></prop></propfind>'
    with driven(tmp_path) as (served, url):
        folder = Folder(served, url, "m")
        ada = Desk(folder)
        ada.play((201, "PUT x", NONE, b"1"), (207, "PROPPATCH x", NONE, mark), (200, "LOCK x", NONE, MINE))
        token = ada.token
        ada.play((201, "LOCK new", NONE, MINE))
        ada.close()
        (served.home / "drive").unlink()
        served.kill("drive")
        for last in ("drive", "node and drive"):
            folder.at = "localhost", int(address(served).split("/")[2].rpartition(":")[2])
            desk = Desk(folder)
            assert desk.ask("PUT x", body=b"2").status == 423, last
            assert desk.ask("PUT new", body=b"2").status == 423, last
            assert b'"urn:mine">1</' in desk.ask("PROPFIND x", ZERO, asked).body, last
            desk.close()
            if last == "drive":
                served.kill_everything()
                (served.home / "drive").unlink()
                served.start()
        folder.at = "localhost", int(address(served).split("/")[2].rpartition(":")[2])
        desk = Desk(folder)
        desk.token = token
        desk.play((204, "PUT x", HELD, b"3"), (204, "UNLOCK x", FREE, b""), (204, "PUT x", NONE, b"4"))
        desk.close()
        assert folder.files == {"x": b"4"}
        assert served.end() == 0
