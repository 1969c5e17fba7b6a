"""What a MiMei shows on a real mount: its versions, labels and present, and what may be done with them."""

import errno
import os
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.fuse.system_calls import RENAME_EXCHANGE, RENAME_NOREPLACE, refused, renameat2
from tests.serving import Served

pytestmark = pytest.mark.mount

_numbers = count(1)


@pytest.fixture
def mimei(present: Path) -> Path:
    """The directory of a MiMei with ``@cur`` and versions, as inside a present."""
    return present / ".mimei"


@pytest.fixture
def whole(served: Served) -> Path:
    """The same as the root shows it where a MiMei was made by command."""
    name = f"v{next(_numbers)}"
    served.command("create", name)
    return served.mount / name


@pytest.fixture
def sealed(present: Path) -> Path:
    """A version that holds one of each kind."""
    (present / "f").write_bytes(b"f" * 100_000)
    (present / "d").mkdir()
    (present / "d" / "inner").write_bytes(b"inner")
    (present / "s").symlink_to("f")
    os.mkfifo(present / "p")
    os.setxattr(present / "f", "user.kept", b"1")
    (present / ".mimei" / "@sealed").mkdir()
    return present / ".mimei" / "@sealed"


WRITES: list[tuple[str, Callable[[Path], object]]] = [
    ("write", lambda at: os.open(at / "f", os.O_WRONLY)),
    ("read and write", lambda at: os.open(at / "f", os.O_RDWR)),
    ("append", lambda at: os.open(at / "f", os.O_WRONLY | os.O_APPEND)),
    ("open and truncate", lambda at: os.open(at / "f", os.O_RDONLY | os.O_TRUNC)),
    ("truncate", lambda at: os.truncate(at / "f", 0)),
    ("create", lambda at: os.open(at / "new", os.O_CREAT | os.O_WRONLY)),
    ("create below", lambda at: os.open(at / "d" / "new", os.O_CREAT | os.O_WRONLY)),
    ("mkdir", lambda at: (at / "new").mkdir()),
    ("mkdir of a label below", lambda at: (at / "@new").mkdir()),
    ("mkfifo", lambda at: os.mkfifo(at / "new")),
    ("symlink", lambda at: (at / "new").symlink_to("f")),
    ("link", lambda at: os.link(at / "f", at / "new")),
    ("unlink", lambda at: (at / "f").unlink()),
    ("rmdir", lambda at: (at / "d").rmdir()),
    ("rename", lambda at: (at / "f").rename(at / "new")),
    ("rename over", lambda at: (at / "f").rename(at / "d" / "inner")),
    ("rename without replacing", lambda at: renameat2(at / "f", at / "new", RENAME_NOREPLACE)),
    ("exchange", lambda at: renameat2(at / "f", at / "d", RENAME_EXCHANGE)),
    ("chmod", lambda at: (at / "f").chmod(0o600)),
    ("chmod of a directory", lambda at: (at / "d").chmod(0o700)),
    ("chown", lambda at: os.chown(at / "f", os.geteuid(), os.getegid())),
    ("utime", lambda at: os.utime(at / "f", ns=(1, 1))),
    ("utime of a link", lambda at: os.utime(at / "s", ns=(1, 1), follow_symlinks=False)),
    ("setxattr", lambda at: os.setxattr(at / "f", "user.new", b"1")),
    ("removexattr", lambda at: os.removexattr(at / "f", "user.kept")),
    ("setxattr on a directory", lambda at: os.setxattr(at / "d", "user.new", b"1")),
    ("chmod of the version", lambda at: at.chmod(0o700)),
]


@pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in WRITES])
def test_a_version_refuses_every_change(act: Callable[[Path], object], sealed: Path) -> None:
    with refused(errno.EROFS):
        act(sealed)
    assert sorted(os.listdir(sealed)) == ["d", "f", "p", "s"]
    assert (sealed / "f").read_bytes() == b"f" * 100_000
    assert os.listxattr(sealed / "f") == ["user.kept"]


def test_nothing_moves_or_links_between_a_version_and_the_present(sealed: Path, present: Path) -> None:
    for act in (
        lambda: (sealed / "f").rename(present / "new"),
        lambda: (present / "f").rename(sealed / "new"),
        lambda: os.link(sealed / "f", present / "new"),
        lambda: os.link(present / "f", sealed / "new"),
    ):
        with pytest.raises(OSError, match=rf"^\[Errno ({errno.EXDEV}|{errno.EROFS})\]"):
            act()
    assert not (present / "new").exists()


def test_mv_and_cp_out_of_a_version_work(sealed: Path, present: Path) -> None:
    subprocess.run(["cp", "-a", sealed / "d", present / "copied"], check=True)
    assert (present / "copied" / "inner").read_bytes() == b"inner"
    subprocess.run(["cp", "-a", "--reflink=auto", sealed / "f", present / "f2"], check=True)
    assert (present / "f2").read_bytes() == b"f" * 100_000


def test_a_fifo_in_a_version_is_one(sealed: Path) -> None:
    assert (sealed / "p").is_fifo()


# Taking versions by names


def test_mkdir_of_a_label_takes_a_version_under_it(mimei: Path) -> None:
    (mimei / "@cur" / "f").write_text("one")
    (mimei / "@first").mkdir()
    (mimei / "@cur" / "f").write_text("two")
    (mimei / "@second").mkdir()
    assert sorted(os.listdir(mimei)) == ["@1", "@2", "@cur", "@first", "@last", "@second"]
    for name, text in (("@first", "one"), ("@1", "one"), ("@second", "two"), ("@last", "two"), ("@cur", "two")):
        assert (mimei / name / "f").read_text() == text


def test_a_label_on_nothing_new_labels_the_newest(mimei: Path) -> None:
    (mimei / "@cur" / "f").write_text("one")
    (mimei / "@a").mkdir()
    (mimei / "@b").mkdir()
    assert sorted(os.listdir(mimei)) == ["@1", "@a", "@b", "@cur", "@last"]
    with refused(errno.EEXIST):
        (mimei / "@a").mkdir()


@pytest.mark.parametrize("name", ["@cur", "@last", "@release", "@all", "@history", "@1x", "@2026-01-01", "@a~b", "@"])
def test_words_with_a_meaning_are_no_labels(name: str, mimei: Path) -> None:
    (mimei / "@cur" / "f").write_text("one")
    with pytest.raises(OSError, match=rf"^\[Errno ({errno.EEXIST}|{errno.EINVAL}|{errno.EPERM})\]"):
        (mimei / name).mkdir()
    assert os.listdir(mimei) == ["@cur"]


def test_a_blank_folder_becomes_a_version_when_it_is_renamed(mimei: Path) -> None:
    (mimei / "@cur" / "f").write_text("one")
    (mimei / "New Folder").mkdir()
    assert sorted(os.listdir(mimei)) == ["@cur", "New Folder"]
    assert os.listdir(mimei / "New Folder") == []
    for act in (
        lambda: (mimei / "New Folder" / "f").write_text("x"),
        lambda: (mimei / "New Folder" / "d").mkdir(),
        lambda: (mimei / "file").write_text("x"),
    ):
        with refused(errno.EPERM):
            act()
    with refused(errno.EEXIST):
        (mimei / "New Folder").mkdir()
    (mimei / "New Folder").rename(mimei / "draft")
    (mimei / "draft").rename(mimei / "@named")
    assert sorted(os.listdir(mimei)) == ["@1", "@cur", "@last", "@named"]
    assert (mimei / "@named" / "f").read_text() == "one"


def test_a_blank_folder_can_be_removed(mimei: Path) -> None:
    (mimei / "New Folder").mkdir()
    (mimei / "New Folder").rmdir()
    assert os.listdir(mimei) == ["@cur"]


def test_a_blank_keeps_its_name_when_the_label_is_refused(mimei: Path) -> None:
    (mimei / "@cur" / "f").write_text("one")
    (mimei / "@taken").mkdir()
    (mimei / "New Folder").mkdir()
    with refused(errno.EEXIST):
        (mimei / "New Folder").rename(mimei / "@taken")
    with pytest.raises(OSError):
        (mimei / "New Folder").rename(mimei / "@1x")
    assert "New Folder" in os.listdir(mimei)


def test_renaming_a_label_keeps_its_version(mimei: Path) -> None:
    (mimei / "@cur" / "f").write_text("one")
    (mimei / "@old").mkdir()
    (mimei / "@old").rename(mimei / "@new")
    assert sorted(os.listdir(mimei)) == ["@1", "@cur", "@last", "@new"]
    assert (mimei / "@new" / "f").read_text() == "one"


def test_rmdir_drops_a_label_never_a_version(mimei: Path) -> None:
    (mimei / "@cur" / "f").write_text("one")
    (mimei / "@label").mkdir()
    (mimei / "@label").rmdir()
    assert sorted(os.listdir(mimei)) == ["@1", "@cur", "@last"]
    for name in ("@1", "@last"):
        with refused(errno.EPERM):
            (mimei / name).rmdir()
    with refused(errno.ENOENT):
        (mimei / "@gone").rmdir()
    assert (mimei / "@1" / "f").read_text() == "one"


@pytest.mark.parametrize("name", ["@7", "@nobody", "@1999-01-01T00:00", "@13~ab3f", "@release", "plain", "@" + "n" * 200])
def test_versions_that_are_not_there_are_not_found(name: str, mimei: Path) -> None:
    (mimei / "@cur" / "f").write_text("one")
    (mimei / "@v").mkdir()
    with refused(errno.ENOENT):
        os.listdir(mimei / name)


def test_every_number_resolves_and_the_newest_32_are_listed(mimei: Path) -> None:
    for number in range(1, 36):
        (mimei / "@cur" / "f").write_text(str(number))
        (mimei / "@label").mkdir()
        (mimei / "@label").rmdir()
    listed = os.listdir(mimei)
    assert {f"@{number}" for number in range(4, 36)} == set(listed) - {"@cur", "@last"}
    assert len(os.listdir(mimei / "@all")) == 35
    for number in (1, 3, 35):
        assert (mimei / f"@{number}" / "f").read_text() == str(number)
    assert (mimei / "@last" / "f").read_text() == "35"


def test_the_newest_version_is_followed_by_last(mimei: Path) -> None:
    for text in ("one", "two", "three"):
        (mimei / "@cur" / "f").write_text(text)
        (mimei / f"@{text}").mkdir()
        assert (mimei / "@last" / "f").read_text() == text


def test_a_released_version_shows_as_release(mimei: Path, served: Served) -> None:
    (mimei / "@cur" / "f").write_text("one")
    (mimei / "@v").mkdir()
    served.command("release", mimei.parent.name, "1")
    assert (mimei / "@release" / "f").read_text() == "one"
    assert "@release" in os.listdir(mimei)
    (mimei / "@release").rmdir()
    assert "@release" not in os.listdir(mimei)
    assert (mimei / "@1" / "f").read_text() == "one"


def test_a_mimei_made_by_command_shows_everything(whole: Path) -> None:
    assert os.listdir(whole) == ["@cur"]
    (whole / "@cur" / "f").write_text("one")
    (whole / "@v").mkdir()
    assert sorted(os.listdir(whole)) == ["@1", "@cur", "@last", "@v"]
    assert (whole / "@cur").is_dir()
    assert not (whole / "@cur").is_symlink()
    assert (whole / "@last" / "f").read_text() == "one"
    for name in ("@1", "@last", "@cur"):
        with refused(errno.EPERM):
            (whole / name).rmdir()
    with refused(errno.EXDEV):
        (whole / "@cur" / "f").rename(whole / "f")


def test_labels_changed_by_command_are_seen_at_once(present: Path, served: Served) -> None:
    (present / "f").write_text("one")
    (present / ".mimei" / "@v").mkdir()
    assert (present / ".mimei" / "@v" / "f").read_text() == "one"
    served.command("label", "--drop", present.name, "v")
    assert not (present / ".mimei" / "@v").exists()
    (present / "f").write_text("two")
    served.command("backup", present.name)
    served.command("label", present.name, "v", "2")
    assert (present / ".mimei" / "@v" / "f").read_text() == "two"
    assert (present / "@last" / "f").read_text() == "two"


# The root


def test_mkdir_at_the_root_makes_a_mimei_shown_with_its_present(served: Served) -> None:
    made = served.mount / "plain-name"
    made.mkdir()
    assert os.listdir(made) == []
    (made / "f").write_text("x")
    assert sorted(os.listdir(made)) == ["f"]
    assert (made / ".mimei" / "@cur").resolve() == made
    (made / ".mimei" / "@v").mkdir()
    assert (made / "@v" / "f").read_text() == "x"
    assert (made / "@last" / "f").read_text() == "x"
    assert os.getxattr(made, "user.mimei.id") != os.getxattr(served.mount, "user.mimei.id")


def test_in_a_present_shown_directly_names_belong_to_the_user(served: Served) -> None:
    made = served.mount / "users-names"
    made.mkdir()
    (made / "@eaDir").mkdir()
    (made / "@eaDir" / "f").write_text("mine")
    (made / ".mimei" / "@eaDir2").mkdir()
    assert sorted(os.listdir(made)) == ["@eaDir"]
    assert (made / "@eaDir" / "f").read_text() == "mine"


def test_an_entry_goes_before_the_version_of_its_name_which_stays_inside(served: Served) -> None:
    made = served.mount / "hidden-numbers"
    made.mkdir()
    (made / "@2").touch()
    served.command("backup", "hidden-numbers")
    (made / "f").write_text("x")
    served.command("backup", "hidden-numbers")
    assert (made / "@2").is_file()
    assert sorted(os.listdir(made / ".mimei" / "@2")) == ["@2", "f"]
    with refused(errno.EEXIST):
        (made / "@1").mkdir()
    with refused(errno.EROFS):
        os.utime(made / "@1")


def test_an_at_name_at_the_root_is_a_plain_directory_and_takes_no_version(served: Served) -> None:
    before = sorted(os.listdir(served.mount / ".mimei"))
    made = served.mount / "@plain"
    made.mkdir()
    assert os.getxattr(made, "user.mimei.id") == os.getxattr(served.mount, "user.mimei.id")
    assert sorted(os.listdir(served.mount / ".mimei")) == before
    made.rmdir()


@pytest.mark.parametrize("name", [".Trash-1000", ".hidden", "System Volume Information", "lost+found", "$RECYCLE.BIN"])
def test_litter_and_dot_names_at_the_root_are_plain_directories(name: str, served: Served) -> None:
    made = served.mount / name
    made.mkdir()
    (made / "f").write_text("x")
    assert os.getxattr(made, "user.mimei.id") == os.getxattr(served.mount, "user.mimei.id")
    assert not (made / ".mimei").exists()
    with refused(errno.ENOTEMPTY):
        made.rmdir()
    (made / "f").unlink()
    made.rmdir()


def test_rmdir_at_the_root_drops_the_link_and_the_mimei_stays(served: Served) -> None:
    made = served.mount / "dropped"
    made.mkdir()
    (made / "f").write_text("kept")
    known = os.getxattr(made, "user.mimei.id").decode()
    made.rmdir()
    assert not made.exists()
    assert known.encode() in served.command("--json", "ls", "--all").stdout


def test_the_root_holds_plain_files_and_links_too(served: Served) -> None:
    (served.mount / "note.txt").write_text("x")
    (served.mount / "link").symlink_to("note.txt")
    assert (served.mount / "link").read_text() == "x"
    with refused(errno.EEXIST):
        (served.mount / "note.txt").mkdir()


def test_a_file_mimei_takes_no_second_file(served: Served) -> None:
    served.command("create", "single", "--kind", "file")
    present = served.mount / "single" / "@cur"
    (present / "only.db").write_bytes(b"one")
    for act in (
        lambda: (present / "second").write_bytes(b"x"),
        lambda: (present / "d").mkdir(),
        lambda: (present / "s").symlink_to("x"),
        lambda: os.link(present / "only.db", present / "second"),
    ):
        with refused(errno.EPERM):
            act()
    (present / "only.db").write_bytes(b"two")
    (served.mount / "single" / "@v").mkdir()
    (present / "only.db").rename(present / "renamed.db")
    assert os.listdir(present) == ["renamed.db"]
    assert (served.mount / "single" / "@v" / "only.db").read_bytes() == b"two"


# Caching


def test_a_sealed_file_is_read_from_the_kernels_cache_the_second_time(present: Path, served: Served) -> None:
    content = os.urandom(4 << 20)
    (present / "f").write_bytes(content)
    (present / ".mimei" / "@v").mkdir()
    path = present / ".mimei" / "@v" / "f"

    def asked() -> int:
        """Reads and the like by the node so far; each request is at least one."""
        lines = Path(f"/proc/{served.pids()['node']}/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["wchar"])

    before = asked()
    with path.open("rb", buffering=0) as file:
        assert file.read(5 << 20) == content
    first = asked() - before
    before = asked()
    with path.open("rb", buffering=0) as file:
        assert file.read(5 << 20) == content
    second = asked() - before
    assert first >= len(content)
    assert second < 10_000


def test_two_names_of_one_version_share_the_cache(present: Path) -> None:
    (present / "f").write_bytes(b"x")
    (present / ".mimei" / "@v").mkdir()
    inside = present / ".mimei"
    assert (inside / "@v" / "f").stat().st_ino == (inside / "@1" / "f").stat().st_ino
    assert (inside / "@v").stat().st_ino != (inside / "@1").stat().st_ino
