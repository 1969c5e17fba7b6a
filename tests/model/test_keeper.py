"""The keeper when something goes wrong between two of its steps, and how it frees the journal."""

import errno
import os
from functools import partial

import lmdb
import pytest

from mimeifs.clock import CountingRandomness
from mimeifs.engine import LocalEngine
from mimeifs.errors import CapacityError, IntegrityError, MissingError
from mimeifs.model.keeper import Keeper
from mimeifs.model.node import Change
from mimeifs.model.versions import Later
from mimeifs.store import database as databases
from mimeifs.store.database import U64, Table
from mimeifs.store.journal import segments
from tests.model.conftest import WHO, Local, walk

ENDED = 77
CALLS = ["open", "write", "pwrite", "fdatasync", "fsync", "unlink", "ftruncate", "close"]


class Fuse:
    """Lets some calls of the system pass, then does something else instead."""

    def __init__(self, monkeypatch, instead, names=CALLS):
        self._left = -1
        self.burnt = False
        self._instead = instead
        for name in names:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))
        commit = databases.Database.write.__wrapped__

        def write(database):
            self.burn("begin")
            inner = commit(database)
            transaction = next(inner)
            try:
                yield transaction
                self.burn("commit")
            except BaseException as error:
                inner.throw(error)
                raise
            next(inner, None)
            self.burn("committed")

        monkeypatch.setattr(databases.Database, "write", databases.contextmanager(write))

    def _wrap(self, name, real):
        def call(*args, **options):
            try:
                self.burn(name)
            except OSError:
                args = ()  # A traceback would keep buffers exported.
                raise
            return real(*args, **options)

        return call

    def light(self, left):
        self._left, self.burnt = left, False

    def put_out(self):
        self._left = -1

    def burn(self, name):
        self._left -= self._left >= 0
        if self._left == 0:
            self.burnt = True
            self._left = -1
            self._instead(name)


def end_process(_name):
    os._exit(ENDED)


def refuse(name):
    if name == "commit":
        raise lmdb.DiskError("No space left on device")
    if name in ("write", "pwrite", "fdatasync", "fsync", "open"):
        raise OSError(errno.ENOSPC, "full")


def work(local, index):
    """Some changes and a version of them, appended and not replayed; what the tree holds then."""
    top = local.engine.mimeis.tree(local.mimei_id).root
    file = local.running.attempt(lambda: top.create(b"file%d" % index, 0o644, WHO))
    file.write(0, b"%d" % index * 1000)
    if index:
        old = local.running.attempt(lambda: top.lookup(b"file%d" % (index - 1)))
        local.running.attempt(lambda: old.write(500_000, b"end"))
        local.running.attempt(lambda: top.rename(b"file%d" % (index - 1), top, b"moved%d" % index, 0))
    try:
        local.engine.versions.backup(local.mimei_id)
    except Later as later:
        return later
    raise AssertionError("there was something to take")


@pytest.fixture
def used(local: Local):
    local.mimei_id = local.mimei().tree.mimei
    return local


def content(local):
    """Everything in the present, without replaying anything."""
    top = local.engine.mimeis.tree(local.mimei_id).root
    return local.running.attempt(lambda: dict(walk(top, b"")))


def recovering(local, step):
    """Open the store in another process, which ends at step ``step`` of its recovery; whether it got that far."""
    child = os.fork()
    if not child:
        try:
            Fuse(pytest.MonkeyPatch(), end_process).light(step)
            LocalEngine(local.home, local.clock, CountingRandomness(9)).abandon()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == ENDED


def test_a_crash_between_any_two_steps_loses_nothing(used):
    step, crashed = 0, True
    while crashed:
        step += 1
        work(used, step - 1)
        expected = content(used)
        used.running.abandon()
        crashed = recovering(used, step)
        used.running = LocalEngine(used.home, used.clock, CountingRandomness(step))
        assert content(used) == expected
        version = used.engine.versions.last(used.mimei_id)
        assert version.number == step
        assert used.tree(used.past(version)) == expected
    assert step > 10


def test_a_full_disk_at_any_step_loses_nothing_and_later_all_is_well(used, monkeypatch):
    fuse = Fuse(monkeypatch, refuse)
    index = step = 0
    numbers = set()
    while True:
        step += 1
        later = work(used, index)
        expected = content(used)
        fuse.light(step)
        try:
            used.running.settle()
        except (CapacityError, OSError):
            assert fuse.burnt
        except IntegrityError:
            assert used.running.keeper.broken
        fuse.put_out()
        burnt = fuse.burnt
        if used.running.keeper.broken:
            used.crash()
        assert content(used) == expected
        used.running.settle()
        assert content(used) == expected
        taken = used.engine.taken(later.at)
        if taken is not None and taken.error:
            assert "room" in taken.error
            taken = None
        version = used.backup(used.mimei_id) if taken is None else used.engine.versions.last(used.mimei_id)
        numbers.add(version.number)
        assert used.tree(used.past(version)) == expected
        index += 1
        if not burnt:
            break
    assert numbers == set(range(1, len(numbers) + 1))
    assert step > 10


def test_a_full_disk_while_sealing_loses_nothing(used, monkeypatch):
    fuse = Fuse(monkeypatch, refuse)
    top = used.present(used.mimei_id)
    file = used.run(lambda: top.create(b"f", 0o644, WHO))
    step = 0
    while True:
        step += 1
        used.run(partial(file.write, step * 1000, b"x" * 70_000))
        expected = content(used)
        fuse.light(step)
        try:
            news = used.running.keeper.seal_idle(used.running.keeper.position, 1 << 30)
            used.engine.heard(news)
        except (CapacityError, OSError):
            assert fuse.burnt
            assert used.running.keeper.edited
        except IntegrityError:
            assert used.running.keeper.broken
        fuse.put_out()
        if used.running.keeper.broken:
            used.crash()
            file = used.present(used.mimei_id).lookup(b"f")
        assert content(used) == expected
        if not fuse.burnt:
            break
    assert step > 3
    assert not used.running.keeper.edited


def test_an_append_that_finds_no_room_changes_nothing(used, monkeypatch):
    top = used.present(used.mimei_id)
    file = used.run(lambda: top.create(b"f", 0o644, WHO))
    used.run(lambda: file.write(0, b"content"))
    directory = used.run(lambda: top.mkdir(b"d", 0o755, WHO))
    used.run(lambda: directory.create(b"inside", 0o644, WHO))
    used.backup(used.mimei_id)
    used.crash()
    top = used.present(used.mimei_id)
    acts = [
        lambda: top.create(b"new", 0o644, WHO),
        lambda: top.mkdir(b"new", 0o755, WHO),
        lambda: top.symlink(b"new", b"to", WHO),
        lambda: top.lookup(b"f").write(0, b"other"),
        lambda: top.lookup(b"f").resize(3),
        lambda: top.lookup(b"f").set(Change(mode=0o600)),
        lambda: top.lookup(b"f").set_xattr(b"user.a", b"x"),
        lambda: top.link(b"new", top.lookup(b"f")),
        lambda: top.unlink(b"f"),
        lambda: top.rename(b"f", top.lookup(b"d"), b"inside", 0),
        lambda: top.rename(b"f", top.lookup(b"d"), b"inside", 2),
        lambda: top.lookup(b"d").create(b"new", 0o644, WHO),
        lambda: top.lookup(b"d").unlink(b"inside"),
    ]
    before = facts(used, top)
    real = os.pwritev

    def refused(*_args):
        raise OSError(errno.ENOSPC, "full")

    for act in acts:
        monkeypatch.setattr(os, "pwritev", refused)
        with pytest.raises(CapacityError):
            used.running.attempt(act)
        monkeypatch.setattr(os, "pwritev", real)
        assert facts(used, top) == before
    used.crash()
    assert facts(used, used.present(used.mimei_id)) == before


def facts(local, top):
    """Attributes and content of everything."""
    found = [local.run(top.stat)]

    def walk(node):
        for name, child in local.run(lambda: list(node.scan(b""))):
            found.append((name, local.run(child.stat), child.list_xattrs()))
            if child.stat().mode & 0o170000 == 0o040000:
                walk(child)
            else:
                found.append(bytes(local.run(lambda child=child: child.read(0, 1000))))

    walk(top)
    return found


def test_a_segment_emptied_by_a_seal_is_freed_when_the_node_knows_of_the_seal(used, monkeypatch):
    top = used.present(used.mimei_id)
    file = used.run(lambda: top.create(b"f", 0o644, WHO))
    used.run(lambda: file.write(0, b"x" * 1000))
    used.engine.journal._roll()
    used.run(lambda: top.create(b"g", 0o644, WHO))
    keeper, directory = used.running.keeper, used.home.storage.journal
    before = segments(directory)
    assert len(before) == 2
    news = keeper.seal_idle(keeper.position + 1, 1 << 30)
    keeper.acknowledged(news.position)  # It had heard of that position already, and not yet of the seal.
    keeper.free_all()
    assert segments(directory) == before
    assert file.read(0, 10) == b"x" * 10
    used.engine.heard(news)
    used.run(lambda: top.create(b"h", 0o644, WHO))
    assert segments(directory) == before[1:]
    assert file.read(0, 2000) == b"x" * 1000


def test_a_segment_stays_as_long_as_a_file_needs_it(used):
    top = used.present(used.mimei_id)
    file = used.run(lambda: top.create(b"f", 0o644, WHO))
    used.run(lambda: file.write(0, b"x" * 1000))
    for _ in range(3):
        used.engine.journal._roll()
        used.run(lambda: file.set(Change(mode=0o600)))
    first = segments(used.home.storage.journal)[0]
    used.crash()
    assert segments(used.home.storage.journal)[0] == first
    used.backup(used.mimei_id)
    used.running.settle()
    assert len(segments(used.home.storage.journal)) == 1
    assert used.tree(used.present(used.mimei_id)) == {b"f": b"x" * 1000}


def test_what_a_keeper_did_and_did_not_tell_its_successor_tells(used):
    top = used.present(used.mimei_id)
    file = used.run(lambda: top.create(b"f", 0o644, WHO))
    used.run(lambda: file.write(0, b"x" * 1000))
    used.run(lambda: top.create(b"g", 0o644, WHO))
    keeper = used.running.keeper
    keeper.seal_idle(keeper.position + 1, 1 << 30)
    keeper.close()
    used.running.keeper = Keeper(used.home.storage, used.running.database, used.home.device())
    used.engine.journal._roll()
    used.engine.live.reader.close()
    used.run(lambda: top.create(b"h", 0o644, WHO))
    assert len(segments(used.home.storage.journal)) == 1
    assert file.read(0, 2000) == b"x" * 1000


def test_segments_that_nobody_needs_go_one_by_one_when_nobody_waits(used):
    keeper, directory, journal = used.running.keeper, used.home.storage.journal, used.engine.journal
    top = used.present(used.mimei_id)
    for number in range(3):
        used.running.attempt(lambda number=number: top.create(b"f%d" % number, 0o644, WHO))
        journal._roll()
    used.running.attempt(lambda: top.create(b"last", 0o644, WHO))
    while keeper.position < journal.position:
        used.engine.heard(keeper.advance(journal.position))
    keeper.acknowledged(keeper.position)
    before, left = segments(directory), []
    while keeper.free_one():
        left.append(segments(directory))
    assert left == [before[count:] for count in (1, 2, 3)]
    assert not keeper.has_superfluous


def test_a_version_that_fails_for_no_known_reason_is_told_and_the_journal_goes_on(local, monkeypatch, caplog):
    top = local.mimei()
    local.put(top, b"f", b"held")
    real = Keeper._cut

    def fails(*arguments):
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(Keeper, "_cut", fails)
    with pytest.raises(IntegrityError, match=r"could not be taken: something unforeseen.*nobody thought of this"):
        local.backup(top.tree.mimei)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [RuntimeError]
    local.put(top, b"g", b"later")
    monkeypatch.setattr(Keeper, "_cut", real)
    assert local.tree(local.past(local.backup(top.tree.mimei))) == {b"f": b"held", b"g": b"later"}


def set_row(database, table, key, value):
    """Give a row another value behind everybody's back, ``None`` for no row; the value it had."""
    with database.write() as transaction:
        old = transaction.pop(key, db=database.tables[table])
        if value is not None:
            transaction.put(key, value, db=database.tables[table])
    database.renew()
    return old


@pytest.mark.parametrize("row", [b"", b"short", bytes([9]) + bytes(72), bytes([1]) + bytes(31) + b"\x01" * 41])
def test_a_row_that_is_no_row_costs_that_file_alone(local, row):
    top = local.mimei()
    mimei = top.tree.mimei
    hurt = local.put(top, b"hurt", b"hurt")
    local.put(top, b"whole", b"whole")
    place = Table.FILES, U64.pack(hurt.number)
    sound = set_row(local.running.database, *place, row)
    local.crash()
    top = local.present(mimei)
    with pytest.raises(IntegrityError):
        local.backup(mimei)
    assert bytes(local.run(lambda: top.child(b"whole")).read(0, 100)) == b"whole"
    with pytest.raises(IntegrityError):
        local.run(lambda: top.child(b"hurt"))
    local.put(top, b"more", b"more")
    set_row(local.running.database, *place, sound)
    local.backup(mimei)


def test_a_file_without_a_row_is_named_and_keeps_versions_away_until_it_is_gone(local):
    top = local.mimei()
    mimei = top.tree.mimei
    hurt = local.put(top, b"hurt", b"hurt")
    place = Table.FILES, U64.pack(hurt.number)
    sound = set_row(local.running.database, *place, None)
    with pytest.raises(IntegrityError, match=r"'hurt' is file \d+, which has no row"):
        local.backup(mimei)
    set_row(local.running.database, *place, sound)
    local.backup(mimei)


def test_a_file_whose_bytes_are_missing_is_damaged_not_absent(local):
    """ENOENT of read(2) would say that there is no such file."""
    top = local.mimei()
    local.put(top, b"f", b"x" * 3000)
    local.put(top, b"below/g", b"y" * 3000)
    version = local.backup(top.tree.mimei)
    local.crash()
    database = local.running.database
    rows = [(key, set_row(database, Table.BLOBS, key, None)) for key, _ in list(database.scan(Table.BLOBS, b""))]
    with pytest.raises(MissingError):
        local.tree(local.past(version))
    with pytest.raises(MissingError):
        local.tree(local.present(top.tree.mimei))
    for key, value in rows:
        set_row(database, Table.BLOBS, key, value)
