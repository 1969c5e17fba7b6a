"""The engine: a home made once, opened by one, and the same after it was closed or not."""

import itertools
import os
from contextlib import suppress

import pytest

from mimeifs.clock import CountingRandomness, ManualClock
from mimeifs.engine import LocalEngine, check_device, create_home
from mimeifs.errors import ExistsError, ForbiddenError, IntegrityError, LockedError, NotFoundError
from mimeifs.home import Home
from mimeifs.model.identity import KeyKind, new_key
from mimeifs.model.node import Who
from mimeifs.store import disk
from mimeifs.store.database import Table
from mimeifs.store.journal import segments

WHO = Who(1000, 100)


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home")
    create_home(made, ManualClock(), CountingRandomness(), None, WHO)
    return made


def opened(home):
    return LocalEngine(home, ManualClock(), CountingRandomness(100))


def test_a_new_home_has_a_root(home):
    local = opened(home)
    root = local.engine.views.root
    assert root.ino == 1
    assert list(root.scan(b"")) == []
    assert (root.stat().uid, root.stat().gid) == (1000, 100)
    local.close()


def test_a_home_is_not_made_twice(home):
    with pytest.raises(ExistsError):
        create_home(home, ManualClock(), CountingRandomness(), None, WHO)


@pytest.mark.parametrize("call", range(1, 12))
def test_a_home_whose_making_was_interrupted_is_made_by_the_next_attempt(tmp_path, monkeypatch, call):
    home, calls = Home(tmp_path / "home"), itertools.count(1)

    def dying(real):
        def run(*args):
            if next(calls) == call:
                raise KeyboardInterrupt
            return real(*args)

        return run

    for name in ("write", "sync", "move", "sync_directory"):
        monkeypatch.setattr(disk, name, dying(getattr(disk, name)))
    # As kill -9 would: nothing is tidied up.
    monkeypatch.setattr("mimeifs.engine.shutil.rmtree", lambda *_args, **_kwargs: None)
    with suppress(KeyboardInterrupt):
        create_home(home, ManualClock(), CountingRandomness(), None, WHO)
    monkeypatch.undo()
    if not home.begun:
        create_home(home, ManualClock(), CountingRandomness(50), None, WHO)
    local = opened(home)
    assert local.engine.views.root.ino == 1
    local.close()
    assert sorted(path.name for path in home.root.iterdir()) == ["keys", "store"]


def test_a_place_without_a_home_is_refused(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(NotFoundError):
            opened(Home(path))


def test_one_at_a_time(home):
    local = opened(home)
    with pytest.raises(LockedError):
        opened(home)
    local.close()
    opened(home).close()


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_what_was_done_is_there_again(home, end):
    local = opened(home)
    top = local.run(lambda: local.engine.views.root.mkdir(b"photos", 0o755, WHO))
    file = local.attempt(lambda: top.create(b"f", 0o644, WHO))
    local.attempt(lambda: file.write(0, b"content"))
    ino = file.ino
    getattr(local, end)()
    local = opened(home)
    file = local.run(lambda: local.engine.views.root.lookup(b"photos").lookup(b"f"))
    assert local.run(lambda: file.read(0, 100)) == b"content"
    assert file.ino == ino
    local.close()


def test_reopening_leaves_one_segment(home):
    for _ in range(3):
        opened(home).close()
    local = opened(home)
    assert len(segments(home.storage.journal)) == 1
    local.close()


def test_a_segment_left_without_header_by_a_crash_is_no_obstacle(home):
    local = opened(home)
    local.attempt(lambda: local.engine.views.root.create(b"f", 0o644, WHO))
    number = local.engine.journal.segment
    local.abandon()
    for content in (b"", bytes(4096)):
        number = max(segments(home.storage.journal)) + 1
        (home.storage.journal / f"{number:012x}.seg").write_bytes(content)
        local = opened(home)
        assert local.run(lambda local=local: local.engine.views.root.lookup(b"f")).stat().size == 0
        local.abandon()


def test_a_journal_damaged_while_it_is_in_use_is_told_and_not_gone_round(home):
    local = opened(home)
    at = local.engine.journal.position
    local.attempt(lambda: local.engine.views.root.create(b"f", 0o644, WHO))
    path = home.storage.journal / f"{local.engine.journal.segment:012x}.seg"
    with path.open("r+b") as file:
        file.seek(at % (32 << 20) + 20)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(IntegrityError, match="damaged at position"):
        local.settle()
    local.abandon()


def test_a_device_without_delegation_is_refused(home):
    local = opened(home)
    check_device(local.database, home.device())
    with pytest.raises(ForbiddenError):
        check_device(local.database, new_key(KeyKind.DEVICE, CountingRandomness(7)))
    local.close()


def test_an_index_without_its_keys_says_so(home):
    local = opened(home)
    with local.database.write() as transaction:
        transaction.delete(b"inode key", db=local.database.tables[Table.META])
    local.close()
    for _ in range(2):
        with pytest.raises(IntegrityError, match="inode key"):
            opened(home)
