"""How often the node is asked: listings must not walk through virtual directories for every file."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.fuse.system_calls import refused
from tests.serving import Served, serving

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


def test_a_name_looked_for_in_vain_is_there_once_a_restore_has_brought_it(served: Served, present: Path) -> None:
    inside = present / "d" / "e"
    inside.mkdir(parents=True)
    (inside / "f").write_bytes(b"x")
    (present / ".mimei" / "@v").mkdir()
    for name in (inside / "f", inside):
        name.unlink() if name.is_file() else name.rmdir()
        assert not name.exists()
        before = asked(served)
        assert not name.exists()
        assert asked(served) - before < 2
    served.command("restore", present.name, "1", "d/e")
    served.until((inside / "f").exists, "the file is there")


def test_a_file_without_selinux_label_says_that_there_are_none(numbered: Path) -> None:
    with refused(errno.EOPNOTSUPP):
        os.getxattr(numbered / "f0", "security.selinux")
    with refused(errno.ENODATA):
        os.getxattr(numbered / "f0", "user.absent")


def reading(folder: Path) -> Callable[[], object]:
    """Somebody else reads every file, beginning in the folder."""
    command = f"for i in $(seq 0 {FILES - 1}); do : < f$i; done"
    return lambda: subprocess.run(["sh", "-c", command], cwd=folder, user=1001, group=1001, check=True, timeout=60)


def costs(*options: str) -> dict[str, int]:
    """What doing things with plain files asks of the node, on a mount of its own with those options."""
    with TemporaryDirectory() as folder, serving(Path(folder) / "s", options=("--allow-other", *options)) as served:
        for path in (Path(folder), served.folder):
            path.chmod(0o755)
        present = served.mimei("work")
        names = [present / f"f{number}" for number in range(FILES)]
        acts: dict[str, Callable[[], object]] = {
            "create": lambda: [name.touch() for name in names],
            "write": lambda: [name.write_bytes(b"x") for name in names],
            "read": lambda: [name.read_bytes() for name in names],
            "stat": lambda: [name.stat() for name in names],
            "chmod": lambda: [name.chmod(0o644) for name in names],
        }
        if os.geteuid() == 0:
            acts |= {"read by others": reading(present), "read again by others": reading(present)}
        found = {}
        for what, act in acts.items():
            before = asked(served)
            act()
            found[what] = asked(served) - before
        assert served.end() == 0
        return found


def test_access_control_lists_cost_those_who_have_none_one_request_a_file_and_only_others() -> None:
    without, plain = costs("-o", "noacl"), costs()
    more = {what for what in plain if plain[what] - without[what] > FILES / 2}
    assert more == plain.keys() & {"read by others"}
