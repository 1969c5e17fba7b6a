"""Links to MiMeis: what may replace and remove them, and where a second one leads."""

import os

import pytest

from mimeifs.errors import NotEmptyError, NotFoundError, NotPermittedError
from mimeifs.model.entry import Kind, Link, View
from mimeifs.model.virtual import PlaceLink
from tests.model.conftest import WHO


def test_a_mimei_that_holds_something_is_not_replaced_by_a_rename(local):
    local.mimei(b"aa")
    kept = local.mimei(b"bb")
    local.put(kept, b"f", b"precious")
    root = local.engine.views.root
    with pytest.raises(NotEmptyError):
        local.run(lambda: root.rename(b"aa", root, b"bb", 0))
    assert local.run(lambda: root.lookup(b"bb").lookup(b"f")).open(writing=False).read(0, 9) == b"precious"


def test_an_empty_mimei_is_replaced_by_a_rename(local):
    moved = local.mimei(b"aa")
    local.mimei(b"bb")
    root = local.engine.views.root
    local.run(lambda: root.rename(b"aa", root, b"bb", 0))
    assert local.run(lambda: root.lookup(b"bb")) is moved


def split_off(local, top):
    directory = local.run(lambda: top.mkdir(b"sub", 0o755, WHO))
    local.put(top, b"sub/f", b"1")
    local.run(lambda: local.engine.transplant.split(top.tree.mimei, b"sub"))
    return directory


def test_a_link_inside_a_mimei_is_removed_and_its_mimei_stays(local):
    top = local.mimei(b"s")
    split_off(local, top)
    inode = local.run(lambda: top.child(b"sub"))
    assert inode.kind is Kind.LINK
    local.run(lambda: top.rmdir(b"sub"))
    assert [name for name, _ in local.run(lambda: list(top.scan(b"")))] == []
    assert len(local.engine.mimeis.all()) == 3


def test_a_second_link_leads_to_the_first_from_where_it_is(local):
    top = local.mimei(b"s")
    split_off(local, top)
    local.run(lambda: top.lookup(b"sub"))
    local.backup(top.tree.mimei)
    forked = local.run(lambda: local.engine.transplant.fork(top.tree.mimei))
    root = local.engine.views.root
    other = local.run(lambda: root.place_link(b"s2", Link(forked, View.CUR), WHO))
    second = local.run(lambda: other.lookup(b"sub"))
    assert isinstance(second, PlaceLink)
    assert os.path.normpath(b"/s2/" + second.readlink()) == b"/s/sub"


def test_going_from_version_to_version_takes_no_more_versions(local):
    top = local.mimei(b"o")
    local.put(top, b"d/f", b"1")
    first = local.backup(top.tree.mimei)
    local.put(top, b"d/f", b"2")
    transplant, mimei = local.engine.transplant, top.tree.mimei
    local.run(lambda: transplant.restore(mimei, first))
    numbers = [version.number for version in local.engine.versions.newest_first(mimei)]
    local.run(lambda: transplant.restore(mimei, first, b"d"))
    assert [version.number for version in local.engine.versions.newest_first(mimei)] == numbers == [2, 1]


def test_what_only_shows_versions_is_neither_removed_nor_renamed(local):
    top = local.mimei(b"o")
    local.put(top, b"f", b"1")
    local.backup(top.tree.mimei, "one")
    with pytest.raises(NotPermittedError):
        local.run(lambda: top.rmdir(b"@one"))
    with pytest.raises(NotPermittedError):
        local.run(lambda: top.rename(b"@one", top, b"@two", 0))
    with pytest.raises(NotFoundError):
        local.run(lambda: top.rmdir(b"nothing"))
    inside = local.run(lambda: top.lookup(b".mimei"))
    with pytest.raises(NotPermittedError):
        local.run(lambda: inside.rename(b"@1", inside, b"@eins", 0))
