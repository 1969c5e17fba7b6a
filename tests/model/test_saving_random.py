"""Any mixture of saves, renames, writes by the mount, versions, copies and crashes: versions lose nothing, and catch up.

What is left out of a version can only be that a name went, or that it became empty: bytes are in the next version always, and
once the time is over so is everything.
"""

import random
from pathlib import Path as FilePath

import pytest

from mimeifs.errors import MimeiError
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.resource import Guard
from tests.model.conftest import WHO, open_local
from tests.model.tree_of_paths import Tree

PATHS = ("a", "b", "d/a", "d/b", "e/a")
State = dict[str, bytes]
ANN = Guard(user="ann")


class Days:
    """A MiMei with directories ``d`` and ``e``; ``state`` is what its files must be, ``since`` what each path has been since
    the newest version."""

    def __init__(self, folder: FilePath, seed: int) -> None:
        self.draw = random.Random(seed)
        self.local = open_local(folder)
        self.tree = Tree(self.local)
        for path in ("/m", "/m/d", "/m/e"):
            self.tree.mkdir(path)
        self.state: State = {}
        self.since: dict[str, set[bytes | None]] = {path: {None} for path in PATHS}
        self.left_out = 0

    def files(self, top: LiveDir | None = None) -> State:
        shown = self.local.tree(self.top if top is None else top)
        return {path.decode(): data for path, data in shown.items() if data != b"/"}

    @property
    def top(self) -> LiveDir:
        node = self.local.run(lambda: self.local.engine.views.root.lookup(b"m"))
        assert isinstance(node, LiveDir)
        return node

    def guard(self, *paths: str) -> Guard:
        tokens = [token for path in paths for token in self.tree.tokens(f"/m/{path}")]
        return Guard(tuple(tokens), "ann")

    def step(self) -> None:
        path, other = self.draw.choice(PATHS), self.draw.choice(PATHS)
        self.draw.choice((*SAVING, *SAVING, *OTHERS))(self, path, other)
        assert self.files() == self.state
        for each, had in self.since.items():
            had.add(self.state.get(each))

    # What the drive does

    def begin(self, path: str, _: str) -> None:
        self.tree.put(f"/m/{path}", b"", self.guard(path), hold_s=10)
        self.state[path] = b""

    def put(self, path: str, _: str) -> None:
        self.state[path] = b"%d" % self.draw.randrange(10**6)
        self.tree.put(f"/m/{path}", self.state[path], self.guard(path))

    def lock(self, path: str, _: str) -> None:
        if path in self.state and not self.tree.tokens(f"/m/{path}"):
            self.tree.lock(f"/m/{path}", ANN, timeout_s=self.draw.choice((5, 500)))

    def unlock(self, path: str, _: str) -> None:
        for token in self.tree.tokens(f"/m/{path}"):
            self.local.run(lambda token=token: self.tree.resources.unlock((b"m", *path.encode().split(b"/")), token, "ann"))

    def patch(self, path: str, _: str) -> None:
        if path in self.state:
            self.tree.patch(f"/m/{path}", {"{n}p": b"%d" % self.draw.randrange(100)}, self.guard(path))

    def move(self, path: str, other: str) -> None:
        if path in self.state and path != other:
            guard = self.guard(path, other)
            try:
                self.tree.move(f"/m/{path}", f"/m/{other}", guard, overwrite=True, hold_s=self.draw.choice((0, 2)))
            except MimeiError:
                return  # Both names are one file.
            self.state[other] = self.state.pop(path)

    def remove(self, path: str, _: str) -> None:
        if path in self.state:
            self.tree.remove(f"/m/{path}", self.guard(path), hold_s=self.draw.choice((0, 2)))
            del self.state[path]

    def copy(self, _: str, __: str) -> None:
        self.tree.copy("/m/d", "/m/e", self.guard(*PATHS), overwrite=True)
        self.state = {path: data for path, data in self.state.items() if not path.startswith("e/")}
        self.state |= {"e" + path[1:]: data for path, data in self.state.items() if path.startswith("d/")}

    # What the mount does

    def write(self, path: str, _: str) -> None:
        directory, name = self.local.above(self.top, path.encode())
        if path not in self.state:
            self.local.run(lambda: directory.create(name, 0o644, WHO))
            self.state[path] = b""
        file = self.local.run(lambda: directory.child(name))
        assert isinstance(file, LiveFile)
        names = [each for each in self.state if self.tree.look(f"/m/{each}").ino == file.ino]
        self.local.running.attempt(lambda: file.write(0, b"W"))
        for each in names:
            self.state[each] = b"W" + self.state[each][1:]

    def link(self, path: str, other: str) -> None:
        if path in self.state and other not in self.state:
            directory, name = self.local.above(self.top, path.encode())
            target, new = self.local.above(self.top, other.encode())
            self.local.run(lambda: target.link(new, self.local.run(lambda: directory.child(name))))
            self.state[other] = self.state[path]

    def unlink(self, path: str, _: str) -> None:
        if path in self.state:
            directory, name = self.local.above(self.top, path.encode())
            self.local.run(lambda: directory.unlink(name))
            del self.state[path]

    # What comes between

    def version(self, *_: str) -> None:
        info = self.local.backup(self.top.tree.mimei)
        had = self.files(self.local.past(info))
        for path in PATHS:
            now, found = self.state.get(path), had.get(path)
            if found != now:
                assert not now, (path, now, found)
                assert found in self.since[path], (path, now, found)
                self.left_out += 1
            self.since[path] = {found, now}
        self.last = had

    def wait(self, *_: str) -> None:
        self.local.clock.time_ns += self.draw.choice((1, 3, 11)) * 10**9

    def crash(self, *_: str) -> None:
        self.local.crash()
        self.tree = Tree(self.local)

    def finish(self) -> None:
        self.local.clock.time_ns += 1000 * 10**9
        self.version()
        assert self.last == self.state
        assert self.local.findings() == []
        self.local.crash()
        assert self.local.findings() == []


SAVING = (Days.begin, Days.begin, Days.put, Days.lock, Days.unlock, Days.patch, Days.move, Days.remove)
OTHERS = (Days.copy, Days.write, Days.link, Days.unlink, Days.version, Days.version, Days.version, Days.wait, Days.crash)


@pytest.mark.parametrize("seed", range(12))
def test_versions_lose_nothing_and_catch_up(tmp_path: FilePath, seed: int) -> None:
    days = Days(tmp_path, seed)
    try:
        for _ in range(120):
            days.step()
        days.finish()
        assert days.left_out, "nothing was ever left out"
    finally:
        days.local.running.close()
