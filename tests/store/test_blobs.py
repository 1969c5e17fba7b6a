"""Blobs in pack files: writing, crashes, full disks and damage."""

import errno
import os
import tracemalloc
from collections.abc import Callable

import pytest

from mimeifs.errors import CapacityError, IntegrityError, MissingError, TooLargeError, UnknownFormatError
from mimeifs.ids import BlobId, blob_id
from mimeifs.store import packfiles, packs, packwriter
from mimeifs.store.packfiles import pack_numbers, scan_pack
from mimeifs.store.packs import START, pack_name
from tests.store.packing import Store, never, noise

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
        with pytest.raises(MissingError):
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


def test_a_pack_that_is_missing_is_refused(store: Store) -> None:
    store.writer.put(b"kept")
    store.commit()
    store.last_pack().unlink()
    with pytest.raises(IntegrityError, match=pack_name(1)):
        store.open()


def test_a_pack_that_was_cut_off_costs_what_was_cut_off(store: Store) -> None:
    kept, lost = store.writer.put(noise(900, 1)), store.writer.put(noise(900, 2))
    store.commit()
    first = store.last_pack()
    os.truncate(first, store.end.offset - 1)
    store.open()
    new = store.writer.put(noise(900, 3))
    store.commit()
    assert store.end.number == 2
    reader = store.reader(cache_bytes=0)
    assert (reader.get(kept), reader.get(new)) == (noise(900, 1), noise(900, 3))
    with pytest.raises(IntegrityError, match="damaged"):
        reader.get(lost)
    assert store.writer.put(noise(900, 2)) == lost
    store.commit()
    assert store.reader().get(lost) == noise(900, 2)


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
    with pytest.raises(MissingError):
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
    with pytest.raises(IntegrityError, match="Input/output"):
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


def test_what_is_compressed_takes_the_memory_of_what_it_became(tmp_path):
    """A file that is mostly hole is made of thousands of chunks that shrink to next to nothing."""
    store = Store(tmp_path)
    blobs = [bytes(500_000) + noise(1000, number) for number in range(8)]
    for blob in blobs:
        store.writer.put(blob)  # Whatever is made once has been made.
    tracemalloc.start()
    try:
        for blob in blobs:
            store.writer.put(blob + b"!")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < len(blobs) * 20_000
