"""What versions cost: taking them, the stall they cause, the bytes they keep, forks, restores, and looking into old ones.

A tree of many files and one of a hundredth of them, the same number of directories in both, are served side by side; each round
changes 100 files (1 to 8 KiB, rewritten whole, drawn evenly from the whole tree, so that most lie in different directories) and
takes a version of each at once, through the socket and through ``mkdir @label`` in turn. Medians of the rounds.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import harness, others
from benchmarks.figures import Figure, Scale
from benchmarks.planting import Shape, plant
from benchmarks.served import Served, cpu_ns, reads, served
from mimeifs.api.requests import Backup, Fork, Restore
from mimeifs.home import Home

NAME = b"big"
DIRECTORIES = 100
CHANGES = 100
_LISTINGS = 3


@dataclass(slots=True)
class Tree:
    """A served tree and what was measured on it, in seconds and bytes."""

    served: Served
    shape: Shape
    draw: random.Random
    socket: list[float] = field(default_factory=list)
    mkdir: list[float] = field(default_factory=list)
    keeper: list[float] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)
    unchanged: list[float] = field(default_factory=list)
    fork: list[float] = field(default_factory=list)
    restore: list[float] = field(default_factory=list)

    @property
    def place(self) -> Path:
        """The present."""
        return self.served.point / NAME.decode()

    def change(self) -> None:
        """Rewrite files all over the tree."""
        change(self.place, self.shape, self.draw)

    def backup(self) -> int:
        """Take a version through the socket; its number."""
        return self.served.client.call(Backup(NAME)).version.number


def change(place: Path, shape: Shape, draw: random.Random) -> None:
    """Rewrite 100 files of 1 to 8 KiB, drawn evenly."""
    for number in draw.sample(range(shape.files), CHANGES):
        name = place / shape.directory(number % shape.directories) / shape.file(number // shape.directories)
        name.write_bytes(draw.randbytes(draw.randint(1024, 8192)))


def timed(act: Callable[[], object]) -> float:
    """Seconds it takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def measure(scratch: Path, scale: Scale) -> list[Figure]:
    """All rows about versions."""
    big, small = Shape(DIRECTORIES, scale.files // DIRECTORIES), Shape(DIRECTORIES, scale.files // 100 // DIRECTORIES or 1)
    homes = Home(scratch / "big"), Home(scratch / "small")
    for home, shape in zip(homes, (big, small), strict=True):
        plant(home, shape)
    with served("big", homes[0], scratch) as first, served("small", homes[1], scratch) as second:
        trees = Tree(first, big, random.Random(1)), Tree(second, small, random.Random(2))
        paces = _rounds(trees, scale.rounds)
        stalls = _stalls(trees[0], scale.rounds)
        again = _reads_again(first)
        known = _restore_of_known(trees[0])
    figures = [*_backup_rows(*trees, paces), *stalls, *_transplant_rows(*trees, known), again]
    figures += _past_rows(homes[0], big, scratch)
    ours = statistics.median([*trees[0].socket, *trees[0].mkdir])
    return figures + others.compare(scratch, big, change, ours, max(2, scale.rounds // 3))


def _rounds(trees: Sequence[Tree], rounds: int) -> list[float]:
    """The machine's pace at each."""
    paces = []
    for number in range(-1, rounds):
        for tree in trees[:: 1 if number % 2 else -1]:
            _round(tree, number)
            paces.append(harness.pace())
    for tree in trees:
        for times in (tree.socket, tree.mkdir, tree.keeper, tree.stored, tree.unchanged, tree.fork, tree.restore):
            del times[0]  # The first round only warms up.
    return paces


def _round(tree: Tree, number: int) -> None:
    keeper = tree.served.keeper()
    for times, take in (
        (tree.socket, tree.backup),
        (tree.mkdir, lambda: os.mkdir(tree.place / ".mimei" / f"@round{number}")),
    ):
        tree.change()
        used, stored = cpu_ns(keeper), tree.served.stored()
        times.append(timed(take))
        tree.keeper.append((cpu_ns(keeper) - used) / 1e9)
        tree.stored.append(tree.served.stored() - stored)
        tree.served.mounted.wait_quiet()
    before = tree.backup()
    tree.unchanged.append(timed(lambda: tree.served.client.call(Backup(NAME))))
    if tree.backup() != before:
        raise AssertionError("a version was taken though nothing had changed")
    client, other = tree.served.client, b"fork%d" % (number + 1)
    tree.fork.append(timed(lambda: client.call(Fork(NAME, other, "last"))))
    tree.restore.append(timed(lambda: client.call(Restore(NAME, "1"))))
    tree.backup()
    tree.served.mounted.wait_quiet()


def _ms(times: Sequence[float]) -> float:
    return statistics.median(times) * 1e3


def _ratio(left: Sequence[float], right: Sequence[float]) -> float:
    return statistics.median(mine / other for mine, other in zip(left, right, strict=True))


def _backup_rows(big: Tree, small: Tree, paces: Sequence[float]) -> list[Figure]:
    files, fewer = f"{big.shape.files:,}", f"{small.shape.files:,}"
    best = min(big.socket) * 1e3
    drift = f"{min(paces) * 1e3:.1f} to {max(paces) * 1e3:.1f}: how quick the machine was"
    return [
        Figure("a loop of 300,000 additions meanwhile", _ms(paces), "ms", note=drift),
        Figure(f"backup, {CHANGES} changed files of {files}", _ms(big.socket), "ms", 40, note=f"best {best:.1f}"),
        Figure(
            f"the same against {fewer} files", _ratio([*big.socket, *big.mkdir], [*small.socket, *small.mkdir]), "times", 1.5
        ),
        Figure("backup by mkdir @label", _ms(big.mkdir), "ms", 40, note=f"best {min(big.mkdir) * 1e3:.1f}"),
        Figure("processor time of the keeper for it", _ms(big.keeper), "ms"),
        Figure("backup, nothing changed", _ms(big.unchanged), "ms", 2, note="no new version"),
        Figure("stored for it", statistics.median(big.stored) / (1 << 20), "MiB", 1.2),
    ]


def _transplant_rows(big: Tree, small: Tree, known: float) -> list[Figure]:
    return [
        Figure(f"fork of {big.shape.files:,} files", _ms(big.fork), "ms", 20),
        Figure("the same against a hundredth", _ratio(big.fork, small.fork), "times", 1.5),
        Figure(f"restore of {big.shape.files:,} files", _ms(big.restore), "ms", 20),
        Figure("the same against a hundredth", _ratio(big.restore, small.restore), "times", 1.5),
        Figure("restore while the kernel knows every file", known * 1e3, "ms", note="it is told of each directory"),
    ]


def _restore_of_known(tree: Tree) -> float:
    """Seconds that a restore takes when everything in the present was looked at."""
    tree.change()
    tree.backup()
    _list(tree.place)
    return timed(lambda: tree.served.client.call(Restore(NAME, "1")))


# Stalls


def _stalls(tree: Tree, rounds: int) -> list[Figure]:
    place = tree.served.point / "other"
    place.mkdir()
    command = [sys.executable, "-m", "benchmarks.stall", str(place)]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=harness.PROJECT, text=True)
    assert client.stdout is not None
    client.stdout.readline()
    taking, resting = [], []
    try:
        for _ in range(rounds):
            tree.change()
            time.sleep(0.1)
            began = time.monotonic()
            tree.backup()
            taking.append((began, time.monotonic()))
            time.sleep(0.5)
            began = time.monotonic()
            time.sleep(taking[-1][1] - taking[-1][0])
            resting.append((began, time.monotonic()))
    finally:
        answer, _ = client.communicate("end\n", timeout=60)
    slow = json.loads(answer)
    longest, idle = [[_longest(slow, *window) * 1e3 for window in windows] for windows in (taking, resting)]
    note = f"median {statistics.median(longest):.1f}; as long without a version: worst {max(idle):.1f}"
    return [Figure("longest stall of another client meanwhile", max(longest), "ms", 20, note=note)]


def _longest(slow: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    return max((spent for began, spent in slow if began < end and began + spent > begin), default=0.0)


# Looking into old versions


def _reads_again(served: Served) -> Figure:
    """How often the node is asked when a sealed file is read a second time."""
    name = next(path for path in (served.point / "big" / ".mimei" / "@1" / "dir-0007").iterdir())
    descriptor, node = os.open(name, os.O_RDONLY), served.node()
    try:
        first = os.pread(descriptor, 8192, 0)
        served.mounted.wait_quiet()
        before = reads(node)
        if os.pread(descriptor, 8192, 0) != first:
            raise AssertionError("a sealed file changed")
        return Figure("reads by the node for a sealed file's second read", reads(node) - before, "", 0)
    finally:
        os.close(descriptor)


def _past_rows(home: Home, shape: Shape, scratch: Path) -> list[Figure]:
    """From a node just started, nothing in the kernel's caches: the version's own directory, then one inside."""
    first: list[float] = []
    inner: list[float] = []
    for number in range(_LISTINGS):
        with served("big", home, scratch) as fresh:
            inside = fresh.point / "big" / ".mimei" / "@1"
            fresh.mounted.wait_quiet()
            warm = "" if harness.drop_caches() else "caches could not be dropped: warm"
            first.append(timed(partial(os.listdir, inside)))
            inner.append(timed(partial(os.listdir, inside / shape.directory(number * 31 % shape.directories))))
            if number == _LISTINGS - 1:
                harness.drop_caches()
                spent = timed(partial(_list, inside))
    return [
        Figure(f"first listing in an old version, cold, {shape.directories} names", _ms(first), "ms", 10, note=warm),
        Figure(f"then of a directory in it, cold, {shape.each:,} names", _ms(inner), "ms", note=warm),
        Figure(f"ls -lR of {shape.files:,} files in an old version", spent, "s", 6, note=warm),
    ]


def _list(place: Path) -> None:
    subprocess.run(("ls", "-lR", str(place)), stdout=subprocess.DEVNULL, check=True)
