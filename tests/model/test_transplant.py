"""Restoring, forking and splitting: what the present holds afterwards, and that nothing is lost."""

from collections.abc import Callable

import pytest

from mimeifs.errors import ConflictError, ExistsError, InvalidError, NotADirError, NotFoundError, NotPermittedError
from mimeifs.model.entry import View
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.node import Change
from mimeifs.model.versions import Later, VersionInfo
from tests.model.conftest import WHO, Local

BIG = bytes(range(256)) * 1200


def restore(local: Local, version: VersionInfo, path: bytes = b"") -> None:
    local.run(lambda: local.engine.transplant.restore(version.mimei, version, path))


@pytest.fixture
def photos(local: Local) -> LiveDir:
    """A MiMei with a few files and one version."""
    top = local.mimei()
    for path, data in ((b"a", b"first a"), (b"b", b"first b"), (b"sub/big", BIG), (b"sub/deep/x", b"x")):
        local.put(top, path, data)
    return top


def current(local: Local, top: LiveDir) -> LiveDir:
    return local.present(top.tree.mimei)


# Whole trees


def test_a_restored_tree_is_the_version(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    before = local.tree(photos)
    local.put(photos, b"a", b"second")
    local.run(lambda: photos.unlink(b"b"))
    local.put(photos, b"new/file", b"new")
    restore(local, one)
    assert local.tree(current(local, photos)) == before
    assert local.findings() == []
    local.crash()
    assert local.tree(current(local, photos)) == before


def test_changes_are_in_a_version_before_they_go(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    local.put(photos, b"a", b"precious")
    before = local.tree(photos)
    restore(local, one)
    kept = local.engine.versions.last(photos.tree.mimei)
    assert kept is not None
    assert kept.number == 2
    assert local.tree(local.past(kept)) == before


def test_the_next_version_after_a_restore_has_the_restored_tree(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    local.put(photos, b"a", b"second")
    restore(local, one)
    three = local.backup(photos.tree.mimei)
    assert (three.number, three.root) == (3, one.root)


def test_restoring_what_is_there_changes_nothing(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    root = photos.tree.root
    restore(local, one)
    assert current(local, photos) is root


def test_the_newest_version_can_be_gone_back_to_as_well(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    local.put(photos, b"a", b"second")
    before = local.tree(photos)
    two = local.backup(photos.tree.mimei)
    restore(local, one)
    restore(local, two)
    assert local.tree(current(local, photos)) == before
    assert local.backup(photos.tree.mimei) == two, "nothing is other than in the newest version"
    assert local.findings() == []


def test_an_open_file_keeps_what_it_held(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    file = local.put(photos, b"a", b"second")
    handle = local.run(lambda: file.open(writing=True))
    restore(local, one)
    assert local.run(lambda: handle.read(0, 100)) == b"second"
    local.run(lambda: handle.write(6, b" wind"))
    assert local.run(lambda: handle.read(0, 100)) == b"second wind"
    assert file.stat().nlink == 0
    assert local.tree(current(local, photos))[b"a"] == b"first a"
    local.backup(photos.tree.mimei)
    assert local.run(lambda: handle.read(0, 100)) == b"second wind"
    local.run(handle.close)


@pytest.mark.parametrize("path", [b"", b"sub", b"sub/big"])
@pytest.mark.parametrize("data", [b"second", BIG[::-1]], ids=["small", "large"])
def test_a_file_that_was_found_and_sealed_since_keeps_what_it_held(
    local: Local, photos: LiveDir, path: bytes, data: bytes
) -> None:
    one = local.backup(photos.tree.mimei)
    file = local.put(photos, b"sub/big", data)
    file.lookups = 1
    local.backup(photos.tree.mimei)
    local.running.settle()  # Its row is gone now, and nobody has asked for its content.
    restore(local, one, path)
    handle = local.run(lambda: file.open(writing=True))
    assert (file.stat().nlink, bytes(local.run(lambda: handle.read(0, len(BIG) + 1)))) == (0, data)
    local.run(lambda: handle.write(0, b"SECOND"))
    assert bytes(local.run(lambda: handle.read(0, len(BIG) + 1))) == b"SECOND" + data[6:]
    local.run(handle.close)
    assert local.tree(current(local, photos))[b"sub/big"] == BIG
    assert local.findings() == []


def test_an_open_file_written_between_version_and_restore_of_another_round_is_kept(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    file = local.put(photos, b"a", b"second")
    with pytest.raises(Later) as later:
        local.engine.transplant.restore(one.mimei, one)
    file.write(0, b"SECOND")
    local.running.settle()
    local.run(lambda: later.value.proceed(local.engine.taken(later.value.at)))
    numbers = [info.number for info in local.engine.versions.newest_first(one.mimei)]
    assert numbers == [3, 2, 1]
    last = local.engine.versions.last(one.mimei)
    assert last is not None
    assert local.tree(local.past(last))[b"a"] == b"SECOND"
    assert local.tree(current(local, photos))[b"a"] == b"first a"


def test_a_present_that_never_rests_is_left_alone(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    file = local.put(photos, b"a", b"second")
    call = lambda: local.engine.transplant.restore(one.mimei, one)  # noqa: E731
    for _ in range(20):
        try:
            call()
        except Later as later:
            file.write(0, b"again")
            local.running.settle()
            at = later.at
            call = lambda later=later, at=at: later.proceed(local.engine.taken(at))  # type: ignore[misc] # noqa: E731
        except ConflictError:
            break
    else:
        pytest.fail("no conflict")
    assert local.tree(photos)[b"a"] == b"againd"


def test_the_root_keeps_its_number_and_what_the_kernel_knows(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    photos.lookups = 3
    told: list[tuple[int, bytes]] = []
    local.engine.live.invalidated = lambda parent, name: told.append((parent, name))
    local.put(photos, b"a", b"second")
    restore(local, one)
    root = current(local, photos)
    assert (root.ino, root.lookups) == (photos.ino, 3)
    assert local.engine.live.nodes[root.ino] is root
    assert (root.ino, b"a") in told
    assert local.engine.views.root.lookup(b"photos") is root


def test_restored_names_have_numbers_of_their_own(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    old = local.run(lambda: photos.child(b"a"))
    old.lookups = 1
    local.run(lambda: photos.unlink(b"b"))
    local.run(lambda: photos.rename(b"a", photos, b"b", 0))
    restore(local, one)
    root = current(local, photos)
    inos = [old.ino, *(local.run(lambda name=name: root.child(name)).ino for name in (b"a", b"b"))]  # type: ignore[misc]
    assert len(set(inos)) == 3
    local.run(lambda: root.unlink(b"b"))
    local.put(root, b"b", b"again")
    local.crash()
    root = current(local, photos)
    assert local.run(lambda: root.child(b"a")).ino != local.run(lambda: root.child(b"b")).ino


def test_a_replaced_directory_is_empty_and_deleted(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    local.put(photos, b"sub/new", b"n")
    sub = local.run(lambda: photos.child(b"sub"))
    assert isinstance(sub, LiveDir)
    sub.lookups = 1
    restore(local, one)
    assert (sub.stat().nlink, list(sub.scan(b""))) == (0, [])
    with pytest.raises(NotFoundError):
        sub.create(b"lost", 0o644, WHO)
    local.run(lambda: sub.set(Change(mode=0o700)))
    assert local.tree(current(local, photos))[b"sub/big"] == BIG


def test_hard_links_come_back_as_links(local: Local, photos: LiveDir) -> None:
    a = local.run(lambda: photos.child(b"a"))
    local.run(lambda: photos.link(b"sub-a", a))
    one = local.backup(photos.tree.mimei)
    a.lookups = 1
    local.run(lambda: photos.unlink(b"a"))
    local.run(lambda: photos.unlink(b"sub-a"))
    restore(local, one)
    root = current(local, photos)
    back = local.run(lambda: root.child(b"a"))
    assert back is local.run(lambda: root.child(b"sub-a"))
    assert (back.stat().nlink, back.ino == a.ino) == (2, False)
    local.put(root, b"a", b"both")
    assert local.tree(root)[b"sub-a"] == b"both"


# One path


@pytest.mark.parametrize("path", [b"a", b"sub", b"sub/deep", b"sub/deep/x", b"/sub/big/"])
def test_a_path_comes_back_and_nothing_else_changes(local: Local, photos: LiveDir, path: bytes) -> None:
    one = local.backup(photos.tree.mimei)
    then = local.tree(photos)
    for name in (b"a", b"b", b"sub/big", b"sub/deep/x", b"sub/deep/y"):
        local.put(photos, name, b"changed")
    now = local.tree(photos)
    restore(local, one, path)
    bare = path.strip(b"/")
    kept = {name: data for name, data in now.items() if name != bare and not name.startswith(bare + b"/")}
    back = {name: data for name, data in then.items() if name == bare or name.startswith(bare + b"/")}
    assert local.tree(photos) == kept | back
    assert local.findings() == []
    local.crash()
    assert local.tree(current(local, photos)) == kept | back
    assert local.tree(local.past(local.backup(photos.tree.mimei))) == kept | back


def test_directories_on_the_way_are_made_as_they_were(local: Local, photos: LiveDir) -> None:
    deep, _ = local.above(photos, b"sub/deep/x")
    local.run(lambda: deep.set(Change(mode=0o711)))
    one = local.backup(photos.tree.mimei)
    for name in (b"sub/deep/x", b"sub/big"):
        directory, last = local.above(photos, name)
        local.run(lambda directory=directory, last=last: directory.unlink(last))  # type: ignore[misc]
    sub = local.run(lambda: photos.child(b"sub"))
    local.run(lambda: sub.rmdir(b"deep"))
    local.run(lambda: photos.rmdir(b"sub"))
    restore(local, one, b"sub/deep/x")
    tree = local.tree(photos)
    assert tree == {b"a": b"first a", b"b": b"first b", b"sub": b"/", b"sub/deep": b"/", b"sub/deep/x": b"x"}
    deep, _ = local.above(photos, b"sub/deep/x")
    assert deep.stat().mode & 0o777 == 0o711
    assert local.findings() == []
    local.crash()
    assert local.tree(current(local, photos)) == tree


def test_a_file_in_the_way_is_not_removed(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    local.run(lambda: photos.rename(b"sub", photos, b"moved", 0))
    local.put(photos, b"sub", b"a file now")
    with pytest.raises(NotADirError):
        restore(local, one, b"sub/big")
    assert local.tree(photos)[b"sub"] == b"a file now"


def test_a_directory_takes_the_place_of_a_file_and_back(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    local.run(lambda: photos.rename(b"sub", photos, b"moved", 0))
    local.put(photos, b"sub", b"a file now")
    two = local.backup(photos.tree.mimei)
    restore(local, one, b"sub")
    assert local.tree(photos)[b"sub/big"] == BIG
    restore(local, two, b"sub")
    assert local.tree(photos)[b"sub"] == b"a file now"
    assert photos.stat().nlink == 3


def test_a_path_the_version_does_not_have(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    local.put(photos, b"later", b"1")
    with pytest.raises(NotFoundError):
        restore(local, one, b"later")
    with pytest.raises(InvalidError):
        restore(local, one, b"sub/../a")
    assert local.engine.versions.last(one.mimei) == one


def test_an_open_file_at_the_path_keeps_what_it_held(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    file = local.put(photos, b"sub/big", b"small now")
    handle = local.run(lambda: file.open(writing=True))
    restore(local, one, b"sub")
    local.run(lambda: handle.write(0, b"SMALL"))
    assert local.run(lambda: handle.read(0, 100)) == b"SMALL now"
    assert local.tree(photos)[b"sub/big"] == BIG
    local.run(handle.close)


def test_numbers_below_a_restored_directory_are_new(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    sub = local.run(lambda: photos.child(b"sub"))
    local.run(lambda: sub.rename(b"big", sub, b"huge", 0))
    restore(local, one, b"sub")
    sub = local.run(lambda: photos.child(b"sub"))
    local.put(photos, b"sub/huge", b"new")
    local.crash()
    top = current(local, photos)
    sub = local.run(lambda: top.child(b"sub"))
    assert local.run(lambda: sub.child(b"big")).ino != local.run(lambda: sub.child(b"huge")).ino


def test_the_file_of_a_file_mimei_comes_back(local: Local) -> None:
    mimeis = local.engine.mimeis
    top = local.run(lambda: mimeis.create(mimeis.info("notes", "file"), WHO)).root
    local.put(top, b"notes.txt", b"first")
    one = local.backup(top.tree.mimei)
    local.put(top, b"notes.txt", b"second")
    restore(local, one, b"notes.txt")
    assert local.tree(top) == {b"notes.txt": b"first"}
    local.run(lambda: top.rename(b"notes.txt", top, b"other.txt", 0))
    with pytest.raises(NotPermittedError):
        restore(local, one, b"notes.txt")
    restore(local, one)
    top = local.present(top.tree.mimei)
    assert local.tree(top) == {b"notes.txt": b"first"}
    with pytest.raises(NotPermittedError):
        top.create(b"more", 0o644, WHO)


# Hard links at a path


@pytest.fixture
def linked(local: Local, photos: LiveDir) -> LiveDir:
    """Hard links inside ``sub``, and from it to the outside."""
    sub = local.run(lambda: photos.child(b"sub"))
    deep, _ = local.above(photos, b"sub/deep/x")
    x = local.run(lambda: deep.child(b"x"))
    local.run(lambda: sub.link(b"x2", x))
    a = local.run(lambda: photos.child(b"a"))
    local.run(lambda: deep.link(b"a2", a))
    return photos


def nlinks(local: Local, top: LiveDir) -> dict[bytes, int]:
    found = {}
    for path in (b"a", b"sub/x2", b"sub/deep/x", b"sub/deep/a2"):
        directory, name = local.above(top, path)
        found[path] = local.run(lambda d=directory, n=name: d.child(n)).stat().nlink  # type: ignore[misc]
    return found


def test_hard_links_below_a_path_become_links_among_themselves(local: Local, linked: LiveDir) -> None:
    one = local.backup(linked.tree.mimei)
    before = local.tree(linked)
    restore(local, one, b"sub")
    assert local.tree(linked) == before
    assert nlinks(local, linked) == {b"a": 1, b"sub/x2": 2, b"sub/deep/x": 2, b"sub/deep/a2": 1}
    assert local.findings() == []
    local.put(linked, b"sub/x2", b"both")
    local.put(linked, b"sub/deep/a2", b"alone")
    tree = local.tree(linked)
    assert (tree[b"sub/deep/x"], tree[b"a"]) == (b"both", b"first a")
    local.crash()
    top = current(local, linked)
    assert local.tree(top) == tree
    assert local.tree(local.past(local.backup(top.tree.mimei))) == tree
    assert nlinks(local, top) == {b"a": 1, b"sub/x2": 2, b"sub/deep/x": 2, b"sub/deep/a2": 1}


def test_hard_links_restored_after_their_directory_is_gone(local: Local, linked: LiveDir) -> None:
    one = local.backup(linked.tree.mimei)
    before = local.tree(linked)
    local.run(lambda: linked.rename(b"sub", linked, b"kept", 0))
    restore(local, one, b"sub/deep")
    tree = local.tree(linked)
    assert tree[b"sub/deep/a2"] == before[b"sub/deep/a2"]
    assert tree[b"kept/deep/a2"] == before[b"sub/deep/a2"]
    local.put(linked, b"sub/deep/x", b"new")
    assert local.tree(linked)[b"kept/x2"] == b"x"


def test_one_name_of_a_hard_link_comes_back_as_a_file(local: Local, linked: LiveDir) -> None:
    one = local.backup(linked.tree.mimei)
    local.put(linked, b"sub/x2", b"changed both")
    restore(local, one, b"sub/x2")
    tree = local.tree(linked)
    assert (tree[b"sub/x2"], tree[b"sub/deep/x"]) == (b"x", b"changed both")


# Fork


def test_a_fork_starts_as_the_version_and_goes_its_own_way(local: Local, linked: LiveDir) -> None:
    one = local.backup(linked.tree.mimei)
    before = local.tree(linked)
    local.put(linked, b"a", b"not in the fork")
    forked = local.run(lambda: local.engine.transplant.fork(one.mimei, None, "copy"))
    top = local.present(forked)
    assert local.tree(top) == before
    local.put(top, b"a", b"only in the fork")
    local.put(top, b"sub/x2", b"linked in the fork")
    assert local.tree(linked)[b"a"] == b"not in the fork"
    assert local.tree(linked)[b"sub/deep/x"] == b"x"
    assert local.tree(top)[b"sub/deep/x"] == b"linked in the fork"
    assert local.findings() == []
    assert local.backup(forked).number == 2


def test_a_fork_has_a_first_version_with_its_origin_as_parent(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    local.put(photos, b"a", b"2")
    local.backup(photos.tree.mimei)
    forked = local.run(lambda: local.engine.transplant.fork(one.mimei, one))
    row = local.engine.mimeis.row(forked)
    first = local.engine.versions.last(forked)
    assert first is not None
    assert (row.name, row.origin_mimei, row.origin_version) == ("photos", one.mimei, one.record)
    assert (first.number, first.root, first.row.parents) == (1, one.root, (one.record,))
    assert local.backup(forked) == first


def test_a_fork_shows_its_version_before_the_keeper_knows(local: Local, photos: LiveDir) -> None:
    one = local.backup(photos.tree.mimei)
    forked = local.running.attempt(lambda: local.engine.transplant.fork(one.mimei, one))
    last = local.engine.versions.last(forked)
    assert last is not None
    assert local.engine.versions.by_number(forked, 1) == last


def test_what_has_no_version_cannot_be_forked(local: Local, photos: LiveDir) -> None:
    with pytest.raises(NotFoundError):
        local.engine.transplant.fork(photos.tree.mimei)


# Split


def test_a_split_directory_is_a_mimei_in_its_place(local: Local, photos: LiveDir) -> None:
    before = local.tree(photos)
    made = local.run(lambda: local.engine.transplant.split(photos.tree.mimei, b"sub", "part"))
    link = local.run(lambda: photos.child(b"sub"))
    assert (link.special.mimei, link.special.view) == (made, View.CUR)  # type: ignore[union-attr]
    assert local.tree(photos) == before
    top = local.present(made)
    assert local.run(lambda: photos.lookup(b"sub")) is top
    assert local.tree(top) == {b"big": BIG, b"deep": b"/", b"deep/x": b"x"}
    first = local.engine.versions.last(made)
    assert first is not None
    assert local.tree(local.past(first)) == local.tree(top)
    row = local.engine.mimeis.row(made)
    assert (row.name, row.origin_mimei) == ("part", photos.tree.mimei)
    assert local.findings() == []
    local.put(top, b"big", b"changed")
    local.crash()
    assert local.tree(local.present(made))[b"big"] == b"changed"


def test_split_hard_links_are_links_on_either_side(local: Local, linked: LiveDir) -> None:
    made = local.run(lambda: local.engine.transplant.split(linked.tree.mimei, b"sub"))
    top = local.present(made)
    assert local.findings() == []
    a = local.run(lambda: linked.child(b"a"))
    assert a.stat().nlink == 1
    local.put(top, b"x2", b"both")
    assert local.tree(top)[b"deep/x"] == b"both"
    local.put(top, b"deep/a2", b"inside")
    assert local.tree(linked)[b"a"] == b"first a"
    local.backup(made)
    local.backup(linked.tree.mimei)


def test_a_directory_with_open_files_is_not_split(local: Local, photos: LiveDir) -> None:
    file = local.put(photos, b"sub/big", b"open")
    handle = local.run(lambda: file.open(writing=True))
    with pytest.raises(ConflictError):
        local.run(lambda: local.engine.transplant.split(photos.tree.mimei, b"sub"))
    local.run(handle.close)
    local.run(lambda: local.engine.transplant.split(photos.tree.mimei, b"sub"))
    with pytest.raises(ExistsError, match="sub is a MiMei of its own already"):
        local.run(lambda: local.engine.transplant.split(photos.tree.mimei, b"sub"))


def test_only_directories_inside_are_split(local: Local, photos: LiveDir) -> None:
    split = local.engine.transplant.split
    for path, error in ((b"", InvalidError), (b"a", NotADirError), (b"none", NotFoundError), (b"no/sub", NotFoundError)):
        with pytest.raises(error) as raised:
            split(photos.tree.mimei, path)
        assert path.decode() in str(raised.value)


# One path, while others change


Meanwhile = Callable[[int], object]


def restored_while(local: Local, version: VersionInfo, path: bytes, meanwhile: Meanwhile, mounts: int = 10) -> None:
    """Restore a path, with something done each time that a version is awaited."""
    call = lambda: local.engine.transplant.restore(version.mimei, version, path)  # noqa: E731
    for number in range(mounts):
        try:
            call()
        except Later as later:
            meanwhile(number)
            local.running.settle()
            call = lambda later=later: later.proceed(local.engine.taken(later.at))  # type: ignore[misc] # noqa: E731
        else:
            local.running.settle()
            return
    pytest.fail("it never ends")


@pytest.fixture
def busy(local: Local, photos: LiveDir) -> tuple[VersionInfo, Meanwhile]:
    """A version, and what writes to another file again and again."""
    local.put(photos, b"docs/letter", b"first")
    local.put(photos, b"docs/deep/er", b"first")
    one = local.backup(photos.tree.mimei)
    image = local.put(photos, b"image", b"0")
    return one, lambda number: image.write(0, b"%d" % number)


@pytest.mark.parametrize("path", [b"docs/letter", b"docs"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_path_is_restored_while_others_are_written(
    local: Local, photos: LiveDir, busy: tuple[VersionInfo, Meanwhile], path: bytes, gone: bool
) -> None:
    one, write = busy
    local.put(photos, b"docs/letter", b"second")
    if gone:
        local.run(lambda: local.above(photos, b"docs/letter")[0].unlink(b"letter"))
    restored_while(local, one, path, write)
    assert local.tree(photos)[b"docs/letter"] == b"first"
    assert local.tree(photos)[b"image"] == b"0"
    last = local.engine.versions.last(one.mimei)
    assert last is not None
    assert last.number == 2
    assert local.tree(local.past(last)).get(b"docs/letter") == (None if gone else b"second")
    assert local.findings() == []
    local.backup(one.mimei)
    local.crash()
    assert local.tree(current(local, photos))[b"docs/letter"] == b"first"


@pytest.mark.parametrize("path", [b"docs/letter", b"docs"])
@pytest.mark.parametrize("change", ["written", "replaced", "made"])
def test_what_changes_at_the_path_meanwhile_is_in_one_more_version(
    local: Local, photos: LiveDir, busy: tuple[VersionInfo, Meanwhile], path: bytes, change: str
) -> None:
    one, write = busy
    docs = local.above(photos, b"docs/letter")[0]
    if change != "made":
        letter = local.put(photos, b"docs/letter", b"second")
    else:
        local.run(lambda: docs.unlink(b"letter"))
    local.put(photos, b"other", b"precious")

    def meanwhile(number: int) -> None:
        write(number)
        if number == 0 and change == "written":
            letter.write(0, b"precious")
        elif number == 0:
            photos.rename(b"other", docs, b"letter", 0)

    restored_while(local, one, path, meanwhile)
    assert local.tree(photos)[b"docs/letter"] == b"first"
    held = [local.tree(local.past(each)).get(b"docs/letter") for each in local.engine.versions.newest_first(one.mimei)]
    assert b"precious" in held
    assert len(held) == 3


def test_a_path_that_never_rests_is_left_alone_after_few_versions(
    local: Local, photos: LiveDir, busy: tuple[VersionInfo, Meanwhile]
) -> None:
    one, _ = busy
    letter = local.put(photos, b"docs/letter", b"second")
    with pytest.raises(ConflictError, match="without a pause"):
        restored_while(local, one, b"docs/letter", lambda number: letter.write(0, b"%6d" % number))
    assert local.tree(photos)[b"docs/letter"] == b"%6d" % 2
    last = local.engine.versions.last(one.mimei)
    assert last is not None
    assert last.number <= 4
