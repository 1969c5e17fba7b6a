"""Blobs in pack files: writing, reading, crashes, full disks, damage, and making the index again."""

import errno
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mimeifs.errors import CapacityError, IntegrityError, NotFoundError, TooLargeError, UnknownFormatError
from mimeifs.ids import BlobId, blob_id
from mimeifs.store import packfiles, packs, packwriter
from mimeifs.store.blobs import BlobReader, PackWriter, ResidentBlobReader
from mimeifs.store.interfaces import Cold
from mimeifs.store.packfiles import PackFiles, Rebuilt, pack_numbers, rebuild, scan_pack
from mimeifs.store.packs import START, IndexRow, PackEnd, pack_name


class Store:
    """A directory of packs, and a dictionary in the place of the index that survives crashes of the writer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rows: dict[bytes, bytes] = {}
        self.end = START
        self.writer = self.open()

    def open(self) -> PackWriter:
        self.writer = PackWriter(self.directory, self.end, self.lookup)
        return self.writer

    def lookup(self, digest: bytes) -> IndexRow | None:
        raw = self.rows.get(digest)
        return None if raw is None else IndexRow.decode(raw)

    def commit(self) -> None:
        self.writer.sync()
        self.rows.update(self.writer.take_rows())
        self.end = self.writer.end

    def reader(self, cache_bytes: int = 1 << 20) -> BlobReader:
        return BlobReader(self.directory, self.lookup, cache_bytes=cache_bytes)

    def resident(self, cache_bytes: int = 1 << 20, pin_bytes: int = 1 << 20) -> ResidentBlobReader:
        return ResidentBlobReader(self.directory, self.lookup, cache_bytes=cache_bytes, pin_bytes=pin_bytes)

    def row(self, digest: bytes) -> IndexRow:
        row = self.lookup(digest)
        assert row is not None
        return row

    def rebuilt(self) -> tuple[Rebuilt, dict[bytes, bytes]]:
        rows: dict[bytes, bytes] = {}
        return rebuild(self.directory, rows.__setitem__), rows

    def last_pack(self) -> Path:
        return self.directory / pack_name(self.end.number)

    def flip(self, digest: bytes, shift: int = 0) -> None:
        """Damage the stored bytes of a blob, or what lies ``shift`` bytes from them."""
        row = self.row(digest)
        path = self.directory / pack_name(row.pack)
        data = bytearray(path.read_bytes())
        data[row.offset + shift] ^= 4
        path.write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def noise(size: int, seed: int = 0) -> bytes:
    return blake3(seed.to_bytes(8, "big")).digest(size)


def never(*args: object) -> bytes:
    raise BlockingIOError


# Writing and reading


@pytest.mark.parametrize("size", [0, 1, 63, 64, 4096, 65536, 1 << 20])
@pytest.mark.parametrize("make", [noise, bytes, lambda size: (noise(size // 2 + 1).hex().encode())[:size]])
def test_what_is_put_comes_back_buffered_synced_and_committed(store: Store, size: int, make: Callable[[int], bytes]) -> None:
    data = make(size)
    name = store.writer.put(data)
    assert name == blob_id(data)
    assert store.writer.get(name) == data
    store.writer.sync()
    assert store.writer.get(name) == data
    store.commit()
    assert store.writer.get(name) == data
    assert store.reader().get(name) == data
    assert store.resident().get(name) == data


def test_compression_is_kept_only_where_it_saves(store: Store) -> None:
    sizes = {}
    for label, data in {"tiny": bytes(63), "text": bytes(64), "noise": noise(4096), "large noise": noise(1 << 20)}.items():
        name = store.writer.put(data)
        store.commit()
        sizes[label] = store.row(name).stored - len(data)
    assert sizes["text"] < 0
    assert {sizes["tiny"], sizes["noise"], sizes["large noise"]} == {0}


def test_a_large_blob_with_one_compressible_part_is_still_tried(store: Store) -> None:
    name = store.writer.put(noise(300_000) + bytes(100_000))
    store.commit()
    assert store.row(name).stored < 310_000


def test_the_same_bytes_are_stored_once_in_a_batch_and_across_batches(store: Store) -> None:
    store.writer.put(b"once")
    store.writer.put(b"once")
    store.commit()
    store.writer.put(b"once")
    store.commit()
    assert len(list(scan_pack(store.last_pack()))) == 1


def test_bytes_synced_but_not_yet_taken_are_not_stored_again(store: Store) -> None:
    store.writer.put(b"once")
    store.writer.sync()
    store.writer.put(b"once")
    store.commit()
    assert len(list(scan_pack(store.last_pack()))) == 1


def test_rows_are_handed_out_once_and_only_when_synced(store: Store) -> None:
    name = store.writer.put(b"data")
    assert store.writer.take_rows() == []
    store.writer.sync()
    assert [digest for digest, _ in store.writer.take_rows()] == [name]
    assert store.writer.take_rows() == []


def test_a_record_is_marked_and_read_like_a_blob(store: Store) -> None:
    name = store.writer.put_record(b"signed")
    store.commit()
    assert store.row(name).is_record
    assert store.reader().get(BlobId(name)) == b"signed"


def test_a_blob_with_a_records_bytes_does_not_stand_for_the_record(store: Store) -> None:
    name = store.writer.put(b"signed")
    store.commit()
    assert not store.row(name).is_record
    store.writer.put_record(b"signed")
    store.writer.put(b"signed")
    store.commit()
    assert store.row(name).is_record
    assert store.rebuilt()[1] == store.rows


def test_an_absent_blob_is_not_found(store: Store) -> None:
    for source in (store.writer, store.reader(), store.resident()):
        with pytest.raises(NotFoundError):
            source.get(blob_id(b"absent"))


def test_a_blob_over_the_limit_is_refused_before_anything_is_written(store: Store) -> None:
    with pytest.raises(TooLargeError):
        store.writer.put(bytes(packs.MAX_PLAIN + 1))
    store.commit()
    assert pack_numbers(store.directory) == []


def test_the_buffer_is_written_out_when_it_is_large(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packwriter, "FLUSH_BYTES", 10_000)
    names = [store.writer.put(noise(3000, seed)) for seed in range(5)]
    assert store.last_pack().stat().st_size > 10_000
    assert [store.writer.get(name) for name in names] == [noise(3000, seed) for seed in range(5)]


def test_packs_roll_at_their_limit_and_every_touched_one_is_synced_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packwriter, "ROLL_BYTES", 10_000)
    synced: list[int] = []
    monkeypatch.setattr(packwriter.os, "fdatasync", synced.append)
    names = [store.writer.put(noise(3000, seed)) for seed in range(8)]
    store.commit()
    assert pack_numbers(store.directory) == [1, 2, 3]
    assert len(synced) == len(set(synced)) == 3
    assert all((store.directory / pack_name(number)).stat().st_size <= 10_000 for number in (1, 2, 3))
    assert [store.reader().get(name) for name in names] == [noise(3000, seed) for seed in range(8)]


def test_a_sync_with_nothing_new_touches_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.writer.put(b"data")
    store.commit()
    monkeypatch.setattr(packwriter.os, "fdatasync", never)
    store.commit()


# Crashes


def test_the_tail_behind_the_committed_end_is_cut_off(store: Store) -> None:
    kept = store.writer.put(b"kept")
    store.commit()
    store.writer.put(b"lost")
    store.writer.sync()
    store.open()
    assert store.last_pack().stat().st_size == store.end.offset
    again = store.writer.put(b"again")
    store.commit()
    assert [frame.digest for frame in scan_pack(store.last_pack())] == [kept, again]


def test_packs_begun_behind_the_committed_end_are_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.writer.put(noise(3000))
    store.commit()
    monkeypatch.setattr(packwriter, "ROLL_BYTES", 5_000)
    store.writer.put(noise(3000, 1))
    store.writer.sync()
    assert pack_numbers(store.directory) == [1, 2]
    store.open()
    assert pack_numbers(store.directory) == [1]


def test_an_index_that_knows_nothing_never_cuts_packs(store: Store) -> None:
    store.writer.put(b"kept")
    store.commit()
    store.end, store.rows = START, {}
    store.open().put(b"new")
    store.commit()
    assert pack_numbers(store.directory) == [1, 2]
    assert {blob_id(b"kept"), blob_id(b"new")} == set(store.rebuilt()[1])


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_packs_that_end_before_the_committed_end_are_refused(store: Store, damage: str) -> None:
    store.writer.put(b"kept")
    store.commit()
    if damage == "missing":
        store.last_pack().unlink()
    else:
        os.truncate(store.last_pack(), store.end.offset - 1)
    with pytest.raises(IntegrityError, match=pack_name(1)):
        store.open()


def test_a_pack_of_an_unknown_format_is_refused_by_writer_and_readers(store: Store) -> None:
    name = store.writer.put(b"data")
    store.commit()
    with store.last_pack().open("r+b") as file:
        file.seek(8)
        file.write((2).to_bytes(4, "big"))
    for use in (store.open, lambda: store.reader().get(name), lambda: store.resident().get(name), store.rebuilt):
        with pytest.raises(UnknownFormatError, match=r"format 2, this program knows 1"):
            use()


# No room


def fail_after(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    def fail(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(packwriter.os, call, fail)


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "fsync", "open"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_a_capacity_error_and_leaves_the_writer_usable(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    with monkeypatch.context() as patch:
        fail_after(patch, call, number)
        store.writer.put(b"lost")
        with pytest.raises(CapacityError):
            store.writer.sync()
        store.writer.abandon()
        assert store.writer.take_rows() == []
    name = store.writer.put(b"kept")
    store.commit()
    assert [frame.digest for frame in scan_pack(store.last_pack())] == [name]
    assert store.open().get(name) == b"kept"


def test_abandoning_goes_back_to_the_last_sync_over_several_packs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packwriter, "ROLL_BYTES", 8_000)
    first = store.writer.put(noise(3000))
    store.commit()
    for seed in range(1, 7):
        store.writer.put(noise(3000, seed))
    with monkeypatch.context() as patch:
        fail_after(patch, "fdatasync", errno.ENOSPC)
        with pytest.raises(CapacityError):
            store.writer.sync()
    with pytest.raises(RuntimeError, match="abandon"):
        store.writer.sync()
    store.writer.abandon()
    assert pack_numbers(store.directory) == [1]
    assert store.last_pack().stat().st_size == store.end.offset == store.writer.end.offset
    with pytest.raises(NotFoundError):
        store.writer.get(blob_id(noise(3000, 1)))
    second = store.writer.put(noise(3000, 1))
    store.commit()
    assert [frame.digest for frame in scan_pack(store.last_pack())] == [first, second]


def test_a_write_that_runs_out_of_room_half_way_is_made_whole_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.pwrite, []

    def half(fd: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data[:10], offset)

    name = store.writer.put(noise(3000))
    with monkeypatch.context() as patch:
        patch.setattr(packwriter.os, "pwrite", half)
        with pytest.raises(CapacityError):
            store.writer.sync()
    store.commit()
    assert store.reader().get(name) == noise(3000)


def test_another_failure_of_the_disk_is_not_taken_for_a_lack_of_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.writer.put(b"data")
    fail_after(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        store.writer.sync()


# Damage


@pytest.mark.parametrize("data", [noise(5000), bytes(5000)])
def test_a_flipped_bit_is_an_integrity_error_that_costs_only_its_blob(store: Store, data: bytes) -> None:
    name, other = store.writer.put(data), store.writer.put(b"other")
    store.commit()
    store.flip(name, store.row(name).stored // 2)
    for source in (store.writer, store.reader(), store.resident()):
        with pytest.raises(IntegrityError, match=pack_name(1)):
            source.get(name)
        assert source.get(other) == b"other"


def test_a_cut_off_or_missing_pack_is_an_integrity_error(store: Store) -> None:
    name = store.writer.put(noise(5000))
    store.commit()
    os.truncate(store.last_pack(), 1000)
    with pytest.raises(IntegrityError):
        store.reader().get(name)
    store.last_pack().unlink()
    with pytest.raises(IntegrityError, match="missing"):
        store.reader().get(name)


def test_what_the_disk_cannot_read_is_an_integrity_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name = store.writer.put(b"data")
    store.commit()

    def broken(*args: object) -> bytes:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(packfiles.os, "pread", broken)
    monkeypatch.setattr(packfiles.os, "preadv", broken)
    for source in (store.writer, store.reader(), store.resident()):
        with pytest.raises(IntegrityError, match="disk"):
            source.get(name)


# Readers


def test_a_cached_blob_is_not_read_again_and_the_oldest_goes_first(store: Store) -> None:
    names = [store.writer.put(noise(1000, seed)) for seed in range(4)]
    store.commit()
    reader = store.reader(cache_bytes=3600)
    for index in (0, 1, 2, 0, 3):
        reader.get(names[index])
    store.last_pack().unlink()
    reader.refresh()
    assert [reader.get(names[index]) for index in (0, 2, 3)] == [noise(1000, seed) for seed in (0, 2, 3)]
    with pytest.raises(IntegrityError):
        reader.get(names[1])


def test_a_blob_larger_than_the_cache_is_read_and_not_kept(store: Store) -> None:
    name = store.writer.put(noise(5000))
    store.commit()
    reader = store.reader(cache_bytes=1000)
    assert reader.get(name) == reader.get(name) == noise(5000)


def test_a_reader_sees_packs_grow_and_appear(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packwriter, "ROLL_BYTES", 8_000)
    reader = store.reader()
    for seed in range(6):
        name = store.writer.put(noise(3000, seed))
        store.commit()
        assert reader.get(name) == noise(3000, seed)


def test_open_files_stay_under_their_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packwriter, "ROLL_BYTES", 200)
    names = [store.writer.put(noise(150, seed)) for seed in range(80)]
    store.commit()
    before = len(os.listdir("/proc/self/fd"))
    reader = store.reader(cache_bytes=0)
    for _ in range(2):
        assert [reader.get(name) for name in names] == [noise(150, seed) for seed in range(80)]
    assert len(os.listdir("/proc/self/fd")) - before == 64
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_pack_used_longest_ago_is_closed_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packwriter, "ROLL_BYTES", 200)
    for seed in range(3):
        store.writer.put(noise(150, seed))
    store.commit()
    files = PackFiles(store.directory, limit=2)
    kept = files.descriptor(1)
    for number in (2, 1, 3):
        files.descriptor(number)
    assert files.descriptor(1) == kept
    files.close()


# The reader that never waits


@pytest.fixture
def cold(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose bytes are on disk but never in the page cache."""
    monkeypatch.setattr("mimeifs.store.blobs.os.preadv", never)
    return store


def test_bytes_that_are_not_in_memory_are_cold_until_fetched_on_another_thread(cold: Store) -> None:
    names = [cold.writer.put(noise(1000, seed)) for seed in range(3)]
    cold.commit()
    reader = cold.resident()
    for name in names:
        with pytest.raises(Cold) as caught:
            reader.get(name)
        assert caught.value.ids == (name,)
    thread = threading.Thread(target=reader.fetch, args=(names,))
    thread.start()
    thread.join()
    assert [reader.get(name) for name in names] == [noise(1000, seed) for seed in range(3)]


def test_a_short_read_is_cold_and_the_fetch_tells_that_it_is_damage(store: Store) -> None:
    name = store.writer.put(noise(5000))
    store.commit()
    os.truncate(store.last_pack(), 1000)
    reader = store.resident()
    with pytest.raises(Cold):
        reader.get(name)
    with pytest.raises(IntegrityError):
        reader.fetch([name])


def test_a_file_system_without_nowait_is_read_blocking_and_asked_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [store.writer.put(noise(1000, seed)) for seed in range(3)]
    store.commit()
    asked = []

    def unsupported(*args: object) -> int:
        asked.append(args)
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr("mimeifs.store.blobs.os.preadv", unsupported)
    reader = store.resident()
    assert [reader.get(name) for name in names] == [noise(1000, seed) for seed in range(3)]
    assert len(asked) == 1


def test_a_pin_is_spent_on_first_use_into_the_cache(cold: Store) -> None:
    name = cold.writer.put(b"data")
    cold.commit()
    reader = cold.resident(cache_bytes=0)
    reader.fetch(reader.want([name]))
    assert reader.get(name) == b"data"
    with pytest.raises(Cold):
        reader.get(name)


def test_pins_are_bounded_and_the_oldest_goes(cold: Store) -> None:
    names = [cold.writer.put(noise(1000, seed)) for seed in range(4)]
    cold.commit()
    reader = cold.resident(pin_bytes=2500)
    reader.fetch(reader.want(names))
    with pytest.raises(Cold):
        reader.get(names[0])
    assert [reader.get(name) for name in names[2:]] == [noise(1000, seed) for seed in (2, 3)]
    reader.fetch([names[0]])
    assert reader.get(names[0]) == noise(1000, 0)


def test_reading_ahead_wants_only_what_no_memory_holds(cold: Store) -> None:
    names = [cold.writer.put(noise(1000, seed)) for seed in range(3)]
    cold.commit()
    reader = cold.resident()
    reader.fetch(reader.want(names[:2]))
    reader.get(names[0])
    assert reader.want(names) == (names[2],)


def test_a_damaged_blob_does_not_keep_others_from_being_pinned(cold: Store) -> None:
    names = [cold.writer.put(noise(1000, seed)) for seed in range(3)]
    cold.commit()
    cold.flip(names[0])
    reader = cold.resident()
    ids = reader.want(names)
    with pytest.raises(IntegrityError):
        reader.fetch(ids)
    assert [reader.get(name) for name in names[1:]] == [noise(1000, seed) for seed in (1, 2)]


def test_fetching_keeps_one_descriptor_a_pack_until_the_reader_is_closed(cold: Store) -> None:
    names = [cold.writer.put(b"data %d" % number) for number in range(3)]
    cold.commit()
    before = len(os.listdir("/proc/self/fd"))
    reader = cold.resident()
    for name in names:
        reader.fetch(reader.want([name]))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_fetching_beside_reading_never_mixes_bytes_up(store: Store) -> None:
    names = [store.writer.put(noise(700, seed) * 3) for seed in range(40)]
    store.commit()
    reader, failures = store.resident(cache_bytes=4000, pin_bytes=8000), []
    ids = reader.want(names)

    def fetch() -> None:
        try:
            for _ in range(20):
                reader.fetch(ids)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    for _ in range(20):
        for seed, name in enumerate(names):
            assert reader.get(name) == noise(700, seed) * 3
        reader.want(names)
    thread.join()
    assert failures == []


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
