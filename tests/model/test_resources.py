"""The tree by paths: what each change leaves, that it is whole, and what is refused. The store is checked after every test."""

import pytest

from mimeifs.errors import (
    ChangedError,
    ExistsError,
    ForbiddenError,
    InvalidError,
    IsADirError,
    NameTooLongError,
    NotADirError,
    NotFoundError,
    NotPermittedError,
    ReadOnlyError,
    TooLargeError,
)
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.node import Change, Who
from mimeifs.model.resource import Guard
from mimeifs.store.database import Table
from tests.model.conftest import WHO, Local
from tests.model.tree_of_paths import Tree, at

BIG = bytes(range(256)) * 1200


@pytest.fixture
def tree(local: Local) -> Tree:
    """A MiMei ``photos`` with a file, a directory and one in that."""
    made = Tree(local)
    made.mkdir("/photos")
    made.put("/photos/a", b"first")
    made.mkdir("/photos/d")
    made.put("/photos/d/x", b"x")
    return made


def live(tree: Tree, path: str) -> LiveFile:
    _, found = tree.local.run(lambda: tree.resources.file(at(path)))
    assert isinstance(found, LiveFile)
    return found


def directory(tree: Tree, path: str) -> LiveDir:
    node = tree.local.run(lambda: tree.resources._walk(at(path)).node)
    assert isinstance(node, LiveDir)
    return node


def last(tree: Tree, path: str) -> str:
    """Take a version; the path of it."""
    mimei = directory(tree, path).tree.mimei
    return f"{path}/@{tree.local.backup(mimei).number}"


# Uploads


@pytest.mark.parametrize("data", [b"", b"x", b"y" * 65536, b"z" * 65537, BIG])
def test_an_upload_is_read_back_and_keeps_its_tag_when_it_is_sealed(tree: Tree, data: bytes) -> None:
    made = tree.put("/photos/new", data)
    assert (made.size, made.kind) == (len(data), "file")
    assert tree.read("/photos/new") == data
    assert not made.etag.startswith("W/")
    assert tree.etag("/photos/new") == made.etag
    version = last(tree, "/photos")
    assert tree.etag("/photos/new") == made.etag
    assert tree.etag(f"{version}/new") == made.etag
    assert tree.read(f"{version}/new") == data
    tree.local.crash()
    assert Tree(tree.local).etag("/photos/new") == made.etag


def test_what_replaces_a_file_has_its_owner_mode_attributes_and_properties(tree: Tree) -> None:
    file = live(tree, "/photos/a")
    tree.local.run(lambda: file.set(Change(mode=0o4640, uid=7, gid=8)))
    tree.local.run(lambda: file.set_xattr(b"user.note", b"kept"))
    tree.patch("/photos/a", {"{n}p": b"<p/>"})
    tree.put("/photos/a", BIG)
    after = live(tree, "/photos/a")
    assert after is not file
    assert (after.mode, after.uid, after.gid) == (0o640, 7, 8)
    assert after.get_xattr(b"user.note") == b"kept"
    assert tree.look("/photos/a").properties == {"{n}p": b"<p/>"}


def test_a_new_file_belongs_to_whom_the_directory_belongs_or_to_whom_was_said(tree: Tree) -> None:
    tree.local.run(lambda: directory(tree, "/photos/d").set(Change(uid=42, gid=43)))
    tree.put("/photos/d/new", b"1")
    assert (live(tree, "/photos/d/new").uid, live(tree, "/photos/d/new").gid) == (42, 43)
    tree.local.run(lambda: tree.resources.mkdir(at("/photos/d/other"), Guard(), Who(5, 6)))
    assert (directory(tree, "/photos/d/other").uid, directory(tree, "/photos/d/other").mode) == (5, 0o755)


def test_replacing_one_name_of_a_hard_link_parts_it(tree: Tree) -> None:
    file = live(tree, "/photos/a")
    tree.local.run(lambda: directory(tree, "/photos").link(b"b", file))
    tree.put("/photos/a", b"second")
    assert (tree.read("/photos/a"), tree.read("/photos/b")) == (b"second", b"first")
    assert (live(tree, "/photos/a").nlink, live(tree, "/photos/b").nlink) == (1, 1)


def test_an_open_handle_keeps_what_was_replaced(tree: Tree) -> None:
    handle = live(tree, "/photos/a").open(writing=False)
    tree.put("/photos/a", b"second")
    assert bytes(handle.read(0, 10)) == b"first"
    handle.close()


def test_a_write_in_place_changes_the_tag_of_an_upload(tree: Tree) -> None:
    before = tree.put("/photos/new", BIG).etag
    tree.local.run(lambda: live(tree, "/photos/new").write(0, b"!"))
    assert tree.etag("/photos/new") != before
    last(tree, "/photos")
    assert tree.etag("/photos/new") != before


def test_an_upload_that_is_dropped_leaves_nothing_behind(tree: Tree) -> None:
    with pytest.raises(NotFoundError):
        tree.put("/photos/none/new", BIG)
    tree.local.running.settle()
    assert list(tree.local.engine.database.scan(Table.ORPHANS, b"")) == []


def test_an_upload_gets_the_time_it_is_given(tree: Tree) -> None:
    assert tree.put("/photos/a", b"1", mtime_ns=5).mtime_ns == 5
    assert tree.put("/photos/a", b"1", mtime_ns=1 << 80).mtime_ns == (1 << 63) - 1


# Removing, moving, copying


def test_a_directory_is_removed_with_all_that_is_below(tree: Tree) -> None:
    tree.put("/photos/d/deep", BIG)
    tree.remove("/photos/d")
    assert tree.names("/photos") == [b"a"]
    assert list(tree.local.engine.database.scan(Table.ORPHANS, b"")) == []


def test_a_name_of_a_hard_link_below_a_removed_directory_leaves_the_others(tree: Tree) -> None:
    tree.local.run(lambda: directory(tree, "/photos").link(b"b", live(tree, "/photos/d/x")))
    tree.remove("/photos/d")
    assert tree.read("/photos/b") == b"x"


def test_removing_a_mimei_leaves_it_to_be_linked_again(tree: Tree) -> None:
    mimei = directory(tree, "/photos").tree.mimei
    tree.remove("/photos")
    assert tree.names("/") == []
    assert tree.local.present(mimei).is_empty() is False


@pytest.mark.parametrize("target", ["/photos/e", "/photos/d/e", "/photos/a"])
def test_a_file_moves_within_its_mimei_and_stays_the_same(tree: Tree, target: str) -> None:
    tree.put("/photos/f", BIG)
    before = tree.look("/photos/f")
    assert tree.move("/photos/f", target, overwrite=True) is (target == "/photos/a")
    after = tree.look(target)
    assert (after.ino, after.etag, after.mtime_ns) == (before.ino, before.etag, before.mtime_ns)
    with pytest.raises(NotFoundError):
        tree.look("/photos/f")


def test_a_directory_moves_over_one_that_is_not_empty(tree: Tree) -> None:
    tree.mkdir("/photos/e")
    tree.put("/photos/e/gone", b"1")
    assert tree.move("/photos/d", "/photos/e", overwrite=True)
    assert (tree.names("/photos"), tree.names("/photos/e")) == ([b"a", b"e"], [b"x"])


def test_a_directory_moves_over_a_file_and_a_file_over_a_directory(tree: Tree) -> None:
    assert tree.move("/photos/d", "/photos/a", overwrite=True)
    assert tree.names("/photos/a") == [b"x"]
    tree.put("/photos/f", b"1")
    assert tree.move("/photos/f", "/photos/a", overwrite=True)
    assert tree.read("/photos/a") == b"1"


@pytest.mark.parametrize("settled", [True, False])
def test_a_tree_moves_to_another_mimei_in_one_step(tree: Tree, settled: bool) -> None:
    tree.mkdir("/other")
    tree.put("/photos/d/big", BIG)
    if settled:
        last(tree, "/photos")
    position = tree.local.engine.live.journal.position
    assert tree.move("/photos/d", "/other/d") is False
    assert tree.local.engine.live.journal.position > position
    assert (tree.names("/photos"), tree.names("/other/d")) == ([b"a"], [b"big", b"x"])
    assert tree.read("/other/d/big") == BIG


@pytest.mark.parametrize("settled", [True, False])
def test_a_copy_of_a_tree_has_all_of_it_and_goes_its_own_way(tree: Tree, settled: bool) -> None:
    tree.put("/photos/d/big", BIG)
    tree.patch("/photos/d/x", {"{n}p": b"1"})
    tree.local.run(lambda: directory(tree, "/photos/d").link(b"hard", live(tree, "/photos/d/x")))
    if settled:
        last(tree, "/photos")
    assert tree.copy("/photos/d", "/photos/e") is False
    tree.put("/photos/d/x", b"changed")
    tree.local.run(lambda: live(tree, "/photos/e/hard").write(0, b"H"))
    assert (tree.read("/photos/e/big"), tree.read("/photos/e/x"), tree.read("/photos/d/hard")) == (BIG, b"H", b"x")
    assert tree.look("/photos/e/x").properties == {"{n}p": b"1"}
    version = last(tree, "/photos")
    assert tree.read(f"{version}/e/x") == b"H"
    assert tree.read(f"{version}/d/x") == b"changed"


@pytest.mark.parametrize("take", ["copy", "move"])
def test_a_tree_goes_elsewhere_at_the_same_cost_whatever_is_in_it(tree: Tree, take: str) -> None:
    sizes = {"one": 1, "lot": 200, "few": 2}
    for name, count in sizes.items():
        tree.mkdir(f"/photos/{name}")
        for number in range(count):
            tree.put(f"/photos/{name}/{number:03}", b"")
    last(tree, "/photos")
    journal, costs = tree.local.engine.journal, []
    for name in sizes:
        before = journal.position
        getattr(tree, take)(f"/photos/{name}", f"/photos/{name}2")
        costs.append(journal.position - before)
    assert costs[1] == costs[2] < 1000  # The first also makes the directory above one that has changed.
    assert len(tree.names("/photos/lot2")) == 200


def test_copying_takes_no_version_and_the_next_one_has_what_changed_around_it(tree: Tree) -> None:
    one = last(tree, "/photos")
    tree.put("/photos/a", b"second")
    tree.put("/photos/d/x", b"new x")
    tree.copy("/photos/d", "/photos/e")
    tree.local.crash()
    tree = Tree(tree.local)
    mimei = directory(tree, "/photos").tree.mimei
    newest = tree.local.engine.versions.last(mimei)
    assert newest is not None
    assert newest.number == 1
    two = last(tree, "/photos")
    assert (tree.read(f"{two}/a"), tree.read(f"{two}/d/x"), tree.read(f"{two}/e/x")) == (b"second", b"new x", b"new x")
    assert (tree.read(f"{one}/a"), tree.read(f"{one}/d/x")) == (b"first", b"x")


def test_what_changes_after_a_copy_is_in_the_next_version(tree: Tree) -> None:
    tree.put("/photos/d/y", b"1")
    tree.copy("/photos/d", "/photos/e")
    tree.local.run(lambda: live(tree, "/photos/d/y").write(0, b"2"))
    tree.local.run(lambda: live(tree, "/photos/d/x").write(0, b"3"))
    version = last(tree, "/photos")
    assert (tree.read(f"{version}/d/y"), tree.read(f"{version}/d/x"), tree.read(f"{version}/e/y")) == (b"2", b"3", b"1")


def test_a_file_that_is_not_sealed_is_copied(tree: Tree) -> None:
    tree.put("/photos/big", BIG)
    tree.local.running.attempt(lambda: live(tree, "/photos/big").write(100, b"edited"))
    assert tree.copy("/photos/big", "/photos/copy") is False
    tree.local.running.attempt(lambda: live(tree, "/photos/big").write(0, b"later"))
    assert tree.read("/photos/copy") == BIG[:100] + b"edited" + BIG[106:]
    assert tree.read("/photos/big") == b"later" + BIG[5:100] + b"edited" + BIG[106:]
    version = last(tree, "/photos")
    assert tree.read(f"{version}/copy") == BIG[:100] + b"edited" + BIG[106:]


def test_a_copy_replaces_what_is_there(tree: Tree) -> None:
    tree.mkdir("/photos/e")
    tree.put("/photos/e/gone", b"1")
    assert tree.copy("/photos/d", "/photos/e", overwrite=True)
    assert tree.names("/photos/e") == [b"x"]
    assert tree.copy("/photos/a", "/photos/e", overwrite=True)
    assert tree.read("/photos/e") == b"first"


def test_a_shallow_copy_has_the_directory_alone(tree: Tree) -> None:
    tree.patch("/photos/d", {"{n}p": b"1"})
    tree.copy("/photos/d", "/photos/e", shallow=True)
    assert tree.names("/photos/e") == []
    assert tree.look("/photos/e").properties == {"{n}p": b"1"}


def test_a_copy_out_of_a_version_brings_back_what_it_holds(tree: Tree) -> None:
    version = last(tree, "/photos")
    tree.put("/photos/a", b"second")
    tree.remove("/photos/d")
    tree.copy(f"{version}/a", "/photos/a", overwrite=True)
    tree.copy(f"{version}/d", "/photos/d")
    assert (tree.read("/photos/a"), tree.read("/photos/d/x")) == (b"first", b"x")


@pytest.mark.parametrize("source", ["/photos", "/photos/d"])
def test_a_directory_copied_into_the_root_becomes_a_mimei(tree: Tree, source: str) -> None:
    tree.local.run(lambda: directory(tree, "/photos/d").link(b"hard", live(tree, "/photos/d/x")))
    assert tree.copy(source, "/new") is False
    assert tree.names("/new") == tree.names(source)
    assert directory(tree, "/new").tree is not directory(tree, "/photos").tree
    inside = "/d/x" if source == "/photos" else "/x"
    assert tree.read(last(tree, "/new") + inside) == b"x"


def test_a_directory_moved_into_the_root_and_a_mimei_moved_out_of_it(tree: Tree) -> None:
    tree.move("/photos/d", "/new")
    assert (tree.names("/"), tree.names("/new"), tree.names("/photos")) == ([b"new", b"photos"], [b"x"], [b"a"])
    tree.move("/new", "/photos/back")
    assert (tree.names("/"), tree.names("/photos/back")) == ([b"photos"], [b"x"])


def test_a_mimei_that_is_renamed_in_the_root_keeps_its_versions(tree: Tree) -> None:
    last(tree, "/photos")
    tree.move("/photos", "/pictures")
    assert tree.read("/pictures/@1/a") == b"first"


# Versions by the same acts


def test_a_label_is_made_moved_and_dropped(tree: Tree) -> None:
    tree.mkdir("/photos/.mimei/@before")
    assert tree.read("/photos/@before/a") == b"first"
    tree.move("/photos/.mimei/@before", "/photos/.mimei/@after")
    assert tree.read("/photos/@after/a") == b"first"
    tree.remove("/photos/.mimei/@after")
    with pytest.raises(NotFoundError):
        tree.look("/photos/@after")
    assert tree.read("/photos/@1/a") == b"first"


def test_only_a_path_through_a_number_is_the_same_for_ever(tree: Tree) -> None:
    last(tree, "/photos")
    assert tree.look("/photos/@1/a").immutable
    assert not tree.look("/photos/@last/a").immutable
    assert not tree.look("/photos/@1/a").writable
    assert (tree.look("/photos/a").immutable, tree.look("/photos/a").writable) == (False, True)


@pytest.mark.parametrize(
    ("path", "base", "inside"),
    [
        ("/photos", "/photos", ""),
        ("/photos/d/x", "/photos", "/d/x"),
        ("/photos/@1/d/x", "/photos", "/d/x"),
        ("/photos/.mimei/@1/d/x", "/photos/.mimei", "/d/x"),
        ("/", "", ""),
    ],
)
def test_the_versions_of_a_place_are_behind_its_mimei(tree: Tree, path: str, base: str, inside: str) -> None:
    last(tree, "/photos")
    mimei, found, rest = tree.local.run(lambda: tree.resources.versions_at(at(path)))
    assert (found, rest) == (at(base), at(inside))
    assert mimei == (directory(tree, base) if base != "/photos/.mimei" else directory(tree, "/photos")).tree.mimei


# What is refused

REFUSED = {
    "a missing directory": (lambda tree: tree.put("/photos/none/x", b""), NotFoundError),
    "below a file": (lambda tree: tree.put("/photos/a/x", b""), NotADirError),
    "over a directory": (lambda tree: tree.put("/photos/d", b""), IsADirError),
    "over a mimei": (lambda tree: tree.put("/photos", b""), IsADirError),
    "the root": (lambda tree: tree.remove("/"), ForbiddenError),
    "a directory that is there": (lambda tree: tree.mkdir("/photos/d"), ExistsError),
    "a file in a version": (lambda tree: tree.put("/photos/@1/new", b""), ReadOnlyError),
    "a directory in a version": (lambda tree: tree.mkdir("/photos/@1/new"), ReadOnlyError),
    "away from a version": (lambda tree: tree.remove("/photos/@1/a"), ReadOnlyError),
    "a move out of a version": (lambda tree: tree.move("/photos/@1/a", "/photos/n"), ReadOnlyError),
    "a whole version": (lambda tree: tree.remove("/photos/@1"), NotPermittedError),
    "properties of a version": (lambda tree: tree.patch("/photos/@1/a", {"{n}p": b""}), ReadOnlyError),
    "a file among versions": (lambda tree: tree.put("/photos/.mimei/x", b""), NotPermittedError),
    "a move into itself": (lambda tree: tree.move("/photos/d", "/photos/d/e"), ForbiddenError),
    "a move of a mimei into itself": (lambda tree: tree.move("/photos", "/photos/e"), ForbiddenError),
    "a copy over itself": (lambda tree: tree.copy("/photos/a", "/photos/a", overwrite=True), ForbiddenError),
    "a copy over what holds it": (lambda tree: tree.copy("/photos/d/x", "/photos/d", overwrite=True), ForbiddenError),
    "without overwriting": (lambda tree: tree.move("/photos/d", "/photos/a"), ExistsError),
    "a copy without overwriting": (lambda tree: tree.copy("/photos/d", "/photos/a"), ExistsError),
    "what is not there": (lambda tree: tree.move("/photos/none", "/photos/n"), NotFoundError),
    "too many properties": (lambda tree: tree.patch("/photos/a", {"{n}p": bytes(70000)}), TooLargeError),
    "a property without a name": (lambda tree: tree.patch("/photos/a", {"": b""}), InvalidError),
    "a property whose name is no text": (lambda tree: tree.patch("/photos/a", {"\ud800": b""}), InvalidError),
    "a lock in a version": (lambda tree: tree.lock("/photos/@1/a"), ForbiddenError),
    "a lock on nothing in nothing": (lambda tree: tree.lock("/photos/none/x"), NotFoundError),
    "a name too long": (lambda tree: tree.mkdir("/photos/" + "x" * 256), NameTooLongError),
    "a path too deep": (lambda tree: tree.look("/x" * 1001), NameTooLongError),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_and_changes_nothing(tree: Tree, what: str) -> None:
    last(tree, "/photos")
    act, error = REFUSED[what]
    before = tree.local.tree(directory(tree, "/photos"))
    with pytest.raises(error):
        act(tree)
    assert tree.local.tree(directory(tree, "/photos")) == before


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"\0", b"a\0b", b"x" * 256])
def test_what_is_no_name_is_refused_wherever_it_stands(tree: Tree, name: bytes) -> None:
    for path in ((name,), (b"photos", name), (b"photos", name, b"x")):
        for act in (
            lambda path=path: tree.resources.look(path),
            lambda path=path: tree.resources.mkdir(path, Guard(), None),
            lambda path=path: tree.resources.remove(path, Guard()),
            lambda path=path: tree.resources.copy((b"photos", b"a"), path, Guard(), None, overwrite=True),
        ):
            with pytest.raises((InvalidError, NameTooLongError)):
                tree.local.run(act)


# Guards


@pytest.mark.parametrize(
    "act",
    [
        lambda tree, guard: tree.put("/photos/a", b"2", guard),
        lambda tree, guard: tree.remove("/photos/a", guard),
        lambda tree, guard: tree.move("/photos/a", "/photos/b", guard),
        lambda tree, guard: tree.copy("/photos/a", "/photos/b", guard),
        lambda tree, guard: tree.patch("/photos/a", {"{n}p": b"1"}, guard),
        lambda tree, guard: tree.lock("/photos/a", guard),
    ],
)
def test_a_guard_lets_pass_what_the_caller_decided_upon_and_nothing_else(tree: Tree, act) -> None:  # type: ignore[no-untyped-def]
    seen = tree.etag("/photos/a")
    tree.local.run(lambda: live(tree, "/photos/a").write(0, b"F"))
    for etag in (seen, ""):
        with pytest.raises(ChangedError):
            act(tree, Guard(etag=etag))
    act(tree, Guard(etag=tree.etag("/photos/a")))


def test_a_guard_for_nothing_there(tree: Tree) -> None:
    tree.put("/photos/new", b"1", Guard(etag=""))
    with pytest.raises(ChangedError):
        tree.put("/photos/new", b"2", Guard(etag=""))
    with pytest.raises(ChangedError):
        tree.put("/photos/newer", b"2", Guard(etag="something"))


# Tags of directories

CHANGES = {
    "a new file": lambda tree: tree.put("/photos/d/new", b"1"),
    "a replaced file": lambda tree: tree.put("/photos/d/x", b"2"),
    "a write in place": lambda tree: tree.local.run(lambda: live(tree, "/photos/d/x").write(0, b"!")),
    "a removal": lambda tree: tree.remove("/photos/d/x"),
    "a move in": lambda tree: tree.move("/photos/a", "/photos/d/a"),
    "a property": lambda tree: tree.patch("/photos/d/x", {"{n}p": b"1"}),
    "a copy": lambda tree: tree.copy("/photos/a", "/photos/d/a"),
    "a rename": lambda tree: tree.local.run(
        lambda: directory(tree, "/photos/d").rename(b"x", directory(tree, "/photos/d"), b"y", 0)
    ),
    "a mode": lambda tree: tree.local.run(lambda: live(tree, "/photos/d/x").set(Change(mode=0o600))),
    "a directory": lambda tree: tree.local.run(lambda: directory(tree, "/photos/d").mkdir(b"e", 0o755, WHO)),
    "a hard link's bytes, by its other name": lambda tree: tree.local.run(lambda: live(tree, "/photos/hard").write(0, b"!")),
}


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("what", CHANGES)
def test_the_tag_of_a_directory_changes_with_anything_below_it(tree: Tree, what: str, settled: bool) -> None:
    if "hard" in what:
        tree.local.run(lambda: directory(tree, "/photos").link(b"hard", live(tree, "/photos/d/x")))
    if settled:
        last(tree, "/photos")
    seen = [tree.etag(path) for path in ("/", "/photos", "/photos/d")]
    assert [tree.etag(path) for path in ("/", "/photos", "/photos/d")] == seen
    CHANGES[what](tree)
    for before, path in zip(seen, ("/", "/photos", "/photos/d"), strict=True):
        assert tree.etag(path) != before, path


@pytest.mark.parametrize("settled", [True, False])
def test_the_tag_changes_at_every_name_of_a_hard_link(tree: Tree, settled: bool) -> None:
    tree.local.run(lambda: directory(tree, "/photos").link(b"hard", live(tree, "/photos/d/x")))
    if settled:
        last(tree, "/photos")
    tree.local.crash()
    tree = Tree(tree.local)
    file = live(tree, "/photos/hard")
    before = tree.etag("/photos/d")
    tree.local.run(lambda: file.write(0, b"!"))
    assert tree.etag("/photos/d") != before


def test_the_tag_of_a_directory_does_not_change_with_its_neighbours(tree: Tree) -> None:
    before = tree.etag("/photos/d")
    tree.put("/photos/a", b"2")
    assert tree.etag("/photos/d") == before


def test_the_same_tree_has_the_same_tag_in_present_and_version(tree: Tree) -> None:
    version = last(tree, "/photos")
    assert tree.etag("/photos/d") == tree.etag(f"{version}/d")
    assert not tree.etag("/photos").startswith("W/")
    assert tree.etag("/photos") == tree.etag(version)


def test_a_tag_seen_before_a_restart_never_stands_for_something_else_after_it(tree: Tree) -> None:
    seen = tree.etag("/photos"), tree.etag("/photos/d")
    tree.local.crash()
    tree = Tree(tree.local)
    tree.local.run(lambda: live(tree, "/photos/d/x").write(0, b"!"))
    assert (tree.etag("/photos"), tree.etag("/photos/d")) != seen


def test_the_tag_around_a_split_mimei_changes_with_what_is_in_it(tree: Tree) -> None:
    mimei = directory(tree, "/photos").tree.mimei
    tree.mkdir("/photos/d/in")
    tree.put("/photos/d/in/y", b"1")
    tree.local.run(lambda: tree.local.engine.transplant.split(mimei, b"d/in"))
    last(tree, "/photos")
    before = tree.etag("/photos/d")
    tree.put("/photos/d/in/y", b"2")
    assert tree.etag("/photos/d") != before
    tree.local.crash()
    tree = Tree(tree.local)
    before = tree.etag("/photos/d")
    tree.put("/photos/d/in/y", b"3")
    assert tree.etag("/photos/d") != before


# Pages and properties


def test_pages_hold_every_name_once(tree: Tree) -> None:
    names = [f"n{number:02}" for number in range(10)]
    for name in names:
        tree.put(f"/photos/d/{name}", b"1")
    expected = sorted([*(name.encode() for name in names), b"x"])
    assert tree.names("/photos/d") == expected
    tree.local.crash()
    assert Tree(tree.local).names("/photos/d") == expected
    version = last(Tree(tree.local), "/photos")
    assert Tree(tree.local).names(f"{version}/d") == expected


def test_a_listing_brings_no_file_into_memory(tree: Tree) -> None:
    last(tree, "/photos")
    tree.local.crash()
    tree = Tree(tree.local)
    tree.names("/photos/d")
    assert b"x" not in directory(tree, "/photos/d").children


def test_properties_are_kept_copied_moved_and_versioned(tree: Tree) -> None:
    tree.patch("/photos/a", {"{n}one": b"<a/>", "{n}two": b"<b/>"})
    tree.patch("/photos", {"{n}three": b"<c/>"})
    one = last(tree, "/photos")
    tree.patch("/photos/a", {"{n}one": None, "{n}none": None})
    tree.move("/photos/a", "/photos/d/a")
    tree.local.crash()
    tree = Tree(tree.local)
    assert tree.look("/photos/d/a").properties == {"{n}two": b"<b/>"}
    assert tree.look(f"{one}/a").properties == {"{n}one": b"<a/>", "{n}two": b"<b/>"}
    assert tree.look("/photos").properties == {"{n}three": b"<c/>"}


def test_a_time_of_creation_is_kept(tree: Tree) -> None:
    facts = tree.local.run(lambda: tree.resources.patch(at("/photos/a"), Guard(), {}, 10, -7))
    assert (facts.mtime_ns, facts.birth_ns) == (10, -7)
    assert tree.look("/photos/a").birth_ns == -7


def test_a_page_says_of_each_what_a_look_says(tree: Tree) -> None:
    for name, data in (("empty", b""), ("small", b"x"), ("long", BIG)):
        tree.put(f"/photos/d/{name}", data)
    tree.mkdir("/photos/d/inside")
    last(tree, "/photos")
    tree.local.crash()  # Nothing is in memory any more, so what a page says comes out of what is stored.
    after = Tree(tree.local)
    after.put("/photos/d/new", b"y")
    page = after.local.run(lambda: after.resources.page(at("/photos/d"), b"", 100, properties=False)).entries
    assert {facts.name for facts in page} == {b"empty", b"small", b"long", b"inside", b"new", b"x"}
    for facts in page:
        path = (*at("/photos/d"), facts.name)
        assert facts == after.local.run(lambda path=path: after.resources.look(path))


def test_the_tag_of_a_file_that_is_being_written_changes_with_its_bytes_alone(tree: Tree) -> None:
    top = tree.local.run(lambda: tree.local.engine.views.root.lookup(b"photos"))
    assert isinstance(top, LiveDir)
    file = tree.local.run(lambda: top.create(b"live", 0o644, WHO))
    seen: dict[str, bytes] = {}
    for change in (
        lambda: file.write(0, b"0123456789"),
        lambda: file.write(2, b"ab"),
        lambda: file.resize(3),
        lambda: file.resize(2),
        lambda: file.resize(10),
        lambda: file.write(9, b"9"),
        lambda: file.resize(1),
    ):
        tree.local.running.attempt(change)
        tag = tree.etag("/photos/live")
        assert seen.setdefault(tag, tree.read("/photos/live")) == tree.read("/photos/live")
        tree.local.run(lambda: file.set(Change(mode=0o600, mtime_ns=5)))
        tree.patch("/photos/live", {"{n}p": tag.encode()})
        assert tree.etag("/photos/live") == tag
    assert len(seen) == 7


def test_a_directory_made_again_has_nothing_of_the_numbers_in_the_one_before(tree: Tree) -> None:
    tree.mkdir("/photos/again")
    tree.put("/photos/again/x", b"x")
    tree.move("/photos/again/x", "/photos/again/y")
    tree.remove("/photos/again")
    tree.mkdir("/photos/again")
    tree.put("/photos/again/y", b"y")
    number = tree.look("/photos/again/y").ino
    tree.local.crash()
    tree = Tree(tree.local)
    assert tree.look("/photos/again/y").ino == number
    tree.remove("/photos/again/y")
    assert tree.local.findings() == []
