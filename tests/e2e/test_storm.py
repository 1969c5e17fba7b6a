"""kill -9 of any process at random moments under load, hundreds of times: nothing that a call returned for is lost.

Several programs change trees of their own. The death of processes is not that of the machine, so after it each tree must be
exactly what the steps that returned have made of it, with or without the one step under way: also what nobody synced. Of a
write under way the first pages may be there.
"""

import copy
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e import storming
from tests.e2e.storming import Seen
from tests.serving import PATIENCE, Served, serving

pytestmark = [pytest.mark.mount, pytest.mark.slow, pytest.mark.timeout(900)]

ROUNDS = 50
WRITERS = 3
VICTIMS = ("node", "keeper", "syncer", "keeper and node", "everything", "everything", "everything, and while starting")
MAX_RESTARTS = 3
MAX_REPLACED = 4
"""How often one daemon takes the death of its node, and of its other processes, before it gives up."""


ALLOWED = {"": ("",), "node": ("", "ECONNABORTED\n", "ENOTCONN\n", "EIO\n", "ENOENT\n")}
"""What a program may meet: nothing as long as the node lives; ENOENT is of the empty directory under a mount that is gone."""


class Storm:
    """One program, what it has done in its tree, and the versions it took."""

    def __init__(self, served: Served, name: str) -> None:
        self._root = served.mimei(name)
        self._notes = served.folder / f"{name}.notes"
        self._process: subprocess.Popen[bytes] | None = None
        self._seed = ""
        self._tree = storming.scan(self._root)
        self._versions: dict[str, Seen] = {}

    def start(self, seed: str) -> None:
        """Work on, by that seed."""
        self._seed = seed
        self._notes.write_bytes(b"")
        command = [sys.executable, storming.__file__, str(self._root), str(self._notes), seed]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    @property
    def steps(self) -> int:
        """How many have returned; -1 before the first began."""
        return self._notes.stat().st_size - 1

    def stop(self) -> str:
        """End it where it did not end by itself; what it said."""
        if self._process is None:
            return ""
        self._process.kill()
        said, _ = self._process.communicate(timeout=PATIENCE)
        self._process = None
        return said.decode()

    def check(self, draw: random.Random) -> None:
        """Compare the tree and its versions with what they must be, and go on from there."""
        done, under_way = self._replayed()
        found = storming.scan(self._root)
        shown = storming.seen(found)
        before = storming.seen(self._tree)
        if shown != before and under_way is not None:
            for last in storming.cut_short(self._tree, under_way):
                tree = copy.deepcopy(self._tree)
                storming.apply(tree, last)
                if shown == storming.seen(tree):
                    self._tree = tree
                    break
        assert shown == storming.seen(self._tree), (
            f"{self._root.name}, {self._seed}: after {done} steps and perhaps {under_way and under_way[:4]},"
            f" {_differences(shown, before)} differ"
        )
        assert _linked(found) == _linked(self._tree), f"{self._root.name}: other hard links"
        for label in draw.sample(sorted(self._versions), min(3, len(self._versions))):
            version = storming.seen(storming.scan(self._root / ".mimei" / f"@{label}"))
            assert version == self._versions[label], f"{label}: {_differences(version, self._versions[label])} differ"

    def _replayed(self) -> tuple[int, storming.Step | None]:
        """Carry out what was done on the tree as known; how much it was, and which step was under way."""
        done = self.steps
        if done < 0:
            return 0, None
        steps = storming.steps(random.Random(self._seed), self._tree, self._seed)
        for _ in range(done):
            step = next(steps)
            storming.apply(self._tree, step)
            if step.what == "version":
                self._versions[step.path] = storming.seen(self._tree)
        return done, next(steps)


def _differences(one: Seen, other: Seen) -> dict[str, tuple[int | str, int | str]]:
    """Paths that differ, with the sizes on both sides."""
    paths = [path for path in one.keys() | other.keys() if one.get(path, b"?") != other.get(path, b"?")]
    return {path: (_size(one, path), _size(other, path)) for path in sorted(paths)}


def _size(tree: Seen, path: str) -> int | str:
    content = tree.get(path)
    return len(content) if content is not None else "directory" if path in tree else "nothing"


def _linked(tree: storming.Tree) -> set[frozenset[str]]:
    """Which names are of one file."""
    groups: dict[int, list[str]] = {}
    for path, content in tree.items():
        if content is not None:
            groups.setdefault(id(content), []).append(path)
    return {frozenset(names) for names in groups.values()}


class Reaper:
    """Kills, and waits until all is served again."""

    def __init__(self, served: Served, draw: random.Random) -> None:
        self._served = served
        self._draw = draw
        self._deaths = {"node": 0, "others": 0}

    def choose(self) -> str:
        """Whose turn it is, as far as one daemon takes it."""
        victim = self._draw.choice(VICTIMS)
        spent = self._deaths["node"] >= MAX_RESTARTS or self._deaths["others"] >= MAX_REPLACED
        return "everything" if spent else victim

    def kill(self, victim: str) -> None:
        """Kill it now."""
        if victim.startswith("everything"):
            self._served.kill_everything()
            self._deaths = {"node": 0, "others": 0}
            return
        pids = self._served.pids()
        for role in victim.split(" and "):
            os.kill(pids[role], 9)
            self._deaths["node" if role == "node" else "others"] += 1
        if "node" in victim:
            self._deaths["others"] = 0
        self._served.until(lambda: not self._served.group() & {pids[role] for role in victim.split(" and ")}, "they are gone")

    def serve_again(self, victim: str) -> None:
        """Return when all is in place again."""
        if victim.startswith("everything"):
            if self._draw.random() < 0.2:
                self._served.command("check")
            if "starting" in victim:
                self._served.begin()
                time.sleep(self._draw.uniform(0, 0.6))
                self._served.kill_everything()
            self._served.start()
        self._served.until(lambda: self._served.serves, "it serves again")


@pytest.mark.parametrize("seed", range(6))
def test_every_tree_is_what_the_steps_that_returned_made_of_it_whatever_is_killed(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    with serving(tmp_path / "s") as served:
        reaper = Reaper(served, draw)
        storms = [Storm(served, f"w{number}") for number in range(WRITERS)]
        try:
            steps = sum(_round(served, reaper, storms, draw, f"{seed}.{number}") for number in range(ROUNDS))
        finally:
            for storm in storms:
                storm.stop()
        assert steps > 10 * ROUNDS
        assert served.end() == 0
        served.command("check")
        assert "unforeseen" not in served.log.read_text()


def _round(served: Served, reaper: Reaper, storms: list[Storm], draw: random.Random, name: str) -> int:
    """One death and what came of it; how many steps the programs had made."""
    victim, moment, more = reaper.choose(), draw.uniform(0, 0.8), draw.uniform(0, 0.4)
    print(f"round {name}: {victim} after {moment:.3f} s")
    for number, storm in enumerate(storms):
        storm.start(f"{name}.{number}")
    served.until(lambda: all(storm.steps >= 0 for storm in storms), "the programs work")
    time.sleep(moment)
    reaper.kill(victim)
    if victim in ("keeper", "syncer"):
        time.sleep(more)
    for storm in storms:
        assert storm.stop() in (ALLOWED[""] if victim in ("keeper", "syncer") else ALLOWED["node"])
    reaper.serve_again(victim)
    for storm in storms:
        storm.check(draw)
    return sum(storm.steps for storm in storms)
