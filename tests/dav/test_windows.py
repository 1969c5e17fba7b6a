"""What Windows Explorer (the Mini-Redirector) and Microsoft Office send, replayed against a running node."""

from collections.abc import Iterator

import pytest

from tests.dav.desks import Desk, Folder, Step, lockinfo
from tests.dav.serving import statuses

pytestmark = pytest.mark.mount

AGENT = "Microsoft-WebDAV-MiniRedir/10.0.19045"
NONE: dict[str, str] = {}
ZERO = {"Depth": "0"}
HOUR = {"Timeout": "Second-3600"}
HELD = {"If": "(<{token}>)"}
CREATED, WRITTEN = "Tue, 01 Jul 2025 08:00:00 GMT", "Wed, 02 Jul 2025 09:30:00 GMT"
OWNER = lockinfo("DESKTOP-1\\ada")


def times(*, all_of_them: bool) -> bytes:
    inside = f"<Z:Win32LastModifiedTime>{WRITTEN}</Z:Win32LastModifiedTime>"
    if all_of_them:
        inside += (
            f"<Z:Win32CreationTime>{CREATED}</Z:Win32CreationTime><Z:Win32LastAccessTime>{WRITTEN}</Z:Win32LastAccessTime>"
        )
    return (
        '<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:">'
        f"<D:set><D:prop>{inside}<Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>"
    ).encode()


def saving(name: str, data: bytes, *, is_new: bool = True) -> list[Step]:
    """The burst of requests with which the redirector writes one file."""
    return [
        (404 if is_new else 207, f"PROPFIND {name}", ZERO, b""),
        (201 if is_new else 204, f"PUT {name}", NONE, b""),
        (200, f"LOCK {name}", HOUR, OWNER),
        (207, f"PROPPATCH {name}", HELD, times(all_of_them=True)),
        (200, f"HEAD {name}", NONE, b""),
        (204, f"PUT {name}", HELD, data),
        (207, f"PROPPATCH {name}", HELD, times(all_of_them=False)),
        (204, f"UNLOCK {name}", {"Lock-Token": "<{token}>"}, b""),
    ]


@pytest.fixture
def desk(folder: Folder) -> Iterator[Desk]:
    made = Desk(folder, User_Agent=AGENT, Translate="f", Connection="Keep-Alive")
    yield made
    made.close()


def test_mapping_asks_anonymously_and_looks_for_what_is_not_there(desk: Desk) -> None:
    probes = ["desktop.ini", "Thumbs.db", "AutoRun.inf", "folder.jpg", "folder.gif", "~$doc.docx", "Desktop.ini/x"]
    answers = desk.play(
        (200, "OPTIONS /", NONE, b""),
        (200, f"OPTIONS {desk.folder.place}", NONE, b""),
        (207, "PROPFIND /webdav/", ZERO, b""),
        (207, f"PROPFIND {desk.folder.place[:-1]}", ZERO, b""),
        (207, "PROPFIND ", {"Depth": "1"}, b""),
        *[(404, f"PROPFIND {name}", ZERO, b"") for name in probes],
        (404, "PROPFIND /", ZERO, b""),
    )
    for options in answers[:2]:
        assert (options["MS-Author-Via"], options["DAV"]) == ("DAV", "1, 2, 3")
    assert f"<D:href>{desk.folder.place}</D:href>".encode() in answers[3].body


def test_a_new_file_is_one_change_whenever_a_version_is_taken(desk: Desk) -> None:
    folder, versions = desk.folder, []
    desk.in_between = lambda: versions.append(folder.version())
    answers = desk.play(*saving("report.txt", b"what was written"))
    assert [list(version) for version in versions] == [[]] * 5 + [["report.txt"]] * 3
    assert folder.files == versions[-1] == {"report.txt": b"what was written"}
    assert set(folder.states("report.txt")) == {b"what was written"}
    assert [statuses(answers[at]) for at in (3, 6)] == [[200], [200]]
    assert answers[4]["Content-Length"] == "0"
    found = folder.present / "report.txt"
    assert found.stat().st_mtime == 1751448600
    told = desk.ask("PROPFIND report.txt", ZERO).body
    assert b"2025-07-01T08:00:00Z" in told
    assert WRITTEN.encode() in told


def test_saving_again_is_one_more_change(desk: Desk) -> None:
    folder = desk.folder
    desk.play(*saving("report.txt", b"first"))
    folder.version()
    versions = []
    desk.in_between = lambda: versions.append(folder.version()["report.txt"])
    desk.play(*saving("report.txt", b"second", is_new=False))
    assert versions == [b"first"] * 5 + [b"second"] * 3
    assert dict.fromkeys(folder.states("report.txt")) == dict.fromkeys((b"first", b"second"))
    assert folder.history("report.txt")[-1] == "added"
    assert "removed" not in folder.history("report.txt")


def test_a_file_that_is_meant_to_be_empty_is_there_at_once_and_in_the_next_version(desk: Desk) -> None:
    folder = desk.folder
    desk.play(*saving("New%20Text%20Document.txt", b""))
    assert folder.files == folder.version() == {"New Text Document.txt": b""}


def test_a_lock_left_behind_in_the_middle_takes_nothing_away(desk: Desk) -> None:
    folder = desk.folder
    desk.play(*saving("report.txt", b"x")[:3])
    assert folder.files == {"report.txt": b""}
    (folder.present / "report.txt").write_bytes(b"by the mount")
    assert folder.version() == {"report.txt": b"by the mount"}
    assert desk.ask("PUT report.txt", body=b"without the token").status == 423


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("Gr%C3%BC%C3%9Fe%20an%20alle.txt", "Grüße an alle.txt"),
        ("R&D%20+%20C%23%20100%25.txt", "R&D + C# 100%.txt"),
        ("a'(b);c=d,e@f!.txt", "a'(b);c=d,e@f!.txt"),
        ("%5bx%5d%7b1%7d^`.txt", "[x]{1}^`.txt"),
    ],
)
def test_names_as_explorer_sends_them(desk: Desk, sent: str, name: str) -> None:
    folder = desk.folder
    desk.play(
        (201, "PUT plain.txt", NONE, b"1"),
        (201, "MOVE plain.txt", {"Destination": desk.destination(sent), "Overwrite": "F"}, b""),
        (207, f"PROPFIND {sent}", ZERO, b""),
        (201, f"COPY {sent}", {"Destination": desk.destination("copy.txt"), "Overwrite": "F"}, b""),
        (412, f"MOVE {sent}", {"Destination": desk.destination("copy.txt"), "Overwrite": "F"}, b""),
        (204, "DELETE copy.txt", NONE, b""),
    )
    assert folder.files == {name: b"1"}


def test_a_new_folder_is_made_renamed_filled_copied_and_removed(desk: Desk) -> None:
    folder = desk.folder
    new = desk.destination("Bilder%20%26%20T%C3%B6ne")
    desk.play(
        (404, "PROPFIND New%20folder", ZERO, b""),
        (201, "MKCOL New%20folder", NONE, b""),
        (405, "MKCOL New%20folder", NONE, b""),
        (207, "PROPFIND New%20folder", ZERO, b""),
        (201, "MOVE New%20folder", {"Destination": new, "Overwrite": "F"}, b""),
        *saving("Bilder%20&%20T%C3%B6ne/a.jpg", b"jpg"),
        (201, "COPY Bilder%20&%20T%C3%B6ne", {"Destination": desk.destination("second"), "Overwrite": "F"}, b""),
        (204, "DELETE Bilder%20&%20T%C3%B6ne", NONE, b""),
        (404, "PROPFIND Bilder%20&%20T%C3%B6ne/a.jpg", ZERO, b""),
    )
    assert folder.files == {"second": None, "second/a.jpg": b"jpg"}


def test_more_than_four_gigabytes_are_judged_by_their_head(desk: Desk) -> None:
    size = 5 << 30
    asked = b'<propfind xmlns="DAV:"><prop><quota-available-bytes/></prop></propfind>'
    told = desk.ask("PROPFIND ", ZERO, asked).body
    room = int(told.partition(b"<D:quota-available-bytes>")[2].partition(b"<")[0])
    desk.client.head("PUT", desk.folder.place + "big.iso", {"Expect": "100-continue", **desk.headers}, size)
    assert desk.client.reply().status == (100 if room > size else 507)
    desk.client.close()
    other = Desk(desk.folder)
    assert other.ask("PROPFIND big.iso", ZERO).status == 404
    other.client.head("PUT", desk.folder.place + "bigger.iso", {"Expect": "100-continue"}, 1 << 45)
    assert other.client.reply().status in (413, 507)
    other.close()
    assert desk.folder.files == {}


# Office


DOC = "Bericht%20M%C3%A4rz.docx"
NAME = "Bericht März.docx"


def word(desk: Desk, data: bytes, turn: int) -> list[Step]:
    """How Word saves a document: a new file, the old one aside, the new one in its place, the old one away."""
    new, old = f"~WRD{turn:04}.tmp", f"~WRL{turn:04}.tmp"
    return [
        *saving(new, data),
        (404, f"DELETE {old}", NONE, b""),
        (201, f"MOVE {DOC}", {"Destination": desk.destination(old), "Overwrite": "F"}, b""),
        (404, f"PROPFIND {DOC}", ZERO, b""),
        (201, f"MOVE {new}", {"Destination": desk.destination(DOC), "Overwrite": "F"}, b""),
        (207, f"PROPFIND {DOC}", ZERO, b""),
        (204, f"DELETE {old}", NONE, b""),
    ]


def excel(desk: Desk, data: bytes, turn: int) -> list[Step]:
    """How Excel does it: a new file, the old one away, the new one in its place."""
    new = f"{turn:04}CEDD"
    return [
        *saving(new, data),
        (204, f"DELETE {DOC}", NONE, b""),
        (201, f"MOVE {new}", {"Destination": desk.destination(DOC), "Overwrite": "F"}, b""),
    ]


def over(desk: Desk, data: bytes, turn: int) -> list[Step]:
    """And where the new one is moved over the old."""
    new = f"{turn:08}.tmp"
    return [*saving(new, data), (204, f"MOVE {new}", {"Destination": desk.destination(DOC), "Overwrite": "T"}, b"")]


@pytest.mark.parametrize("dance", [word, excel, over])
def test_a_document_saved_by_renames_stays_itself_with_one_state_for_each_save(desk: Desk, dance) -> None:  # type: ignore[no-untyped-def]
    folder = desk.folder
    desk.play(*saving(DOC, b"first"))
    document = folder.present / NAME
    document.chmod(0o640)
    mine = b'<propertyupdate xmlns="DAV:"><set><prop><mark xmlns="urn:mine">1</mark></prop></set></propertyupdate>'
    assert desk.ask(f"PROPPATCH {DOC}", NONE, mine).status == 207
    first = folder.version()
    assert first[NAME] == b"first"
    seen: list[bytes | None] = []
    desk.in_between = lambda: seen.append(folder.version().get(NAME))
    desk.play(
        (404, "PROPFIND ~$richt%20M%C3%A4rz.docx", ZERO, b""),
        *saving("~$richt%20M%C3%A4rz.docx", b"\x03ada"),
        *dance(desk, b"second", 1),
        *dance(desk, b"third one", 2),
        (204, "DELETE ~$richt%20M%C3%A4rz.docx", NONE, b""),
    )
    assert list(dict.fromkeys(seen)) == [b"first", b"second", b"third one"]
    assert folder.files == folder.version() == {NAME: b"third one"}
    assert document.stat().st_mode & 0o777 == 0o640
    asked = b'<propfind xmlns="DAV:"><prop><mark xmlns="urn:mine"/></prop></propfind>'
    assert b'"urn:mine">1</' in desk.ask(f"PROPFIND {DOC}", ZERO, asked).body
    assert folder.history(NAME).count("removed") == 0
    assert list(dict.fromkeys(folder.states(NAME))) == [b"first", b"second", b"third one"]


def test_a_document_open_in_office_is_locked_refreshed_and_written_in_place(desk: Desk) -> None:
    folder = desk.folder
    desk.play(*saving(DOC, b"first"))
    office = Desk(folder, User_Agent="Microsoft Office Word 2014")
    office.play(
        (200, f"OPTIONS {folder.place}", NONE, b""),
        (200, f"HEAD {DOC}", NONE, b""),
        (200, f"LOCK {DOC}", HOUR, OWNER),
        (200, f"GET {DOC}", NONE, b""),
        (200, f"LOCK {DOC}", {**HOUR, **HELD}, b""),
        (204, f"PUT {DOC}", HELD, b"second"),
        (200, f"LOCK {DOC}", {"Timeout": "Second-120", **HELD}, b""),
    )
    desk.play(
        (423, f"PUT {DOC}", NONE, b"meanwhile"),
        (423, f"DELETE {DOC}", NONE, b""),
        (423, f"MOVE {DOC}", {"Destination": desk.destination("x")}, b""),
        (423, f"LOCK {DOC}", HOUR, OWNER),
    )
    office.play((204, f"UNLOCK {DOC}", {"Lock-Token": "<{token}>"}, b""))
    assert folder.files == folder.version() == {NAME: b"second"}
    office.close()
