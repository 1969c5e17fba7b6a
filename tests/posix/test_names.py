"""Names come and go: link, unlink, symlink, readlink, mkdir, rmdir, mknod, mkfifo, and how long or wrong a name may be."""

import errno
import os
import stat
from functools import partial
from pathlib import Path

import pytest

from tests.posix.calls import facts_of, opening, rows_named
from tests.posix.conftest import Agree
from tests.posix.stage import ANN, BOB, row, tried

pytestmark = pytest.mark.mount

KINDS = (
    "f",
    "hard",
    "s",
    "broken",
    "loop",
    "p",
    "sock",
    "d",
    "full",
    "missing",
    "missing/x",
    "f/x",
    "d/.",
    "d/..",
    "f/",
    "d/",
    "sd/",
)
LONG = "n" * 255
TOO_LONG = "n" * 256
DEEP = "/".join(["."] * 2047) + "/f"
TOO_DEEP = "./" * 2047 + "ff"


def unlinked_but_open() -> list[object]:
    descriptor = os.open("g", os.O_RDWR)
    os.unlink("g")
    os.write(descriptor, b"CONTENT")
    os.ftruncate(descriptor, 9)
    os.fchmod(descriptor, 0o600)
    found = os.fstat(descriptor)
    return [os.pread(descriptor, 99, 0), found.st_nlink, found.st_size, stat.filemode(found.st_mode)]


def linked_again() -> None:
    descriptor = os.open("g", os.O_RDONLY)
    os.unlink("g")
    os.link(f"/proc/self/fd/{descriptor}", "again", follow_symlinks=True)


def reopened() -> bytes:
    descriptor = os.open("g", os.O_PATH)
    os.unlink("g")
    with open(f"/proc/self/fd/{descriptor}", "rb") as again:
        return again.read()


def replaced_while_held() -> bytes:
    descriptor = os.open("g", os.O_PATH)
    os.rename("f", "g")
    with open(f"/proc/self/fd/{descriptor}", "rb") as again:
        return again.read()


def in_a_removed_directory(*acts: object) -> list[object]:
    os.chdir("d")
    os.rmdir("../d")
    said: list[object] = []
    for act in acts:
        try:
            said.append(act())  # type: ignore[operator]
        except OSError as error:
            said.append(errno.errorcode[error.errno])
    return said


def open_and_removed() -> list[object]:
    descriptor = os.open("d", os.O_RDONLY)
    os.rmdir("d")
    return [os.listdir(descriptor), os.fstat(descriptor).st_nlink]


def links(count: int) -> list[int]:
    for number in range(count):
        os.link("f", f"l{number}")
    return [os.stat("hard").st_nlink]


def made_and_used_a_fifo() -> bytes:
    os.mkfifo("q", 0o600)
    both = os.open("q", os.O_RDWR)
    os.write(both, b"through")
    return os.read(both, 99)


def null_swallows() -> bytes:
    with open("null", "r+b", buffering=0) as device:
        device.write(b"x")
        return device.read()


SIMPLE = [
    *(row(f"unlink {kind}", partial(os.unlink, kind)) for kind in KINDS),
    *(row(f"rmdir {kind}", partial(os.rmdir, kind)) for kind in (*KINDS, ".", "..")),
    *(row(f"mkdir {kind}", partial(os.mkdir, kind)) for kind in KINDS),
    *(row(f"symlink {kind}", partial(os.symlink, "to", kind)) for kind in KINDS),
    *(row(f"mknod {kind}", partial(os.mknod, kind)) for kind in ("f", "broken", "missing", "missing/", "d/")),
    *(
        row(f"link f to {kind}", partial(os.link, "f", kind))
        for kind in ("hard", "s", "broken", "d", "missing", "d/x", "missing/x", "f/x", "x/")
    ),
    *(row(f"link {kind}", partial(os.link, kind, "x", follow_symlinks=False)) for kind in KINDS),
    row("link through a symbolic link", partial(os.link, "s", "x", follow_symlinks=True)),
    *(
        row(f"readlink {kind}", partial(os.readlink, kind))
        for kind in ("f", "s", "sd", "broken", "loop", "d", "p", "missing", "s/")
    ),
]

SPECIAL = [
    row("mkdir keeps the permissions that the mask leaves", partial(os.mkdir, "x", 0o777), partial(os.mkdir, "y", 0o7000)),
    row(
        "mknod of every type",
        *(partial(os.mknod, f"x{kind:o}", kind | 0o666) for kind in (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)),
    ),
    row(
        "mknod of devices",
        partial(os.mknod, "c", stat.S_IFCHR | 0o640, os.makedev(1, 3)),
        partial(os.mknod, "b", stat.S_IFBLK | 0o640, os.makedev(4095, (1 << 20) - 1)),
    ),
    row(
        "mknod of a directory or of nonsense",
        partial(os.mknod, "x", stat.S_IFDIR | 0o755),
        partial(os.mknod, "y", stat.S_IFLNK | 0o755),
        partial(os.mknod, "z", 0o150644),
    ),
    row(
        "only root makes devices", partial(os.mknod, "c", stat.S_IFCHR | 0o640, 5), before=lambda: os.chmod(".", 0o777), who=ANN
    ),
    row("a fifo carries bytes", made_and_used_a_fifo),
    row("set-id bits of a new file", partial(os.mknod, "x", 0o6777), opening("y", os.O_CREAT | os.O_WRONLY, 0o7777)),
    row("a removed file is whole while it is open", unlinked_but_open),
    row("a removed file gets no new name", linked_again),
    row("a removed file that is only held can be opened", reopened),
    row("a replaced file that is only held can be opened", replaced_while_held),
    row(
        "nothing is made in a removed directory",
        lambda: in_a_removed_directory(
            partial(os.mkdir, "x"),
            partial(os.mknod, "x"),
            partial(os.symlink, "a", "x"),
            opening("x", os.O_CREAT),
            partial(os.link, "../f", "x"),
            partial(os.rename, "../f", "x"),
            partial(os.listdir, "."),
            partial(os.stat, "x"),
            lambda: facts_of("."),
            os.getcwd,
        ),
    ),
    row("a removed directory that is open is empty", open_and_removed),
    row("links are counted", partial(links, 20), partial(os.unlink, "f"), partial(os.unlink, "l7"), lambda: facts_of("hard")),
    row(
        "subdirectories are counted",
        *(partial(os.mkdir, f"d/{number}") for number in range(5)),
        partial(os.rmdir, "d/2"),
        partial(os.rename, "d/3", "full/3"),
        partial(os.rename, "d/1", "full/3"),
    ),
    row("symbolic links link too", partial(os.link, "s", "x", follow_symlinks=False), partial(os.unlink, "s")),
    row("fifos and sockets link too", partial(os.link, "p", "x"), partial(os.link, "sock", "y"), partial(os.unlink, "p")),
]

LIMITS = [
    row(
        "255 bytes are a name",
        opening(LONG, os.O_CREAT),
        partial(os.mkdir, "d/" + LONG),
        partial(os.symlink, "x", "full/" + LONG),
        partial(os.rename, LONG, "m" * 255),
        partial(os.link, "f", "l" * 255),
    ),
    row(
        "256 bytes are none",
        *(opening(TOO_LONG, flags) for flags in (os.O_RDONLY, os.O_CREAT, os.O_CREAT | os.O_EXCL)),
        *(
            partial(call, TOO_LONG)
            for call in (os.mkdir, os.rmdir, os.unlink, os.readlink, os.stat, os.lstat, os.mknod, os.mkfifo)
        ),
        partial(os.symlink, "x", TOO_LONG),
        partial(os.link, "f", TOO_LONG),
        partial(os.link, TOO_LONG, "x"),
        partial(os.rename, "f", TOO_LONG),
        partial(os.rename, TOO_LONG, "x"),
        partial(os.stat, TOO_LONG + "/x"),
    ),
    row("a path has 4095 bytes", lambda: len(Path(DEEP).read_bytes()), lambda: os.stat(TOO_DEEP + "x").st_size),
    row(
        "a target has 4095 bytes",
        partial(os.symlink, "t" * 4095, "x"),
        partial(os.symlink, "t" * 4096, "y"),
        partial(os.symlink, "", "z"),
        lambda: len(os.readlink("x")),
        lambda: os.lstat("x").st_size,
    ),
    row(
        "names are bytes",
        *(opening(name, os.O_CREAT) for name in (b"\xff\xfe", b"\n", b" ", b"\\", b"a\tb", "ä".encode(), b"-", b"...")),
    ),
    row(
        "loops end",
        *(partial(call, "loop") for call in (os.stat, os.listdir, os.chdir)),
        opening("loop", os.O_RDONLY),
        opening("loop", os.O_CREAT),
        opening("loop", os.O_NOFOLLOW),
        partial(os.stat, "loop/x"),
        partial(os.chmod, "loop", 0o600),
    ),
    row(
        "forty links are followed, no more",
        *(partial(os.stat, f"c{count}") for count in (39, 40, 41)),
        before=lambda: [os.symlink("f" if not count else f"c{count - 1}", f"c{count}") for count in range(45)],
    ),
    row(
        "what is no directory has nothing in it",
        *(partial(call, "f/x") for call in (os.stat, os.mkdir, os.rmdir, os.unlink, os.listdir, os.mknod)),
        partial(os.rename, "g", "f/x"),
        partial(os.rename, "f/x", "g"),
        partial(os.chdir, "f"),
        partial(os.listdir, "f"),
    ),
]

WHO = [
    row(
        "without write permission nothing is made or removed",
        *(partial(call, "x") for call in (os.mkdir, os.mknod, os.mkfifo)),
        partial(os.symlink, "a", "x"),
        opening("x", os.O_CREAT),
        partial(os.unlink, "f"),
        partial(os.unlink, "mine"),
        partial(os.rmdir, "d"),
        partial(os.rename, "f", "x"),
        partial(os.link, "mine", "x"),
        who=ANN,
    ),
    row(
        "without search permission nothing is found",
        partial(os.stat, "full/f"),
        partial(os.listdir, "full"),
        opening("full/f", os.O_RDONLY),
        partial(os.chdir, "full"),
        before=lambda: os.chmod("full", 0o644),
        who=ANN,
    ),
    row(
        "without read permission nothing is listed",
        partial(os.stat, "full/f"),
        partial(os.listdir, "full"),
        before=lambda: os.chmod("full", 0o711),
        who=ANN,
    ),
    row(
        "new objects belong to their maker",
        partial(os.mkdir, "x"),
        partial(os.mknod, "y"),
        partial(os.symlink, "a", "z"),
        opening("w", os.O_CREAT),
        before=lambda: os.chmod(".", 0o777),
        who=ANN,
    ),
]
GROUPS = [
    row(
        f"objects in a set-gid directory, made by {who}",
        partial(os.mkdir, "d/x", 0o777),
        partial(os.mknod, "d/y", 0o2775),
        partial(os.symlink, "a", "d/z"),
        opening("d/w", os.O_CREAT, 0o2777),
        partial(os.mkdir, "d/x/deeper"),
        partial(os.mkfifo, "d/fifo"),
        partial(os.mknod, "d/plain", 0o2644),
        before=lambda: (os.chown("d", 0, 1500), os.chmod("d", 0o2777)),
        who=person,
    )
    for who, person in (("root", None), ("a member", ANN), ("a stranger", BOB))
]
STICKY = [
    row(
        f"in a sticky directory {who}",
        partial(os.unlink, "t/ann"),
        partial(os.unlink, "t/bob"),
        partial(os.rmdir, "t/dir"),
        partial(os.rename, "t/ann2", "t/new"),
        partial(os.rename, "t/bob2", "t/newer"),
        partial(os.rename, "t/own", "t/ann3"),
        partial(os.link, "t/open", "t/linked"),
        before=lambda: _sticky(),
        who=person,
    )
    for who, person in (("root does all", None), ("Ann does hers", ANN), ("Bob does his", BOB))
]


def _sticky() -> None:
    os.mkdir("t")
    for name, owner in (
        ("ann", 1000),
        ("ann2", 1000),
        ("ann3", 1000),
        ("bob", 2000),
        ("bob2", 2000),
        ("own", 2000),
        ("open", 0),
    ):
        Path("t", name).touch()
        os.chown(f"t/{name}", owner, owner)
    os.chmod("t/open", 0o666)
    os.mkdir("t/dir")
    os.chown("t/dir", 1000, 1000)
    os.chmod("t", 0o1777)


def too_many_links() -> list[object]:
    for number in range(64998):
        os.link("f", f"d/{number}")
    said = [os.stat("f").st_nlink, tried(partial(os.link, "f", "d/more"))]
    for number in range(64998):
        os.unlink(f"d/{number}")
    return said


MANY = [row("65,000 links are the most", too_many_links)]
TABLE = [*SIMPLE, *SPECIAL, *LIMITS, *WHO, *GROUPS, *STICKY]


@pytest.mark.parametrize(**rows_named(TABLE))
def test_names_come_and_go_as_on_the_disk(played, agree: Agree) -> None:
    agree(played)


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(MANY))
def test_there_is_an_end_to_links_as_on_the_disk(played, agree: Agree) -> None:
    agree(played)


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(TABLE))
def test_so_they_do_after_a_version(played, agree_after_a_version: Agree) -> None:
    agree_after_a_version(played)
