"""A mount as a whole: how it begins, how it ends, and what is durable then."""

import errno
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mimeifs.errors import InvalidError
from mimeifs.fuse import obstacle
from mimeifs.fuse.attributes import Showing
from mimeifs.fuse.mount import MountOptions, mounted_device, parse_options, source_of
from mimeifs.model import acl
from mimeifs.model.acl import Rule, Tag
from tests.fuse.system_calls import refused
from tests.serving import MIMEI, Served, serving

LIST = acl.encode((Rule(Tag.OWNER, 7), Rule(Tag.USER, 5, 9), Rule(Tag.GROUP_OWNER, 4), Rule(Tag.MASK, 5), Rule(Tag.OTHER, 0)))
ENDINGS: dict[str, Callable[[Served], int]] = {
    "SIGTERM": lambda served: served.end(signal.SIGTERM),
    "SIGHUP": lambda served: served.end(signal.SIGHUP),
    "SIGINT": lambda served: served.end(signal.SIGINT),
    "fusermount3 -u": lambda served: (served.unmount(), served.ended())[1],
    "mimei umount": lambda served: (served.command("umount", str(served.mount)), served.ended())[1],
}

NOBODY = 65534


@contextmanager
def nobody() -> Iterator[None]:
    """For the time of a block, this process is an ordinary user."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.mount
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_clean_end_leaves_nothing_behind_and_everything_durable(ending: str, tmp_path: Path) -> None:
    with serving(tmp_path / "s") as served:
        present = served.mimei("work")
        content = os.urandom(300_000)
        (present / "unsynced").write_bytes(content)
        (present / "dir").mkdir()
        os.utime(present / "dir", ns=(5, 7))
        assert ENDINGS[ending](served) == 0
        assert not served.mounted
        assert mounted_device(served.mount) == ""
        served.start()
        assert (present / "unsynced").read_bytes() == content
        assert (present / "dir").stat().st_mtime_ns == 7
        assert served.end() == 0


@pytest.mark.mount
def test_below_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "s", program=("nohup", *MIMEI)) as served:
        present = served.mimei("work")
        served.signal_group(signal.SIGHUP)
        (present / "f").write_bytes(b"still here")
        assert served.serves
        assert served.end() == 0


@pytest.mark.mount
def test_ending_with_open_files_loses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as served:
        present = served.mimei("work")
        fd = os.open(present / "open", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"written")
        assert served.end() == 0
        with pytest.raises(OSError):
            os.write(fd, b"too late")
        with suppress(OSError):
            os.close(fd)
        served.start()
        assert (present / "open").read_bytes() == b"written"


@pytest.mark.mount
def test_a_second_daemon_on_the_same_home_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as served:
        other = tmp_path / "other"
        other.mkdir()
        refused = served.command("serve", "--mount", str(other), check=False)
        assert refused.returncode != 0
        assert b"in use" in refused.stderr or b"already" in refused.stderr
        assert b"Traceback" not in refused.stderr
        assert mounted_device(other) == ""
        served.mimei("still-works")


@pytest.mark.mount
def test_a_mount_point_that_is_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    served = Served(tmp_path / "s")
    refused = served.command("serve", "--mount", str(tmp_path / "file"), check=False)
    assert refused.returncode != 0
    assert b"not a directory" in refused.stderr
    assert b"Traceback" not in refused.stderr


@pytest.mark.mount
def test_home_and_mount_point_may_have_odd_names(tmp_path: Path) -> None:
    with serving(tmp_path / "a b\tc\\d\ne") as served:
        served.mimei("work")
        assert served.end() == 0
        assert not served.mounted


@pytest.mark.mount
def test_a_dead_mount_is_taken_away_by_umount(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as served:
        served.kill_everything()
        assert served.mounted
        served.command("umount", str(served.mount))
        assert not served.mounted


CHANGES: dict[str, Callable[[Path], object]] = {
    "write": lambda work: (work / "f").write_bytes(b"y"),
    "append": lambda work: os.open(work / "f", os.O_WRONLY | os.O_APPEND),
    "truncate": lambda work: os.truncate(work / "f", 0),
    "truncate by opening": lambda work: os.open(work / "f", os.O_RDONLY | os.O_TRUNC),
    "create": lambda work: (work / "new").touch(),
    "mkdir": lambda work: (work / "new").mkdir(),
    "mkfifo": lambda work: os.mkfifo(work / "new"),
    "symlink": lambda work: (work / "new").symlink_to("f"),
    "link": lambda work: os.link(work / "f", work / "new"),
    "unlink": lambda work: (work / "f").unlink(),
    "rmdir": lambda work: (work / "d").rmdir(),
    "rename": lambda work: (work / "f").rename(work / "new"),
    "chmod": lambda work: (work / "f").chmod(0o600),
    "chown": lambda work: os.chown(work / "f", os.getuid(), os.getgid()),
    "times": lambda work: os.utime(work / "f", ns=(1, 1)),
    "set an attribute": lambda work: os.setxattr(work / "f", "user.b", b"1"),
    "remove an attribute": lambda work: os.removexattr(work / "f", "user.a"),
    "set a list": lambda work: os.setxattr(work / "f", "system.posix_acl_access", LIST),
    "new MiMei": lambda work: (work.parent / "new").mkdir(),
    "remove a MiMei": lambda work: work.rmdir(),
    "take a version": lambda work: (work / ".mimei" / "@v").mkdir(),
    "drop a label": lambda work: (work / ".mimei" / "@first").rmdir(),
    "rename a label": lambda work: (work / ".mimei" / "@first").rename(work / ".mimei" / "@w"),
    "new folder": lambda work: (work / ".mimei" / "blank").mkdir(),
    "unnamed file": lambda work: os.open(work, os.O_TMPFILE | os.O_RDWR),
}


@pytest.mark.mount
def test_mounted_read_only_everything_is_refused_and_read(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as served:
        work = served.mimei("work")
        (work / "f").write_bytes(b"x")
        (work / "d").mkdir()
        os.setxattr(work / "f", "user.a", b"1")
        (work / ".mimei" / "@first").mkdir()
        assert served.end() == 0
        served.options = ("-o", "rw,ro")
        served.start()
        before = (work / "f").stat(), (work / "d").stat(), sorted(os.listdir(work / ".mimei"))
        for what, change in CHANGES.items():
            with pytest.raises(OSError) as refusal:
                change(work)
            assert refusal.value.errno == errno.EROFS, what
        assert ((work / "f").stat(), (work / "d").stat(), sorted(os.listdir(work / ".mimei"))) == before
        assert (work / "f").read_bytes() == b"x"
        assert os.getxattr(work / "f", "user.a") == b"1"
        assert served.end() == 0


@pytest.mark.mount
def test_mounted_without_access_lists_those_there_are_wait_and_follow_the_mode(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as served:
        present = served.mimei("work")
        (present / "f").touch()
        os.setxattr(present / "f", "system.posix_acl_access", LIST)
        assert served.end() == 0
        served.options = ("-o", "noacl")
        served.start()
        for act in (
            lambda: os.getxattr(present / "f", "system.posix_acl_access"),
            lambda: os.setxattr(present / "f", "system.posix_acl_access", LIST),
            lambda: os.removexattr(present / "f", "system.posix_acl_access"),
            lambda: os.getxattr(present, "system.posix_acl_default"),
        ):
            with refused(errno.EOPNOTSUPP):
                act()
        assert os.listxattr(present / "f") == []
        assert (present / "f").stat().st_mode & 0o777 == 0o750
        (present / "f").chmod(0o600)
        os.setxattr(present / "f", "user.a", b"1")
        assert served.end() == 0
        served.options = ()
        served.start()
        assert acl.mode_of(acl.decode(os.getxattr(present / "f", "system.posix_acl_access"))) == 0o600
        assert served.end() == 0


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="only root owns files of several users")
def test_owner_and_umask_of_a_mount_are_shown_everywhere_and_only_new_files_are_stored_so() -> None:
    with TemporaryDirectory() as folder, serving(Path(folder) / "s") as served:
        for path in (Path(folder), served.folder):
            path.chmod(0o755)
        present = served.mimei("work")
        for name, mode, owner in (("open", 0o666, 7), ("program", 0o4755, 8)):
            (present / name).touch()
            os.chown(present / name, owner, owner)
            (present / name).chmod(mode)
        (present / ".mimei" / "@first").mkdir()
        assert served.end() == 0
        served.options = ("--allow-other", "-o", "uid=1001,gid=1002,umask=027")
        served.start()
        version = present / ".mimei" / "@1"
        for path in (served.mount, present, present / "open", version, version / "open", version.parent):
            assert path.lstat()[4:6] == (1001, 1002), path
        assert [stat.S_IMODE((present / name).stat().st_mode) for name in ("open", "program")] == [0o640, 0o4750]
        assert stat.S_IMODE((version / "open").stat().st_mode) == 0o640
        commands = "umask 0; touch new && mkdir dir && echo x >> open && chmod 666 program && ! chown 5 open"
        subprocess.run(["sh", "-c", commands], cwd=present, user=1001, group=1002, extra_groups=[], check=True, timeout=60)
        assert stat.S_IMODE((present / "program").stat().st_mode) == 0o640
        os.chown(present / "open", 5, 6)
        assert (present / "open").stat()[4:6] == (1001, 1002)
        with refused(errno.EOPNOTSUPP):
            os.setxattr(present / "open", "system.posix_acl_access", LIST)
        assert served.end() == 0
        served.options = ()
        served.start()
        stored = {entry.name: (*entry.stat()[4:6], stat.S_IMODE(entry.stat().st_mode)) for entry in os.scandir(present)}
        assert stored == {
            "open": (5, 6, 0o666),
            "program": (8, 8, 0o666),
            "new": (1001, 1002, 0o666),
            "dir": (1001, 1002, 0o777),
        }
        assert (version / "program").stat()[4:6] == (8, 8)
        assert served.end() == 0


@pytest.mark.mount
def test_mounted_without_attributes_there_are_none(tmp_path: Path) -> None:
    with serving(tmp_path / "s", options=("-o", "noxattr")) as served:
        present = served.mimei("work")
        (present / "f").write_bytes(b"x")
        with refused(errno.EOPNOTSUPP):
            os.setxattr(present / "f", "user.a", b"1")
        assert served.end() == 0


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
@pytest.mark.parametrize("options", [(), ("--allow-other",)])
def test_others_are_let_in_only_when_allowed_and_then_by_modes(options: tuple[str, ...]) -> None:
    with TemporaryDirectory() as folder, serving(Path(folder) / "s", options=options) as served:
        for path in (Path(folder), served.folder):
            path.chmod(0o755)
        present = served.mimei("work")
        for name, mode in (("public", 0o644), ("private", 0o600)):
            (present / name).write_text(name)
            (present / name).chmod(mode)
        read = {
            name: subprocess.run(["cat", present / name], user=65534, capture_output=True) for name in ("public", "private")
        }
        assert read["public"].stdout == (b"public" if options else b"")
        assert read["private"].returncode != 0
        assert read["private"].stdout == b""
        assert served.end() == 0


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_another_user_may_do_what_modes_allow_taking_versions_included() -> None:
    with TemporaryDirectory() as folder, serving(Path(folder) / "s", options=("--allow-other",)) as served:
        for path in (Path(folder), served.folder):
            path.chmod(0o755)
        open_to_all, ours = served.mimei("open"), served.mimei("ours")
        open_to_all.chmod(0o777)
        (ours / ".mimei" / "@first").mkdir()
        with nobody():
            (open_to_all / "theirs").write_text("x")
            (open_to_all / ".mimei" / "@theirs").mkdir()
            assert os.listdir(open_to_all / ".mimei" / "@theirs") == ["theirs"]
            assert os.listdir(ours / ".mimei" / "@first") == []
            for act in (
                lambda: (ours / ".mimei" / "@second").mkdir(),
                lambda: (ours / ".mimei" / "@first").rename(ours / ".mimei" / "@other"),
                lambda: (ours / ".mimei" / "@first").rmdir(),
            ):
                with pytest.raises(PermissionError):
                    act()
        assert served.end() == 0


def test_mount_options_are_parsed() -> None:
    assert parse_options("") == MountOptions()
    assert parse_options("noexec,allow_other,noxattr") == MountOptions(True, False, frozenset({"noexec"}), Showing(False))
    assert parse_options("", allow_other=True).allow_other


def test_unknown_mount_options_are_refused_by_name() -> None:
    with pytest.raises(InvalidError, match=r"'nonsense'.*noexec"):
        parse_options("noexec,nonsense")
    with pytest.raises(InvalidError, match=r"'noexec=1'.*umask="):
        parse_options("noexec=1")


def test_of_mount_options_that_contradict_each_other_the_last_counts() -> None:
    assert parse_options("ro,rw,noexec,exec,uid=1,uid=2").passed == {"rw", "exec"}
    assert parse_options("rw,ro,uid=1,uid=2").showing.uid == 2
    assert parse_options("noxattr,xattr") == MountOptions()
    assert parse_options("noacl,acl") == MountOptions()
    assert parse_options("writeback").writeback
    assert parse_options("writeback,writethrough") == MountOptions()


def test_owners_and_umask_are_numbers_and_leave_no_access_lists() -> None:
    assert parse_options("uid=1000,gid=0,umask=077").showing == Showing(False, 1000, 0, 0o077)
    assert parse_options("umask=0").showing == Showing(False)
    assert parse_options("noacl").showing == Showing(False)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("uid=bob", "uid=bob: uid= takes a number from 0 to 4294967294"),
        ("gid=", "gid=: gid= takes a number"),
        ("uid=-1", "uid=-1"),
        ("uid=4294967295", "from 0 to 4294967294"),
        ("gid= 5", "gid= 5"),
        ("umask=089", "umask=089: umask= takes an octal number from 0 to 777"),
        ("umask=1000", "umask=1000"),
        ("umask=0o22", "umask=0o22"),
        ("acl,uid=5", "the mount option acl goes with none of"),
        ("acl,noxattr", "the mount option acl goes with none of"),
        ("uid", "unknown mount option 'uid'"),
    ],
)
def test_bad_values_of_mount_options_are_refused_in_words(bad: str, said: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        parse_options(bad)
    assert said in str(refusal.value)


def test_nothing_is_mounted_on_an_ordinary_directory(tmp_path: Path) -> None:
    assert mounted_device(tmp_path) == ""


def test_a_mounts_source_names_the_home_in_characters_that_no_option_has_to_escape() -> None:
    assert source_of(Path("/home/me/mimei")) == "mimei:/home/me/mimei"
    assert source_of(Path(os.fsdecode(b"/a b,\\\n\xff"))) == "mimei:/a%20b%2C%5C%0A%FF"
    assert len(source_of(Path("/" + "\xe4" * 2000))) < 2000


# Why a mount was refused


def why(where: Path, monkeypatch: pytest.MonkeyPatch, device: Path, *lines: str, allow_other: bool = False) -> str:
    """What is said to an ordinary user of a machine with that device and these lines in fuse.conf."""
    configuration = device.with_name("fuse.conf")
    configuration.write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(obstacle, "DEVICE", device)
    monkeypatch.setattr(obstacle, "CONFIGURATION", configuration)
    with nobody():
        return str(obstacle.obstacle(where, "so it is", allow_other=allow_other))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_refused_mount_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory() as folder:
        theirs, own, device = Path(folder) / "theirs", Path(folder) / "own", Path(folder) / "fuse"
        Path(folder).chmod(0o755)
        theirs.mkdir()
        own.mkdir()
        os.chown(own, NOBODY, NOBODY)
        assert "there is no" in why(own, monkeypatch, device)
        device.touch()
        device.chmod(0o600)
        assert f"{device} is closed to you (mode 0600)" in why(own, monkeypatch, device)
        device.chmod(0o666)
        assert "it belongs to user 0; choose" in why(theirs, monkeypatch, device)
        theirs.chmod(0o1777)
        assert "it belongs to user 0; choose" in why(theirs, monkeypatch, device)
        assert why(own, monkeypatch, device) == f"cannot mount on {own}: so it is"
        assert "has no line user_allow_other" in why(own, monkeypatch, device, "#user_allow_other", allow_other=True)
        allowed = why(own, monkeypatch, device, "mount_max = 9", " user_allow_other # yes", allow_other=True)
        assert allowed == f"cannot mount on {own}: so it is"
        monkeypatch.setattr(obstacle.pwd, "getpwuid", {}.__getitem__)
        assert re.search(r"user \d+ has none; add it to /etc/passwd", why(own, monkeypatch, device))
        monkeypatch.setenv("PATH", folder)
        assert "install the package fuse3" in why(own, monkeypatch, device)
