"""Versions as directories: read-only, numbered without memory, one identity wherever they are seen."""

import pytest

from mimeifs.errors import (
    IntegrityError,
    InvalidError,
    IsADirError,
    NoAttributeError,
    NotADirError,
    NotFoundError,
    ReadOnlyError,
)
from mimeifs.model.node import Change
from mimeifs.model.past import PAST_BIT
from tests.model.conftest import WHO

BIG = bytes(range(256)) * 1200


@pytest.fixture
def top(local):
    made = local.mimei()
    local.put(made, b"d/big", BIG)
    local.put(made, b"d/small", b"text")
    local.put(made, b"f", b"")
    local.run(lambda: made.link(b"g", made.lookup(b"d").lookup(b"small")))
    local.run(lambda: made.symlink(b"s", b"to", WHO))
    return made


@pytest.fixture
def past(local, top):
    return local.past(local.backup(top.tree.mimei))


def held(local, node):
    local.engine.views.past.hold(node)
    return node


def test_a_file_is_read_at_any_place(local, past):
    handle = local.run(lambda: past.lookup(b"d").lookup(b"big").open(writing=False))
    for offset, size in ((0, 10), (100_000, 1000), (len(BIG) - 5, 100), (len(BIG), 1), (0, 10**7)):
        assert local.run(lambda offset=offset, size=size: handle.read(offset, size)) == BIG[offset : offset + size]


@pytest.mark.parametrize(
    "act",
    [
        lambda past: past.create(b"x", 0o644, WHO),
        lambda past: past.mkdir(b"x", 0o755, WHO),
        lambda past: past.mknod(b"x", 0o100644, 0, WHO),
        lambda past: past.symlink(b"x", b"to", WHO),
        lambda past: past.link(b"x", past.lookup(b"f")),
        lambda past: past.unlink(b"f"),
        lambda past: past.rmdir(b"d"),
        lambda past: past.rename(b"f", past, b"x", 0),
        lambda past: past.set(Change(mode=0)),
        lambda past: past.set_xattr(b"user.a", b""),
        lambda past: past.remove_xattr(b"user.a"),
        lambda past: past.lookup(b"f").open(writing=True),
        lambda past: past.lookup(b"f").open(writing=False).write(0, b"x"),
    ],
)
def test_nothing_can_be_changed(local, past, act):
    with pytest.raises(ReadOnlyError):
        local.run(lambda: act(past))


def test_what_is_no_directory_or_no_link_says_so(local, past):
    file = local.run(lambda: past.lookup(b"f"))
    with pytest.raises(NotADirError):
        file.lookup(b"x")
    with pytest.raises(InvalidError):
        file.readlink()
    with pytest.raises(IsADirError):
        past.open(writing=False)
    with pytest.raises(NoAttributeError):
        file.get_xattr(b"user.a")
    with pytest.raises(NoAttributeError):
        past.get_xattr(b"user.a")
    with pytest.raises(NotFoundError):
        local.run(lambda: past.lookup(b"absent"))
    assert local.run(lambda: past.lookup(b"s")).readlink() == b"to"


def test_numbers_are_their_own_and_lead_back(local, past):
    nodes = [past, *local.run(lambda: [node for _, node in past.scan(b"")])]
    nodes += local.run(lambda: [node for _, node in past.lookup(b"d").scan(b"") if node.entry.size > 4])
    assert len({node.ino for node in nodes}) == len(nodes)
    for node in nodes:
        held(local, node)
        assert node.ino & PAST_BIT
        again = local.run(lambda node=node: local.engine.views.past.node(node.ino))
        assert again.stat() == node.stat()


def test_hard_links_are_one_inode(local, past):
    one, two = local.run(lambda: past.lookup(b"g")), local.run(lambda: past.lookup(b"d").lookup(b"small"))
    assert one.ino == two.ino
    assert one.stat() == two.stat()
    assert one.stat().nlink == 2


def test_files_have_one_identity_wherever_they_are_seen_and_directories_one_place(local, top, past):
    info = local.engine.versions.last(top.tree.mimei)
    other = local.run(lambda: local.engine.views.shown_version(info, 2, b"elsewhere"))
    held(local, past)
    assert other.ino != past.ino
    assert local.run(lambda: other.lookup(b"f")).ino == local.run(lambda: past.lookup(b"f")).ino
    assert local.run(lambda: other.lookup(b"d")).ino != local.run(lambda: past.lookup(b"d")).ino


def test_what_the_kernel_forgets_leaves_no_trace(local, past):
    registry = local.engine.views.past
    nodes = local.run(lambda: [past, *(node for _, node in past.scan(b""))])
    before = registry.known
    for node in nodes:
        registry.hold(node, 2)
    assert registry.known > before
    for node in nodes:
        registry.release(node.ino, 1)
        assert local.run(lambda node=node: registry.node(node.ino)).ino == node.ino
        registry.release(node.ino, 1)
    assert registry.known == before
    with pytest.raises(NotFoundError):
        registry.node(nodes[1].ino)


def test_a_listing_notes_which_files_have_no_attributes(local, top):
    for name in (b"a", b"b", b"c", b"h", b"i"):
        local.put(top, name, b"x")
    local.run(lambda: top.lookup(b"c")).set_xattr(b"user.a", b"1")
    local.run(lambda: top.lookup(b"i")).set_xattr(b"user.a", b"1" * 2000)
    past, registry = local.past(local.backup(top.tree.mimei)), local.engine.views.past
    told = {name: held(local, node).ino for name, node in local.run(lambda: list(past.scan(b"")))}
    assert not registry.plain(told[b"a"])
    found = {}
    for name, _ in past.scan(b""):
        found[name] = registry.plain(told[name])
    assert found == {name: name in b"a b f h s".split() for name in told}
    assert not registry.plain(told[b"s"] & ~PAST_BIT)


@pytest.mark.parametrize("after", [b"", b"a", b"d", b"d0", b"f", b"z"])
def test_a_listing_goes_on_behind_any_name(local, past, after):
    found = local.run(lambda: [name for name, _ in past.scan(after)])
    assert found == [name for name in (b"d", b"f", b"g", b"s") if name > after]


def test_colliding_directories_get_numbers_of_their_own(local, past, monkeypatch):
    registry = local.engine.views.past
    monkeypatch.setattr(registry, "number", lambda *parts: 5)
    held(local, past)
    made = [held(local, local.past(local.engine.versions.last(past.origin.mimei)))]
    made += [held(local, local.run(lambda: made[0].lookup(b"d")))]
    assert len({node.ino for node in made}) == 2


def test_damage_is_told(local, past):
    directory = local.run(lambda: past.lookup(b"d"))
    past.entry = directory.entry.__class__(directory.entry.kind, root=past.origin.tree.links)
    with pytest.raises(IntegrityError):
        local.run(lambda: list(past.scan(b"")))
