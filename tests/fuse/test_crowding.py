"""However many files are looked at, the kernel knows a bounded number; what it was told to drop comes back the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Served, serving

pytestmark = pytest.mark.mount

MOST = 60
FILES = 400
STANDER = ["sh", "-c", "read line; pwd -P; ls | wc -l"]
PROGRAM = """
import sys
from collections.abc import Iterator
from mimeifs.cli.main import main
from mimeifs.fuse import crowding
from mimeifs.model import live

crowding.MOST, crowding.SPARE, crowding.SLICE, crowding.AGAIN, live.IDLE_LIMIT = {most}, 20, 16, 0.1, 0
drop = crowding.Crowd._drop

async def noting(self):
    await drop(self)
    with open({note!r}, "a") as note:
        print(self._live.known, len(self._live.nodes), file=note)

crowding.Crowd._drop = noting
if {by_name}:
    async def prune(self, inos):
        return False
    crowding.Invalidations.prune = prune
sys.exit(main())
"""


class Crowded:
    """A mount where few may be known, and what it notes each time it has dropped some."""

    def __init__(self, served: Served, note: Path) -> None:
        self.served = served
        self._note = note

    def settle(self) -> None:
        """Return when the kernel knows few, and the node no more."""
        seen = len(self._noted())
        self.served.until(lambda: any(max(row) <= MOST for row in self._noted()[seen:]), "few are known")

    def _noted(self) -> list[tuple[int, int]]:
        rows = self._note.read_text().splitlines() if self._note.exists() else []
        return [(int(known), int(nodes)) for known, nodes in map(str.split, rows)]


@pytest.fixture(params=["by number", "by name"])
def crowded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Crowded]:
    note = tmp_path / "note"
    program = PROGRAM.format(most=MOST, note=str(note), by_name=request.param == "by name")
    with serving(tmp_path / "s", program=(sys.executable, "-c", program)) as served:
        yield Crowded(served, note)


def _fill(root: Path) -> dict[str, bytes]:
    """400 files in four directories, and a version of them."""
    files = {f"d{number % 4}/f{number:03d}": b"%d" % number * (number % 7 + 1) for number in range(FILES)}
    for number in range(4):
        (root / f"d{number}").mkdir()
    for name, data in files.items():
        (root / name).write_bytes(data)
    (root / ".mimei" / "@full").mkdir()
    return files


def _numbers(root: Path) -> dict[str, int]:
    return {f"{folder.name}/{name}": os.stat(folder / name).st_ino for folder in root.iterdir() for name in os.listdir(folder)}


def test_few_are_known_and_all_are_what_they_were(crowded: Crowded) -> None:
    root = crowded.served.mimei("work")
    files = _fill(root)
    before = _numbers(root)
    for _ in range(3):
        assert _numbers(root) == before
        crowded.settle()
    assert {name: (root / name).read_bytes() for name in files} == files


def test_what_is_in_use_stays(crowded: Crowded) -> None:
    root = crowded.served.mimei("work")
    files = _fill(root)
    with (
        (root / "d0" / "f000").open("rb") as held,
        (root / "d1" / "f001").open("rb") as removed,
        subprocess.Popen(STANDER, cwd=root / "d2", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stander,
    ):
        (root / "d1" / "f001").unlink()
        for _ in range(3):
            assert len(_numbers(root)) == FILES - 1
            crowded.settle()
        assert os.readlink(f"/proc/self/fd/{held.fileno()}") == str(root / "d0" / "f000")
        assert (held.read(), removed.read()) == (files["d0/f000"], files["d1/f001"])
        said, _ = stander.communicate(b"\n", timeout=30)
    assert said.decode().split() == [str(root / "d2"), "100"]


def test_a_change_from_elsewhere_is_seen_after_a_drop(crowded: Crowded) -> None:
    root = crowded.served.mimei("work")
    _fill(root)
    for name in os.listdir(root / "d3"):
        (root / "d3" / name).write_bytes(b"other")
    _numbers(root)
    crowded.settle()
    crowded.served.command("restore", "work", "full")
    assert (root / "d3" / "f003").read_bytes() == b"3" * 4
    assert len(os.listdir(root / "d3")) == 100
