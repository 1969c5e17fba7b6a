"""Packs after the index was lost, and after crashes at any moment."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mimeifs.ids import BlobId, blob_id
from mimeifs.store import packfiles, packs, packwriter
from mimeifs.store.packfiles import Rebuilt
from mimeifs.store.packs import START, PackEnd
from tests.store.packing import Store, noise

# Making the index again


def test_the_index_made_again_equals_the_one_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packwriter, "ROLL_BYTES", 5_000)
    for seed in range(12):
        store.writer.put(noise(seed * 100, seed))
        store.writer.put_record(b"record %d" % seed)
        store.commit()
    found, rows = store.rebuilt()
    assert rows == store.rows
    assert (found.blobs, found.records, found.damaged, found.gaps) == (12, 12, (), ())
    assert found.end == PackEnd(store.end.number + 1, 0)


def test_writing_goes_on_after_a_rebuild_and_cuts_nothing(store: Store) -> None:
    store.writer.put(b"committed")
    store.commit()
    store.writer.put(b"only synced")
    store.writer.sync()
    found, store.rows = store.rebuilt()
    store.end = found.end
    store.open().put(b"after")
    store.commit()
    names = [blob_id(data) for data in (b"committed", b"only synced", b"after")]
    assert sorted(store.rows) == sorted(names) == sorted(store.rebuilt()[1])


def test_a_rebuild_of_nothing_starts_at_the_start(store: Store) -> None:
    assert store.rebuilt() == (Rebuilt(START, 0, 0, (), ()), {})


def test_a_torn_tail_at_any_byte_costs_only_the_last_frame(store: Store) -> None:
    first = store.writer.put(b"first")
    store.writer.put_record(b"the last one")
    store.commit()
    whole, start = store.last_pack().read_bytes(), store.row(first).offset + 5
    for size in range(start, len(whole)):
        store.last_pack().write_bytes(whole[:size])
        found, rows = store.rebuilt()
        assert list(rows) == [first]
        assert found.gaps == (() if size == start else ((1, start),))


def test_damage_in_the_middle_of_a_pack_costs_only_what_is_damaged(store: Store) -> None:
    names = [store.writer.put(noise(500, seed)) for seed in range(5)]
    store.commit()
    store.flip(names[1], 100)
    store.flip(names[3], -packs.FRAME_SIZE)
    found, rows = store.rebuilt()
    assert set(rows) == {names[0], names[2], names[4]}
    assert found.damaged == (names[1],)
    assert found.gaps == ((1, store.row(names[3]).offset - packs.FRAME_SIZE),)


def unreadable(monkeypatch: pytest.MonkeyPatch, *ranges: tuple[int, int]) -> None:
    """Have the disk fail to read what touches one of these ranges, (start, stop)."""
    real = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        if any(offset < stop and start < offset + size for start, stop in ranges):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)


@pytest.mark.parametrize("lost", [0, 1, 2, 5, 9])
def test_pages_the_disk_cannot_read_cost_what_lies_in_them(store: Store, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    names = [store.writer.put(noise(3000, seed)) for seed in range(10)]
    store.commit()
    page = store.row(names[lost]).offset // packfiles.PAGE * packfiles.PAGE
    bad = (page, page + packfiles.PAGE)
    unreadable(monkeypatch, bad)
    found, rows = store.rebuilt()
    rest = {name for name in names if not touches(store.row(name), bad)}
    assert set(rows) == rest
    assert found.gaps or found.damaged
    assert len(rest) >= 6


def touches(row: packs.IndexRow, bad: tuple[int, int]) -> bool:
    return row.offset - packs.FRAME_SIZE < bad[1] and bad[0] < row.offset + row.stored


def test_a_damaged_start_of_a_pack_costs_nothing_else(store: Store) -> None:
    names = [store.writer.put(noise(500, seed)) for seed in range(3)]
    store.commit()
    data = bytearray(store.last_pack().read_bytes())
    data[3] ^= 1
    store.last_pack().write_bytes(data)
    found, rows = store.rebuilt()
    assert sorted(rows) == sorted(names)
    assert (found.gaps, found.damaged) == (((1, 0),), ())


def test_a_frame_behind_a_long_gap_is_found_at_any_place_of_a_window(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packfiles, "WINDOW", 64)
    for size in range(60, 70):
        lost, kept = store.writer.put(noise(size, size)), store.writer.put(noise(90, 1000 + size))
        store.commit()
        store.flip(lost, -packs.FRAME_SIZE)
        assert kept in store.rebuilt()[1]
        store.flip(lost, -packs.FRAME_SIZE)


class CrashMachine(RuleBasedStateMachine):
    """Puts, commits, failures and crashes in any order: what was committed is always there, and a rebuild finds it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name))
        self.committed: dict[bytes, bytes] = {}
        self.pending: dict[bytes, bytes] = {}

    @rule(data=st.binary(max_size=300), times=st.integers(1, 9))
    def put(self, data: bytes, times: int) -> None:
        self.pending[self.store.writer.put(data * times)] = data * times

    @rule(data=st.binary(max_size=30))
    def put_record(self, data: bytes) -> None:
        self.pending[self.store.writer.put_record(data)] = data

    @rule()
    def commit(self) -> None:
        self.store.commit()
        self.committed |= self.pending
        self.pending = {}

    @rule()
    def abandon(self) -> None:
        self.store.writer.abandon()
        self.pending = {}

    @rule(synced=st.booleans(), torn=st.integers(0, 400))
    def crash(self, synced: bool, torn: int) -> None:
        if synced:
            self.store.writer.sync()
        self.store.writer.close()
        path = self.store.last_pack()
        if path.exists():
            os.truncate(path, max(self.store.end.offset, path.stat().st_size - torn))
        self.store.open()
        self.pending = {}

    @invariant()
    def everything_is_there(self) -> None:
        reader = self.store.reader(cache_bytes=0)
        for name, data in self.committed.items():
            assert reader.get(BlobId(name)) == data
        for name, data in (self.committed | self.pending).items():
            assert self.store.writer.get(BlobId(name)) == data
        reader.close()

    def teardown(self) -> None:
        rows = self.store.rebuilt()[1]
        assert set(self.committed) <= set(rows)
        self.store.writer.close()
        self.folder.cleanup()


TestCrashes = CrashMachine.TestCase
TestCrashes.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
