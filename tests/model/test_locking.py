"""Locks: what they keep others from, where they go, and when they end."""

import sys

import pytest

from mimeifs.errors import (
    CapacityError,
    ConflictError,
    ExistsError,
    LockHeldError,
    NotFoundError,
    TooLargeError,
)
from mimeifs.model import live, locking
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.resource import NO_GUARD, Guard, Lock
from mimeifs.store.database import Table
from tests.model.conftest import WHO, Local
from tests.model.tree_of_paths import Tree, at

ANN = Guard(user="ann")


@pytest.fixture
def tree(local: Local) -> Tree:
    made = Tree(local)
    made.mkdir("/photos")
    made.mkdir("/other")
    made.mkdir("/photos/d")
    made.put("/photos/d/x", b"x")
    made.put("/photos/a", b"a")
    return made


def holding(*locks: Lock, user: str = "ann") -> Guard:
    return Guard(tuple(lock.token for lock in locks), user)


def rows(tree: Tree) -> int:
    tree.local.running.settle()
    return len(list(tree.local.engine.database.scan(Table.LOCKS, b"")))


# What a lock keeps others from: where it is, how deep, what is done, and whether that is held up

FILE = "/photos/d/x"
HELD_UP = [
    (FILE, False, "put /photos/d/x"),
    (FILE, False, "patch /photos/d/x"),
    (FILE, False, "remove /photos/d/x"),
    (FILE, False, "remove /photos/d"),
    (FILE, False, "remove /photos"),
    (FILE, False, "move /photos/d/x /photos/y"),
    (FILE, False, "move /photos/d /photos/e"),
    (FILE, False, "move /photos/d /other/e"),
    (FILE, False, "move /photos/a /photos/d/x"),
    (FILE, False, "copy /photos/a /photos/d/x"),
    (FILE, False, "copy /photos/a /photos/d"),
    (FILE, False, "lock /photos/d/x"),
    (FILE, False, "lock /photos/d"),
    ("/photos/d", False, "put /photos/d/new"),
    ("/photos/d", False, "mkdir /photos/d/new"),
    ("/photos/d", False, "remove /photos/d/x"),
    ("/photos/d", False, "move /photos/d/x /photos/y"),
    ("/photos/d", False, "move /photos/a /photos/d/y"),
    ("/photos/d", False, "copy /photos/a /photos/d/y"),
    ("/photos/d", False, "lock /photos/d/new"),
    ("/photos/d", True, "put /photos/d/x"),
    ("/photos/d", True, "patch /photos/d/x"),
    ("/photos", True, "put /photos/d/new"),
    ("/", True, "put /photos/d/x"),
    ("/photos/new", False, "put /photos/new"),
    ("/photos/new", False, "copy /photos/a /photos/new"),
    ("/photos/new", False, "lock /photos/new"),
    ("/photos/d/new", False, "remove /photos/d"),
]
LET_PASS = [
    (FILE, False, "put /photos/a"),
    (FILE, False, "put /photos/d/new"),
    (FILE, False, "copy /photos/d/x /photos/y"),
    (FILE, False, "copy /photos/d /photos/e"),
    ("/photos/d", False, "put /photos/d/x"),
    ("/photos/d", False, "patch /photos/d/x"),
    ("/photos/d", True, "put /photos/a"),
    ("/photos/new", False, "put /photos/newer"),
]


def act(tree: Tree, what: str, guard: Guard) -> None:
    verb, path, *rest = what.split()
    match verb:
        case "put":
            tree.put(path, b"new", guard)
        case "mkdir":
            tree.mkdir(path, guard)
        case "patch":
            tree.patch(path, {"{n}p": b"1"}, guard)
        case "remove":
            tree.remove(path, guard)
        case "move":
            tree.move(path, rest[0], guard, overwrite=True)
        case "copy":
            tree.copy(path, rest[0], guard, overwrite=True)
        case "lock":
            tree.lock(path, guard)


@pytest.mark.parametrize(("where", "infinite", "what"), HELD_UP)
def test_what_a_lock_covers_waits_for_its_token(tree: Tree, where: str, infinite: bool, what: str) -> None:
    lock = tree.lock(where, ANN, infinite=infinite)
    for guard in (NO_GUARD, ANN, Guard((lock.token,)), Guard(("urn:uuid:no-such",), "ann")):
        with pytest.raises(LockHeldError) as held:
            act(tree, what, guard)
        assert held.value.path == at(where)
    if not what.startswith("lock"):
        act(tree, what, holding(lock))


@pytest.mark.parametrize(("where", "infinite", "what"), LET_PASS)
def test_what_a_lock_does_not_cover_goes_on(tree: Tree, where: str, infinite: bool, what: str) -> None:
    tree.lock(where, ANN, infinite=infinite)
    act(tree, what, NO_GUARD)


def test_of_shared_locks_one_token_is_enough(tree: Tree) -> None:
    one = tree.lock("/photos/a", ANN, exclusive=False)
    two = tree.lock("/photos/a", Guard(user="bob"), exclusive=False)
    assert tree.tokens("/photos/a") == [one.token, two.token]
    with pytest.raises(LockHeldError):
        tree.put("/photos/a", b"1")
    tree.put("/photos/a", b"1", holding(one))
    tree.put("/photos/a", b"2", holding(two, user="bob"))
    with pytest.raises(LockHeldError):
        tree.lock("/photos/a", ANN, exclusive=True)


# Where it goes


@pytest.mark.parametrize("target", ["/photos/b", "/photos/d/b", "/other/b"])
def test_a_lock_follows_what_it_is_on(tree: Tree, target: str) -> None:
    lock = tree.lock("/photos/a", ANN)
    tree.move("/photos/a", target, holding(lock))
    assert tree.tokens(target) == [lock.token]
    with pytest.raises(LockHeldError) as held:
        tree.put(target, b"1")
    assert held.value.path == at(target)
    tree.put("/photos/a", b"free")
    tree.unlock(target, lock)
    assert rows(tree) == 0


def test_a_lock_follows_a_rename_by_others_also_above_it(tree: Tree) -> None:
    lock = tree.lock(FILE, ANN)
    top = tree.local.run(lambda: tree.local.engine.views.root.lookup(b"photos"))
    assert isinstance(top, LiveDir)
    tree.local.run(lambda: top.rename(b"d", top, b"e", 0))
    assert tree.tokens("/photos/e/x") == [lock.token]
    with pytest.raises(LockHeldError):
        tree.remove("/photos/e")


def test_what_is_locked_stays_in_memory_and_what_is_not_may_leave(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tree.lock(FILE, ANN)
    for name in "bcdefg":
        tree.put(f"/photos/{name}{name}", b"1")
    monkeypatch.setattr(live, "IDLE_LIMIT", 1)
    nodes = tree.local.engine.live.nodes
    locked, other = tree.look(FILE).ino, tree.look("/photos/bb").ino
    for _ in range(3):
        for path in ("/photos/cc", "/photos/dd", "/photos/ee", "/photos/ff"):
            tree.look(path)
    assert (locked in nodes, other in nodes) == (True, False)
    assert tree.tokens(FILE) == [lock.token]


def test_a_lock_stays_through_what_replaces_the_bytes(tree: Tree) -> None:
    lock = tree.lock("/photos/a", ANN)
    tree.put("/photos/a", b"2", holding(lock))
    tree.copy("/photos/d/x", "/photos/a", holding(lock), overwrite=True)
    assert tree.tokens("/photos/a") == [lock.token]
    assert rows(tree) == 1


def test_a_copy_is_not_locked(tree: Tree) -> None:
    tree.lock("/photos/d", ANN)
    tree.copy("/photos/d", "/photos/e")
    assert tree.tokens("/photos/e") == []


@pytest.mark.parametrize("path", ["/photos/d/x", "/photos/d", "/photos"])
def test_a_lock_goes_with_what_it_is_on(tree: Tree, path: str) -> None:
    lock = tree.lock(FILE, ANN)
    tree.remove(path, holding(lock))
    assert rows(tree) == 0
    assert tree.local.engine.live.held == set()


def test_a_lock_goes_with_what_others_remove(tree: Tree) -> None:
    tree.lock(FILE, ANN)
    top = tree.local.run(lambda: tree.local.engine.views.root.lookup(b"photos").lookup(b"d"))
    tree.local.run(lambda: top.unlink(b"x"))
    tree.local.run(lambda: top.create(b"x", 0o644, WHO))
    assert tree.tokens(FILE) == []
    assert rows(tree) == 0


# When it ends


def test_a_lock_times_out_by_the_clock_and_can_be_refreshed(tree: Tree) -> None:
    lock = tree.lock("/photos/a", ANN, timeout_s=10)
    tree.local.clock.time_ns += 9 * 10**9
    again = tree.local.run(lambda: tree.resources.refresh(at("/photos/a"), lock.token, 10))
    assert again.expires_ns > lock.expires_ns
    tree.local.clock.time_ns += 9 * 10**9
    with pytest.raises(LockHeldError):
        tree.put("/photos/a", b"1")
    tree.local.clock.time_ns += 2 * 10**9
    tree.put("/photos/a", b"1")
    assert tree.tokens("/photos/a") == []
    with pytest.raises(NotFoundError):
        tree.local.run(lambda: tree.resources.refresh(at("/photos/a"), lock.token, 10))


def test_a_lock_above_is_refreshed_through_what_it_covers(tree: Tree) -> None:
    lock = tree.lock("/photos", ANN)
    again = tree.local.run(lambda: tree.resources.refresh(at(FILE), lock.token, 999))
    assert (again.path, again.token) == (at("/photos"), lock.token)


def test_a_check_costs_the_same_however_many_locks_there_are_elsewhere(tree: Tree) -> None:
    lock = tree.lock(FILE, ANN)
    steps = tree.resources.spot(at(FILE)).steps

    def calls() -> int:
        seen = []
        sys.setprofile(lambda frame, event, _: seen.append(event))
        try:
            tree.resources.locked.check(steps, holding(lock))
        finally:
            sys.setprofile(None)
        return len(seen)

    alone = calls()
    for number in range(100):
        tree.put(f"/other/{number}", b"")
        tree.lock(f"/other/{number}", ANN)
    assert calls() == alone


def test_only_its_user_gives_a_lock_back(tree: Tree) -> None:
    lock = tree.lock("/photos/a", ANN)
    with pytest.raises(LockHeldError):
        tree.local.run(lambda: tree.resources.unlock(at("/photos/a"), lock.token, "bob"))
    with pytest.raises(NotFoundError):
        tree.local.run(lambda: tree.resources.unlock(at("/photos/d"), lock.token, "ann"))
    tree.unlock("/photos/a", lock)
    tree.put("/photos/a", b"1")


def test_locks_are_there_after_a_restart(tree: Tree) -> None:
    lock = tree.lock(FILE, ANN)
    empty = tree.lock("/photos/new", ANN)
    tree.local.crash()
    tree = Tree(tree.local)
    assert tree.tokens(FILE) == [lock.token]
    with pytest.raises(LockHeldError) as held:
        tree.remove("/photos/d")
    assert held.value.path == at(FILE)
    assert tree.names("/photos") == [b"a", b"d", b"new"]
    tree.put("/photos/new", b"1", holding(empty))


# Locked empty names


def test_a_locked_name_shows_as_an_empty_file_and_is_no_entry(tree: Tree) -> None:
    lock = tree.lock("/photos/new", ANN)
    facts = tree.look("/photos/new")
    assert (facts.kind, facts.size, facts.etag) == ("file", 0, "empty")
    assert tree.names("/photos") == [b"a", b"d", b"new"]
    top = tree.local.run(lambda: tree.local.engine.views.root.lookup(b"photos"))
    assert isinstance(top, LiveDir)
    with pytest.raises(NotFoundError):
        top.child(b"new")
    version = tree.local.backup(top.tree.mimei)
    with pytest.raises(NotFoundError):
        tree.look(f"/photos/@{version.number}/new")
    tree.unlock("/photos/new", lock)
    with pytest.raises(NotFoundError):
        tree.look("/photos/new")


def test_bytes_make_a_locked_name_a_file_with_that_lock(tree: Tree) -> None:
    lock = tree.lock("/photos/new", ANN)
    tree.put("/photos/new", b"1", Guard((lock.token,), "ann", etag="empty"))
    assert tree.tokens("/photos/new") == [lock.token]
    tree.move("/photos/new", "/photos/newer", holding(lock))
    assert tree.tokens("/photos/newer") == [lock.token]


def test_what_else_can_be_done_with_a_locked_name(tree: Tree) -> None:
    lock = tree.lock("/photos/new", ANN)
    with pytest.raises(ExistsError):
        tree.mkdir("/photos/new", holding(lock))
    with pytest.raises(ConflictError):
        tree.patch("/photos/new", {"{n}p": b"1"}, holding(lock))
    tree.copy("/photos/new", "/photos/newer", holding(lock))
    assert (tree.read("/photos/newer"), tree.tokens("/photos/newer")) == (b"", [])
    tree.remove("/photos/new", holding(lock))
    assert rows(tree) == 0


def test_a_locked_name_moves_without_bytes(tree: Tree) -> None:
    lock = tree.lock("/photos/new", ANN)
    assert tree.move("/photos/new", "/other/newer", holding(lock)) is False
    assert (tree.names("/photos"), tree.names("/other")) == ([b"a", b"d"], [b"newer"])
    assert tree.tokens("/other/newer") == [lock.token]
    tree.put("/other/newer", b"1", holding(lock))
    assert tree.tokens("/other/newer") == [lock.token]


def test_a_locked_name_that_moves_over_a_file_takes_nothing_away(tree: Tree) -> None:
    lock = tree.lock("/photos/new", ANN)
    assert tree.move("/photos/new", "/photos/a", holding(lock), overwrite=True) is True
    assert (tree.tokens("/photos/a"), tree.names("/photos")) == ([lock.token], [b"a", b"d"])
    tree.put("/photos/a", b"2", holding(lock))
    assert tree.read("/photos/a") == b"2"


def test_a_lock_that_is_refused_leaves_no_trace(tree: Tree) -> None:
    tree.lock("/photos", ANN)
    position = tree.local.engine.live.journal.position
    for path in ("/photos/new", "/photos/a", "/photos/none/x"):
        with pytest.raises((LockHeldError, NotFoundError)):
            tree.lock(path, Guard(user="bob"))
    assert tree.local.engine.live.journal.position == position
    assert tree.names("/photos") == [b"a", b"d"]


# Limits


def test_what_is_too_much_is_refused(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLargeError):
        tree.local.run(
            lambda: tree.resources.lock(at("/photos/a"), ANN, owner="x" * 9000, exclusive=True, infinite=True, timeout_s=1)
        )
    monkeypatch.setattr(locking, "MAX_LOCKS", 1)
    tree.lock("/photos/a", ANN)
    with pytest.raises(CapacityError):
        tree.lock("/photos/d", ANN)
