"""Names on a real mount: making, removing, linking and renaming, and every error that POSIX has for it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuse.system_calls import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, refused, renameat2
from tests.serving import Served

pytestmark = pytest.mark.mount

ODD = [
    b"n" * 255,
    b"\xff\xfe no utf-8 \x80",
    b"new\nline",
    b"tab\tand \\ and '\" and *?",
    b"...",
    b"-rf",
    b" ",
    "\N{PILE OF POO}".encode(),
    "e\N{COMBINING ACUTE ACCENT}".encode(),
    "\N{LATIN SMALL LETTER E WITH ACUTE}".encode(),
    b"\x01",
]


@pytest.fixture
def furnished(present: Path) -> Path:
    """A file ``f``, an empty directory ``d``, one with something in it ``full``, a symbolic link ``s``."""
    (present / "f").write_bytes(b"f")
    (present / "d").mkdir()
    (present / "full").mkdir()
    (present / "full" / "inner").write_bytes(b"inner")
    (present / "s").symlink_to("f")
    return present


REFUSALS: list[tuple[str, Callable[[Path], object], int]] = [
    ("mkdir over a file", lambda at: (at / "f").mkdir(), errno.EEXIST),
    ("mkdir over a link", lambda at: (at / "s").mkdir(), errno.EEXIST),
    ("mkdir too long", lambda at: (at / ("n" * 256)).mkdir(), errno.ENAMETOOLONG),
    ("mkdir below nothing", lambda at: (at / "none" / "x").mkdir(), errno.ENOENT),
    ("mkdir below a file", lambda at: (at / "f" / "x").mkdir(), errno.ENOTDIR),
    ("rmdir of a full directory", lambda at: (at / "full").rmdir(), errno.ENOTEMPTY),
    ("rmdir of a file", lambda at: (at / "f").rmdir(), errno.ENOTDIR),
    ("rmdir of a link", lambda at: (at / "s").rmdir(), errno.ENOTDIR),
    ("rmdir of nothing", lambda at: (at / "none").rmdir(), errno.ENOENT),
    ("rmdir of a dot", lambda at: os.rmdir(f"{at}/d/."), errno.EINVAL),
    ("unlink of a directory", lambda at: (at / "d").unlink(), errno.EISDIR),
    ("unlink of nothing", lambda at: (at / "none").unlink(), errno.ENOENT),
    ("unlink too long", lambda at: (at / ("n" * 256)).unlink(), errno.ENAMETOOLONG),
    ("symlink over a file", lambda at: (at / "f").symlink_to("x"), errno.EEXIST),
    ("symlink to nothing", lambda at: os.symlink("", at / "x"), errno.ENOENT),
    ("symlink too long", lambda at: os.symlink("x" * 4096, at / "x"), errno.ENAMETOOLONG),
    ("readlink of a file", lambda at: (at / "f").readlink(), errno.EINVAL),
    ("link over a file", lambda at: os.link(at / "f", at / "s"), errno.EEXIST),
    ("link of a directory", lambda at: os.link(at / "d", at / "x"), errno.EPERM),
    ("link of nothing", lambda at: os.link(at / "none", at / "x"), errno.ENOENT),
    ("rename of nothing", lambda at: (at / "none").rename(at / "x"), errno.ENOENT),
    ("rename too long", lambda at: (at / "f").rename(at / ("n" * 256)), errno.ENAMETOOLONG),
    ("rename file over directory", lambda at: (at / "f").rename(at / "d"), errno.EISDIR),
    ("rename directory over file", lambda at: (at / "d").rename(at / "f"), errno.ENOTDIR),
    ("rename over a full directory", lambda at: (at / "d").rename(at / "full"), errno.ENOTEMPTY),
    ("rename into itself", lambda at: (at / "full").rename(at / "full" / "x"), errno.EINVAL),
    ("rename over its parent", lambda at: (at / "full" / "inner").rename(at / "full"), errno.ENOTEMPTY),
    ("no-replace over a file", lambda at: renameat2(at / "f", at / "s", RENAME_NOREPLACE), errno.EEXIST),
    ("exchange with nothing", lambda at: renameat2(at / "f", at / "none", RENAME_EXCHANGE), errno.ENOENT),
    ("exchange into itself", lambda at: renameat2(at / "full", at / "full" / "inner", RENAME_EXCHANGE), errno.EINVAL),
    ("whiteout", lambda at: renameat2(at / "f", at / "x", RENAME_WHITEOUT), errno.EINVAL),
    ("unknown flags", lambda at: renameat2(at / "f", at / "x", RENAME_NOREPLACE | RENAME_EXCHANGE), errno.EINVAL),
    ("listing a file", lambda at: os.listdir(at / "f"), errno.ENOTDIR),
]


@pytest.mark.parametrize(("act", "number"), [pytest.param(act, number, id=name) for name, act, number in REFUSALS])
def test_refusals_change_nothing(act: Callable[[Path], object], number: int, furnished: Path) -> None:
    with refused(number):
        act(furnished)
    assert sorted(os.listdir(furnished)) == ["d", "f", "full", "s"]
    assert (furnished / "f").read_bytes() == b"f"
    assert os.listdir(furnished / "d") == []
    assert (furnished / "full" / "inner").read_bytes() == b"inner"


@pytest.mark.parametrize("name", ODD)
def test_names_are_bytes_and_stay_as_they_are(name: bytes, present: Path) -> None:
    path = os.fsencode(present) + b"/" + name
    with open(path, "wb") as file:
        file.write(name)
    os.mkdir(os.fsencode(present) + b"/dir")
    os.mkdir(os.fsencode(present) + b"/dir/" + name)
    (present / ".mimei" / "@v").mkdir()
    for where in (os.fsencode(present), os.fsencode(present) + b"/.mimei/@v"):
        assert sorted(os.listdir(where)) == sorted([name, b"dir"])
        assert os.listdir(where + b"/dir") == [name]
        with open(where + b"/" + name, "rb") as file:
            assert file.read() == name
    os.rename(path, os.fsencode(present) + b"/plain")
    assert sorted(os.listdir(os.fsencode(present))) == [b"dir", b"plain"]


def test_equivalent_but_different_names_are_two_files(present: Path) -> None:
    (present / "\N{LATIN SMALL LETTER E WITH ACUTE}").write_bytes(b"one")
    (present / "e\N{COMBINING ACUTE ACCENT}").write_bytes(b"two")
    (present / "A").write_bytes(b"upper")
    (present / "a").write_bytes(b"lower")
    assert len(os.listdir(present)) == 4
    assert (present / "A").read_bytes() == b"upper"


# Renames


def test_a_rename_replaces_a_file_an_empty_directory_and_a_link(furnished: Path) -> None:
    (furnished / "new").write_bytes(b"new")
    (furnished / "new").rename(furnished / "f")
    assert (furnished / "f").read_bytes() == b"new"
    (furnished / "full").rename(furnished / "d")
    assert os.listdir(furnished / "d") == ["inner"]
    (furnished / "f").rename(furnished / "s")
    assert (furnished / "s").read_bytes() == b"new"
    assert not (furnished / "s").is_symlink()
    assert sorted(os.listdir(furnished)) == ["d", "s"]


def test_a_rename_carries_a_whole_directory_elsewhere(furnished: Path) -> None:
    (furnished / "full" / "deep" / "er").mkdir(parents=True)
    (furnished / "full" / "deep" / "er" / "file").write_bytes(b"deep")
    (furnished / ".mimei" / "@before").mkdir()
    (furnished / "full").rename(furnished / "d" / "moved")
    (furnished / "d" / "moved" / "deep" / "er" / "file").write_bytes(b"changed")
    (furnished / ".mimei" / "@after").mkdir()
    after, before = furnished / ".mimei" / "@after", furnished / ".mimei" / "@before"
    assert (after / "d" / "moved" / "deep" / "er" / "file").read_bytes() == b"changed"
    assert (before / "full" / "deep" / "er" / "file").read_bytes() == b"deep"
    assert not (after / "full").exists()
    assert (furnished / "d").stat().st_nlink == 3
    assert furnished.stat().st_nlink == 3


def test_a_rename_without_replacing_works_where_the_name_is_free(furnished: Path) -> None:
    renameat2(furnished / "f", furnished / "free", RENAME_NOREPLACE)
    assert sorted(os.listdir(furnished)) == ["d", "free", "full", "s"]


def test_an_exchange_swaps_a_file_and_a_full_directory(furnished: Path) -> None:
    renameat2(furnished / "f", furnished / "full", RENAME_EXCHANGE)
    assert (furnished / "full").read_bytes() == b"f"
    assert (furnished / "f" / "inner").read_bytes() == b"inner"
    renameat2(furnished / "f" / "inner", furnished / "d", RENAME_EXCHANGE)
    assert (furnished / "d").read_bytes() == b"inner"
    assert (furnished / "f" / "inner").is_dir()
    (furnished / ".mimei" / "@swapped").mkdir()
    version = furnished / ".mimei" / "@swapped"
    assert (version / "d").read_bytes() == b"inner"
    assert (version / "f" / "inner").is_dir()


def test_renaming_a_name_onto_another_of_the_same_file_does_nothing(present: Path) -> None:
    (present / "a").write_bytes(b"x")
    os.link(present / "a", present / "b")
    (present / "a").rename(present / "b")
    assert sorted(os.listdir(present)) == ["a", "b"]


def test_a_file_that_was_renamed_may_be_read_and_written_through_an_open_descriptor(present: Path) -> None:
    with (present / "a").open("w+b", buffering=0) as file:
        file.write(b"one")
        (present / "d").mkdir()
        (present / "a").rename(present / "d" / "b")
        file.write(b"two")
    assert (present / "d" / "b").read_bytes() == b"onetwo"


def test_rewriting_by_a_temporary_file_many_times_leaves_the_last(present: Path) -> None:
    for number in range(50):
        (present / "tmp").write_text(str(number))
        (present / "tmp").rename(present / "config")
    assert (present / "config").read_text() == "49"
    assert os.listdir(present) == ["config"]


# Hard links


def test_hard_links_share_content_and_count(present: Path) -> None:
    (present / "a").write_bytes(b"one")
    (present / "d").mkdir()
    os.link(present / "a", present / "d" / "b")
    os.link(present / "d" / "b", present / "c")
    assert {path.stat().st_nlink for path in (present / "a", present / "c", present / "d" / "b")} == {3}
    assert len({path.stat().st_ino for path in (present / "a", present / "c", present / "d" / "b")}) == 1
    (present / "c").write_bytes(b"through c")
    assert (present / "a").read_bytes() == b"through c"
    (present / "a").unlink()
    assert (present / "c").stat().st_nlink == 2
    (present / "c").rename(present / "d" / "e")
    (present / ".mimei" / "@v").mkdir()
    version = present / ".mimei" / "@v"
    assert (version / "d" / "e").stat().st_nlink == 2
    assert (version / "d" / "e").samefile(version / "d" / "b")
    (present / "d" / "b").unlink()
    (present / "d" / "e").unlink()
    assert os.listdir(present / "d") == []
    assert (version / "d" / "b").read_bytes() == b"through c"


def test_links_between_mimeis_are_refused(present: Path, served: Served) -> None:
    other = served.mimei(present.name + "-other")
    (present / "f").write_bytes(b"x")
    with refused(errno.EXDEV):
        os.link(present / "f", other / "f")
    with refused(errno.EXDEV):
        (present / "f").rename(other / "f")
    with refused(errno.EXDEV):
        (present / "f").rename(served.mount / (present.name + "-f"))
    assert (present / "f").stat().st_nlink == 1


# Symbolic links


def test_symbolic_links_keep_any_target(present: Path) -> None:
    for number, target in enumerate((b"f", b"/absolute", b"x" * 4095, b"\xff\n", b"../up")):
        path = os.fsencode(present) + b"/%d" % number
        os.symlink(target, path)
        assert os.readlink(path) == target
        assert os.lstat(path).st_size == len(target)
        assert os.lstat(path).st_mode == 0o120777


def test_a_symbolic_link_is_followed_and_a_loop_refused(present: Path) -> None:
    (present / "d").mkdir()
    (present / "d" / "f").write_bytes(b"found")
    (present / "s").symlink_to("d")
    assert (present / "s" / "f").read_bytes() == b"found"
    (present / "loop").symlink_to("loop")
    with refused(errno.ELOOP):
        (present / "loop").read_bytes()


# Directories that are gone


def test_a_removed_directory_that_is_still_open_is_empty_and_takes_nothing(present: Path) -> None:
    (present / "d").mkdir()
    fd = os.open(present / "d", os.O_RDONLY)
    (present / "d").rmdir()
    assert os.listdir(fd) == []
    with refused(errno.ENOENT):
        os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    with refused(errno.ENOENT):
        os.mkdir("x", dir_fd=fd)
    os.close(fd)


def test_deep_paths_work(present: Path) -> None:
    fd = os.open(present, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 20, dir_fd=fd)
        inner = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    assert os.listdir(fd) == ["bottom"]
    os.close(fd)
    (present / ".mimei" / "@deep").mkdir()
    assert os.listdir(present / ".mimei" / "@deep") == ["d" * 20]
