"""What differs between two trees, and a MiMei's log."""

import random

import pytest

from mimeifs.model.comparing import Aspect, Difference
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.node import Change, Node
from mimeifs.model.versions import VersionInfo
from tests.model.conftest import WHO, Local


@pytest.fixture
def top(local: Local) -> LiveDir:
    made = local.mimei()
    for path in (b"a", b"b", b"d/x", b"d/e/y", b"still/z"):
        local.put(made, path, b"1 " + path)
    return made


def diff(local: Local, before: VersionInfo, after: VersionInfo | None = None) -> list[Difference]:
    return local.run(lambda: list(local.engine.comparing.diff(before, after)))


def brief(found: list[Difference]) -> list[tuple[str, bytes]]:
    signs = {(True, False): "+", (False, True): "-", (False, False): "~"}
    return [(signs[each.before is None, each.after is None], each.path) for each in found]


def everywhere(local: Local, top: LiveDir, before: VersionInfo) -> list[Difference]:
    """The difference to the present, the same as to a version of it but for contents that are not sealed."""
    live = diff(local, before)
    sealed = diff(local, before, local.backup(top.tree.mimei))
    assert [(each.path, each.aspects) for each in live] == [(each.path, each.aspects) for each in sealed]
    assert brief(live) == brief(sealed)
    return sealed


def test_nothing_differs(local: Local, top: LiveDir) -> None:
    one = local.backup(top.tree.mimei)
    assert everywhere(local, top, one) == []


def test_added_removed_and_changed(local: Local, top: LiveDir) -> None:
    one = local.backup(top.tree.mimei)
    local.put(top, b"a", b"2")
    local.run(lambda: top.unlink(b"b"))
    local.run(lambda: top.rename(b"d", top, b"new", 0))
    found = everywhere(local, top, one)
    gone = [b"b", b"d", b"d/e", b"d/e/y", b"d/x"]
    come = [b"new", b"new/e", b"new/e/y", b"new/x"]
    assert brief(found) == [("~", b"a"), *(("-", path) for path in gone), *(("+", path) for path in come)]
    assert found[0].aspects is Aspect.CONTENT


def test_in_which_ways(local: Local, top: LiveDir) -> None:
    one = local.backup(top.tree.mimei)
    nodes: dict[bytes, Node] = {name: local.run(lambda n=name: top.child(n)) for name in (b"a", b"b", b"d")}  # type: ignore[misc]
    local.run(lambda: nodes[b"a"].set(Change(mode=0o600)))
    local.run(lambda: nodes[b"b"].set(Change(mtime_ns=5)))
    local.run(lambda: nodes[b"d"].set_xattr(b"user.x", b"y" * 3000))
    local.put(top, b"d/x", b"other")
    local.run(lambda: top.rename(b"still", top, b"moved", 0))
    local.put(top, b"still", b"a file")
    found = {each.path: each.aspects for each in everywhere(local, top, one)}
    assert {path: found[path] for path in (b"a", b"b", b"d", b"d/x", b"still")} == {
        b"a": Aspect.ATTRIBUTES,
        b"b": Aspect.ATTRIBUTES,
        b"d": Aspect.ATTRIBUTES,
        b"d/x": Aspect.CONTENT,
        b"still": Aspect.TYPE,
    }


def test_a_hard_link_shows_at_each_name(local: Local, top: LiveDir) -> None:
    a = local.run(lambda: top.child(b"a"))
    sub = local.run(lambda: top.child(b"still"))
    local.run(lambda: sub.link(b"a2", a))
    one = local.backup(top.tree.mimei)
    local.run(lambda: a.open(writing=True).write(0, b"9"))
    a.close()  # type: ignore[attr-defined]
    found = everywhere(local, top, one)
    assert [(each.path, each.aspects) for each in found] == [(b"a", Aspect.CONTENT), (b"still/a2", Aspect.CONTENT)]
    assert brief(diff(local, one, one)) == []


def test_random_trees_against_plain_ones(local: Local) -> None:
    top, chance = local.mimei(), random.Random(5)
    names = [b"a", b"b", b"c/x", b"c/y", b"c/d/z", b"e/f", b"e/g"]
    trees: list[tuple[VersionInfo, dict[bytes, bytes]]] = []
    plain: dict[bytes, bytes] = {}
    for _ in range(6):
        for path in chance.sample(names, 3):
            if path in plain and chance.random() < 0.4:
                directory, name = local.above(top, path)
                local.run(lambda d=directory, n=name: d.unlink(n))  # type: ignore[misc]
                del plain[path]
            else:
                plain[path] = b"%d" % chance.randrange(3)
                local.put(top, path, plain[path])
        trees.append((local.backup(top.tree.mimei), dict(plain)))
    for before, old in trees:
        for after, new in trees:
            found = [each for each in diff(local, before, after) if each.path in names]
            expected = [
                ("+" if path not in old else "-" if path not in new else "~", path)
                for path in sorted(old.keys() | new.keys(), key=lambda path: path.split(b"/"))
                if old.get(path) != new.get(path)
            ]
            assert [
                pair for pair, each in zip(brief(found), found, strict=True) if each.aspects != Aspect.ATTRIBUTES
            ] == expected


def test_unsettled_changes_show(local: Local, top: LiveDir) -> None:
    one = local.backup(top.tree.mimei)
    file = local.run(lambda: top.child(b"a"))
    file.open(writing=True).write(0, b"2")
    top.unlink(b"b")
    top.symlink(b"s", b"a", WHO)
    assert brief(local.running.attempt(lambda: list(local.engine.comparing.diff(one, None)))) == [
        ("~", b"a"),
        ("-", b"b"),
        ("+", b"s"),
    ]
    file.close()  # type: ignore[attr-defined]


def test_the_log_is_newest_first_with_labels(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    one = local.backup(mimei, "first")
    local.put(top, b"a", b"2")
    two = local.backup(mimei)
    local.run(lambda: local.engine.versions.set_label(mimei, "begin", one))
    local.run(lambda: local.engine.versions.release(mimei, two))
    log = [(line.version.number, line.labels) for line in local.engine.comparing.log(mimei)]
    assert log == [(2, ("release",)), (1, ("begin", "first"))]
