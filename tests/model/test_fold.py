"""Folding: what a version holds is the tree, its totals are right, and its price is that of the change."""

import pytest

from mimeifs.model.entry import Kind, decode
from mimeifs.store import database as databases
from mimeifs.store import prolly
from mimeifs.store.database import Table
from mimeifs.store.interfaces import MemoryBlobs
from tests.model.conftest import WHO


@pytest.fixture
def top(local):
    return local.mimei()


def totals(local, version, path=b""):
    node = local.past(version)
    for name in filter(None, path.split(b"/")):
        node = local.run(lambda node=node, name=name: node.lookup(name))
    found = node.entry.totals
    return (found.files, found.size, found.subdirs, found.links)


def test_totals_count_everything_below(local, top):
    local.put(top, b"a/b/f", b"12345")
    local.put(top, b"a/g", b"123")
    local.run(lambda: top.symlink(b"s", b"to", WHO))
    version = local.backup(top.tree.mimei)
    assert totals(local, version) == (2, 8, 1, 0)
    assert totals(local, version, b"a") == (2, 8, 1, 0)
    assert totals(local, version, b"a/b") == (1, 5, 0, 0)
    assert (version.row.files, version.row.size) == (2, 8)


def test_totals_follow_changes_moves_and_removals(local, top):
    local.put(top, b"a/b/f", b"12345")
    local.put(top, b"a/g", b"123")
    local.backup(top.tree.mimei)
    local.put(top, b"a/b/f", b"1")
    local.run(lambda: top.lookup(b"a").rename(b"b", top, b"moved", 0))
    version = local.backup(top.tree.mimei)
    assert (totals(local, version), totals(local, version, b"a")) == ((2, 4, 2, 0), (1, 3, 0, 0))
    local.run(lambda: top.lookup(b"a").unlink(b"g"))
    local.run(lambda: top.rmdir(b"a"))
    assert totals(local, local.backup(top.tree.mimei)) == (1, 1, 1, 0)


def test_hard_links_count_as_names_below_and_once_in_the_tree(local, top):
    local.put(top, b"a/f", b"12345")
    local.run(lambda: top.link(b"g", top.lookup(b"a").lookup(b"f")))
    version = local.backup(top.tree.mimei)
    assert (totals(local, version), totals(local, version, b"a")) == ((0, 0, 1, 2), (0, 0, 0, 1))
    assert (version.row.files, version.row.size) == (1, 5)
    local.run(lambda: top.lookup(b"g").write(5, b"6"))
    version = local.backup(top.tree.mimei)
    assert (version.row.files, version.row.size) == (1, 6)
    local.run(lambda: top.unlink(b"g"))
    local.run(lambda: top.lookup(b"a").unlink(b"f"))
    version = local.backup(top.tree.mimei)
    assert (version.row.files, version.row.size) == (0, 0)
    tree = local.run(lambda: local.engine.versions.tree_root(version))
    assert tree.links == prolly.EMPTY_ROOT


def test_the_same_tree_has_the_same_root_whatever_its_history(local, top):
    other = local.mimei(b"other")
    for tree, names in ((top, [b"a", b"b", b"c"]), (other, [b"c", b"x", b"a", b"b"])):
        for name in names:
            local.put(tree, b"d/" + name, name)
        local.backup(tree.tree.mimei)
    local.run(lambda: other.lookup(b"d").unlink(b"x"))
    roots = []
    for tree in (top, other):
        directory = local.run(lambda tree=tree: tree.lookup(b"d"))
        version = local.backup(tree.tree.mimei)
        past = local.run(lambda version=version: local.past(version).lookup(b"d"))
        rows = local.run(lambda past=past: list(prolly.scan(local.engine.blobs, past.entry.root)))
        roots.append((past.entry.root, directory.number != 0))
        assert past.entry.root == prolly.build(MemoryBlobs(), rows)
        assert all(decode(value).kind is Kind.FILE and not decode(value).live for _, value in rows)
    assert all(numbered for _, numbered in roots)


def rows(local, table):
    local.running.database.renew()
    return [key for key, _ in local.running.database.scan(table, b"")]


def test_after_a_version_the_overlay_holds_no_files(local, top):
    for index in range(10):
        local.put(top, b"d/%d" % index, b"x")
    local.backup(top.tree.mimei)
    local.running.settle()
    assert rows(local, Table.FILES) == rows(local, Table.EXTENTS) == rows(local, Table.DOOMED) == []
    assert [key for key in rows(local, Table.CHANGED) if key[:4] == top.tree.number.to_bytes(4, "big")] == []


def test_only_what_changed_is_stored_anew(local, top):
    for index in range(300):
        local.put(top, b"d%d/f%d" % (index % 3, index), b"%d" % index * 50)
    local.backup(top.tree.mimei)
    before = len(rows(local, Table.BLOBS))
    local.put(top, b"d1/f1", b"changed")
    local.backup(top.tree.mimei)
    assert len(rows(local, Table.BLOBS)) - before < 10


def test_changes_in_a_directory_that_is_gone_are_no_trouble(local, top):
    local.put(top, b"a/b/f", b"1")
    local.backup(top.tree.mimei)
    local.put(top, b"a/b/g", b"2")
    for path in (b"a/b/f", b"a/b/g"):
        local.run(lambda path=path: top.lookup(b"a").lookup(b"b").unlink(path[-1:]))
    local.run(lambda: top.lookup(b"a").rmdir(b"b"))
    local.run(lambda: top.rmdir(b"a"))
    assert local.tree(local.past(local.backup(top.tree.mimei))) == {}


def test_two_mimeis_are_folded_apart(local, top):
    other = local.mimei(b"other")
    local.put(top, b"f", b"1")
    local.put(other, b"g", b"2")
    version = local.backup(top.tree.mimei)
    assert local.tree(local.past(version)) == {b"f": b"1"}
    prefix = other.tree.number.to_bytes(4, "big")
    assert [key for key in rows(local, Table.CHANGED) if key.startswith(prefix)]
    assert local.tree(local.past(local.backup(other.tree.mimei))) == {b"g": b"2"}


def test_a_large_version_makes_the_map_grow(local, top, monkeypatch):
    local.put(top, b"f", b"1")
    env = local.running.database._env
    monkeypatch.setattr(databases, "_SPARE", 0)
    used = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    local.running.database._read.abort()
    env.set_mapsize(used + (64 << 10))
    local.running.database._read = env.begin()
    for index in range(200):
        local.running.attempt(lambda index=index: top.create(b"%d" % index * 40, 0o644, WHO))
    version = local.backup(top.tree.mimei)
    assert version.row.files == 201
    assert env.info()["map_size"] > used + (64 << 10)
