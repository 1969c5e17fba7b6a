"""A mount as a whole: how it begins, how it ends, and what is durable then."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mimeifs.errors import InvalidError
from mimeifs.fuse import obstacle
from mimeifs.fuse.mount import MountOptions, mounted_device, parse_options, source_of
from tests.fuse.system_calls import refused
from tests.serving import Served, serving

ENDINGS: dict[str, Callable[[Served], int]] = {
    "SIGTERM": lambda served: served.end(signal.SIGTERM),
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


@pytest.mark.mount
def test_mounted_read_only_everything_is_refused_and_read(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as served:
        (served.mimei("work") / "f").write_bytes(b"x")
        assert served.end() == 0
        served.options = ("-o", "ro")
        served.start()
        assert (served.mount / "work" / "f").read_bytes() == b"x"
        with refused(errno.EROFS):
            (served.mount / "work" / "f").write_bytes(b"y")
        with refused(errno.EROFS):
            (served.mount / "work" / ".mimei" / "@v").mkdir()
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
def test_another_user_may_write_where_modes_allow_it_but_takes_no_version() -> None:
    with TemporaryDirectory() as folder, serving(Path(folder) / "s", options=("--allow-other",)) as served:
        for path in (Path(folder), served.folder):
            path.chmod(0o755)
        present = served.mimei("work")
        present.chmod(0o777)
        (present / ".mimei" / "@first").mkdir()
        with nobody():
            (present / "theirs").write_text("x")
            assert os.listdir(present / ".mimei" / "@first") == []
            for act in (
                lambda: (present / ".mimei" / "@second").mkdir(),
                lambda: (present / ".mimei" / "@first").rename(present / ".mimei" / "@other"),
                lambda: (present / ".mimei" / "@first").rmdir(),
            ):
                with pytest.raises(PermissionError):
                    act()
        assert served.end() == 0


def test_mount_options_are_parsed() -> None:
    assert parse_options("") == MountOptions()
    assert parse_options("noexec,allow_other,noxattr") == MountOptions(True, False, frozenset({"noexec"}))
    assert parse_options("", allow_other=True).allow_other


def test_unknown_mount_options_are_refused_by_name() -> None:
    with pytest.raises(InvalidError, match=r"'nonsense'.*noexec"):
        parse_options("noexec,nonsense")


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
        monkeypatch.setenv("PATH", folder)
        assert "install the package fuse3" in why(own, monkeypatch, device)
