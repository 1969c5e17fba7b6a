"""What ordinary programs ask of the node, request by request: a table of exact numbers, so that a lost cache shows.

Each program runs in a directory that the kernel has just learned of, in the present and in a version: cold, where it knows
nothing in it, and when it has run twice (a read has the kernel ask for attributes once more, since it may change the time of
access). Numbers, never times. They are those of Linux from 5.12 on (:mod:`mimeifs.fuse.greeting`) and of GNU coreutils and git
as Debian 12 has them; the tree is so small that a listing is one request and the one that finds the end.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fuse import counting
from tests.serving import Served, serving

pytestmark = pytest.mark.mount

FILES = ("a", "b", "c", "d/e", "d/f")
BORN = 1_700_000_000
Counts = dict[str, int]


def program(*words: str) -> Callable[[], None]:
    """Run a program; what it writes to its output is taken away from it."""

    def run() -> None:
        subprocess.run(words, check=True, capture_output=True, timeout=60, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"})

    return run


def saved() -> None:
    """Save a file as editors do: written beside itself, fsynced, renamed over the old one, and read again."""
    with open("a.new", "xb", buffering=0) as file:
        file.write(b"a new text\n")
        os.fsync(file)
    os.rename("a.new", "a")
    with open("a", "rb", buffering=0) as file:
        assert file.read(100) == b"a new text\n"


@dataclass(frozen=True)
class Row:
    """A program, and what it asks cold and again."""

    name: str
    step: Callable[[], None]
    cold: Counts
    again: Counts


SAVE: Counts = {
    "lookup": 2,
    "getattr": 3,
    "rename": 1,
    "create": 1,
    "open": 1,
    "read": 1,
    "write": 1,
    "release": 2,
    "fsync": 1,
    "getxattr": 1,
}
READERS: tuple[Row, ...] = (
    Row(
        "ls -l",
        program("ls", "-l"),
        {"opendir": 1, "readdir": 2, "releasedir": 1, "getxattr": 6},
        {"getattr": 1, "opendir": 1, "readdir": 2, "releasedir": 1, "getxattr": 6},
    ),
    Row(
        "find with stat",
        program("find", ".", "-size", "+1"),
        {"opendir": 3, "readdir": 4, "releasedir": 3},
        {"getattr": 1, "opendir": 3, "readdir": 4, "releasedir": 3},
    ),
    Row("cat", program("cat", *FILES), {"lookup": 6, "open": 5, "read": 5, "release": 5}, {"open": 5, "release": 5}),
    Row(
        "cp -a out of it",
        program("sh", "-c", 'to=$(mktemp -d) && cp -a . "$to" && rm -r "$to"'),
        {
            "getattr": 7,
            "open": 5,
            "read": 5,
            "release": 5,
            "opendir": 2,
            "readdir": 4,
            "releasedir": 2,
            "getxattr": 9,
            "listxattr": 14,
        },
        {"getattr": 2, "open": 5, "release": 5, "opendir": 2, "readdir": 4, "releasedir": 2, "getxattr": 9, "listxattr": 14},
    ),
    Row(
        "tar",
        program("tar", "-cf", "-", "."),
        {"getattr": 7, "open": 5, "read": 5, "release": 5, "opendir": 2, "readdir": 4, "releasedir": 2},
        {"getattr": 2, "open": 5, "release": 5, "opendir": 2, "readdir": 4, "releasedir": 2},
    ),
)
"""What asks the same in the present and in a version."""
PRESENT: tuple[Row, ...] = (
    *READERS,
    Row(
        "cp -a within",
        program("sh", "-c", "cp -a d copy$(($(ls | wc -l)))"),
        {
            "lookup": 5,
            "getattr": 5,
            "setattr": 4,
            "mkdir": 1,
            "create": 2,
            "open": 2,
            "read": 2,
            "write": 2,
            "release": 4,
            "opendir": 2,
            "readdir": 4,
            "releasedir": 2,
            "getxattr": 6,
            "listxattr": 6,
            "setxattr": 3,
            "removexattr": 1,
        },
        {
            "lookup": 5,
            "getattr": 3,
            "setattr": 4,
            "mkdir": 1,
            "create": 2,
            "open": 2,
            "write": 2,
            "release": 4,
            "opendir": 2,
            "readdir": 4,
            "releasedir": 2,
            "getxattr": 6,
            "listxattr": 6,
            "setxattr": 3,
            "removexattr": 1,
        },
    ),
    Row(
        "git status",
        program("git", "status"),
        {"lookup": 41, "getattr": 4, "open": 17, "read": 6, "release": 17, "opendir": 4, "readdir": 8, "releasedir": 4},
        {"lookup": 1, "getattr": 4, "open": 17, "release": 17, "opendir": 4, "readdir": 8, "releasedir": 4},
    ),
    Row(
        "an editor's save",
        saved,
        SAVE,
        SAVE,
    ),
    Row("a name that is not there", program("sh", "-c", "test ! -e d/missing"), {"lookup": 2}, {}),
)
VERSION: tuple[Row, ...] = (
    *READERS,
    Row(
        "git status",
        program("git", "status"),
        {"lookup": 43, "getattr": 4, "open": 22, "read": 11, "release": 22, "opendir": 4, "readdir": 8, "releasedir": 4},
        {"getattr": 4, "open": 22, "release": 22, "opendir": 4, "readdir": 8, "releasedir": 4},
    ),
    Row("a name that is not there", program("sh", "-c", "test ! -e missing"), {"lookup": 1}, {}),
)


class Counted:
    """A node that counts, and a MiMei with one version for each row."""

    def __init__(self, served: Served, file: Path) -> None:
        self.served = served
        self._file = file

    def name(self, place: str, row: Row) -> str:
        """The MiMei of a row."""
        return f"{place}-{row.name.replace(' ', '-')}"

    def during(self, step: Callable[[], None], place: int) -> Counts:
        """What a step in a directory asks, until the node has answered all of it."""
        before, here = self._settled(), os.getcwd()
        os.fchdir(place)
        try:
            step()
        finally:
            os.chdir(here)
        after = self._settled()
        return {name: after[name] - before[name] for name in after if after[name] != before[name] and name != "statfs"}

    def _settled(self) -> Counts:
        """The numbers once what nobody waits for, such as a release, is counted: it comes before this question."""
        os.statvfs(self.served.mount)
        return counting.counts(self._file)


def filled(present: Path, row: Row) -> None:
    """The tree, under git where that is asked about it, and a version of it."""
    (present / "d").mkdir()
    for name in FILES:
        (present / name).write_bytes(name.encode() * 1000)
        os.utime(present / name, (BORN, BORN))  # Long before git looks, which else would not trust its index.
    git = ("git", "-C", str(present), "-c", "user.name=n", "-c", "user.email=e")
    dated = {**os.environ, "GIT_AUTHOR_DATE": f"{BORN} +0000", "GIT_COMMITTER_DATE": f"{BORN} +0000"}
    if row.name.startswith("git"):
        for words in (("init", "-q", "--template="), ("add", "."), ("commit", "-q", "-m", "all")):
            subprocess.run((*git, *words), check=True, timeout=60, env=dated)
    (present / ".mimei" / "@first").mkdir()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    folder = tmp_path_factory.mktemp("counted")
    file = folder / "counts"
    file.write_bytes(bytes(counting.SIZE))
    with serving(folder / "s", program=(sys.executable, counting.__file__, str(file))) as served:
        counted = Counted(served, file)
        for place, rows in (("present", PRESENT), ("version", VERSION)):
            for row in rows:
                filled(served.mimei(counted.name(place, row)), row)
        (served.mimei("warm") / "a").touch()
        assert served.end() == 0
        served.start()
        (served.mount / "warm" / "a").read_bytes()  # The first close of all is answered that none needs be.
        yield counted
        assert served.end() == 0


def check(counted: Counted, row: Row, folder: Path) -> None:
    place = os.open(folder, os.O_PATH)
    try:
        cold = counted.during(row.step, place)
        counted.during(row.step, place)
        again = counted.during(row.step, place)
    finally:
        os.close(place)
    assert (cold, again) == (row.cold, row.again)


@pytest.mark.parametrize("row", PRESENT, ids=lambda row: row.name)
def test_in_the_present(counted: Counted, row: Row) -> None:
    check(counted, row, counted.served.mount / counted.name("present", row))


@pytest.mark.parametrize("row", VERSION, ids=lambda row: row.name)
def test_in_a_version(counted: Counted, row: Row) -> None:
    check(counted, row, counted.served.mount / counted.name("version", row) / ".mimei" / "@1")
