"""A fresh home with an engine, checked at the end of each test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from mimeifs.clock import CountingRandomness, ManualClock
from mimeifs.engine import Engine, LocalEngine, create_home
from mimeifs.errors import NotFoundError
from mimeifs.home import Home
from mimeifs.ids import MimeiId
from mimeifs.model.checking import Finding, check
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.node import Node, Who
from mimeifs.model.past import PastDir
from mimeifs.model.versions import VersionInfo
from mimeifs.store.blobs import BlobReader, index_of

WHO = Who(1000, 1000)
T = TypeVar("T")


class Randomness(CountingRandomness):
    """Predictable, but never the same again after a restart: keys and marks must not repeat."""

    draws = 0

    def draw(self, count: int) -> bytes:
        Randomness.draws += 1
        self.state = Randomness.draws
        return super().draw(count)


@dataclass
class Local:
    """A home and its engine, with what tests do all the time."""

    home: Home
    clock: ManualClock
    running: LocalEngine

    @property
    def engine(self) -> Engine:
        return self.running.engine

    def run(self, call: Callable[[], T]) -> T:
        return self.running.run(call)

    def crash(self) -> None:
        """Lose the process; what it had appended is replayed."""
        self.running.abandon()
        self.running = LocalEngine(self.home, self.clock, Randomness())

    def mimei(self, name: bytes = b"photos") -> LiveDir:
        """A new tree MiMei linked in the root; its present."""
        node = self.run(lambda: self.engine.views.root.mkdir(name, 0o755, WHO))
        assert isinstance(node, LiveDir)
        return node

    def present(self, mimei: MimeiId) -> LiveDir:
        return self.run(lambda: self.engine.mimeis.tree(mimei)).root

    def backup(self, mimei: MimeiId, label: str = "") -> VersionInfo:
        return self.run(lambda: self.engine.versions.backup(mimei, label=label))

    def put(self, top: LiveDir, path: bytes, data: bytes) -> LiveFile:
        """A file with that content, made or overwritten, and the directories above it."""
        directory, name = self.above(top, path)
        try:
            node: Node = self.run(lambda: directory.child(name))
        except NotFoundError:
            node = self.run(lambda: directory.create(name, 0o644, WHO))
        assert isinstance(node, LiveFile)
        self.run(lambda: node.resize(0))
        self.run(lambda: node.write(0, data))
        return node

    def above(self, top: LiveDir, path: bytes) -> tuple[LiveDir, bytes]:
        *parents, name = path.split(b"/")
        at = top
        for parent in parents:
            at = self._directory(at, parent)
        return at, name

    def _directory(self, at: LiveDir, name: bytes) -> LiveDir:
        try:
            found: Node = self.run(lambda: at.child(name))
        except NotFoundError:
            found = self.run(lambda: at.mkdir(name, 0o755, WHO))
        assert isinstance(found, LiveDir)
        return found

    def tree(self, top: Node) -> dict[bytes, bytes]:
        """Everything below a directory: content of files, targets of links, ``/`` for directories."""
        return self.run(lambda: dict(walk(top, b"")))

    def past(self, version: VersionInfo) -> PastDir:
        return self.run(lambda: self.engine.views.shown_version(version, 1, b"test"))

    def findings(self) -> list[Finding]:
        self.running.settle()
        database = self.running.database
        database.renew()
        blobs = BlobReader(self.home.storage.packs, index_of(database), cache_bytes=1 << 20)
        try:
            return list(check(database, blobs, self.home.storage))
        finally:
            blobs.close()


def walk(node: Node, path: bytes) -> Iterator[tuple[bytes, bytes]]:
    for name, child in node.scan(b""):
        below = path + b"/" + name if path else name
        kind = child.stat().mode & 0o170000
        if kind == 0o040000:
            yield below, b"/"
            yield from walk(child, below)
        elif kind == 0o120000:
            yield below, b"-> " + child.readlink()
        elif kind == 0o100000:
            handle = child.open(writing=False)
            yield below, bytes(handle.read(0, 1 << 30))
            handle.close()
        else:
            yield below, b"special"


def open_local(path: Path) -> Local:
    home, clock = Home(path / "home"), ManualClock()
    create_home(home, clock, Randomness(), None, Who(0, 0))
    return Local(home, clock, LocalEngine(home, clock, Randomness()))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    """A fresh home; its store must check without a finding at the end, before and after a restart."""
    made = open_local(tmp_path)
    try:
        yield made
        assert made.findings() == []
        made.crash()
        assert made.findings() == []
    finally:
        made.running.close()
