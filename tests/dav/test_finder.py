"""What the Finder of macOS (WebDAVFS) and its programs send, replayed against a running node."""

from collections.abc import Iterator

import pytest

from tests.dav.desks import Desk, Folder, Step, lockinfo

pytestmark = pytest.mark.mount

AGENT = "WebDAVFS/3.0.0 (03008000) Darwin/23.4.0 (arm64)"
NONE: dict[str, str] = {}
ZERO = {"Depth": "0"}
LOCKING = {"Depth": "0", "Timeout": "Second-600", "Content-Type": 'text/xml; charset="utf-8"'}
HELD = {"If": "(<{token}>)"}
FREE = {"Lock-Token": "<{token}>"}
OWNER = lockinfo("http://www.apple.com/webdav_fs/")


def chunks(size: int, **more: str) -> dict[str, str]:
    return {"Transfer-Encoding": "chunked", "X-Expected-Entity-Length": str(size), **more}


def copying(name: str, data: bytes) -> list[Step]:
    """How the Finder copies a file here: empty, locked, its bytes in chunks, and the same for its shadow ``._``."""
    above, slash, last = name.rpartition("/")
    shadow = f"{above}{slash}._{last}"
    return [
        (404, f"PROPFIND {name}", ZERO, b""),
        (201, f"PUT {name}", NONE, b""),
        (207, f"PROPFIND {name}", ZERO, b""),
        (200, f"LOCK {name}", LOCKING, OWNER),
        (204, f"PUT {name}", chunks(len(data), **HELD), data),
        (207, f"PROPFIND {name}", ZERO, b""),
        (204, f"UNLOCK {name}", FREE, b""),
        (404, f"PROPFIND {shadow}", ZERO, b""),
        (201, f"PUT {shadow}", NONE, b""),
        (200, f"LOCK {shadow}", LOCKING, OWNER),
        (204, f"PUT {shadow}", chunks(4, **HELD), b"fork"),
        (204, f"UNLOCK {shadow}", FREE, b""),
        (200, f"GET {shadow}", NONE, b""),
    ]


@pytest.fixture
def desk(folder: Folder) -> Iterator[Desk]:
    made = Desk(folder, User_Agent=AGENT, Accept="*/*", Connection="keep-alive")
    yield made
    made.close()


def test_a_copied_file_is_one_change_and_its_shadow_none(desk: Desk) -> None:
    folder, versions = desk.folder, []
    desk.in_between = lambda: versions.append(folder.version())
    data = bytes(range(256)) * 3000
    answers = desk.play(*copying("Photo.jpg", data))
    assert versions == [{}] * 4 + [{"Photo.jpg": data}] * 9
    assert folder.states("Photo.jpg") == [data]
    assert answers[-1].body == b"fork"
    assert folder.files == {"Photo.jpg": data}


def test_chunks_that_end_early_leave_what_was_there(desk: Desk) -> None:
    desk.play(*copying("Photo.jpg", b"whole"))
    other = Desk(desk.folder, User_Agent=AGENT)
    other.client.head("PUT", f"{desk.folder.place}Photo.jpg", {"Transfer-Encoding": "chunked"})
    other.client.send(b"5\r\nhalf ")
    other.close()
    assert desk.folder.files == {"Photo.jpg": b"whole"}


def test_folders_get_their_ds_store_which_nobody_sees(desk: Desk) -> None:
    desk.play(
        (201, "MKCOL Urlaub", NONE, b""),
        (404, "PROPFIND Urlaub/.DS_Store", ZERO, b""),
        (201, "LOCK Urlaub/.DS_Store", LOCKING, OWNER),
        (204, "PUT Urlaub/.DS_Store", {**HELD, **chunks(3)}, b"Bud"),
        (204, "UNLOCK Urlaub/.DS_Store", FREE, b""),
        (207, "PROPFIND Urlaub/", {"Depth": "1"}, b""),
        (404, "PROPFIND .metadata_never_index", ZERO, b""),
        (404, "PROPFIND .Spotlight-V100", ZERO, b""),
        (204, "DELETE Urlaub/", NONE, b""),
    )
    assert desk.folder.files == desk.folder.version() == {}


def test_names_come_decomposed_and_are_one_with_those_of_others(desk: Desk) -> None:
    (desk.folder.present / "Müller").mkdir()
    desk.play(
        (207, "PROPFIND Mu%CC%88ller/", ZERO, b""),
        *copying("Mu%CC%88ller/Scho%CC%88n.txt", b"1"),
        (201, "MOVE Mu%CC%88ller/Scho%CC%88n.txt", {"Destination": desk.destination("Mu%CC%88ller/U%CC%88ber.txt")}, b""),
        (200, "GET M%C3%BCller/%C3%9Cber.txt", NONE, b""),
        (207, "PROPFIND Mu%CC%88ller/", {"Depth": "1"}, b""),
    )
    assert desk.folder.files == {"Müller": None, "Müller/Über.txt": b"1"}


def test_a_file_is_read_in_ranges_and_asked_for_again(desk: Desk) -> None:
    data = bytes(range(250)) * 40
    (desk.folder.present / "film.mov").write_bytes(data)
    whole = desk.ask("GET film.mov", {"Range": "bytes=0-4095"})
    assert (whole.status, whole["Content-Range"], whole.body) == (206, "bytes 0-4095/10000", data[:4096])
    rest = desk.ask("GET film.mov", {"Range": "bytes=4096-", "If-Range": whole["ETag"]})
    assert (rest.status, rest.body) == ((206, data[4096:]) if not whole["ETag"].startswith("W/") else (200, data))
    assert desk.ask("GET film.mov", {"If-None-Match": whole["ETag"]}).status == 304
    (desk.folder.present / "film.mov").write_bytes(b"another")
    again = desk.ask("GET film.mov", {"Range": "bytes=4096-", "If-Range": whole["ETag"]})
    assert (again.status, again.body) == (200, b"another")


def in_a_folder(desk: Desk, data: bytes, turn: int) -> list[Step]:
    """A safe save through a folder beside the document."""
    beside = f"(A%20Document%20Being%20Saved%20By%20TextEdit%20{turn})"
    return [
        (201, f"MKCOL {beside}", NONE, b""),
        *copying(f"{beside}/Brief.txt", data)[:7],
        (204, f"MOVE {beside}/Brief.txt", {"Destination": desk.destination("Brief.txt"), "Overwrite": "T"}, b""),
        (204, f"DELETE {beside}", NONE, b""),
    ]


def aside(desk: Desk, data: bytes, turn: int) -> list[Step]:
    """A safe save that puts the document aside first."""
    new, old = f"Brief.txt.sb-{turn:08x}-Ab3xYz", f"Brief.txt.sb-{turn:08x}-Old4uv"
    return [
        *copying(new, data)[:7],
        (201, "MOVE Brief.txt", {"Destination": desk.destination(old), "Overwrite": "F"}, b""),
        (201, f"MOVE {new}", {"Destination": desk.destination("Brief.txt"), "Overwrite": "F"}, b""),
        (204, f"DELETE {old}", NONE, b""),
    ]


@pytest.mark.parametrize("save", [in_a_folder, aside])
def test_a_safe_save_leaves_one_document_with_one_state_for_each_save(desk: Desk, save) -> None:  # type: ignore[no-untyped-def]
    folder = desk.folder
    desk.play(*copying("Brief.txt", b"first")[:7])
    (folder.present / "Brief.txt").chmod(0o600)
    folder.version()
    seen: list[bytes | None] = []
    desk.in_between = lambda: seen.append(folder.version().get("Brief.txt"))
    desk.play(*save(desk, b"second", 1), *save(desk, b"third", 2))
    assert list(dict.fromkeys(seen)) == [b"first", b"second", b"third"]
    assert folder.files == folder.version() == {"Brief.txt": b"third"}
    assert (folder.present / "Brief.txt").stat().st_mode & 0o777 == 0o600
    assert list(dict.fromkeys(folder.states("Brief.txt"))) == [b"first", b"second", b"third"]
    assert "removed" not in folder.history("Brief.txt")
