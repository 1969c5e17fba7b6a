"""How often the node is asked: listings must not walk through virtual directories for every file."""

import errno
import os
from pathlib import Path

import pytest

from tests.fuse.system_calls import refused
from tests.serving import Served

pytestmark = pytest.mark.mount

FILES = 200


def asked(served: Served) -> int:
    """Reads and the like by the node so far; each request is at least one."""
    lines = Path(f"/proc/{served.pids()['node']}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["syscr"])


@pytest.fixture
def numbered(present: Path) -> Path:
    """Version 1 of a present with many files."""
    for number in range(FILES):
        (present / f"f{number}").write_bytes(b"x")
    (present / ".mimei" / "@v").mkdir()
    return present / ".mimei" / "@1"


def test_looking_at_each_file_of_a_numbered_version_asks_for_no_directory_again(numbered: Path, served: Served) -> None:
    names = [entry.path for entry in os.scandir(numbered)]
    assert len(names) == FILES
    before = asked(served)
    for name in names:
        os.lstat(name)
    assert asked(served) - before < FILES / 2


def test_a_label_that_moves_is_asked_for_each_time(numbered: Path, present: Path) -> None:
    last = present / ".mimei" / "@last"
    assert (last / "f0").read_bytes() == b"x"
    (present / "f0").write_bytes(b"changed")
    (present / ".mimei" / "@w").mkdir()
    assert (last / "f0").read_bytes() == b"changed"


def test_a_file_without_selinux_label_says_that_there_are_none(numbered: Path) -> None:
    with refused(errno.EOPNOTSUPP):
        os.getxattr(numbered / "f0", "security.selinux")
    with refused(errno.ENODATA):
        os.getxattr(numbered / "f0", "user.absent")
