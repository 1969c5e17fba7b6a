"""Versions are read-only to everybody, whatever is tried; no two files share a number, in whatever version or over remounts."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path

import pytest

from tests.posix.calls import UTIME_NOW, UTIME_OMIT, opening, renaming, utimensat, with_open
from tests.posix.stage import ANN, AS_ROOT, BOB, Person, Player, row, scene
from tests.serving import Served

pytestmark = [pytest.mark.mount, pytest.mark.skipif(not AS_ROOT, reason="rights would come before what is tested")]

MODIFYING: dict[str, Callable[[], object]] = {
    "open for writing": opening("f", os.O_WRONLY),
    "open for both": opening("f", os.O_RDWR),
    "open to append": opening("f", os.O_WRONLY | os.O_APPEND),
    "open to empty": opening("f", os.O_WRONLY | os.O_TRUNC),
    "open for reading to empty": opening("f", os.O_RDONLY | os.O_TRUNC),
    "create": opening("x", os.O_WRONLY | os.O_CREAT),
    "create only": opening("x", os.O_RDONLY | os.O_CREAT | os.O_EXCL),
    "truncate": partial(os.truncate, "f", 3),
    "truncate to the size it has": partial(os.truncate, "f", 12),
    "mkdir": partial(os.mkdir, "x"),
    "mknod": partial(os.mknod, "x"),
    "mkfifo": partial(os.mkfifo, "x"),
    "symlink": partial(os.symlink, "f", "x"),
    "link": partial(os.link, "f", "x"),
    "unlink": partial(os.unlink, "f"),
    "rmdir": partial(os.rmdir, "d"),
    "rmdir of a full one": partial(os.rmdir, "full"),
    "rename": renaming("f", "x"),
    "rename over another": renaming("f", "g"),
    "rename without replacing": renaming("f", "x", 1),
    "exchange": renaming("f", "g", 2),
    "rename a directory": renaming("d", "full/d"),
    "chmod": partial(os.chmod, "f", 0o600),
    "chmod of a directory": partial(os.chmod, "d", 0o700),
    "chown": partial(os.chown, "f", 1, 1),
    "lchown": partial(os.lchown, "s", 1, 1),
    "utime": partial(os.utime, "f"),
    "utimensat of one time": partial(utimensat, "f", UTIME_OMIT, UTIME_NOW),
    "utime of a link": partial(utimensat, "s", (1, 1), (2, 2), 0x100),
    "setxattr": partial(os.setxattr, "f", "user.new", b"x"),
    "setxattr replacing": partial(os.setxattr, "f", "user.a", b"x", os.XATTR_REPLACE),
    "removexattr": partial(os.removexattr, "f", "user.a"),
    "fchmod": with_open("f", os.O_RDONLY, lambda one: os.fchmod(one, 0o600)),
}
EXISTING: dict[str, tuple[Callable[[], object], str]] = {
    "create only what is there": (opening("f", os.O_RDONLY | os.O_CREAT | os.O_EXCL), "EEXIST"),
    "mkdir what is there": (partial(os.mkdir, "d"), "EEXIST"),
    "open a directory for writing": (opening("d", os.O_WRONLY), "EISDIR"),
    "create what is there, for reading": (opening("f", os.O_RDONLY | os.O_CREAT), "done"),
    "write to a device": (opening("null", os.O_WRONLY), "EACCES"),
    "ftruncate what is open for reading": (with_open("f", os.O_RDONLY, lambda one: os.ftruncate(one, 0)), "EINVAL"),
    "move out of the present": (renaming("../../now", "moved"), "EXDEV"),
    "rename into the present": (renaming("f", "../../moved"), "EXDEV"),
    "link into the present": (partial(os.link, "f", "../../linked"), "EXDEV"),
}
ROWS = {name: row(f"in a version: {name}", step) for name, step in MODIFYING.items()}
OTHERS = {name: row(f"in a version: {name}", step) for name, (step, _) in EXISTING.items()}


@pytest.fixture(scope="module")
def version(served: Served) -> Path:
    present = served.mimei("with-a-version")
    with chdir(present):
        scene()
        os.setxattr("f", "user.a", b"1")
        Path("now").touch()
    (present / ".mimei" / "@v").mkdir()
    return present / ".mimei" / "@v"


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    made = Player(None)
    yield made
    made.end()


def play(player: Player, name: str, version: Path) -> object:
    where = os.open(version, os.O_PATH)
    try:
        return player.play({**ROWS, **OTHERS}[name], where)[0]
    finally:
        os.close(where)


@pytest.mark.parametrize("name", MODIFYING)
def test_every_change_in_a_version_is_refused_as_on_a_read_only_disk(name: str, version: Path, player: Player) -> None:
    assert play(player, name, version) == "EROFS"


@pytest.mark.parametrize("name", EXISTING)
def test_what_is_wrong_anyway_is_said_first(name: str, version: Path, player: Player) -> None:
    assert play(player, name, version) == EXISTING[name][1]


def test_nothing_has_changed(version: Path, tmp_path: Path) -> None:
    with chdir(tmp_path):
        scene()
    assert sorted([*os.listdir(tmp_path), "now"]) == sorted(os.listdir(version))
    assert (version / "f").read_bytes() == (tmp_path / "f").read_bytes()
    assert os.listxattr(version / "f") == ["user.a"]


# Rights

GUARDED = ("plain", "private", "private/in", "listed", "opened", "shut", "given", "opened/in")
STATES = [(where, number) for where in GUARDED for number in (1, 2)]
READ = {
    (where, number): row(
        f"read state {number} in {where}",
        lambda where=where, number=number: Path(f"@{number}/{where}/f").read_text(),
        lambda where=where, number=number: Path(f"@history/{where}/f/0000{number}").read_text(),
    )
    for where, number in STATES
}

TURNED = row("read what a directory was", lambda: Path("@history/turned/d/00001").read_text())


@pytest.fixture(scope="module")
def guarded(served: Served) -> Path:
    """Two versions, each with another state of a file in directories that let some people in, and not always the same."""
    present = served.mimei("guarded")
    with chdir(present):
        for where in GUARDED:
            os.mkdir(where)
        os.mkdir("turned", 0o700)
        Path("turned", "d").write_text("1")
        subprocess.run(["setfacl", "-m", "u:2000:rx", "listed"], check=True)
        for where, owner, mode in (
            ("private", ANN.uid, 0o700),
            ("listed", 0, 0o750),
            ("opened", 0, 0o700),
            ("shut", 0, 0o755),
            ("given", BOB.uid, 0o700),
        ):
            os.chown(where, owner, owner)
            os.chmod(where, mode)
        for number in (1, 2):
            for where in GUARDED:
                Path(where, "f").write_text(f"{number}")
            os.mkdir(f".mimei/@g{number}")
            os.chmod("opened", 0o755)
            os.chmod("shut", 0o700)
            os.chown("given", ANN.uid, ANN.gid)
            if number == 1:
                os.chmod("turned", 0o755)
                os.unlink("turned/d")
                os.mkdir("turned/d")
    return present / ".mimei"


@pytest.mark.parametrize("who", [None, ANN, BOB], ids=["root", "Ann", "Bob"])
def test_a_history_lets_in_nobody_whom_its_version_does_not(guarded: Path, who: Person | None) -> None:
    player, where = Player(who), os.open(guarded, os.O_PATH)
    try:
        said = {state: tuple(player.play(READ[state], where)) for state in STATES}
        turned = player.play(TURNED, where)
    finally:
        player.end()
        os.close(where)
    assert all(history in ("EACCES", version) for version, history in said.values())
    assert turned == ["ENOENT"]
    kept = [state for state in STATES if state[0] in ("plain", "private", "private/in", "listed")]
    assert [said[state][0] for state in kept] == [said[state][1] for state in kept]
    if who is None:
        assert all(said[state] == (str(state[1]),) * 2 for state in STATES)


# Numbers

Numbers = dict[tuple[int, int], set[tuple[bytes, int]]]


def files_below(*folders: Path) -> list[Path]:
    return [Path(where, name) for folder in folders for where, _, names in os.walk(folder) for name in sorted(names)]


@pytest.fixture(scope="module")
def four_versions(served: Served) -> Path:
    """Files that stay, change, move, are replaced, linked and made again, over four versions and the present."""
    made = served.mimei("numbers")
    (made / "deep" / "er").mkdir(parents=True)
    for number in range(12):
        (made / "deep" / f"stays{number}").write_text(f"s{number}")
    for turn in range(4):
        (made / "changes").write_text(f"turn {turn}")
        (made / f"new{turn}").write_text(f"new {turn}")
        (made / "saved.tmp").write_text(f"saved {turn}")
        os.replace(made / "saved.tmp", made / "saved")
        os.link(made / f"new{turn}", made / "deep" / f"link{turn}")
        if turn:
            os.rename(made / f"new{turn - 1}", made / "deep" / "er" / f"moved{turn - 1}")
            (made / "again").unlink()
        (made / "again").write_text(f"again {turn}")
        (made / ".mimei" / f"@t{turn}").mkdir()
    return made


def everywhere(made: Path) -> list[Path]:
    return [made, *((made / ".mimei" / f"@t{turn}") for turn in range(4))]


def test_no_two_files_share_a_number_in_whatever_version(four_versions: Path) -> None:
    seen: dict[tuple[int, int], tuple[bytes, int]] = {}
    for path in files_below(*everywhere(four_versions)):
        facts = path.stat()
        said = path.read_bytes(), facts.st_nlink
        assert seen.setdefault((facts.st_dev, facts.st_ino), said) == said, path
    assert len(seen) > 40


def test_hard_links_share_one_number_and_agree(four_versions: Path) -> None:
    for where in everywhere(four_versions):
        for turn in range(4):
            link = where / "deep" / f"link{turn}"
            other = next((one for one in (where / f"new{turn}", where / "deep" / "er" / f"moved{turn}") if one.exists()), None)
            if link.exists() and other is not None:
                assert os.path.samefile(link, other)
                assert link.stat() == other.stat()


def test_a_file_keeps_its_number_through_renames_changes_and_versions(four_versions: Path) -> None:
    file = four_versions / "deep" / "stays0"
    number = file.stat().st_ino
    file.write_text("changed")
    (four_versions / ".mimei" / "@kept").mkdir()
    moved = file.rename(four_versions / "elsewhere")
    moved.write_text("again")
    assert moved.stat().st_ino == number
    assert moved.rename(file).stat().st_ino == number


def test_files_keep_their_numbers_over_a_remount(served: Served) -> None:
    made = served.mimei("remounted")
    for number in range(20):
        (made / f"f{number}").write_text("x")
    os.rename(made / "f3", made / "moved")
    os.link(made / "f4", made / "linked")
    (made / ".mimei" / "@v").mkdir()
    (made / "f5").unlink()
    (made / "f5").write_text("another")
    os.rename(made / "f6", made / "f7")
    where = (made, made / ".mimei" / "@v")
    before = {path: path.stat().st_ino for path in files_below(*where)}
    served.end()
    served.start()
    assert {path: path.stat().st_ino for path in files_below(*where)} == before


def test_everything_is_one_device(four_versions: Path) -> None:
    assert len({path.lstat().st_dev for path in (four_versions.parent, *everywhere(four_versions))}) == 1


def test_room_and_limits_are_those_of_the_disk(four_versions: Path, served: Served) -> None:
    said, disk = os.statvfs(four_versions), os.statvfs(served.home)
    assert said.f_namemax == 255
    assert said.f_frsize == disk.f_frsize
    assert 0 < said.f_bavail <= disk.f_blocks
    assert said.f_files >= said.f_ffree > 0
    assert os.statvfs(four_versions / ".mimei" / "@t0").f_blocks == said.f_blocks
