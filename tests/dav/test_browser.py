"""The pages in a browser: what a person sees of a collection, its versions and its past, and does there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dav.browser import PROGRAM, Browser, Page, browser
from tests.dav.desks import contents
from tests.dav.test_methods import EXCLUSIVE
from tests.dav.test_node import ask, driven
from tests.serving import Served

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(PROGRAM is None, reason="there is no chromium (apt-get install chromium)"),
]
PICTURES = os.environ.get("MIMEI_PICTURES")
"""Where to leave pictures of what was seen, for who wants to look."""


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    with driven(tmp_path_factory.mktemp("drive")) as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


def keep(page: Page, name: str) -> None:
    if PICTURES:
        Path(PICTURES, f"{name}.png").write_bytes(page.picture())


def listed(page: Page, name: str) -> None:
    """Wait until a row has that name, and the page is whole."""
    rows = "[...document.querySelectorAll('tbody a')]"
    page.until(f"document.readyState === 'complete' && {rows}.some(a => a.innerText === '{name}')")


@pytest.fixture(scope="module")
def letters(drive: tuple[Served, str]) -> str:
    """A MiMei with a past; its address."""
    served, url = drive
    place = served.mimei("letters")
    (place / "Budget 2026.ods").write_bytes(bytes(48_000))
    (place / "to Anna & Bo.txt").write_bytes(b"first")
    (place / "photos").mkdir()
    (place / "a very long name that would not fit on the line of a phone, nor of a small window.tar.gz").write_bytes(b"x")
    assert ask(url, "MKCOL", "letters/.mimei/@draft").status == 201
    (place / "to Anna & Bo.txt").write_bytes(b"second and longer")
    assert ask(url, "MKCOL", "letters/.mimei/@sent").status == 201
    return f"{url}letters/"


def test_a_collection_shows_names_sizes_and_versions(chromium: Browser, letters: str) -> None:
    with chromium.page(letters) as page:
        keep(page, "collection")
        shown = page.value("[...document.querySelectorAll('tbody tr')].map(r => r.innerText.replace(/\\s+/g, ' '))")
        assert any(row.startswith("Budget 2026.ods 47 KiB") for row in shown)
        assert any(row.startswith("to Anna & Bo.txt 17 B") for row in shown)
        assert "photos/" in page.text("tbody a.dir")
        assert [text.split()[:2] for text in page.text(".timeline li")] == [["present"], ["@2", "last"], ["@1", "draft"]]


def test_what_a_file_was_is_listed_and_comes_back(chromium: Browser, drive: tuple[Served, str], letters: str) -> None:
    with chromium.page(letters) as page:
        page.click("a[href*='@history'][href*='Anna']")
        page.until("document.querySelectorAll('[data-restore]').length >= 2")
        keep(page, "history")
        assert page.text("tbody .n") == ["5 B", "17 B"]
        page.click("[data-restore]")
        served, url = drive
        served.until(lambda: ask(url, "GET", "letters/to%20Anna%20%26%20Bo.txt").body == b"first", "the old bytes are back")
        page.until("document.getElementById('said').innerText === 'Restored.'")


def test_what_could_not_be_restored_is_not_said_to_be(chromium: Browser, drive: tuple[Served, str], letters: str) -> None:
    _, url = drive
    token = ask(url, "LOCK", "letters/Budget%202026.ods", body=EXCLUSIVE)["Lock-Token"]
    with chromium.page(f"{letters}.mimei/@1/") as page:
        keep(page, "restore")
        page.click("[data-restore^=Budget]")
        said = "document.getElementById('said').innerText"
        page.until(f"{said} !== '' && {said} !== 'Restoring'")
        page.value("new Promise(done => setTimeout(done, 50))")
        assert "is locked by somebody else" in page.text("#said")[0]
    assert ask(url, "UNLOCK", "letters/Budget%202026.ods", {"Lock-Token": token}).status == 204


def test_a_version_says_that_it_is_one(chromium: Browser, letters: str) -> None:
    with chromium.page(letters) as page:
        page.click(".timeline li:last-child a")
        page.until("!!document.querySelector('.past')")
        keep(page, "version")
        assert "as it was" in page.text(".past")[0]
        assert not page.text("#files")


def test_upload_by_button_drop_and_keyboard(chromium: Browser, drive: tuple[Served, str], tmp_path: Path) -> None:
    served, url = drive
    served.mimei("inbox")
    chosen, dropped = tmp_path / "chosen ü.txt", tmp_path / "dropped.bin"
    chosen.write_bytes(b"chosen")
    dropped.write_bytes(bytes(300_000))
    os.utime(chosen, (1_600_000_000, 1_600_000_000))
    folder = tmp_path / "trip"
    (folder / "day 1").mkdir(parents=True)
    (folder / "day 1" / "a#.jpg").write_bytes(b"jpg")
    (folder / "empty").mkdir()
    with chromium.page(f"{url}inbox/") as page:
        keep(page, "empty")
        page.choose("#files", chosen)
        listed(page, "chosen ü.txt")
        page.drop(dropped)
        listed(page, "dropped.bin")
        page.drop(folder)
        listed(page, "trip/")
        page.reply("made by hand")
        for _ in range(12):
            page.press("Tab")
            if page.value("document.activeElement.id") == "folder":
                break
        keep(page, "focus")
        page.press("Enter")
        listed(page, "made by hand/")
        page.reply("by button")
        page.click("#version")
        page.until("document.querySelector('.timeline').innerText.includes('by button')")
    assert ask(url, "GET", "inbox/chosen%20%C3%BC.txt").body == b"chosen"
    assert (served.mount / "inbox" / "chosen ü.txt").stat().st_mtime == 1_600_000_000
    assert ask(url, "GET", "inbox/dropped.bin").body == bytes(300_000)
    assert (served.mount / "inbox" / "made by hand").is_dir()
    assert contents(served.mount / "inbox" / "trip") == {"day 1": None, "day 1/a#.jpg": b"jpg", "empty": None}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read(chromium: Browser, letters: str, width: int, dark: bool) -> None:
    with chromium.page(letters, width, dark=dark) as page:
        keep(page, f"{width}-{'dark' if dark else 'light'}")
        assert page.value("document.documentElement.scrollWidth") <= width
        luminance = (
            "c => c.match(/[\\d.]+/g).slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)"
        )
        contrast = f"""(() => {{
            const light = c => {{ const [r, g, b] = ({luminance})(c); return .2126 * r + .7152 * g + .0722 * b; }};
            const paper = light(getComputedStyle(document.body).backgroundColor);
            return [...document.querySelectorAll('main a, main td, main th, main time, h1')].map(e => {{
                const ink = light(getComputedStyle(e).color);
                return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
            }}).reduce((a, b) => Math.min(a, b));
        }})()"""
        assert page.value(contrast) >= 4.5, "WCAG 2.2, 1.4.3"
        paper = page.value(f"(({luminance})(getComputedStyle(document.body).backgroundColor))[0]")
        assert (paper < 0.5) is dark
