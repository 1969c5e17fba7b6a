"""The store's directory: made once, owned by one, with room kept for a full disk."""

import errno
import os
import subprocess
import sys

import pytest

from mimeifs.errors import ExistsError, ForbiddenError, LockedError, NotADirError, NotFoundError
from mimeifs.store import disk
from mimeifs.store import storage as storages
from mimeifs.store.storage import (
    Storage,
    StoreLock,
    available,
    ballast_size,
    check_owner,
    create_storage,
    drop_ballast,
    fill_ballast,
)


@pytest.fixture
def storage(tmp_path):
    return create_storage(tmp_path / "store")


def test_a_new_store_has_its_places_and_is_private(storage):
    assert storage.index.is_dir()
    assert storage.packs.is_dir()
    assert storage.journal.is_dir()
    assert storage.root.stat().st_mode & 0o777 == 0o700


def test_a_store_is_not_made_twice(storage):
    with pytest.raises(ExistsError):
        create_storage(storage.root)


def test_an_interrupted_start_can_be_done_again(tmp_path):
    (tmp_path / "store" / "packs").mkdir(parents=True)
    assert create_storage(tmp_path / "store").index.exists()


def test_the_lock_keeps_others_out_until_it_is_released(storage):
    lock = StoreLock(storage)
    with pytest.raises(LockedError):
        StoreLock(storage)
    lock.release()
    StoreLock(storage).release()


def test_the_lock_goes_with_the_process_that_held_it(storage):
    program = (
        "import sys, os; from pathlib import Path; from mimeifs.store.storage import Storage, StoreLock\n"
        "StoreLock(Storage(Path(sys.argv[1]))); os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(storage.root)], check=True)
    StoreLock(storage).release()


def test_a_place_without_a_store_says_how_to_make_one(tmp_path):
    with pytest.raises(NotFoundError, match="mimei init"):
        check_owner(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirError, match="is not a directory"):
        check_owner(tmp_path / "file")


def test_somebody_elses_store_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ForbiddenError, match="home directory of your own"):
        check_owner(tmp_path)


def test_ballast_is_taken_and_given_up(storage, monkeypatch):
    monkeypatch.setattr(storages, "BALLAST", 1 << 20)
    fill_ballast(storage)
    assert storage.ballast.stat().st_size == ballast_size(storage.root) <= 1 << 20
    fill_ballast(storage)
    assert drop_ballast(storage)
    assert storage.ballast.stat().st_size == 0
    assert not drop_ballast(storage)


def test_without_ballast_there_is_none_to_give_up(storage):
    assert not drop_ballast(storage)


@pytest.mark.parametrize("call", ["create", "allocate", "statvfs"])
def test_a_disk_that_does_not_take_the_ballast_is_told_of_and_no_more(storage, monkeypatch, call):
    def refuse(*_args):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os if call == "statvfs" else disk, call, refuse)
    error = fill_ballast(storage)
    assert error is not None
    assert error.errno == errno.EIO
    monkeypatch.undo()
    assert fill_ballast(storage) is None
    assert storage.ballast.stat().st_size == ballast_size(storage.root)


@pytest.mark.parametrize("way", ["little room", "none at all"])
def test_no_ballast_is_taken_where_there_is_little_room(storage, monkeypatch, way):
    def refuse(*_args):
        raise OSError(errno.ENOSPC, "full")

    if way == "little room":
        monkeypatch.setattr(storages, "available", lambda root: 10)
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    fill_ballast(storage)
    assert not drop_ballast(storage)


def test_room_is_what_the_system_says(storage):
    assert available(storage.root) > 0
    assert Storage(storage.root) == storage
