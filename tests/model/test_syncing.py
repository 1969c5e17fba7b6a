"""What a client is told of a directory: that it ends up with what is there, whatever happened, and what is no token."""

import random
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path as FilePath

import pytest

from mimeifs.errors import NotFoundError, UnsupportedError
from mimeifs.model.resource import TOKEN_SCHEME, Facts, Path
from mimeifs.model.syncing import Changed, Syncing, SyncToken
from tests.model.conftest import Local, open_local
from tests.model.tree_of_paths import Tree, at

TOP = "/photos"


@dataclass
class Client:
    """Keeps a copy of what is below a directory, by what it is told alone."""

    local: Local
    deep: bool = True
    page: int = 3
    top: str = TOP
    token: str = ""
    known: dict[Path, tuple[str, str]] = field(default_factory=dict)
    told: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restarted()

    def restarted(self) -> None:
        """The node is another process."""
        resources = Tree(self.local).resources
        self.syncing = Syncing(self.local.engine.live, resources)

    def begin(self) -> SyncToken | None:
        return self.local.run(lambda: self.syncing.begin(at(self.top), self.token, deep=self.deep))

    def ask(self) -> bool:
        """One page; whether there is more."""
        token = self.begin()
        assert token is not None

        def rows() -> list[Changed]:
            return list(islice(self.syncing.changes(at(self.top), token, properties=False), self.page + 1))

        found = self.local.run(rows)
        more = len(found) > self.page
        for row in found[: self.page]:
            self._take(row)
        self.token = self.syncing.reached(token, found[self.page - 1].path if more else None)
        return more

    def _take(self, row: Changed) -> None:
        self.told.append(row.path)
        for path in [path for path in self.known if path[: len(row.path)] == row.path]:
            if row.facts is None or (row.facts.kind != "dir" and path != row.path):
                del self.known[path]
        if row.facts is not None:
            self.known[row.path] = seen(row.facts)

    def sync(self) -> list[bytes]:
        """Ask until everything is told; the paths that were."""
        self.told = []
        while self.ask():
            pass
        return [b"/".join(path) for path in self.told]


def seen(facts: Facts) -> tuple[str, str]:
    """What a client compares: of a directory only that it is one."""
    return facts.kind, "" if facts.kind == "dir" else f"{facts.etag}:{facts.mode}"


def there(local: Local, top: str, *, deep: bool) -> dict[Path, tuple[str, str]]:
    """What is below a directory, by looking at all of it."""
    tree = Tree(local)
    found: dict[Path, tuple[str, str]] = {}
    waiting: list[Path] = [()]
    while waiting:
        here = waiting.pop()
        page = local.run(lambda here=here: tree.resources.page((*at(top), *here), b"", 128, properties=False))
        for facts in page.entries:
            path = (*here, facts.name)
            found[path] = seen(facts)
            if deep and facts.kind == "dir" and facts.name != b"split":
                waiting.append(path)
    return found


@pytest.fixture
def tree(local: Local) -> Tree:
    made = Tree(local)
    made.mkdir(TOP)
    for directory in ("/d", "/d/e", "/still"):
        made.mkdir(TOP + directory)
    for path in ("/a", "/d/b", "/d/e/c", "/still/s"):
        made.put(TOP + path, path.encode())
    return made


def test_a_client_ends_up_with_what_is_there(local: Local, tree: Tree) -> None:
    client = Client(local)
    assert client.sync() == [b"a", b"d", b"d/b", b"d/e", b"d/e/c", b"still", b"still/s"]
    assert client.known == there(local, TOP, deep=True)
    assert client.sync() == []
    tree.put(TOP + "/d/e/c", b"changed")
    tree.put(TOP + "/d/new", b"")
    tree.remove(TOP + "/a")
    assert client.sync() == [b"a", b"d", b"d/e", b"d/e/c", b"d/new"]
    assert client.known == there(local, TOP, deep=True)
    tree.move(TOP + "/d", TOP + "/f")
    assert client.sync() == [b"d", b"f", b"f/b", b"f/e", b"f/e/c", b"f/new"]
    assert client.known == there(local, TOP, deep=True)


def test_one_level_tells_members_alone(local: Local, tree: Tree) -> None:
    client = Client(local, deep=False)
    assert client.sync() == [b"a", b"d", b"still"]
    tree.put(TOP + "/d/e/c", b"changed")
    assert client.sync() == [b"d"]
    assert client.known == there(local, TOP, deep=False)


def test_a_change_that_was_taken_back_is_told_to_whom_it_was_told(local: Local, tree: Tree) -> None:
    client = Client(local)
    local.backup(local.engine.mimeis.tree(_mimei(local)).mimei)
    before = tree.look(TOP + "/a")
    client.sync()
    tree.put(TOP + "/a", b"changed")
    client.sync()
    tree.put(TOP + "/a", b"/a", mtime_ns=before.mtime_ns)
    local.backup(_mimei(local))
    local.crash()
    client.restarted()
    assert client.sync() == [b"a"]
    assert client.known == there(local, TOP, deep=True)


def _mimei(local: Local):
    return next(mimei for mimei, row in local.engine.mimeis.all() if row.name == "photos")


def test_asking_takes_no_version_and_what_is_asked_again_writes_nothing(local: Local, tree: Tree) -> None:
    client = Client(local)
    client.sync()
    assert list(local.engine.versions.newest_first(_mimei(local))) == []
    position, packs = local.engine.journal.position, _packed(local)
    client.sync()
    assert (local.engine.journal.position, _packed(local)) == (position, packs)
    tree.put("/elsewhere", b"1")
    position = local.engine.journal.position
    client.sync()
    assert local.engine.journal.position == position


def _packed(local: Local) -> int:
    return sum(path.stat().st_size for path in local.home.storage.packs.iterdir())


def test_a_token_is_the_same_for_the_same_content(local: Local, tree: Tree) -> None:
    client = Client(local)
    client.sync()
    token = client.token
    local.backup(_mimei(local))
    assert local.run(lambda: client.syncing.token(at(TOP))) == token
    local.crash()
    client.restarted()
    assert local.run(lambda: client.syncing.token(at(TOP))) == token
    assert local.run(lambda: client.syncing.token(at(TOP + "/@1"))) == token
    tree = Tree(local)
    tree.put(TOP + "/a", b"other")
    assert local.run(lambda: client.syncing.token(at(TOP))) != token


def test_hard_links_are_told_at_every_name(local: Local, tree: Tree) -> None:
    client = Client(local)
    root = local.present(_mimei(local))
    file = local.run(lambda: root.lookup(b"a"))
    local.run(lambda: root.lookup(b"still").link(b"linked", file))
    client.sync()
    local.run(lambda: file.open(writing=True)).write(0, b"through the first name")
    assert client.sync() == [b"a", b"still", b"still/linked"]
    assert client.known == there(local, TOP, deep=True)
    assert client.sync() == []


def test_an_answer_goes_on_over_changes_and_restarts(local: Local, tree: Tree) -> None:
    client = Client(local, page=1)
    for turn in range(4):
        assert client.ask()
        tree.put(TOP + "/a", b"%d" % turn)
        tree.put(TOP + f"/d/{turn}", b"new")
        local.crash()
        client.restarted()
        tree = Tree(local)
    client.sync()
    client.sync()
    assert client.known == there(local, TOP, deep=True)


def test_what_is_no_token(local: Local, tree: Tree, tmp_path: FilePath) -> None:
    client = Client(local)
    client.sync()
    good = client.token
    other = Client(local, top=TOP + "/d")
    other.sync()
    continued = Client(local, page=1)
    continued.ask()
    cut, flipped = good[:-4], good[:-1] + ("A" if good[-1] != "A" else "B")
    for text in (other.token, cut, flipped, TOKEN_SCHEME, TOKEN_SCHEME + "%%%", "urn:x", "ü", TOKEN_SCHEME + "A" * (1 << 20)):
        client.token = text
        assert client.begin() is None, text[:80]
    client.token, client.deep = continued.token, False
    assert client.begin() is None, "it tells all levels"
    foreign = open_local(tmp_path / "foreign")
    try:
        made = Tree(foreign)
        made.mkdir(TOP)
        stranger = Client(foreign, token=good)
        assert stranger.begin() is None
    finally:
        foreign.running.close()


def test_a_token_whose_maps_are_gone_is_none(local: Local, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(local)
    client.sync()
    tree.put(TOP + "/a", b"changed")
    token = client.begin()
    assert token is not None
    assert token.since is not None
    get, gone = local.engine.blobs.get, token.since.root

    def without(blob):
        if blob == gone:
            raise NotFoundError("collected")
        return get(blob)

    monkeypatch.setattr(local.engine.blobs, "get", without)
    assert client.begin() is None


def test_views_have_no_tokens(local: Local, tree: Tree) -> None:
    syncing = Client(local).syncing
    for path in ("/", TOP + "/.mimei", TOP + "/@all", TOP + "/@history", TOP + "/a"):
        with pytest.raises(UnsupportedError):
            local.run(partial(syncing.token, at(path)))


def test_a_mimei_inside_is_told_once_and_not_gone_into(local: Local, tree: Tree) -> None:
    local.run(lambda: local.engine.transplant.split(_mimei(local), b"still", "split"))
    client = Client(local)
    client.sync()
    assert (b"still",) in client.known
    assert (b"still", b"s") not in client.known
    token = client.begin()
    rows = local.run(
        lambda: list(client.syncing.changes(at(TOP), SyncToken(token.place, None, token.until, (), True), properties=False))
    )
    assert [row.path for row in rows if row.closed] == [(b"still",)]


@pytest.mark.parametrize("seed", range(6))
def test_no_change_is_ever_missed(tmp_path: FilePath, seed: int) -> None:
    chance = random.Random(seed)
    local = open_local(tmp_path)
    try:
        tree = Tree(local)
        tree.mkdir(TOP)
        clients = [Client(local, deep=deep, page=chance.choice((1, 2, 5, 100))) for deep in (True, True, False)]
        names = ["a", "b", "c"]
        for step in range(150):
            path = TOP + "".join("/" + chance.choice(names) for _ in range(chance.randint(1, 3)))
            other = TOP + "".join("/" + chance.choice(names) for _ in range(chance.randint(1, 3)))
            act = chance.choice(["put"] * 4 + ["mkdir"] * 3 + ["remove", "move", "copy", "link", "backup", "crash", "settle"])
            try:
                if act == "put":
                    tree.put(path, bytes(chance.randint(0, 9)), mtime_ns=chance.randint(0, 2))
                elif act in ("mkdir", "remove"):
                    getattr(tree, act)(path)
                elif act in ("move", "copy"):
                    getattr(tree, act)(path, other, overwrite=True)
                elif act == "link":
                    file = local.run(partial(_node, local, path))
                    local.run(lambda file=file, other=other: _node(local, other.rpartition("/")[0]).link(b"hard", file))
            except Exception as error:
                if not type(error).__module__.startswith("mimeifs"):
                    raise
            if act == "backup":
                local.backup(_mimei(local))
            elif act == "settle":
                local.running.settle()
            elif act == "crash":
                local.crash()
                tree = Tree(local)
                for client in clients:
                    client.restarted()
            for client in clients:
                if chance.random() < 0.2:
                    client.ask()
                if chance.random() < 0.2 or step == 149:
                    client.sync()
                    client.sync()  # The first may have gone on with an answer that was begun before.
                    assert client.known == there(local, TOP, deep=client.deep), (step, act)
        assert local.findings() == []
    finally:
        local.running.close()


def _node(local: Local, path: str):
    return Tree(local).resources.spot(at(path)).found()
