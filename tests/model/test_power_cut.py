"""The power goes at any moment: what was promised durable is there, nothing is half there, and the store has no fault.

A recorded workload is cut off after each of its steps, in three ways (see :mod:`tests.store.powercut`), opened again and
compared with the states it went through.
"""

import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from blake3 import blake3

from mimeifs.clock import ManualClock
from mimeifs.engine import LocalEngine
from mimeifs.home import Home
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.versions import Later
from mimeifs.store import packwriter
from mimeifs.syncer import Syncing
from tests.model.conftest import WHO, Local, Randomness, open_local, walk
from tests.store.powercut import Policy, Recording, image, recording

State = tuple[dict[bytes, bytes], list[int]]
STEPS = 120
ACTS = ("write", "write", "write", "large", "replace", "unlink", "sync", "sync", "replay", "settle", "version", "restart")


@dataclass
class Workload:
    """What is done to one MiMei, and every state it went through."""

    local: Local
    made: Recording
    draw: random.Random
    states: list[State] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin()
        self.note()

    def begin(self) -> None:
        """A node starts."""
        self.photos = present(self.local)
        self.syncing = Syncing(self.local.home.storage)

    def note(self) -> None:
        """Another state was reached."""
        self.states.append(seen(self.local))

    def step(self) -> None:
        """One act of a program, or of the processes behind."""
        attempt, names = self.local.running.attempt, [b"a", b"b", b"dir/c", b"dir/d"]
        name = self.draw.choice(names)
        act = self.draw.choice(ACTS)
        if act == "write":
            self.write(name, blake3(self.draw.randbytes(8)).digest(self.draw.randint(1, 3000)))
        elif act == "large":
            self.write(name, blake3(self.draw.randbytes(8)).digest(self.draw.randint(70_000, 200_000)))
        elif act == "replace":
            # Written whole under another name and renamed, without a sync: as editors do.
            self.write(b"new", b"replaced %d" % self.draw.randrange(1000))
            above, last = self.above(name)
            attempt(lambda: self.photos.rename(b"new", above, last, 0))
        elif act == "unlink":
            above, last = self.above(name)
            if any(each == last for each, _ in attempt(lambda: list(above.scan(b"")))):
                attempt(lambda: above.unlink(last))
        elif act == "sync":
            self.sync()
        elif act == "replay":
            self.local.engine.heard(self.local.running.keeper.advance(self.local.engine.journal.position))
        elif act == "settle":
            self.local.running.settle()
            self.made.promise(len(self.states) - 1)
        elif act == "version":
            self.version()
        elif act == "restart":
            # Ended at once, and begun again in a segment of its own; the start makes durable what the journal holds.
            self.local.crash()
            self.begin()
            self.made.promise(len(self.states) - 1)
            if self.draw.random() < 0.5:
                self.write(name, b"the first of a segment")
                self.sync()
        self.note()

    def above(self, path: bytes) -> tuple[LiveDir, bytes]:
        """The directory of a path, and the name in it."""
        parent, _, name = path.rpartition(b"/")
        above = self.local.running.attempt(lambda: self.photos.child(parent)) if parent else self.photos
        assert isinstance(above, LiveDir)
        return above, name

    def write(self, name: bytes, data: bytes) -> None:
        """Make or overwrite a file, in one write, without a sync."""
        attempt = self.local.running.attempt
        above, last = self.above(name)
        if not any(each == last for each, _ in attempt(lambda: list(above.scan(b"")))):
            attempt(lambda: above.create(last, 0o644, WHO))
            self.note()
        node = attempt(lambda: above.child(last))
        attempt(lambda: node.write(0, data))
        self.note()

    def sync(self) -> None:
        """As fsync: what was appended is durable."""
        assert not self.syncing.sync(self.local.engine.journal.position).errno
        self.made.promise(len(self.states) - 1)

    def version(self) -> None:
        """Take a version; it is promised when the caller is told."""
        engine = self.local.engine
        try:
            engine.versions.backup(self.photos.tree.mimei)
        except Later as later:
            self.local.running.settle()
            later.proceed(engine.taken(later.at))
        self.note()
        self.made.promise(len(self.states) - 1)


def seen(local: Local) -> State:
    """What the MiMei shows, and its versions."""
    photos = present(local)
    numbers = local.running.attempt(lambda: [info.number for info in local.engine.versions.newest_first(photos.tree.mimei)])
    return local.running.attempt(lambda: dict(walk(photos, b""))), numbers


def present(local: Local) -> LiveDir:
    """The present of the MiMei. Unlike ``Local.present`` and its kin this makes nothing durable."""
    mimeis = local.engine.mimeis
    return local.running.attempt(lambda: mimeis.tree(mimeis.all()[0][0])).root


@dataclass(frozen=True, slots=True)
class Recorded:
    """A workload that has been run."""

    home: Path
    base: Path
    made: Recording
    states: list[State]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    place = tmp_path_factory.mktemp("recorded")
    local = open_local(place)
    local.mimei()
    local.run(lambda: local.present(local.engine.mimeis.all()[0][0]).mkdir(b"dir", 0o755, WHO))
    local.running.settle()
    store = local.home.storage
    base = place / "base"
    subprocess.run(["cp", "-a", "--sparse=always", str(store.root), str(base)], check=True)
    with pytest.MonkeyPatch.context() as monkeypatch, recording(store.root, store.index, monkeypatch) as made:
        monkeypatch.setattr(packwriter, "ROLL_BYTES", 300_000)
        work = Workload(local, made, random.Random(7))
        for _ in range(STEPS):
            work.step()
        local.running.abandon()
    yield Recorded(local.home.root, base, made, work.states)
    shutil.rmtree(place)


def reopened(recorded: Recorded, place: Path, upto: int, policy: Policy) -> Local:
    """A home as the power cut left it."""
    place.mkdir()
    shutil.copytree(recorded.home / "keys", place / "keys")
    image(recorded.made, recorded.base, upto, policy, random.Random(upto), place / "store")
    home = Home(place)
    clock = ManualClock(time_ns=1_800_000_000 * 10**9)
    return Local(home, clock, LocalEngine(home, clock, Randomness()))


def check_cut(recorded: Recorded, place: Path, upto: int, policy: Policy) -> None:
    local = reopened(recorded, place, upto, policy)
    try:
        found = seen(local)
        promised = recorded.made.promised(upto)
        assert found in recorded.states[promised:], f"after event {upto}, {policy.value}: not a state since {promised}"
        assert local.findings() == []
    finally:
        local.running.close()
        shutil.rmtree(place)


@pytest.mark.parametrize("policy", Policy, ids=lambda policy: policy.value)
def test_after_a_power_cut_the_store_shows_what_was_promised_or_later(
    recorded: Recorded, tmp_path: Path, policy: Policy
) -> None:
    events = len(recorded.made.events)
    for upto in random.Random(policy.value).sample(range(1, events + 1), 25):
        check_cut(recorded, tmp_path / "cut", upto, policy)


@pytest.mark.slow
@pytest.mark.parametrize("policy", Policy, ids=lambda policy: policy.value)
def test_after_every_power_cut_what_was_promised_is_there(recorded: Recorded, tmp_path: Path, policy: Policy) -> None:
    for upto in range(1, len(recorded.made.events) + 1):
        check_cut(recorded, tmp_path / "cut", upto, policy)
