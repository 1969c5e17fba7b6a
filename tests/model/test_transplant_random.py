"""Random work with restores in between, against plain dictionaries; the keeper lags, crashes come, the index is lost once."""

import copy
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mimeifs.engine import LocalEngine
from mimeifs.errors import MimeiError
from mimeifs.model import live as live_module
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.node import Node
from mimeifs.model.versions import VersionInfo
from mimeifs.rebuild import rebuild
from tests.model.conftest import WHO, Local, Randomness, open_local, walk

NAMES = [b"a", b"b", b"c", b"d"]


class Cell:
    """A file's content; one object for all its names."""

    def __init__(self, data: bytes) -> None:
        self.data = data


Plain = dict[bytes, Cell | None]
"""Path to content; None is a directory."""


class Work:
    """One run: the same act on the store and on the oracle."""

    def __init__(self, local: Local, seed: int) -> None:
        self.local = local
        self.chance = random.Random(seed)
        self.plain: Plain = {}
        self.kept: list[tuple[VersionInfo, Plain]] = []
        self.mimei = local.mimei().tree.mimei

    @property
    def top(self) -> LiveDir:
        return self.do(lambda: self.local.engine.mimeis.tree(self.mimei)).root

    def do(self, call: Callable[[], Node | None]) -> object:  # type: ignore[return]
        return self.local.running.attempt(call)

    def path(self) -> bytes:
        return b"/".join(self.chance.choices(NAMES, k=self.chance.choice((1, 1, 2, 2, 3))))

    def existing(self) -> bytes:
        return self.chance.choice(sorted(self.plain)) if self.plain else b"a"

    def place(self, path: bytes) -> tuple[LiveDir, bytes]:
        at: Node = self.top
        *above, name = path.split(b"/")
        for step in above:
            at = self.do(lambda at=at, step=step: at.lookup(step))
        assert isinstance(at, LiveDir)
        return at, name

    def fits(self, path: bytes) -> bool:
        above = path.rpartition(b"/")[0]
        return not above or (above in self.plain and self.plain[above] is None)

    def below(self, path: bytes, tree: Plain) -> list[bytes]:
        return [each for each in tree if each == path or each.startswith(path + b"/")]

    # Acts

    def write(self) -> None:
        path, data = self.path(), bytes(self.chance.randrange(256) for _ in range(self.chance.choice((0, 3, 90_000))))
        if not self.fits(path) or (path in self.plain and self.plain[path] is None):
            return
        directory, name = self.place(path)
        cell = self.plain.get(path)
        if cell is None:
            node = self.do(lambda: directory.create(name, 0o644, WHO))
            cell = self.plain[path] = Cell(b"")
        else:
            node = self.do(lambda: directory.child(name))
        self.do(lambda: node.write(0, data))
        cell.data = data + cell.data[len(data) :]

    def mkdir(self) -> None:
        path = self.path()
        if self.fits(path) and path not in self.plain:
            directory, name = self.place(path)
            self.do(lambda: directory.mkdir(name, 0o755, WHO))
            self.plain[path] = None

    def remove(self) -> None:
        path = self.existing()
        if path not in self.plain or len(self.below(path, self.plain)) > 1:
            return
        directory, name = self.place(path)
        is_directory = self.plain.pop(path) is None
        self.do(lambda: directory.rmdir(name) if is_directory else directory.unlink(name))

    def rename(self) -> None:
        old, new = self.existing(), self.path()
        if old not in self.plain or new in self.plain or not self.fits(new) or (new + b"/").startswith(old + b"/"):
            return
        source, name = self.place(old)
        target, new_name = self.place(new)
        self.do(lambda: source.rename(name, target, new_name, 0))
        for path in self.below(old, self.plain):
            self.plain[new + path[len(old) :]] = self.plain.pop(path)

    def link(self) -> None:
        old, new = self.existing(), self.path()
        if self.plain.get(old) is None or new in self.plain or not self.fits(new):
            return
        source, name = self.place(old)
        target, new_name = self.place(new)
        node = self.do(lambda: source.child(name))
        self.do(lambda: target.link(new_name, node))
        self.plain[new] = self.plain[old]

    def backup(self) -> None:
        version = self.do(lambda: self.local.engine.versions.backup(self.mimei))
        self.kept.append((version, copy.deepcopy(self.plain)))

    def restore(self) -> None:
        if self.kept:
            version, plain = self.chance.choice(self.kept)
            self.do(lambda: self.local.engine.transplant.restore(self.mimei, version))
            self.plain = copy.deepcopy(plain)

    def restore_path(self) -> None:
        if not self.kept:
            return
        version, plain = self.chance.choice(self.kept)
        path = self.chance.choice(sorted(plain)) if plain else b"a"
        above = [path[:end] for end in range(len(path)) if path[end : end + 1] == b"/"]
        fails = path not in plain or any(self.plain.get(each, self) not in (None, self) for each in above)
        try:
            self.do(lambda: self.local.engine.transplant.restore(self.mimei, version, path))
        except MimeiError:
            assert fails
            return
        assert not fails
        for each in self.below(path, self.plain):
            del self.plain[each]
        for each in above:
            self.plain.setdefault(each, None)
        then = copy.deepcopy(plain)
        self.plain.update({each: then[each] for each in self.below(path, then)})

    def forget(self) -> None:
        """The kernel forgets everything; memory keeps three at most of what need not stay."""
        live = self.local.engine.live
        for node in list(live.nodes.values()):
            if live.nodes.get(node.ino) is node:
                live.forgotten(node)

    def settle(self) -> None:
        self.local.running.settle()

    def crash(self) -> None:
        self.local.crash()

    def lose_the_index(self) -> None:
        """What is in a version outlives it."""
        self.backup()
        local = self.local
        local.running.close()
        shutil.rmtree(local.home.storage.index)
        rebuild(local.home, local.clock, Randomness(), WHO, force=False, report=lambda _text: None)
        local.running = LocalEngine(local.home, local.clock, Randomness())

    def check(self) -> None:
        found = self.do(lambda: dict(walk(self.top, b"")))
        assert found == {path: b"/" if cell is None else cell.data for path, cell in self.plain.items()}


@pytest.mark.parametrize("seed", range(5))
def test_random_work_with_restores(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "IDLE_LIMIT", 3)
    local = open_local(tmp_path)
    try:
        work = Work(local, seed)
        acts = [work.write] * 5 + [work.mkdir] * 3 + [work.remove, work.rename, work.link, work.link, work.backup]
        acts += [work.restore, work.restore_path, work.restore_path, work.settle, work.forget]
        for step in range(120):
            work.chance.choice(acts)()
            if work.chance.random() < 0.3:
                work.check()
            if step % 40 == 39:
                work.crash()
                assert local.findings() == []
                if step == 79:
                    work.lose_the_index()
                    work.check()
                    assert local.findings() == []
        work.check()
        assert local.findings() == []
        for version, plain in work.kept:
            found = local.tree(local.past(version))
            assert found == {path: b"/" if cell is None else cell.data for path, cell in plain.items()}
    finally:
        local.running.close()
