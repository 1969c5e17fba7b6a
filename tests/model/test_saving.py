"""One save of a desktop is one change: what versions and histories have of it, and what stays of the document."""

import pytest

from mimeifs.errors import IntegrityError, NotFoundError
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.node import Change
from mimeifs.model.path_history import PathHistory
from mimeifs.model.resource import Guard, Lock
from mimeifs.model.transplant import Transplant
from tests.model.conftest import WHO, Local
from tests.model.tree_of_paths import Tree, at

ANN = Guard(user="ann")
DOC = "/photos/doc"


@pytest.fixture
def tree(local: Local) -> Tree:
    made = Tree(local)
    made.mkdir("/photos")
    made.put("/photos/other", b"other")
    version(made)
    wait(made, 1000)
    return made


def top(tree: Tree) -> LiveDir:
    node = tree.local.run(lambda: tree.local.engine.views.root.lookup(b"photos"))
    assert isinstance(node, LiveDir)
    return node


def wait(tree: Tree, seconds: float) -> None:
    tree.local.clock.time_ns += int(seconds * 10**9)


def version(tree: Tree) -> dict[bytes, bytes]:
    """Take a version; what it holds."""
    info = tree.local.backup(top(tree).tree.mimei)
    return tree.local.tree(tree.local.past(info))


def states(tree: Tree, path: bytes = b"doc") -> list[int | None]:
    """The sizes of the states in the history of a path."""
    engine = tree.local.engine
    found = tree.local.run(lambda: PathHistory(engine.live, engine.versions).moments(top(tree).tree.mimei, path))
    return [None if moment.entry is None else moment.entry.size for moment in found]


def begin(tree: Tree, path: str = DOC) -> None:
    """The empty upload of a client that saves step by step."""
    tree.put(path, b"", hold_s=10)


def holding(lock: Lock) -> Guard:
    return Guard((lock.token,), "ann")


# Bytes that come later


def test_a_version_in_the_middle_has_no_empty_file_and_the_history_one_state(tree: Tree) -> None:
    begin(tree)
    assert version(tree) == {b"other": b"other"}
    lock = tree.lock(DOC, ANN)
    assert version(tree) == {b"other": b"other"}
    tree.patch(DOC, {"{n}p": b"1"}, holding(lock))
    wait(tree, 300)
    assert version(tree) == {b"other": b"other"}
    tree.put(DOC, b"bytes", holding(lock))
    assert version(tree) == {b"doc": b"bytes", b"other": b"other"}
    tree.unlock(DOC, lock)
    assert version(tree)[b"doc"] == b"bytes"
    assert states(tree) == [5]
    assert tree.look(DOC).properties == {"{n}p": b"1"}


def test_an_empty_file_is_there_for_everybody_at_once(tree: Tree) -> None:
    begin(tree)
    version(tree)
    assert tree.look(DOC).size == 0
    assert tree.names("/photos") == [b"doc", b"other"]
    assert isinstance(tree.local.run(lambda: top(tree).child(b"doc")), LiveFile)


@pytest.mark.parametrize("crashes", [False, True])
def test_an_empty_file_that_is_meant_is_in_a_version_once_the_time_is_over(tree: Tree, crashes: bool) -> None:
    begin(tree)
    assert b"doc" not in version(tree)
    if crashes:
        tree.local.crash()
        tree = Tree(tree.local)
        assert tree.names("/photos") == [b"doc", b"other"]
        assert b"doc" not in version(tree)
    wait(tree, 11)
    assert version(tree)[b"doc"] == b""


def test_an_empty_file_is_in_a_version_as_soon_as_its_last_lock_is_given_back(tree: Tree) -> None:
    begin(tree)
    one = tree.lock(DOC, ANN, exclusive=False)
    two = tree.lock(DOC, ANN, exclusive=False)
    tree.unlock(DOC, one)
    assert b"doc" not in version(tree)
    tree.unlock(DOC, two)
    assert version(tree)[b"doc"] == b""


def test_a_lock_that_is_left_behind_delays_an_empty_file_and_no_longer(tree: Tree) -> None:
    begin(tree)
    lock = tree.lock(DOC, ANN, timeout_s=600)
    wait(tree, 500)
    tree.local.run(lambda: tree.resources.refresh(at(DOC), lock.token, 600))
    tree.local.crash()
    tree = Tree(tree.local)
    wait(tree, 500)
    assert b"doc" not in version(tree)
    wait(tree, 101)
    assert version(tree)[b"doc"] == b""


def test_an_empty_upload_of_any_client_is_in_the_next_version(tree: Tree) -> None:
    tree.put(DOC, b"")
    assert version(tree)[b"doc"] == b""


def test_a_lock_right_after_an_empty_upload_says_that_bytes_come(tree: Tree) -> None:
    tree.put(DOC, b"")
    lock = tree.lock(DOC, ANN)
    assert b"doc" not in version(tree)
    tree.put(DOC, b"", holding(lock))
    assert b"doc" not in version(tree)
    tree.unlock(DOC, lock)
    assert version(tree)[b"doc"] == b""


def test_an_empty_file_that_was_there_before_is_locked_like_any_other(tree: Tree) -> None:
    tree.put(DOC, b"")
    wait(tree, 11)
    tree.lock(DOC, ANN)
    assert version(tree)[b"doc"] == b""


def test_a_document_that_is_emptied_first_is_in_the_version_as_it_was(tree: Tree) -> None:
    tree.put(DOC, b"first")
    version(tree)
    begin(tree)
    assert (tree.read(DOC), version(tree)[b"doc"]) == (b"", b"first")
    tree.put(DOC, b"second")
    version(tree)
    assert states(tree) == [5, 6]


@pytest.mark.parametrize("what", ["write", "chmod", "rename", "link", "unlink"])
def test_what_others_do_to_an_awaited_file_is_in_the_next_version(tree: Tree, what: str) -> None:
    begin(tree)
    file, directory, local = tree.local.run(lambda: top(tree).child(b"doc")), top(tree), tree.local
    assert isinstance(file, LiveFile)
    if what == "write":
        local.running.attempt(lambda: file.write(0, b"mount"))
    elif what == "chmod":
        local.run(lambda: file.set(Change(mode=0o600)))
    elif what == "rename":
        local.run(lambda: directory.rename(b"doc", directory, b"moved", 0))
    elif what == "link":
        local.run(lambda: directory.link(b"moved", file))
    else:
        local.run(lambda: directory.unlink(b"doc"))
        local.run(lambda: directory.create(b"moved", 0o644, WHO))
    expected = {"write": {b"doc": b"mount"}, "chmod": {b"doc": b""}, "link": {b"doc": b"", b"moved": b""}}
    assert version(tree) == expected.get(what, {b"moved": b""}) | {b"other": b"other"}


def test_a_name_of_a_hard_link_is_never_left_out(tree: Tree) -> None:
    tree.put(DOC, b"first")
    directory = top(tree)
    file = tree.local.run(lambda: directory.child(b"doc"))
    tree.local.run(lambda: directory.link(b"hard", file))
    version(tree)
    begin(tree)
    assert version(tree) == {b"doc": b"", b"hard": b"first", b"other": b"other"}


def test_a_copy_and_a_restore_have_what_versions_left_out(tree: Tree) -> None:
    tree.mkdir("/photos/d")
    begin(tree, "/photos/d/doc")
    tree.copy("/photos/d", "/photos/e")
    assert tree.names("/photos/e") == [b"doc"]
    assert not top(tree).tree.withheld
    begin(tree)
    engine, mimei = tree.local.engine, top(tree).tree.mimei
    first = tree.local.run(lambda: engine.versions.find(mimei, "1"))
    tree.local.run(lambda: Transplant(engine.live, engine.mimeis, engine.versions).restore(mimei, first))
    assert tree.names("/photos") == [b"other"]
    last = tree.local.run(lambda: engine.versions.find(mimei, "last"))
    assert {b"doc", b"d/doc", b"e/doc"} <= tree.local.tree(tree.local.past(last)).keys()


def test_too_many_awaited_files_are_in_the_version(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimeifs.model.saving.MAX_WITHHELD", 2)
    for name in "abc":
        begin(tree, f"/photos/{name}")
    assert version(tree).keys() == {b"c", b"other"}


# Documents that are replaced by renames


def document(tree: Tree) -> None:
    """A document with everything that it may have."""
    tree.put(DOC, b"first")
    tree.patch(DOC, {"{n}p": b"document", "{n}q": b"document"})
    file = tree.local.run(lambda: top(tree).child(b"doc"))
    tree.local.run(lambda: file.set(Change(mode=0o640, uid=7)))
    tree.local.run(lambda: file.set_xattr(b"user.a", b"1"))
    version(tree)
    wait(tree, 1000)


def identity(tree: Tree) -> tuple[int, int, bytes, dict[str, bytes]]:
    file = tree.local.run(lambda: top(tree).child(b"doc"))
    assert isinstance(file, LiveFile)
    return file.mode, file.uid, file.get_xattr(b"user.a"), tree.look(DOC).properties


KEPT = (0o640, 7, b"1", {"{n}p": b"saved", "{n}q": b"document"})


def test_a_new_file_that_is_moved_over_a_document_becomes_it(tree: Tree) -> None:
    document(tree)
    lock = tree.lock(DOC, ANN)
    tree.put("/photos/new.tmp", b"")
    tree.put("/photos/new.tmp", b"second")
    tree.patch("/photos/new.tmp", {"{n}p": b"saved"})
    tree.move("/photos/new.tmp", DOC, holding(lock), overwrite=True)
    assert (identity(tree), tree.read(DOC), tree.tokens(DOC)) == (KEPT, b"second", [lock.token])
    version(tree)
    tree.local.crash()
    tree = Tree(tree.local)
    assert (identity(tree), tree.read(DOC), states(tree)) == (KEPT, b"second", [5, 6])


@pytest.mark.parametrize("dirty", [False, True])
def test_a_document_that_steps_aside_stays_where_it_was_for_a_version_and_comes_back_itself(tree: Tree, dirty: bool) -> None:
    document(tree)
    if dirty:
        tree.put(DOC, b"not yet in a version")
    tree.put("/photos/~WRD0000.tmp", b"second")
    tree.patch("/photos/~WRD0000.tmp", {"{n}p": b"saved"})
    tree.move(DOC, "/photos/~WRL0001.tmp", hold_s=2)
    with pytest.raises(NotFoundError):
        tree.look(DOC)
    middle = version(tree)
    assert middle[b"doc"] == b"first"
    assert middle[b"~WRL0001.tmp"] == (b"not yet in a version" if dirty else b"first")
    tree.move("/photos/~WRD0000.tmp", DOC)
    tree.remove("/photos/~WRL0001.tmp")
    assert (identity(tree), tree.names("/photos")) == (KEPT, [b"doc", b"other"])
    assert version(tree) == {b"doc": b"second", b"other": b"other"}
    assert states(tree) == [5, 6]


def test_a_document_that_is_removed_to_make_room_for_a_new_one_comes_back_itself(tree: Tree) -> None:
    document(tree)
    tree.put("/photos/CEDD4100", b"second")
    tree.remove(DOC, hold_s=2)
    assert version(tree)[b"doc"] == b"first"
    tree.patch("/photos/CEDD4100", {"{n}p": b"saved"})
    tree.move("/photos/CEDD4100", DOC)
    version(tree)
    assert (identity(tree), states(tree)) == (KEPT, [5, 6])


def test_what_others_remove_and_rename_beside_an_upload_is_gone_from_the_version(tree: Tree) -> None:
    document(tree)
    tree.put("/photos/new", b"second")
    tree.remove(DOC)
    tree.move("/photos/other", "/photos/renamed")
    assert version(tree).keys() == {b"new", b"renamed"}


def test_a_dance_that_breaks_off_is_seen_as_it_is_a_moment_later(tree: Tree) -> None:
    document(tree)
    tree.put("/photos/~WRD0000.tmp", b"second")
    tree.move(DOC, "/photos/~WRL0001.tmp", hold_s=2)
    tree.local.crash()
    tree = Tree(tree.local)
    assert version(tree)[b"doc"] == b"first"
    wait(tree, 3)
    assert version(tree) == {b"other": b"other", b"~WRD0000.tmp": b"second", b"~WRL0001.tmp": b"first"}


def test_a_plain_rename_is_in_the_version_at_once(tree: Tree) -> None:
    document(tree)
    tree.move(DOC, "/photos/renamed", hold_s=2)
    assert version(tree) == {b"other": b"other", b"renamed": b"first"}
    tree.mkdir("/photos/d")
    tree.put("/photos/new", b"new")
    tree.mkdir("/photos/d/e")
    tree.move("/photos/renamed", "/photos/d/e/far", hold_s=2)
    assert b"renamed" not in version(tree)


def test_an_older_file_that_is_moved_over_another_stays_itself(tree: Tree) -> None:
    document(tree)
    wait(tree, 1000)
    tree.move("/photos/other", DOC, overwrite=True)
    file = tree.local.run(lambda: top(tree).child(b"doc"))
    assert (file.stat().mode & 0o7777, tree.look(DOC).properties) == (0o644, {})


def test_a_name_does_not_remember_for_long_what_was_there(tree: Tree) -> None:
    document(tree)
    tree.move(DOC, "/photos/renamed")
    wait(tree, 16)
    tree.put("/photos/new", b"new")
    tree.move("/photos/new", DOC)
    assert tree.look(DOC).properties == {}


def test_a_name_of_a_hard_link_steps_aside_in_the_version_too(tree: Tree) -> None:
    document(tree)
    directory = top(tree)
    file = tree.local.run(lambda: directory.child(b"doc"))
    tree.local.run(lambda: directory.link(b"hard", file))
    version(tree)
    tree.put("/photos/new", b"new")
    tree.move(DOC, "/photos/aside", hold_s=2)
    assert version(tree).keys() == {b"aside", b"hard", b"new", b"other"}


def test_a_file_with_damaged_attributes_can_be_moved_and_removed(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.put(DOC, b"1")

    def damaged(_: LiveFile) -> None:
        raise IntegrityError("damaged")

    monkeypatch.setattr("mimeifs.model.saving.kept_of", damaged)
    wait(tree, 1000)
    tree.move(DOC, "/photos/renamed")
    tree.remove("/photos/renamed")
    assert tree.names("/photos") == [b"other"]
