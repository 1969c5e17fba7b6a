"""The tree people see: what is listed, what resolves, and what making, renaming and removing names with an @ does."""

import pytest

from mimeifs.errors import CrossTreeError, ExistsError, InvalidError, NotEmptyError, NotFoundError, NotPermittedError
from mimeifs.ids import MimeiId
from mimeifs.model.entry import Link, View
from mimeifs.model.node import Change, Who
from mimeifs.model.views import LISTED_NUMBERS
from tests.model.conftest import WHO


@pytest.fixture
def top(local):
    made = local.mimei()
    local.put(made, b"f", b"1")
    return made


@pytest.fixture
def inside(local, top):
    return local.run(lambda: top.lookup(b".mimei"))


@pytest.fixture
def whole(local, top):
    """The MiMei's directory as a link that shows all has it."""
    link = Link(top.tree.mimei, View.ALL)
    return local.run(lambda: local.engine.views.root.place_link(b"whole", link, WHO))


def names(local, node):
    return local.run(lambda: [name for name, _ in node.scan(b"")])


def test_a_directory_made_in_the_root_is_a_mimei(local, top):
    root = local.engine.views.root
    assert root.lookup(b"photos") is top
    rows = local.engine.mimeis.all()
    assert [row.name for _, row in rows] == ["photos", "root"]
    assert top.stat().mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", [b".Trash-1000", b"@eaDir", b"System Volume Information", b"lost+found"])
def test_dot_names_and_litter_are_plain_directories(local, name):
    root = local.engine.views.root
    before = len(local.engine.mimeis.all())
    made = local.run(lambda: root.mkdir(name, 0o700, WHO))
    local.run(lambda: made.create(b"f", 0o600, WHO))
    assert len(local.engine.mimeis.all()) == before
    with pytest.raises(NotEmptyError):
        local.run(lambda: root.rmdir(name))
    local.run(lambda: made.unlink(b"f"))
    local.run(lambda: root.rmdir(name))


def test_removing_a_mimeis_link_keeps_the_mimei(local, top):
    root, mimei = local.engine.views.root, top.tree.mimei
    local.run(lambda: root.rmdir(b"photos"))
    assert names(local, root) == []
    assert [row.name for _, row in local.engine.mimeis.all()] == ["photos", "root"]
    local.run(lambda: root.place_link(b"again", Link(mimei, View.CUR), WHO))
    assert local.tree(local.run(lambda: root.lookup(b"again"))) == {b"f": b"1"}


def test_versions_resolve_in_a_present_and_are_not_listed(local, top):
    local.backup(top.tree.mimei, label="one")
    local.put(top, b"f", b"2")
    for name in (b"@1", b"@last", b"@one"):
        assert local.tree(local.run(lambda name=name: top.lookup(name))) == {b"f": b"1"}
    assert names(local, top) == [b"f"]
    for name in (b"@2", b"@absent", b"@", b"@cur", b"@release"):
        with pytest.raises(NotFoundError):
            local.run(lambda name=name: top.lookup(name))


def test_an_entry_of_its_own_goes_before_a_version(local, top):
    local.backup(top.tree.mimei)
    local.run(lambda: top.mkdir(b"@1", 0o755, WHO))
    assert local.run(lambda: top.lookup(b"@1")).stat().ino < 1 << 63


def test_the_newest_numbers_are_listed_and_all_resolve(local, top, inside):
    count = LISTED_NUMBERS + 3
    for index in range(count):
        local.put(top, b"f", b"%d" % index)
        local.backup(top.tree.mimei)
    listed = names(local, inside)
    assert {b"@cur", b"@last"} < set(listed)
    assert len(listed) == LISTED_NUMBERS + 2
    assert b"@3" not in listed
    assert local.tree(local.run(lambda: inside.lookup(b"@3"))) == {b"f": b"2"}
    every = local.run(lambda: inside.lookup(b"@all"))
    assert names(local, every) == sorted(b"@%d" % (index + 1) for index in range(count))


@pytest.mark.parametrize(("mode", "shown"), [(0o755, 0o755), (0o777, 0o777), (0o1777, 0o1777), (0o500, 0o700), (0o2750, 0o750)])
def test_who_may_write_in_the_present_may_take_versions(local, top, mode, shown):
    local.run(lambda: top.set(Change(mode=mode)))
    inside = local.run(lambda: top.lookup(b".mimei"))
    assert inside.stat().mode & 0o7777 == shown


def test_every_version_is_listed_by_its_second_for_samba(local, top, inside):
    local.backup(top.tree.mimei)
    for data in (b"2", b"3"):
        local.clock.time_ns += 10**9
        local.put(top, b"f", data)
        local.backup(top.tree.mimei)
    moments = local.run(lambda: inside.lookup(b"@gmt-all"))
    found = names(local, moments)
    assert found == [b"@GMT-2023.11.14-22.13.20", b"@GMT-2023.11.14-22.13.21", b"@GMT-2023.11.14-22.13.22"]
    assert [local.tree(local.run(lambda name=name: moments.lookup(name))) for name in found] == [
        {b"f": b"1"},
        {b"f": b"2"},
        {b"f": b"3"},
    ]
    assert b"@gmt-all" not in names(local, inside)


def test_making_a_label_takes_a_version(local, top, inside):
    made = local.run(lambda: inside.mkdir(b"@before", 0o755, WHO))
    assert local.tree(made) == {b"f": b"1"}
    assert local.engine.versions.find(top.tree.mimei, "before").number == 1
    local.run(lambda: inside.mkdir(b"@again", 0o755, WHO))
    assert local.engine.versions.find(top.tree.mimei, "again").number == 1
    with pytest.raises(ExistsError):
        local.run(lambda: inside.mkdir(b"@before", 0o755, WHO))
    with pytest.raises(InvalidError):
        local.run(lambda: inside.mkdir(b"@last", 0o755, WHO))


def test_a_new_folder_becomes_a_version_when_it_is_renamed(local, top, inside):
    blank = local.run(lambda: inside.mkdir(b"New Folder", 0o755, WHO))
    assert names(local, blank) == []
    with pytest.raises(NotPermittedError):
        blank.create(b"x", 0o644, WHO)
    local.run(lambda: inside.rename(b"New Folder", inside, b"other", 0))
    assert b"other" in names(local, inside)
    local.run(lambda: inside.rename(b"other", inside, b"@kept", 0))
    assert local.engine.versions.find(top.tree.mimei, "kept").number == 1
    assert names(local, inside) == [b"@1", b"@cur", b"@kept", b"@last"]


def test_a_blank_that_is_no_use_can_be_removed(local, inside):
    local.run(lambda: inside.mkdir(b"New Folder", 0o755, WHO))
    local.run(lambda: inside.rmdir(b"New Folder"))
    assert b"New Folder" not in names(local, inside)


def test_labels_are_renamed_and_dropped_and_versions_are_not(local, top, inside):
    local.backup(top.tree.mimei, label="a")
    local.run(lambda: inside.rename(b"@a", inside, b"@b", 0))
    assert b"@b" in names(local, inside)
    assert b"@a" not in names(local, inside)
    local.run(lambda: inside.rmdir(b"@b"))
    for name in (b"@1", b"@last", b"@cur"):
        with pytest.raises(NotPermittedError):
            local.run(lambda name=name: inside.rmdir(name))
    with pytest.raises(CrossTreeError):
        local.run(lambda: inside.rename(b"@1", top, b"x", 0))


def test_only_the_present_can_be_changed(local, inside):
    for act in (
        lambda: inside.create(b"x", 0o644, WHO),
        lambda: inside.symlink(b"x", b"to", WHO),
        lambda: inside.set(Change(mode=0o700)),
    ):
        with pytest.raises(NotPermittedError):
            local.run(act)


def test_the_whole_mimei_has_its_present_in_it(local, top, whole):
    local.backup(top.tree.mimei)
    assert names(local, whole) == [b"@1", b"@cur", b"@last"]


def test_a_present_has_one_place_and_other_links_lead_there(local, top):
    root = local.engine.views.root
    second = local.run(lambda: root.place_link(b"second", Link(top.tree.mimei, View.CUR), WHO))
    assert second.stat().mode & 0o170000 == 0o120000
    assert second.readlink() == b"photos"
    local.run(lambda: root.rename(b"photos", root, b"moved", 0))
    assert local.run(lambda: root.lookup(b"second")).readlink() == b"moved"


def test_a_link_to_a_version_shows_that_version(local, top):
    local.backup(top.tree.mimei)
    local.put(top, b"f", b"2")
    root = local.engine.views.root
    shown = local.run(lambda: root.place_link(b"old", Link(top.tree.mimei, View.VERSION, "1"), WHO))
    assert local.tree(shown) == {b"f": b"1"}


def test_numbers_of_what_is_shown_are_stable(local, top, inside, whole):
    local.backup(top.tree.mimei)
    root = local.engine.views.root
    paths = [(b"photos",), (b"photos", b".mimei"), (b"photos", b"f"), (b"photos", b"@1"), (b"whole",)]

    def numbers():
        found = []
        for path in paths:
            node = local.engine.views.root
            for name in path:
                node = local.run(lambda node=node, name=name: node.lookup(name))
            found.append(node.ino)
        return found

    before = numbers()
    assert len(set(before)) == len(before)
    assert root.ino == 1
    local.crash()
    assert numbers() == before


def test_a_root_belongs_to_who_made_it(local):
    assert local.engine.views.root.stat().uid == Who(0, 0).uid


@pytest.mark.parametrize("view", [View.CUR, View.ALL])
def test_a_link_to_what_is_not_here_is_listed_and_can_be_removed(local, top, view):
    root = local.engine.views.root
    link = Link(MimeiId(bytes(31) + b"x"), view)
    local.run(lambda: root.place_link(b"absent", link, WHO))
    assert names(local, root) == [b"absent", b"photos"]
    shown = local.run(lambda: root.lookup(b"absent"))
    assert shown.stat().mode & 0o170000 == 0o040000
    with pytest.raises(NotFoundError):
        local.run(lambda: shown.lookup(b"x"))
    if view is View.CUR:
        for act in (lambda: names(local, shown), lambda: shown.create(b"x", 0o644, WHO)):
            with pytest.raises(NotFoundError, match="no MiMei"):
                local.run(act)
    local.run(lambda: root.rename(b"absent", root, b"moved", 0))
    local.run(lambda: root.rmdir(b"moved"))
    assert names(local, root) == [b"photos"]


def test_a_version_shows_what_had_no_version_yet_as_an_empty_directory(local, top):
    root = local.engine.views.root
    local.put(root, b"note", b"beside it")
    before = local.past(local.backup(root.tree.mimei))
    local.backup(top.tree.mimei)
    local.put(root, b"note", b"later")
    after = local.past(local.backup(root.tree.mimei))
    assert local.tree(before) == {b"note": b"beside it", b"photos": b"/"}
    assert local.run(lambda: before.lookup(b"photos")).stat().mode & 0o777 == 0o755
    assert local.tree(after) == {b"note": b"later", b"photos": b"/", b"photos/f": b"1"}
