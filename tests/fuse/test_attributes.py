"""Attributes on a real mount: modes, owners, times to the nanosecond, extended attributes, statfs."""

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from mimeifs.model.inode import XATTR_MAX
from tests.fuse.system_calls import refused
from tests.serving import Served

pytestmark = pytest.mark.mount

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes owners")
TIMES = [0, 1, 999_999_999, 1_700_000_000_123_456_789, 2**32 * 10**9 + 1, 2**33 * 10**9 + 5]


def test_modes_change_and_keep_every_bit(present: Path) -> None:
    (present / "f").touch()
    (present / "d").mkdir()
    for mode in (0o000, 0o777, 0o640, 0o4755, 0o2755, 0o1777):
        (present / "f").chmod(mode)
        (present / "d").chmod(mode)
        assert (present / "f").stat().st_mode == 0o100000 | mode
        assert (present / "d").stat().st_mode == 0o040000 | mode


def test_modes_of_what_has_no_name_any_more_change(present: Path) -> None:
    (present / "f").touch()
    (present / "d").mkdir()
    for name, remove in (("f", os.unlink), ("d", os.rmdir)):
        fd = os.open(present / name, os.O_RDONLY)
        remove(present / name)
        assert os.fstat(fd).st_mode & 0o777 != 0o500
        os.fchmod(fd, 0o500)
        assert os.fstat(fd).st_mode & 0o777 == 0o500
        os.close(fd)


@as_root
def test_owners_change_also_of_links(present: Path) -> None:
    (present / "f").touch()
    (present / "s").symlink_to("f")
    os.chown(present / "f", 1234, 4_000_000_000)
    os.chown(present / "s", 77, 78, follow_symlinks=False)
    assert (present / "f").stat()[4:6] == (1234, 4_000_000_000)
    assert (present / "s").lstat()[4:6] == (77, 78)
    os.chown(present / "f", -1, 5)
    assert (present / "f").stat()[4:6] == (1234, 5)


@as_root
def test_a_change_of_owner_and_a_write_drop_setuid(present: Path) -> None:
    (present / "f").touch()
    (present / "f").chmod(0o6755)
    os.chown(present / "f", 1000, 1000)
    assert (present / "f").stat().st_mode == 0o100755


@as_root
def test_a_setgid_directory_hands_its_group_down(present: Path) -> None:
    (present / "d").mkdir()
    os.chown(present / "d", -1, 4321)
    (present / "d").chmod(0o2775)
    (present / "d" / "f").touch()
    (present / "d" / "sub").mkdir()
    (present / "d" / "s").symlink_to("f")
    assert (present / "d" / "f").stat().st_gid == 4321
    assert (present / "d" / "s").lstat().st_gid == 4321
    assert (present / "d" / "sub").stat().st_gid == 4321
    assert (present / "d" / "sub").stat().st_mode & 0o2000
    assert not (present / "d" / "f").stat().st_mode & 0o2000


@pytest.mark.parametrize("time_ns", TIMES)
def test_times_keep_their_nanoseconds_also_in_versions(time_ns: int, present: Path) -> None:
    (present / "f").write_bytes(b"x" * 70_000)
    (present / "d").mkdir()
    (present / "s").symlink_to("f")
    os.link(present / "f", present / "hard")
    for name in "fds":
        os.utime(present / name, ns=(time_ns + 7, time_ns), follow_symlinks=False)
    (present / ".mimei" / "@v").mkdir()
    for where in (present, present / ".mimei" / "@v"):
        for name in ("f", "d", "s", "hard"):
            facts = (where / name).lstat()
            assert (facts.st_mtime_ns, facts.st_atime_ns) == (time_ns, time_ns + 7), (where, name)


def test_times_before_1970_are_kept(present: Path) -> None:
    (present / "f").touch()
    os.utime(present / "f", ns=(-5 * 10**9, -(10**9)))
    assert (present / "f").stat().st_mtime_ns == -(10**9)
    (present / ".mimei" / "@v").mkdir()
    assert (present / ".mimei" / "@v" / "f").stat().st_mtime_ns == -(10**9)


def test_writing_and_naming_set_the_times_that_posix_says(present: Path) -> None:
    (present / "f").touch()
    (present / "d").mkdir()
    for name in "fd":
        os.utime(present / name, ns=(1, 1))
    before = time.time_ns()
    (present / "f").write_bytes(b"x")
    (present / "d" / "new").touch()
    assert (present / "f").stat().st_mtime_ns >= before
    assert (present / "d").stat().st_mtime_ns >= before
    changed = (present / "f").stat().st_ctime_ns
    (present / "f").chmod(0o600)
    assert (present / "f").stat().st_ctime_ns > changed
    moment = (present / "f").stat()
    (present / "f").rename(present / "g")
    assert (present / "g").stat().st_mtime_ns == moment.st_mtime_ns
    assert (present / "g").stat().st_ctime_ns > moment.st_ctime_ns


def test_reading_leaves_the_times_alone(present: Path) -> None:
    (present / "f").write_bytes(b"x")
    os.utime(present / "f", ns=(5, 6))
    (present / "f").read_bytes()
    assert ((present / "f").stat().st_atime_ns, (present / "f").stat().st_mtime_ns) == (5, 6)


# Extended attributes


def test_attributes_are_set_replaced_listed_and_removed(present: Path) -> None:
    (present / "f").touch()
    (present / "d").mkdir()
    for path in (present / "f", present / "d"):
        os.setxattr(path, "user.one", b"1")
        os.setxattr(path, "user.two", b"")
        os.setxattr(path, "user.one", b"\0\xff" * 20)
        assert os.getxattr(path, "user.one") == b"\0\xff" * 20
        assert sorted(os.listxattr(path)) == ["user.one", "user.two"]
        os.removexattr(path, "user.one")
        assert os.listxattr(path) == ["user.two"]
        with refused(errno.ENODATA):
            os.getxattr(path, "user.one")
        with refused(errno.ENODATA):
            os.removexattr(path, "user.one")


def test_the_flags_create_and_replace_are_kept(present: Path) -> None:
    (present / "f").touch()
    with refused(errno.ENODATA):
        os.setxattr(present / "f", "user.a", b"1", os.XATTR_REPLACE)
    os.setxattr(present / "f", "user.a", b"1", os.XATTR_CREATE)
    with refused(errno.EEXIST):
        os.setxattr(present / "f", "user.a", b"2", os.XATTR_CREATE)
    os.setxattr(present / "f", "user.a", b"3", os.XATTR_REPLACE)
    assert os.getxattr(present / "f", "user.a") == b"3"


def test_sizes_of_attributes_have_limits(present: Path) -> None:
    (present / "f").touch()
    os.setxattr(present / "f", "user.big", b"x" * (XATTR_MAX - 100))
    assert len(os.getxattr(present / "f", "user.big")) == XATTR_MAX - 100
    with refused(errno.E2BIG):
        os.setxattr(present / "f", "user.bigger", b"x" * (XATTR_MAX + 1))
    with refused(errno.ENOSPC):
        os.setxattr(present / "f", "user.more", b"x" * 1000)
    with refused(errno.ERANGE):
        os.setxattr(present / "f", "user." + "n" * 256, b"")
    assert os.listxattr(present / "f") == ["user.big"]


def test_many_and_large_attributes_survive_versions_and_follow_hard_links(present: Path) -> None:
    (present / "f").write_bytes(b"content")
    os.link(present / "f", present / "hard")
    wanted = {f"user.{number}": os.urandom(100) for number in range(30)}
    for name, value in wanted.items():
        os.setxattr(present / "f", name, value)
    (present / ".mimei" / "@v").mkdir()
    os.setxattr(present / "f", "user.0", b"changed")
    for where, first in ((present, b"changed"), (present / ".mimei" / "@v", wanted["user.0"])):
        found = {name: os.getxattr(where / "hard", name) for name in os.listxattr(where / "hard")}
        assert found == {**wanted, "user.0": first}


@as_root
def test_the_tools_and_other_namespaces_work(present: Path) -> None:
    (present / "f").touch()
    subprocess.run(["setfattr", "-n", "user.tool", "-v", "worked", present / "f"], check=True)
    shown = subprocess.run(["getfattr", "-d", present / "f"], check=True, capture_output=True, text=True).stdout
    assert 'user.tool="worked"' in shown
    os.setxattr(present / "f", "trusted.t", b"1")
    os.setxattr(present / "f", "security.s", b"2")
    assert sorted(os.listxattr(present / "f")) == ["security.s", "trusted.t", "user.tool"]


def test_cp_keeps_modes_and_adds_no_attributes(present: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number, mode in enumerate((0o400, 0o755, 0o640, 0o4711)):
        (source / f"f{number}").touch()
        (source / f"f{number}").chmod(mode)
    source.chmod(0o751)
    subprocess.run(["cp", "-a", source, present], check=True)
    copied = present / "source"
    assert copied.stat().st_mode == 0o40751
    assert [(copied / f"f{number}").stat().st_mode & 0o7777 for number in range(4)] == [0o400, 0o755, 0o640, 0o4711]
    assert os.listxattr(copied) == os.listxattr(copied / "f0") == []


def test_facts_are_told_as_attributes_never_listed_never_set(present: Path) -> None:
    (present / "f").write_bytes(b"x")
    (present / ".mimei" / "@v").mkdir()
    assert os.getxattr(present / "f", "user.mimei.version") == b"cur"
    version = present / ".mimei" / "@v" / "f"
    assert os.getxattr(version, "user.mimei.version") == b"1"
    assert os.getxattr(version, "user.mimei.id") == os.getxattr(present, "user.mimei.id")
    assert os.getxattr(version, "user.mimei.digest")
    assert os.getxattr(version, "user.mimei.writer")
    with refused(errno.ENODATA):
        os.getxattr(version, "user.mimei.nonsense")
    with refused(errno.EPERM):
        os.setxattr(present / "f", "user.mimei.version", b"2")
    assert os.listxattr(version) == []


# The file system


def test_statfs_tells_room_and_limits(served: Served, present: Path) -> None:
    for path in (served.mount, present):
        facts = os.statvfs(path)
        assert facts.f_namemax == 255
        assert facts.f_blocks * facts.f_frsize > 1 << 20
        assert 0 < facts.f_bavail <= facts.f_blocks
        assert facts.f_ffree > 0
    subprocess.run(["df", present], check=True, capture_output=True)


def test_sizes_in_blocks_let_du_work(present: Path) -> None:
    (present / "f").write_bytes(b"x" * 100_000)
    shown = subprocess.run(["du", "-s", "-B1", present / "f"], check=True, capture_output=True, text=True).stdout
    assert 100_000 <= int(shown.split()[0]) < 110_000
