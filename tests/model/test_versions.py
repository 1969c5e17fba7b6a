"""Taking, finding and naming versions."""

from itertools import pairwise

import pytest

from mimeifs.errors import CapacityError, ExistsError, InvalidError, NotFoundError
from mimeifs.ids import RecordId
from mimeifs.model import state
from mimeifs.model.node import Change
from mimeifs.model.state import decode_version
from mimeifs.model.versions import Later
from tests.model.conftest import WHO


@pytest.fixture
def top(local):
    return local.mimei()


@pytest.fixture
def versions(local):
    return local.engine.versions


def take(local, top, count):
    """That many versions, each with one file more."""
    taken = []
    for _ in range(count):
        name = b"f%d" % len(list(top.scan(b"")))
        local.put(top, name, name)
        taken.append(local.backup(top.tree.mimei))
    return taken


def test_versions_are_numbered_from_one(local, top):
    assert [info.number for info in take(local, top, 3)] == [1, 2, 3]


def test_an_empty_tree_has_a_first_version(local, top):
    assert local.backup(top.tree.mimei).number == 1
    assert local.backup(top.tree.mimei).number == 1


def test_nothing_new_is_no_new_version(local, top):
    first = take(local, top, 1)[0]
    assert local.backup(top.tree.mimei) == first
    local.crash()
    assert local.backup(top.tree.mimei) == first


def test_a_change_that_was_taken_back_is_no_new_version(local, top):
    first = take(local, top, 1)[0]
    stat = top.stat()
    local.run(lambda: top.set_xattr(b"user.a", b"v"))
    assert local.backup(top.tree.mimei).number == 2
    assert stat.mtime_ns == top.stat().mtime_ns
    assert local.engine.versions.by_number(top.tree.mimei, 1) == first


def test_each_version_names_the_one_before_and_is_later(local, top):
    taken = take(local, top, 3)
    for old, new in pairwise(taken):
        assert new.row.parents == (old.record,)
        assert new.row.time_ns > old.row.time_ns
        assert new.row.sequence == old.row.sequence + 1


def test_a_clock_set_back_does_not_turn_time_round(local, top):
    first = take(local, top, 1)[0]
    local.clock.time_ns -= 10**15
    second = take(local, top, 1)[0]
    assert second.row.time_ns == first.row.time_ns + 1


def test_versions_are_found_by_all_their_names(local, top, versions):
    one, two, three = take(local, top, 3)
    mimei = top.tree.mimei
    local.run(lambda: versions.set_label(mimei, "draft", one))
    local.run(lambda: versions.release(mimei, two))
    assert versions.find(mimei, "2") == two
    assert versions.find(mimei, "last") == three
    assert versions.find(mimei, "draft") == one
    assert versions.find(mimei, "release") == two
    assert versions.find(mimei, f"1~{one.record.hex()[:4]}") == one
    assert versions.at_time(mimei, two.row.time_ns) == two
    assert versions.at_time(mimei, three.row.time_ns - 1) == two
    assert versions.by_record(mimei, one.record) == one
    assert [info.number for info in versions.newest_first(mimei)] == [3, 2, 1]


@pytest.mark.parametrize("text", ["4", "last", "release", "draft", "1~ffff", "2001-01-01"])
def test_what_is_not_there_is_not_found(local, top, versions, text):
    if text != "last":
        take(local, top, 1)
    with pytest.raises((NotFoundError, InvalidError)):
        versions.find(top.tree.mimei, text)


def test_a_label_is_taken_with_the_version_and_names_it_alone(local, top, versions):
    mimei = top.tree.mimei
    local.put(top, b"f", b"1")
    first = local.backup(mimei, label="draft")
    assert versions.labels(mimei) == {"draft": first.record}
    local.put(top, b"f", b"2")
    with pytest.raises(ExistsError):
        local.backup(mimei, label="draft")
    assert local.backup(mimei, label="other").number == 2
    assert local.backup(mimei, label="third").number == 2
    assert set(versions.labels(mimei)) == {"draft", "other", "third"}


def test_labels_move_and_fall_and_stay_so(local, top, versions):
    mimei = top.tree.mimei
    (first,) = take(local, top, 1)
    local.run(lambda: versions.set_label(mimei, "a", first))
    local.run(lambda: versions.move_label(mimei, "a", "b"))
    assert versions.labels(mimei) == {"b": first.record}
    local.crash()
    versions = local.engine.versions
    assert versions.labels(mimei) == {"b": first.record}
    local.run(lambda: versions.drop_label(mimei, "b"))
    for act in (lambda: versions.drop_label(mimei, "b"), lambda: versions.move_label(mimei, "b", "c")):
        with pytest.raises(NotFoundError):
            local.run(act)
    assert versions.find(mimei, "1") == first


@pytest.mark.parametrize("label", ["", "last", "cur", "1a", "a/b", "a~b", "x" * 300])
def test_labels_that_could_be_mistaken_are_refused(local, top, versions, label):
    (first,) = take(local, top, 1)
    with pytest.raises((InvalidError, ExistsError)):
        versions.set_label(top.tree.mimei, label, first)


def test_a_version_that_fails_keeps_the_changes_for_the_next(local, top, versions, monkeypatch):
    mimei, packs = top.tree.mimei, local.running.keeper._packs
    local.put(top, b"f", b"1")
    real = packs.sync

    def refuse():
        monkeypatch.setattr(packs, "sync", real)
        raise CapacityError("no room for more packs")

    monkeypatch.setattr(packs, "sync", refuse)
    with pytest.raises(CapacityError, match="could not be taken: no room"):
        local.backup(mimei)
    assert versions.last(mimei) is None
    local.put(top, b"g", b"2")
    info = local.backup(mimei)
    assert info.number == 1
    assert local.tree(local.past(info)) == {b"f": b"1", b"g": b"2"}


def test_two_versions_asked_for_at_once_are_two_or_one(local, top, versions):
    mimei = top.tree.mimei
    laters = []
    local.running.attempt(lambda: top.create(b"a", 0o644, WHO))
    for change in (None, lambda: top.create(b"b", 0o644, WHO), None):
        if change is not None:
            local.running.attempt(change)
        with pytest.raises(Later) as later:
            versions.backup(mimei)
        laters.append(later.value)
    local.running.settle()
    numbers = [later.proceed(local.engine.taken(later.at)).number for later in laters]
    assert numbers == [1, 2, 2]


def test_a_version_asked_for_before_a_crash_is_there_after_it(local, top, versions):
    mimei = top.tree.mimei
    local.running.attempt(lambda: top.create(b"a", 0o644, WHO))
    with pytest.raises(Later):
        versions.backup(mimei, label="asked")
    local.running.attempt(lambda: top.create(b"b", 0o644, WHO))
    local.crash()
    info = local.engine.versions.find(mimei, "asked")
    assert local.tree(local.past(info)) == {b"a": b""}
    assert local.backup(mimei).number == 2


def test_the_memo_is_kept(local, top, versions):
    info = local.run(lambda: versions.backup(top.tree.mimei, memo="before the move"))
    assert info.row.memo == "before the move"


def test_attributes_of_the_root_are_in_the_version(local, top):
    local.run(lambda: top.set(Change(mode=0o700, uid=7)))
    stat = local.past(local.backup(top.tree.mimei)).stat()
    assert (stat.mode & 0o7777, stat.uid) == (0o700, 7)


def test_a_label_costs_one_version_however_many_there_are(local, monkeypatch):
    top = local.mimei()
    mimei = top.tree.mimei
    for number in range(12):
        local.put(top, b"f", b"%d" % number)
        local.backup(mimei, f"label-{number}")
    versions = local.engine.versions
    assert versions.labelled(mimei, "label-0").number == 1
    read = []
    monkeypatch.setattr(state, "decode_version", lambda data: read.append(data) or decode_version(data))
    assert [versions.labelled(mimei, f"label-{number}").number for number in range(12)] == list(range(1, 13))
    assert len(read) == 12
    with pytest.raises(NotFoundError):
        versions.by_record(mimei, RecordId(bytes(32)))
    with pytest.raises(NotFoundError):
        versions.by_record(local.mimei(b"other").tree.mimei, versions.labelled(mimei, "label-3").record)
