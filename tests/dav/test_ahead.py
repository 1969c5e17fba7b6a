"""Looking ahead where one file after the other is opened: how often a real node is asked, and what is found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mimeifs.api.requesting import Request
from mimeifs.dav import ahead
from mimeifs.dav.ahead import Ahead
from mimeifs.dav.tree import NodeTree
from mimeifs.home import Home
from tests.serving import Served, serving

DIRECTORY = (b"photos",)
FILES = 300


def test_nothing_is_asked_for_ahead_of_the_first_or_after_a_change() -> None:
    course = Ahead()
    assert course.missed(DIRECTORY, b"a", 1) is None
    assert course.missed(DIRECTORY, b"k", 1) == (b"a", ahead.FIRST)
    course.came(DIRECTORY, 1, b"j")
    assert course.missed(DIRECTORY, b"k", 1) == (b"j", 2 * ahead.FIRST)
    assert course.missed(DIRECTORY, b"l", 2) is None
    course.came(DIRECTORY, 1, b"z")
    assert course.missed(DIRECTORY, b"m", 2) == (b"l", ahead.FIRST), "what came too late is forgotten"
    course.came(DIRECTORY, 2, b"")
    assert course.missed(DIRECTORY, b"n", 2) is None, "there is no more"


def test_whoever_opens_here_and_there_in_a_large_directory_is_not_followed_for_ever() -> None:
    course, rows = Ahead(), 0
    for number in range(1000):
        wanted = course.missed(DIRECTORY, b"x%d" % number, 1)
        if wanted is not None:
            rows += wanted[1]
            course.came(DIRECTORY, 1, b"%d" % number)
    assert ahead.WASTE - ahead.MOST < rows <= ahead.WASTE
    for _ in range(ahead.MOST):
        course.used(DIRECTORY)
    assert course.missed(DIRECTORY, b"y", 1) is not None


def test_only_so_many_directories_are_kept_in_mind() -> None:
    course = Ahead()
    for number in range(3 * ahead.DIRECTORIES):
        course.missed((b"%d" % number,), b"a", 1)
        assert len(course._courses) <= ahead.DIRECTORIES


class Counted(NodeTree):
    """A node's tree whose pulse is ours, with what was asked of the node."""

    def __init__(self, served: Served) -> None:
        home = Home(served.home)
        self.moment, self.asked = 1, list[str]()
        super().__init__(home.socket, home.storage, lambda: self.moment)

    def call(self, request: Request[Any]) -> Any:
        self.asked.append(type(request).__name__)
        return super().call(request)

    def content(self, name: bytes) -> bytes:
        reading = self.open((*DIRECTORY, name))
        try:
            return bytes(reading.read(0, reading.facts.size))
        finally:
            reading.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "s") as served:
        photos = served.mimei("photos")
        for number in range(FILES):
            (photos / f"{number}").write_bytes(b"%d" % number * 50)
        (photos / "sub").mkdir()
        (photos / "link").symlink_to("1")
        served.command("backup", "photos")
        yield served
        assert served.end() == 0


@pytest.mark.mount
def test_a_folder_is_copied_with_few_questions_and_a_change_is_seen(served: Served) -> None:
    tree = Counted(served)
    try:
        for number in range(FILES):
            assert tree.content(b"%d" % number) == b"%d" % number * 50
        assert len(tree.asked) < FILES / 6, f"{len(tree.asked)} questions for {FILES} files"
        changed = served.mount / "photos" / f"{FILES - 1}"
        changed.write_bytes(b"other")
        tree.moment += 1
        tree.asked.clear()
        assert tree.content(b"%d" % (FILES - 1)) == b"other"
        assert tree.asked == ["OpenFile"]
    finally:
        tree.close()
