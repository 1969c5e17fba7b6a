"""The main job on real input: real programs work in a MiMei, versions are taken between, and every one stays what it was.

Each version is compared with a copy that ``cp -a`` made outside when it was taken, by a comparer that also looks at modes,
owners, times, links and attributes, at the end and after kill -9 and a restart; and by ``diff -r`` after a clean end and the
store's own check.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import working
from tests.e2e.comparing import differences
from tests.serving import Served, serving

pytestmark = pytest.mark.mount

SLOW_SECONDS = 1500


class Keeping:
    """A MiMei, its versions, and the copies that were saved when they were taken."""

    def __init__(self, served: Served, name: str) -> None:
        self.served = served
        self.name = name
        self.present = served.mimei(name)
        self._saved = served.folder / "saved"
        self._saved.mkdir()
        self._taken: dict[str, Path] = {}

    def take(self, label: str) -> None:
        """A version by mkdir, then one's own copy."""
        (self.present / ".mimei" / f"@{label}").mkdir()
        self._save(f"@{label}")

    def back_up(self) -> None:
        """A version by command, then one's own copy."""
        self.served.command("backup", self.name)
        self._save(f"@{len(self._taken) + 1}")

    def _save(self, version: str) -> None:
        copy = self._saved / version
        subprocess.run(["cp", "-a", self.present, copy], check=True)
        self._taken[version] = copy

    def check(self) -> None:
        """Every version is equal to its copy, and the present to the newest."""
        for version, copy in self._taken.items():
            assert differences(os.fsencode(copy), os.fsencode(self._shown(version))) == [], version
        assert differences(os.fsencode(list(self._taken.values())[-1]), os.fsencode(self.present)) == []

    def diff(self) -> None:
        """The same by the tool that everybody has; it would wait for ever on a fifo."""
        for version, copy in self._taken.items():
            words = ["diff", "-r", "--no-dereference", "-x", "pipe", "-x", "device", copy, self._shown(version)]
            compared = subprocess.run(words, capture_output=True, check=False)
            assert compared.returncode == 0, (version, compared.stdout[-2000:])

    def _shown(self, version: str) -> Path:
        return self.present / ".mimei" / version


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Keeping]:
    with serving(tmp_path / "s") as served:
        yield Keeping(served, "work")


def work(keeping: Keeping, names: tuple[str, ...], files: int) -> None:
    """A day's work, with seven versions."""
    present = keeping.present
    source = keeping.served.folder / "source"
    working.make_repository(source)
    assert working.copy_library(present, names=names) >= files
    keeping.take("library")
    working.clone(source, present)
    keeping.take("cloned")
    working.commit(present)
    working.fill_database(present, first=0, count=200)
    keeping.back_up()
    working.build(present)
    keeping.back_up()
    working.furnish(present)
    keeping.take("furnished")
    working.change(present)
    working.fill_database(present, first=200, count=400)
    keeping.take("changed")
    working.clear(present)
    keeping.back_up()


def prove(keeping: Keeping) -> None:
    """Every version is what it was: now, after a crash, after a clean end."""
    served = keeping.served
    keeping.check()
    served.kill_everything()
    served.start()
    keeping.check()
    for version, rows in (("@3", 200), ("@changed", 400)):
        copy = served.folder / f"rows{rows}.db"
        subprocess.run(["cp", keeping.present / ".mimei" / version / "work.db", copy], check=True)
        assert working.count_rows(copy) == rows
    working.run("git", "fsck", "--strict", at=keeping.present / ".mimei" / "@3" / "clone")
    assert served.end() == 0
    served.command("check")
    assert "unforeseen" not in served.tail()
    served.start()
    keeping.diff()


def test_real_programs_work_and_every_version_stays_what_it_was(keeping: Keeping) -> None:
    work(keeping, working.SOME, 250)
    prove(keeping)


@pytest.mark.slow
@pytest.mark.timeout(SLOW_SECONDS)
def test_the_whole_standard_library_and_every_version_stays_what_it_was(keeping: Keeping) -> None:
    keeping.served.life = SLOW_SECONDS
    assert keeping.served.end() == 0
    keeping.served.start()
    work(keeping, working.whole_library(), 1500)
    prove(keeping)
