"""Marks of directories: while one stays, so does every row that is not loose, whatever is done to the tree and behind it; and
where it has moved, what is told of the change leads from what was to what is."""

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path as FilePath

import pytest
from msgspec import structs

from mimeifs.clock import ManualClock
from mimeifs.engine import create_home
from mimeifs.errors import MimeiError
from mimeifs.home import Home
from mimeifs.ids import MimeiId
from mimeifs.model.describing import PAGE
from mimeifs.model.entry import Entry, Kind, Link, View
from mimeifs.model.live_dir import MAX_NOTED, LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.node import Change, Node, Who
from mimeifs.model.resource import NO_GUARD, Facts, Page
from mimeifs.model.resources import Resources
from mimeifs.model.staging import StagedFile
from mimeifs.model.transplant import Transplant
from tests.model.conftest import WHO, Local, Randomness
from tests.model.lagging import Lagging
from tests.model.tree_of_paths import Tree, at

DIRECTORIES = ("/one", "/one/d", "/one/d/e", "/two", "/one/@1", "/one/@2/d")
NAMES = (b"a", b"b", b"c", b"d", b"e")
DATA = (b"", b"x", b"yy", b"z" * 70_000, b"w" * 300_000)
Rows = dict[bytes, Facts]


def shown(page: Page) -> Rows:
    """What rows say: not the numbers, which nobody sees, nor when attributes changed."""
    return {facts.name: structs.replace(facts, ino=0, ctime_ns=0) for facts in page.entries}


class World:
    """A node and a keeper that lags behind, somebody who writes by paths and by inodes, and who keeps what was listed."""

    def __init__(self, folder: FilePath, seed: int) -> None:
        self.draw = random.Random(seed)
        home, self.clock = Home(folder / "home"), ManualClock()
        create_home(home, self.clock, Randomness(), None, Who(0, 0))
        self.node = Lagging(home, self.clock, Randomness())
        self.kept: dict[str, tuple[str, Rows, tuple[bytes, ...]]] = {}
        self.held = self.moved = self.lost = 0
        self.tokens: list[tuple[str, str]] = []
        self.begin()

    def begin(self) -> None:
        engine = self.node.engine
        self.resources = Resources(engine.mimeis, engine.views)
        self.transplant = Transplant(engine.live, engine.mimeis, engine.versions)

    def call(self, act: Callable[[], object]) -> object:
        return self.node.call(act)

    # Acts

    def place(self) -> tuple[LiveDir, bytes]:
        path = self.draw.choice(DIRECTORIES[:4])
        parent = self.call(lambda: self.resources.spot(at(path)).node)
        if not isinstance(parent, LiveDir):
            raise MimeiError("it is not there")
        return parent, self.draw.choice(NAMES)

    def path(self) -> tuple[bytes, ...]:
        return (*at(self.draw.choice(DIRECTORIES[:4])), self.draw.choice(NAMES))

    def inode(self) -> Node:
        parent, name = self.place()
        found = self.call(lambda: parent.lookup(name))
        assert isinstance(found, Node)
        return found

    def file(self) -> LiveFile:
        found = self.inode()
        if not isinstance(found, LiveFile):
            raise MimeiError("no file")
        return found

    def put(self) -> None:
        data, path = self.draw.choice(DATA), self.path()
        staged = StagedFile(self.node.engine.views.root.tree, len(data))
        try:
            staged.write(0, data)
            self.call(lambda: self.resources.place(staged, path, NO_GUARD, None, self.draw.choice((None, 5, 1 << 62))))
        except MimeiError:
            staged.discard()
            raise

    def write(self) -> None:
        file, data = self.file(), self.draw.choice(DATA)
        self.call(lambda: file.write(self.draw.choice((0, 1, file.size)), data))

    def make(self) -> None:
        parent, name = self.place()
        what = self.draw.choice(("file", "directory", "symlink"))
        if what == "file":
            self.call(lambda: parent.create(name, 0o644, WHO))
        elif what == "directory":
            self.call(lambda: parent.mkdir(name, 0o755, WHO))
        else:
            self.call(lambda: parent.symlink(name, self.draw.choice((b"a", b"../a", b"d")), WHO))

    def change(self) -> None:
        node = self.inode()
        sizes = (None, 0, 3, 70_000) if isinstance(node, LiveFile) else (None,)
        change = Change(
            size=self.draw.choice(sizes), mode=self.draw.choice((None, 0o600)), mtime_ns=self.draw.choice((None, 7, 1 << 62))
        )
        self.call(lambda: node.set(change))

    def patch(self) -> None:
        path, value = self.path(), self.draw.choice((b"<p/>", b"<q/>", None))
        birth = self.draw.choice((None, 3, 9))
        self.call(lambda: self.resources.patch(path, NO_GUARD, {"{a:}p": value}, None, birth))

    def link(self) -> None:
        file, (parent, name) = self.file(), self.place()
        self.call(lambda: parent.link(name, file))

    def unlink(self) -> None:
        parent, name = self.place()
        self.call(lambda: parent.unlink(name))

    def rename(self) -> None:
        (parent, name), (target, new) = self.place(), self.place()
        self.call(lambda: parent.rename(name, target, new, self.draw.choice((0, 0, 2))))

    def remove(self) -> None:
        path = self.path()
        self.call(lambda: self.resources.remove(path, NO_GUARD))

    def relocate(self) -> None:
        act = self.draw.choice((self.resources.move, lambda *a, **k: self.resources.copy(*a[:3], None, **k)))
        source, target = self.path(), self.path()
        self.call(lambda: act(source, target, NO_GUARD, overwrite=True))

    def version(self) -> None:
        mimei = self.mimei()
        self.call(lambda: self.node.engine.versions.backup(mimei))

    def mimei(self):
        node = self.call(lambda: self.resources.spot(at(self.draw.choice(("/one", "/two")))).node)
        assert isinstance(node, LiveDir)
        return node.tree.mimei

    def restore(self) -> None:
        mimei, path = self.mimei(), self.draw.choice((b"", b"a", b"d", b"d/e", b"d/a"))
        version = self.call(lambda: self.node.engine.versions.find(mimei, self.draw.choice(("1", "2", "last"))))
        self.call(lambda: self.transplant.restore(mimei, version, path))

    def split(self) -> None:
        mimei = self.mimei()
        self.call(lambda: self.transplant.split(mimei, self.draw.choice((b"d/e", b"c", b"d"))))

    def lock(self) -> None:
        path, seconds = self.path(), self.draw.choice((1, 600))
        lock, _ = self.call(
            lambda: self.resources.lock(path, NO_GUARD, owner="", exclusive=False, infinite=False, timeout_s=seconds)
        )
        self.tokens.append((path, lock.token))

    def unlock(self) -> None:
        if self.tokens:
            path, token = self.tokens.pop()
            self.call(lambda: self.resources.unlock(path, token, ""))

    # What happens behind

    def pass_time(self) -> None:
        self.clock.time_ns += 2 * 10**9

    def replay(self) -> None:
        self.node.replay(self.node.end)

    def hear(self) -> None:
        self.node.hear()

    def seal(self) -> None:
        self.node.settle()
        self.node.seal_idle(self.node.end, 1 << 40)
        self.node.hear()

    def leave_memory(self) -> None:
        """As when the kernel knows nothing, and others were looked at since."""
        live = self.node.engine.live
        for node in sorted(live.nodes.values(), key=lambda node: -node.ino):
            if isinstance(node, LiveFile | LiveDir) and node.parent is not None:
                node.leave()

    def restart(self) -> None:
        self.node.settle()
        home = self.node.home
        self.node.abandon()
        self.node = Lagging(home, self.clock, Randomness())
        self.begin()

    # Looking

    def look(self) -> None:
        """Compare what is kept under a mark with what is there, and keep that."""
        for path in DIRECTORIES:
            try:
                page = self.call(lambda path=path: self.resources.page(at(path), b"", 128, properties=True))
            except MimeiError:
                self.kept.pop(path, None)
                continue
            assert isinstance(page, Page)
            mark, rows, loose = self.kept.get(path, ("", {}, ()))
            if mark:
                self.compare(path, mark, rows, loose, page)
            if page.mark:
                self.kept[path] = page.mark, shown(page), page.loose
            else:
                self.kept.pop(path, None)

    def compare(self, path: str, mark: str, rows: Rows, loose: tuple[bytes, ...], page: Page) -> None:
        now = shown(page)
        if mark == page.mark:
            self.held += 1
            assert {n: f for n, f in now.items() if n not in loose} == {n: f for n, f in rows.items() if n not in loose}
        again = self.call(lambda: self.resources.again(at(path), mark, loose, properties=True))
        assert isinstance(again, Page)
        if not again.mark:
            self.lost += 1
            assert mark != page.mark
            return
        self.moved += mark != page.mark
        assert again.mark == page.mark
        assert set(again.loose) == set(page.loose)
        merged = rows | shown(again)
        assert not set(again.gone) & shown(again).keys()
        for name in (*again.gone, *(set(again.loose) - shown(again).keys())):
            merged.pop(name, None)
        assert_same_but_for_directories(merged, now)


def assert_same_but_for_directories(found: Rows, expected: Rows) -> None:
    """A directory that left memory has another weak tag each time it is looked at."""
    blurred = [
        {n: structs.replace(f, etag="W/") if f.kind == "dir" and f.etag[:2] == "W/" else f for n, f in rows.items()}
        for rows in (found, expected)
    ]
    assert blurred[0] == blurred[1]


WEIGHTS = {
    World.put: 8,
    World.write: 6,
    World.make: 5,
    World.change: 5,
    World.patch: 4,
    World.link: 2,
    World.unlink: 2,
    World.rename: 4,
    World.remove: 2,
    World.relocate: 3,
    World.version: 3,
    World.restore: 2,
    World.split: 1,
    World.lock: 2,
    World.unlock: 1,
    World.pass_time: 2,
    World.replay: 5,
    World.hear: 5,
    World.seal: 5,
    World.leave_memory: 3,
    World.restart: 1,
}


@pytest.mark.parametrize("seed", range(12))
def test_while_a_mark_stays_so_does_what_was_said(tmp_path: FilePath, seed: int) -> None:
    world = World(tmp_path, seed)
    try:
        for top in ("/one", "/two", "/one/d", "/one/d/e"):
            world.call(lambda top=top: world.resources.mkdir(at(top), NO_GUARD, None))
        for _ in range(60):
            act = world.draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            with suppress(MimeiError):  # It made no sense just now.
                act(world)
            if world.draw.random() < 0.8:
                world.look()
        assert world.held > 20
        assert world.moved > 0
    finally:
        world.node.abandon()


@pytest.fixture
def tree(local: Local) -> Tree:
    made = Tree(local)
    for directory in ("/one", "/one/d", "/one/e"):
        made.mkdir(directory)
    return made


def listed(tree: Tree, path: str) -> Page:
    return tree.local.run(lambda: tree.resources.page(at(path), b"", 128, properties=True))


def rows_again(tree: Tree, path: str, page: Page) -> Rows | None:
    """What is asked for again under a mark; None where that has moved."""
    again = tree.local.run(lambda: tree.resources.again(at(path), page.mark, page.loose, properties=True))
    return shown(again) if again.mark else None


def test_a_change_elsewhere_leaves_a_mark_and_one_below_moves_it(tree: Tree) -> None:
    tree.put("/one/d/a", b"x")
    before = listed(tree, "/one/d"), listed(tree, "/one")
    tree.put("/one/e/b", b"y")
    assert listed(tree, "/one/d").mark == before[0].mark
    assert listed(tree, "/one").mark != before[1].mark
    tree.put("/one/d/a", b"z")
    assert listed(tree, "/one/d").mark != before[0].mark


def test_a_hard_link_is_loose_because_it_changes_under_another_name(tree: Tree) -> None:
    tree.put("/one/d/a", b"x")
    _, file = tree.local.run(lambda: tree.resources.file(at("/one/d/a")))
    other = tree.local.run(lambda: tree.resources.spot(at("/one/e")).node)
    assert isinstance(file, LiveFile)
    assert isinstance(other, LiveDir)
    tree.local.run(lambda: other.link(b"b", file))
    engine = tree.local.engine
    engine.heard(tree.local.running.keeper.seal_idle(engine.journal.position, 1 << 40))
    page = listed(tree, "/one/e")
    assert page.entries[0].content is not None
    assert page.loose == (b"b",)
    tree.local.run(lambda: file.write(0, b"longer"))
    again = rows_again(tree, "/one/e", page)
    assert again is not None
    assert again[b"b"].size == 6


def test_of_a_version_only_what_leads_elsewhere_is_loose(tree: Tree) -> None:
    tree.put("/one/d/a", b"x")
    engine = tree.local.engine
    top = tree.local.run(lambda: tree.resources.spot(at("/one")).node)
    assert isinstance(top, LiveDir)
    transplant = Transplant(engine.live, engine.mimeis, engine.versions)
    tree.local.run(lambda: transplant.split(top.tree.mimei, b"e"))
    number = tree.local.backup(top.tree.mimei).number
    page = listed(tree, f"/one/@{number}")
    assert page.mark
    assert {facts.name: facts.kind for facts in page.entries} == {b"d": "dir", b"e": "dir"}
    assert page.loose == (b"e",)
    assert listed(tree, "/one").loose == (b"d", b"e")


def test_a_link_that_shows_nothing_yet_is_loose(tree: Tree) -> None:
    top = tree.local.run(lambda: tree.resources.spot(at("/one")).node)
    assert isinstance(top, LiveDir)
    link = Entry(Kind.LINK, 0o755, link=Link(MimeiId(bytes(32)), View.CUR))
    tree.local.run(lambda: top.place(b"far", link))
    page = listed(tree, "/one")
    assert b"far" not in shown(page)
    assert b"far" in page.loose
    assert rows_again(tree, "/one", page) is not None
    tree.local.run(lambda: top.rmdir(b"far"))  # The checker would look for where it leads.


def test_a_change_of_which_nobody_said_the_name_has_all_asked_for(tree: Tree) -> None:
    tree.put("/one/d/a", b"x")
    page = listed(tree, "/one/d")
    tree.put("/one/d/b", b"y")
    assert rows_again(tree, "/one/d", page) is not None
    directory = tree.local.run(lambda: tree.resources.spot(at("/one/d")).node)
    assert isinstance(directory, LiveDir)
    directory.changed(tree.local.engine.journal.position, 0)
    assert rows_again(tree, "/one/d", page) is None
    page = listed(tree, "/one/d")
    for number in range(MAX_NOTED + 1):
        assert rows_again(tree, "/one/d", page) is not None
        tree.put(f"/one/d/{number}", b"z")
    assert rows_again(tree, "/one/d", page) is None


def test_nobody_asks_again_for_too_much(tree: Tree) -> None:
    page = listed(tree, "/one")
    names = (b"d",) * (PAGE + 1)
    assert tree.local.run(lambda: tree.resources.again(at("/one"), page.mark, names, properties=True)) == Page((), b"")


def test_what_is_only_a_view_has_no_mark(tree: Tree) -> None:
    assert listed(tree, "/").mark == listed(tree, "/one/.mimei").mark == ""
