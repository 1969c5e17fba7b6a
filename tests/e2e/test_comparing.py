"""The comparer of the end-to-end test sees each kind of difference; else that test would prove nothing."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.comparing import differences


def relink(at: Path) -> None:
    (at / "hard").unlink()
    (at / "hard").write_bytes((at / "f").read_bytes())
    one = (at / "f").stat()
    os.utime(at / "hard", ns=(one.st_atime_ns, one.st_mtime_ns))


def rewrite(at: Path) -> None:
    one = (at / "f").stat()
    (at / "f").write_bytes(b"X")
    os.utime(at / "f", ns=(one.st_atime_ns, one.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": rewrite,
    "mode": lambda at: (at / "f").chmod(0o600),
    "directory mode": lambda at: (at / "d").chmod(0o700),
    "mtime by a nanosecond": lambda at: os.utime(at / "f", ns=(1, (at / "f").stat().st_mtime_ns + 1)),
    "mtime of a directory": lambda at: os.utime(at / "d", ns=(1, 1)),
    "mtime of a link": lambda at: os.utime(at / "s", ns=(1, 1), follow_symlinks=False),
    "mtime of the root": lambda at: os.utime(at, ns=(1, 1)),
    "link structure": relink,
    "a name more": lambda at: (at / "d" / "new").touch(),
    "a name less": lambda at: (at / "p").unlink(),
    "xattr value": lambda at: os.setxattr(at / "f", "user.a", b"2"),
    "xattr more": lambda at: os.setxattr(at / "d", "user.b", b""),
    "size": lambda at: os.truncate(at / "sparse", 1 << 21),
}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    at = tmp_path / "one"
    (at / "d").mkdir(parents=True)
    (at / "f").write_bytes(b"x")
    os.setxattr(at / "f", "user.a", b"1")
    os.link(at / "f", at / "hard")
    (at / "s").symlink_to("f")
    os.mkfifo(at / "p")
    (at / "sparse").touch()
    os.truncate(at / "sparse", 1 << 20)
    subprocess.run(["cp", "-a", at, tmp_path / "two"], check=True)
    return at, tmp_path / "two"


def test_a_copy_is_equal(pair: tuple[Path, Path]) -> None:
    assert differences(*map(os.fsencode, pair)) == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_kind_of_difference_is_seen(change: Callable[[Path], object], pair: tuple[Path, Path]) -> None:
    change(pair[1])
    assert differences(*map(os.fsencode, pair)) != []
