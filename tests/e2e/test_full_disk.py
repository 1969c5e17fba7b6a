"""The disk fills up before a step of a workload, whichever it is: the writer is told, what is there stays, deleting works.

The store lies on a small ext4 of its own, where a stranger's file takes the room that remains. Each step is told either
that it is done or that there is no room; the tree is at every time what the steps that were done have made of it. What fails
inside the store when it meets no room is in ``tests/model/test_failing_disk.py``; this is the whole, with what ext4 does.
"""

import errno
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import storming
from tests.e2e.storming import Step, Tree
from tests.serving import Served, serving

pytestmark = [pytest.mark.mount, pytest.mark.slow]

DISK_MIB = 160
POINTS = 12
STEPS = 25
"""How many steps are tried before the disk is full, without room, and after it has room again."""
FULL = (errno.ENOSPC, errno.EDQUOT)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    where, image = tmp_path / "disk", tmp_path / "image"
    where.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True, timeout=60)
    made = subprocess.run(["mount", "-o", "loop", str(image), str(where)], check=False, capture_output=True, timeout=60)
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.decode()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True, timeout=60)


def take_all_room(stranger: Path) -> None:
    """Write until nothing more fits."""
    with stranger.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno not in FULL:
                    raise


def insist(root: Path) -> None:
    """Write until the node refuses: what it saw while there was room lasts it for some writes."""
    probe = root / "probe"
    with pytest.raises(OSError, match="No space left") as refused:
        probe.write_bytes(bytes(DISK_MIB << 20))
    assert refused.value.errno in FULL
    probe.unlink(missing_ok=True)  # It may have been refused before it was made.


class Work:
    """A storm's steps, done here, each of which may be refused for lack of room."""

    def __init__(self, root: Path, draw: random.Random) -> None:
        self.root = root
        self.tree: Tree = {}
        self._steps = storming.steps(draw, self.tree, "f")

    def step(self) -> bool:
        """Do the next; whether there was room for it. What was refused has done nothing, of a write less than all."""
        step = next(step for step in self._steps if step.what in ("create", "mkdir", "version") or step.path in self.tree)
        try:
            storming.PERFORM[step.what](self.root, step)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._refused(step)
            return False
        storming.apply(self.tree, step)
        return True

    def _refused(self, step: Step) -> None:
        content = self.tree.get(step.path)
        if content is not None and step.what in ("write", "append"):
            content[:] = (self.root / step.path).read_bytes()  # The kernel may have divided it: nothing is said of the rest.

    def check(self) -> None:
        """The tree is what was made."""
        assert storming.seen(storming.scan(self.root)) == storming.seen(self.tree)


def empty(root: Path, tree: Tree) -> None:
    """Remove every file: that needs no room."""
    for path in [path for path, content in tree.items() if content is not None]:
        (root / path).unlink()
        del tree[path]


@pytest.mark.parametrize("ending", ["goes on", "is killed"])
def test_no_room_before_any_step_costs_that_step_alone(ending: str, tmp_path: Path, small_disk: Path) -> None:
    draw, refusals = random.Random(ending), 0
    stranger = small_disk / "stranger"
    with serving(tmp_path / "s", home=small_disk / "home") as served:
        for point in range(POINTS):
            work = Work(served.mimei(f"w{point}"), draw)
            for _ in range(draw.randrange(STEPS)):
                assert work.step()
            take_all_room(stranger)
            insist(work.root)
            refusals += sum(not work.step() for _ in range(STEPS))
            work.check()
            if ending == "is killed" and point % 3 == 2:
                served.kill_everything()
                os.truncate(stranger, max(0, stranger.stat().st_size - (2 << 20)))
                served.start()
                work.check()
            empty(work.root, work.tree)
            work.check()
            stranger.unlink()
            served.until(lambda work=work: _has_room(work.root), "there is room again")
            for _ in range(STEPS):
                assert work.step()
            work.check()
            _remove(served, work.root)
        assert refusals > POINTS
        assert served.end() == 0
        served.command("check")
        assert "unforeseen" not in served.log.read_text()


def _has_room(root: Path) -> bool:
    """Whether a little can be written."""
    try:
        (root / "trial").write_bytes(bytes(100_000))
        (root / "trial").unlink()
    except OSError as error:
        if error.errno not in FULL:
            raise
        return False
    return True


def _remove(served: Served, root: Path) -> None:
    """Leave little of it, so that the next begins with room."""
    subprocess.run(["find", str(root), "-mindepth", "1", "-delete"], check=True, timeout=60)
    root.rmdir()
    assert root.name not in os.listdir(served.mount)
