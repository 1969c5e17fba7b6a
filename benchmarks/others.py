"""The same backup by git, restic and borg, where they are installed: same files, same disk, same run."""

import os
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Aim, Figure
from benchmarks.planting import Shape, plant_plain

FILES = 100_000
"""The size of tree that the targets are for."""
Change = Callable[[Path, Shape, random.Random], None]


@dataclass(frozen=True, slots=True)
class Program:
    """How a program sets up beside ``files`` and backs them up; how much slower than us it is to be."""

    name: str
    target: float
    prepare: tuple[tuple[str, ...], ...]
    backup: tuple[str, ...]


PROGRAMS = (
    Program(
        "git",
        10,
        (("git", "init", "-q"), ("git", "add", "-A"), ("git", "commit", "-q", "-m", "first")),
        ("git", "commit", "-q", "-a", "-m", "again"),
    ),
    Program("restic", 100, (("restic", "init", "-q"), ("restic", "backup", "-q", ".")), ("restic", "backup", "-q", ".")),
    Program(
        "borg",
        200,
        (("borg", "init", "-e", "none"), ("borg", "create", "::first", ".")),
        ("borg", "create", "::{now}", "."),
    ),
)


def compare(scratch: Path, shape: Shape, change: Change, ours: float, rounds: int) -> list[Figure]:
    """A row for each program that is there: how many times our ``ours`` seconds it takes."""
    present = [program for program in PROGRAMS if shutil.which(program.name)]
    if not present:
        return []
    files = scratch / "plain"
    plant_plain(files, shape)
    environment = environment_of(scratch)
    draw = random.Random(3)
    figures = []
    for program in present:
        for command in program.prepare:
            run(command, files, environment)
        spent = []
        for _ in range(rounds):
            change(files, shape, draw)
            began = time.perf_counter()
            run(program.backup, files, environment)
            spent.append(time.perf_counter() - began)
        shutil.rmtree(files / ".git", ignore_errors=True)
        median = statistics.median(spent)
        target = program.target if shape.files >= FILES else None
        figures.append(Figure(f"{program.name} beside it", median / ours, "times", target, Aim.AT_LEAST, f"{median:.2f} s"))
    return figures


def environment_of(scratch: Path) -> dict[str, str]:
    """Repositories and caches below ``scratch``, and nobody's own settings."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "XDG_CACHE_HOME": str(scratch / "cache"),
        "RESTIC_REPOSITORY": str(scratch / "restic"),
        "RESTIC_PASSWORD": "benchmark",
        "BORG_REPO": str(scratch / "borg"),
        "BORG_BASE_DIR": str(scratch / "borg-base"),
        "GIT_AUTHOR_NAME": "benchmark",
        "GIT_AUTHOR_EMAIL": "benchmark@localhost",
        "GIT_COMMITTER_NAME": "benchmark",
        "GIT_COMMITTER_EMAIL": "benchmark@localhost",
    }


def run(command: Sequence[str], place: Path, environment: dict[str, str]) -> None:
    """Run a command; raises with what it said where it fails."""
    done = subprocess.run(command, cwd=place, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
