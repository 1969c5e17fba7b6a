"""Names that come, go and move: what renames and links leave behind, numbers above all."""

from functools import partial

import pytest

from mimeifs.errors import CrossTreeError, InvalidError, NotFoundError, NotPermittedError
from mimeifs.model.node import RENAME_EXCHANGE, RENAME_NOREPLACE
from mimeifs.store.database import Table
from tests.model.conftest import WHO


@pytest.fixture
def top(local):
    return local.mimei()


def numbers(local, top):
    return {name: node.ino for name, node in local.run(lambda: list(top.scan(b"")))}


def reopened(local, top):
    mimei = top.tree.mimei
    local.crash()
    return local.present(mimei)


def test_an_exchange_of_names_that_were_exchanged_before_keeps_the_numbers(local, top):
    for name in (b"a", b"b"):
        local.put(top, name, name)
    for _ in range(3):
        local.run(partial(top.rename, b"a", top, b"b", RENAME_EXCHANGE))
        expected = numbers(local, top)
        top = reopened(local, top)
        assert numbers(local, top) == expected
    assert local.tree(top) == {b"a": b"b", b"b": b"a"}


def test_renames_round_a_circle_leave_no_exceptions(local, top):
    for name in (b"a", b"b"):
        local.put(top, name, name)
    before = numbers(local, top)
    for old, new in ((b"a", b"c"), (b"b", b"a"), (b"a", b"b"), (b"c", b"a")):
        local.run(lambda old=old, new=new: top.rename(old, top, new, 0))
    assert numbers(local, top) == before
    assert list(local.running.database.scan(Table.TAKEN, b"")) == []
    assert list(local.running.database.scan(Table.INODES, b"")) == []


def test_a_name_given_again_while_its_first_file_lives_on_has_another_number(local, top):
    first = local.put(top, b"a", b"1").ino
    local.run(lambda: top.rename(b"a", top, b"b", 0))
    second = local.put(top, b"a", b"2").ino
    local.run(lambda: top.rename(b"a", top, b"c", 0))
    third = local.put(top, b"a", b"3").ino
    assert len({first, second, third}) == 3
    assert numbers(local, reopened(local, top)) == {b"a": third, b"b": first, b"c": second}


def test_a_row_set_back_to_what_it_was_is_not_forgotten_too_early(local, top):
    """The first of three equal changes is replayed; what counts until the third is, is memory."""
    local.put(top, b"a", b"1")
    ends = []
    for old, new in ((b"a", b"b"), (b"b", b"a"), (b"a", b"b")):
        local.running.attempt(lambda old=old, new=new: top.rename(old, top, new, 0))
        ends.append(local.engine.journal.position)
    ino = local.running.attempt(lambda: top.lookup(b"b")).ino
    for end in ends[:2]:
        news = local.running.keeper.advance(end)
        local.engine.heard(news)
        assert local.engine.live.known_ino(top.seed, b"b") == ino


def test_hard_links_have_one_number_and_it_stays(local, top):
    ino = local.put(top, b"a", b"1").ino
    local.run(lambda: top.link(b"b", top.lookup(b"a")))
    local.run(lambda: top.unlink(b"a"))
    top = reopened(local, top)
    assert numbers(local, top) == {b"b": ino}
    assert local.run(lambda: top.lookup(b"b")).stat().nlink == 1


@pytest.mark.parametrize("flags", [RENAME_NOREPLACE | RENAME_EXCHANGE, 4, 8])
def test_unknown_flags_are_refused(local, top, flags):
    local.put(top, b"a", b"1")
    with pytest.raises(InvalidError):
        top.rename(b"a", top, b"b", flags)


def test_nothing_leaves_its_mimei(local, top):
    other = local.mimei(b"other")
    file = local.put(top, b"a", b"1")
    with pytest.raises(CrossTreeError):
        top.rename(b"a", other, b"a", 0)
    with pytest.raises(CrossTreeError):
        other.link(b"a", file)


def test_directories_have_no_hard_links(local, top):
    directory = local.run(lambda: top.mkdir(b"d", 0o755, WHO))
    with pytest.raises(NotPermittedError):
        top.link(b"e", directory)


def test_nothing_is_made_in_a_directory_that_is_gone(local, top):
    gone = local.run(lambda: top.mkdir(b"d", 0o755, WHO))
    file = local.put(top, b"a", b"1")
    local.run(lambda: top.rmdir(b"d"))
    for act in (
        lambda: gone.create(b"x", 0o644, WHO),
        lambda: gone.mkdir(b"x", 0o755, WHO),
        lambda: gone.link(b"x", file),
        lambda: top.rename(b"a", gone, b"x", 0),
    ):
        with pytest.raises(NotFoundError):
            local.run(act)


def test_a_deleted_file_gets_no_new_name(local, top):
    file = local.put(top, b"a", b"1")
    file.open(writing=True)
    local.run(lambda: top.unlink(b"a"))
    with pytest.raises(NotFoundError):
        local.run(lambda: top.link(b"b", file))
    local.run(file.close)


def test_a_moved_directory_brings_its_changes_into_the_version(local, top):
    local.put(top, b"a/b/f", b"1")
    local.backup(top.tree.mimei)
    local.put(top, b"a/b/f", b"2")
    local.run(lambda: top.lookup(b"a").rename(b"b", top, b"moved", 0))
    version = local.backup(top.tree.mimei)
    assert local.tree(local.past(version)) == {b"a": b"/", b"moved": b"/", b"moved/f": b"2"}


def test_links_counted_in_a_version_are_files_once(local, top):
    local.put(top, b"a", b"123")
    local.run(lambda: top.symlink(b"s", b"to", WHO))
    for source, name in ((b"a", b"b"), (b"a", b"c"), (b"s", b"t")):
        local.run(lambda source=source, name=name: top.link(name, top.lookup(source)))
    version = local.backup(top.tree.mimei)
    assert (version.row.files, version.row.size) == (1, 3)
