"""Live directories: listings that go on while names come and go, layers, and what may be made where."""

import pytest

from mimeifs.errors import (
    CapacityError,
    ExistsError,
    InvalidError,
    IsADirError,
    NameTooLongError,
    NotADirError,
    NotFoundError,
    TooManyLinksError,
)
from mimeifs.model import live_dir
from mimeifs.model.node import Change
from mimeifs.model.staging import StagedFile
from mimeifs.store.room import Room
from mimeifs.store.storage import fill_ballast
from tests.model.conftest import WHO

NAMES = [b"%02d" % index for index in range(20)]


@pytest.fixture
def top(local):
    """A directory with twenty files, none of which is in memory."""
    made = local.mimei()
    for name in NAMES:
        local.run(lambda name=name: made.create(name, 0o644, WHO))
    local.backup(made.tree.mimei)
    local.crash()
    return local.present(made.tree.mimei)


def names(rows):
    return [name for name, _ in rows]


def listed_while(local, top, act):
    """What a listing delivers when ``act`` is done after its fifth name."""
    found = []
    for name, _ in top.scan(b""):
        found.append(name)
        if len(found) == 5:
            act()
    return found


def test_a_name_removed_meanwhile_is_not_delivered_and_not_revived(local, top):
    found = listed_while(local, top, lambda: local.running.attempt(lambda: top.unlink(b"10")))
    assert found == [name for name in NAMES if name != b"10"]
    with pytest.raises(NotFoundError):
        top.child(b"10")


def test_names_made_meanwhile_behind_the_place_are_delivered_once(local, top):
    def make():
        for name in (b"000", b"055", b"99"):
            local.running.attempt(lambda name=name: top.create(name, 0o644, WHO))

    assert listed_while(local, top, make) == sorted([*NAMES, b"055", b"99"])


def test_each_name_is_delivered_once_while_others_are_brought_into_memory(local, top):
    def look():
        for name in (b"02", b"07", b"19"):
            top.child(name)

    assert listed_while(local, top, look) == NAMES
    assert names(top.scan(b"")) == NAMES


def test_removing_what_is_listed_empties_the_directory(local, top):
    for name, _ in top.scan(b""):
        local.running.attempt(lambda name=name: top.unlink(name))
    assert top.is_empty()
    assert local.tree(top) == {}


@pytest.mark.parametrize("after", [b"", b"0", b"05", b"05x", b"19", b"zz"])
def test_a_listing_goes_on_behind_any_name(top, after):
    assert names(top.scan(after)) == [name for name in NAMES if name > after]


def test_memory_rows_and_base_make_one_listing(local, top):
    local.run(lambda: top.create(b"05a", 0o644, WHO))
    local.run(lambda: top.unlink(b"07"))
    mimei = top.tree.mimei
    local.crash()
    again = local.present(mimei)
    local.running.attempt(lambda: again.create(b"05b", 0o644, WHO))
    local.running.attempt(lambda: again.unlink(b"08"))
    assert names(again.scan(b"")) == sorted({*NAMES, b"05a", b"05b"} - {b"07", b"08"})


def test_a_removed_name_can_be_made_again_and_is_what_it_was_made_last(local, top):
    local.run(lambda: top.unlink(b"03"))
    local.run(lambda: top.mkdir(b"03", 0o755, WHO))
    local.backup(top.tree.mimei)
    local.run(lambda: top.rmdir(b"03"))
    local.run(lambda: top.symlink(b"03", b"to", WHO))
    mimei = top.tree.mimei
    local.crash()
    assert local.run(lambda: local.present(mimei).lookup(b"03")).readlink() == b"to"


@pytest.mark.parametrize(
    ("name", "error"),
    [(b"", InvalidError), (b".", InvalidError), (b"..", InvalidError), (b"a/b", InvalidError), (b"a\0", InvalidError)],
)
def test_names_that_cannot_be_are_refused(top, name, error):
    with pytest.raises(error):
        top.create(name, 0o644, WHO)


def test_a_name_has_at_most_255_bytes(local, top):
    local.run(lambda: top.create(b"n" * 255, 0o644, WHO))
    for act in (lambda: top.create(b"n" * 256, 0o644, WHO), lambda: top.lookup(b"n" * 256)):
        with pytest.raises(NameTooLongError):
            act()


def test_what_exists_is_not_made_again(local, top):
    for act in (top.create, top.mkdir):
        with pytest.raises(ExistsError):
            local.run(lambda act=act: act(b"00", 0o644, WHO))


def test_files_and_directories_are_told_apart(local, top):
    local.run(lambda: top.mkdir(b"d", 0o755, WHO))
    with pytest.raises(IsADirError):
        local.run(lambda: top.unlink(b"d"))
    with pytest.raises(NotADirError):
        local.run(lambda: top.rmdir(b"00"))
    with pytest.raises(IsADirError):
        local.run(lambda: top.lookup(b"d").set(Change(size=0)))
    with pytest.raises(IsADirError):
        top.open(writing=False)


def test_a_group_directory_gives_its_group_on(local, top):
    local.run(lambda: top.set(Change(mode=0o2775, gid=77)))
    directory = local.run(lambda: top.mkdir(b"d", 0o755, WHO))
    file = local.run(lambda: directory.create(b"f", 0o644, WHO))
    assert directory.stat().mode & 0o7777 == 0o2755
    assert (directory.stat().gid, file.stat().gid, file.stat().mode & 0o7777) == (77, 77, 0o644)


def test_a_directory_counts_its_subdirectories(local, top):
    for name in (b"d", b"e"):
        local.run(lambda name=name: top.mkdir(name, 0o755, WHO))
    assert top.stat().nlink == 4
    local.run(lambda: top.rename(b"e", top.lookup(b"d"), b"e", 0))
    assert (top.stat().nlink, top.lookup(b"d").stat().nlink) == (3, 3)
    version = local.backup(top.tree.mimei)
    assert local.past(version).stat().nlink == 3


def test_mknod_makes_regular_files_and_refuses_what_it_does_not_know(local, top):
    file = local.run(lambda: top.mknod(b"f", 0o100644, 0, WHO))
    local.run(lambda: file.write(0, b"x"))
    device = local.run(lambda: top.mknod(b"c", 0o020600, 0x501, WHO))
    assert (device.stat().mode, device.stat().rdev) == (0o020600, 0x501)
    with pytest.raises(InvalidError):
        top.mknod(b"bad", 0o040755, 0, WHO)


def test_what_makes_room_gets_what_is_kept_for_it_and_what_takes_room_does_not(local, top, monkeypatch):
    storage, live = local.home.storage, local.engine.live
    fill_ballast(storage)
    live.room = Room(storage)
    append = live.journal.append

    def full_but_for_the_ballast(*pieces, behind=0):
        if storage.ballast.stat().st_size:
            raise CapacityError("no room for the journal")
        return append(*pieces, behind=behind)

    monkeypatch.setattr(live.journal, "append", full_but_for_the_ballast)
    file = local.run(lambda: top.lookup(b"03").open(writing=True))
    with pytest.raises(CapacityError):
        local.run(lambda: file.write(0, b"more"))
    with pytest.raises(CapacityError):
        local.run(lambda: top.create(b"new", 0o644, WHO))
    assert storage.ballast.stat().st_size
    StagedFile(top.tree, 1 << 20)  # Its room is asked for, but it has written nothing.
    local.run(lambda: top.unlink(b"04"))
    assert not storage.ballast.stat().st_size
    file.close()
    assert names(local.run(lambda: list(top.scan(b"")))) == [name for name in NAMES if name != b"04"]


def test_a_file_has_only_so_many_names_and_the_next_one_changes_nothing(local, top, monkeypatch):
    monkeypatch.setattr(live_dir, "LINK_MAX", 3)
    file = local.run(lambda: top.lookup(b"00"))
    for name in (b"second", b"third"):
        local.run(lambda name=name: top.link(name, file))
    before = file.stat(), top.stat()
    with pytest.raises(TooManyLinksError, match="at most 3 hard links"):
        local.run(lambda: top.link(b"fourth", file))
    assert (file.stat(), top.stat()) == before
    assert names(local.run(lambda: list(top.scan(b"")))) == [*NAMES, b"second", b"third"]
    local.run(lambda: top.unlink(b"second"))
    local.run(lambda: top.link(b"fourth", file))
    assert file.stat().nlink == 3
