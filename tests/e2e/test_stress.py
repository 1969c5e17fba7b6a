"""Programs that nobody here wrote, and that try file systems hard. Afterwards the mount answers and the store has no fault.

Each row is a program of Debian's with its arguments; ``{here}`` stands for a directory on the mount. A program that is not
there is skipped by name. Versions are taken while they work.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving import Served, serving

pytestmark = [pytest.mark.mount, pytest.mark.slow]

FIO = "fio --name=job --directory={here} --size=24m --numjobs=2 --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal"
STRESS = "stress-ng --temp-path {here} --timeout 12s --verify --metrics-brief"


@dataclass(frozen=True, slots=True)
class Trial:
    """A program at work; ``codes`` are the exit codes that mean success."""

    name: str
    command: str
    codes: tuple[int, ...] = (0,)


TRIALS = (
    Trial("fio-psync", FIO + " --ioengine=psync --rw=randrw --bsrange=512-64k"),
    Trial("fio-mmap", FIO + " --ioengine=mmap --rw=randwrite --bs=4k"),
    Trial("fio-libaio", FIO + " --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --fsync=16"),
    Trial("fio-vectors", FIO + " --ioengine=pvsync --rw=write --bs=128k --fdatasync=4"),
    Trial("dbench", "dbench -t 15 -D {here} 4"),
    Trial("bonnie", "bonnie++ -q -f -d {here} -s 64 -r 16 -n 1:4096:16:4 -u root"),
    # What changes links, names and attributes of its files in every way, several processes against each other.
    Trial("stress-names", f"{STRESS} --dentry 2 --rename 2 --link 1 --symlink 1 --dir 2 --dirdeep 1 --filename 1 --mknod 1"),
    Trial("stress-data", f"{STRESS} --hdd 2 --hdd-bytes 16m --seek 1 --seek-size 16m --readahead 1 --readahead-bytes 16m"),
    Trial("stress-calls", f"{STRESS} --fallocate 1 --fallocate-bytes 16m --fpunch 1 --utime 2 --chmod 2 --chown 2 --xattr 2"),
    Trial("stress-open", f"{STRESS} --open 2 --touch 2 --access 1 --fstat 2 --getdent 1 --inode-flags 1 --lease 1", (0, 2, 3)),
    Trial("stress-locks", f"{STRESS} --flock 2 --lockf 2 --locka 2 --lockofd 2"),
    Trial("stress-maps", f"{STRESS} --mmap 2 --mmap-bytes 8m --mmap-file --msync 2 --msync-bytes 8m", (0, 2, 3)),
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "s") as served:
        yield served
        served.end()
        found = served.command("check", check=False)
        assert found.returncode == 0, found.stdout


class Versions:
    """Takes versions of a MiMei as long as the block runs."""

    def __init__(self, served: Served, name: str) -> None:
        self._served = served
        self._name = name
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._take)
        self.taken = 0

    def _take(self) -> None:
        while True:
            self._served.command("backup", self._name)
            self.taken += 1
            if self._over.wait(1.0):
                return

    def __enter__(self) -> "Versions":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def run(trial: Trial, here: Path) -> None:
    words = [word.format(here=here) for word in trial.command.split()]
    program = words[0]
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False, cwd=here)
    assert done.returncode in trial.codes, f"{program} says {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_demanding_program_is_content(served: Served, trial: Trial) -> None:
    here = served.mimei("work")
    with Versions(served, "work") as versions:
        run(trial, here)
    assert "unforeseen error" not in served.tail()
    (here / "after").write_text("the mount answers")
    assert (here / "after").read_text() == "the mount answers"
    assert versions.taken
    served.command("backup", "work")
    assert (here / "@last" / "after").read_text() == "the mount answers"


def test_a_repository_that_is_worked_on_hard_stays_sound(served: Served) -> None:
    here = served.mimei("work") / "repository"
    here.mkdir()

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=here, check=True, capture_output=True)

    git("init")
    with Versions(served, "work"):
        for number in range(12):
            for each in range(40):
                (here / f"file{each:02}").write_text(f"{number} {each}\n" * (each + 1))
            git("add", "-A")
            git("commit", "-m", f"commit {number}")
            if number % 4 == 3:
                git("gc", "--quiet")
                git("checkout", "-b", f"branch{number}", "HEAD~2")
    git("fsck", "--full", "--strict")
    saved = served.folder / "saved"
    shutil.copytree(here, saved, symlinks=True)
    served.command("backup", "work")
    done = subprocess.run(
        ["git", "fsck", "--full"], cwd=served.mount / "work/@last/repository", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    subprocess.run(["diff", "-r", str(saved), str(served.mount / "work/@last/repository")], check=True)


def test_rsync_goes_to_and_fro_without_end(served: Served, tmp_path: Path) -> None:
    source, here, back = tmp_path / "source", served.mimei("work"), tmp_path / "back"
    shutil.copytree(Path(os.__file__).parent / "json", source)
    for number in range(8):
        (source / f"changing{number % 3}").write_bytes(os.urandom(100_000 * (number % 3 + 1)))
        (source / f"linked{number}").hardlink_to(source / "__init__.py")
        subprocess.run(["rsync", "-aHX", "--delete", "--inplace", f"{source}/", f"{here}/"], check=True)
        served.command("backup", "work")
        subprocess.run(["rsync", "-aHX", "--delete", f"{served.mount}/work/@last/", f"{back}/"], check=True)
        subprocess.run(["diff", "-r", str(source), str(back)], check=True)
        assert os.stat(back / "linked0").st_nlink == number + 2
