"""Live files across seals, folds and reaps, which give their numbers back behind their backs."""

import pytest

from mimeifs.errors import NoAttributeError, TooLargeError
from mimeifs.model.etags import etag_of
from mimeifs.model.live_file import SIZE_MAX
from mimeifs.model.node import Change
from mimeifs.model.versions import Later
from mimeifs.store.database import Table

DATA = b"0123456789" * 10


@pytest.fixture
def top(local):
    return local.mimei()


@pytest.fixture
def file(local, top):
    return local.put(top, b"f", DATA)


def fold(local, top):
    """Take a version and let the rows it made superfluous fall."""
    info = local.backup(top.tree.mimei)
    local.running.settle()
    return info


CHANGES = {
    "write": lambda file, top: file.write(5, b"new"),
    "truncate": lambda file, top: file.resize(7),
    "extend": lambda file, top: file.resize(700),
    "mode": lambda file, top: file.set(Change(mode=0o600)),
    "owner that stays": lambda file, top: file.set(Change(uid=file.uid)),
    "attribute": lambda file, top: file.set_xattr(b"user.a", b"v"),
    "link": lambda file, top: top.link(b"second", file),
    "rename": lambda file, top: top.rename(b"f", top, b"g", 0),
    "unlink": lambda file, top: top.unlink(b"f"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_whose_number_was_given_back_can_be_changed(local, top, file, name):
    fold(local, top)
    local.run(lambda: CHANGES[name](file, top))
    expected = local.tree(top)
    assert local.tree(local.past(fold(local, top))) == expected
    mimei = top.tree.mimei
    local.crash()
    assert local.tree(local.present(mimei)) == expected


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_while_the_version_is_under_way_is_not_in_it(local, top, file, name):
    before = local.tree(top)
    with pytest.raises(Later) as later:
        local.engine.versions.backup(top.tree.mimei)
    local.running.attempt(lambda: CHANGES[name](file, top))
    local.running.settle()
    info = later.value.proceed(local.engine.taken(later.value.at))
    assert local.tree(local.past(info)) == before
    after = local.tree(top)
    assert local.tree(local.past(fold(local, top))) == after


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in ("link", "rename", "unlink")])
def test_an_open_file_without_a_name_can_be_changed_for_ever(local, top, file, name):
    file.open(writing=True)
    local.run(lambda: top.unlink(b"f"))
    fold(local, top)
    assert file.read(0, 1000) == DATA
    local.run(lambda: CHANGES[name](file, top))
    local.run(lambda: file.write(0, b"still"))
    assert file.read(0, 5) == b"still"
    assert file.stat().nlink == 0
    local.run(file.close)


def test_attributes_of_a_folded_file_without_a_name_are_kept_in_memory(local, top, file):
    fold(local, top)
    file.open(writing=True)
    local.run(lambda: top.unlink(b"f"))
    local.run(lambda: file.set(Change(mode=0o600)))
    local.run(lambda: file.set_xattr(b"user.a", b"v"))
    assert file.stat().mode & 0o777 == 0o600
    assert file.get_xattr(b"user.a") == b"v"
    local.put(top, b"after", DATA)
    local.run(file.close)
    assert local.tree(top) == {b"after": DATA}


def test_sealing_an_open_file_changes_nothing_that_is_read(local, top, file):
    local.run(lambda: file.write(200_000, b"end"))
    expected = bytes(file.read(0, 300_000))
    news = local.running.keeper.seal_idle(local.running.keeper.position, 1 << 30)
    local.engine.heard(news)
    assert news.moved
    assert file.read(0, 300_000) == expected
    local.run(lambda: file.write(3, b"!"))
    assert file.read(0, 300_000) == expected[:3] + b"!" + expected[4:]


def test_what_is_cut_off_does_not_come_back(local, top, file):
    fold(local, top)
    local.run(lambda: file.resize(10))
    local.run(lambda: file.resize(100))
    assert file.read(0, 200) == DATA[:10] + bytes(90)
    assert local.tree(local.past(fold(local, top))) == {b"f": DATA[:10] + bytes(90)}


def test_a_size_and_attributes_come_at_once(local, file):
    local.run(lambda: file.set(Change(size=3, mode=0o604, mtime_ns=77)))
    stat = file.stat()
    assert (stat.size, stat.mode & 0o777, stat.mtime_ns) == (3, 0o604, 77)


def test_a_file_that_grew_keeps_its_tag_when_it_comes_out_of_the_database(local, top, file):
    local.run(lambda: file.resize(700))
    expected = etag_of(file)
    mimei = top.tree.mimei
    local.running.settle()
    local.crash()
    present = local.present(mimei)
    assert etag_of(local.run(lambda: present.child(b"f"))) == expected


def test_truncating_to_the_same_size_is_a_modification(local, file):
    before = file.stat()
    local.run(lambda: file.set(Change(size=len(DATA))))
    assert file.stat().mtime_ns > before.mtime_ns
    assert file.stat().size == before.size


def test_reading_behind_the_end_gives_nothing(file):
    assert file.read(len(DATA), 10) == b""
    assert file.read(len(DATA) - 1, 10) == b"9"
    assert file.read(1 << 40, 10) == b""


def test_a_file_over_the_limit_is_refused(file):
    with pytest.raises(TooLargeError):
        file.write(SIZE_MAX, b"xx")
    with pytest.raises(TooLargeError):
        file.resize(SIZE_MAX + 1)
    assert file.stat().size == len(DATA)


@pytest.mark.parametrize("size", [100, 1000, 1100, 20_000, 60_000])
def test_attributes_of_any_size_are_in_the_version(local, top, file, size):
    local.run(lambda: file.set_xattr(b"user.a", b"a" * size))
    local.run(lambda: top.set_xattr(b"user.a", b"t" * size))
    past = local.past(fold(local, top))
    assert local.run(lambda: past.get_xattr(b"user.a")) == b"t" * size
    assert local.run(lambda: past.lookup(b"f").get_xattr(b"user.a")) == b"a" * size
    mimei = top.tree.mimei
    local.crash()
    again = local.run(lambda: local.present(mimei).lookup(b"f"))
    assert local.run(lambda: again.get_xattr(b"user.a")) == b"a" * size
    local.run(lambda: again.set_xattr(b"user.b", b"b"))
    assert local.run(again.list_xattrs) == [b"user.a", b"user.b"]
    local.run(lambda: again.remove_xattr(b"user.a"))
    with pytest.raises(NoAttributeError):
        local.run(lambda: again.get_xattr(b"user.a"))


def removed_while_known(local, top, file):
    """Remove a file that a surface has looked up and not opened."""
    file.lookups = 1
    local.run(lambda: top.unlink(b"f"))


def forgotten(local, file):
    file.lookups = 0
    local.engine.live.forgotten(file)


def test_a_removed_file_is_whole_until_nobody_knows_it(local, top, file):
    removed_while_known(local, top, file)
    local.running.settle()
    handle = file.open(writing=True)
    assert handle.read(0, 1000) == DATA
    handle.close()
    assert file.stat().size == len(DATA)
    forgotten(local, file)
    local.running.settle()
    database = local.engine.live.database
    assert [list(database.scan(table, b"")) for table in (Table.ORPHANS, Table.FILES)] == [[], []]


def test_a_removed_file_that_is_open_outlives_being_forgotten(local, top, file):
    removed_while_known(local, top, file)
    handle = file.open(writing=True)
    forgotten(local, file)
    assert handle.read(0, 1000) == DATA
    handle.close()
    assert file.ino not in local.engine.live.nodes


def test_forgetting_needs_no_journal(local, top, file):
    removed_while_known(local, top, file)
    local.engine.journal.broken = "the disk has failed"
    forgotten(local, file)
    local.engine.live.drop_unreachable()
    local.engine.journal.broken = ""
    assert file.ino not in local.engine.live.nodes
    local.running.settle()
    assert list(local.engine.live.database.scan(Table.ORPHANS, b"")), "its row stays, and is dropped at the next start"
    local.crash()
    assert [list(local.engine.live.database.scan(table, b"")) for table in (Table.ORPHANS, Table.FILES)] == [[], []]


def test_files_forgotten_soon_after_each_other_are_dropped_in_one_frame(local, top, monkeypatch):
    frames, append = [], local.engine.journal.append
    files = [local.put(top, name, DATA) for name in (b"a", b"b", b"c")]
    for file in files:
        file.lookups = 1
        local.run(lambda file=file: top.unlink(file.name))
    monkeypatch.setattr(local.engine.journal, "append", lambda *pieces: (frames.append(pieces), append(*pieces))[1])
    for file in files:
        forgotten(local, file)
    local.running.settle()
    assert len(frames) == 1
    assert list(local.engine.live.database.scan(Table.FILES, b"")) == []


def test_an_owner_that_stays_changes_the_time_of_change(local, top, file):
    local.run(lambda: file.set(Change(mode=0o640, mtime_ns=5)))
    file.set(Change(uid=file.uid, gid=file.gid))
    at = file.ctime_ns
    mimei = top.tree.mimei
    local.crash()
    again = local.run(lambda: local.present(mimei).lookup(b"f"))
    assert (again.mode, again.mtime_ns, again.ctime_ns) == (0o640, 5, at)


def test_times_beyond_64_bits_become_the_farthest(local, file):
    local.run(lambda: file.set(Change(atime_ns=-(1 << 70), mtime_ns=1 << 70)))
    assert (file.stat().atime_ns, file.stat().mtime_ns) == (1 - (1 << 63), (1 << 63) - 1)
