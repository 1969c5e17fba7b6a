"""Reading blobs: caches, packs that grow, the reader that never waits, and views that are never copied."""

import errno
import os
import threading
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimeifs.errors import IntegrityError
from mimeifs.ids import blob_id
from mimeifs.store import blobs, packwriter
from mimeifs.store.interfaces import Cold
from mimeifs.store.pace import SLOW_NS, Pace
from mimeifs.store.packfiles import PackFiles
from tests.store.packing import Store, never, noise

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
    preadv = os.preadv

    def unsupported(fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        if not flags:
            return preadv(fd, buffers, offset)
        asked.append(offset)
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


def test_small_reads_wait_for_a_quick_disk_and_none_for_a_slow_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = store.writer.put(noise(1000)), store.writer.put(noise(blobs.MAX_WAIT + 1))
    store.commit()
    preadv = os.preadv

    def nothing_resident(fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        return never() if flags else preadv(fd, buffers, offset)

    monkeypatch.setattr("mimeifs.store.blobs.os.preadv", nothing_resident)
    reader = store.resident(cache_bytes=0)
    reader.pace = Pace(lambda: 0)
    assert reader.get(small) == noise(1000)
    with pytest.raises(Cold):
        reader.get(large)
    reader.pace.took(-2 * SLOW_NS)
    with pytest.raises(Cold):
        reader.get(small)


def test_only_little_is_soon_fetched_and_only_from_a_quick_disk(cold: Store) -> None:
    small, large = cold.writer.put(noise(1000)), cold.writer.put(noise(blobs.MAX_WAIT))
    cold.commit()
    reader = cold.resident()
    assert not reader.soon(reader.want([small]))
    reader.pace = Pace(lambda: 0)
    assert reader.soon(reader.want([small]))
    assert not reader.soon(reader.want([small, large]))
    reader.pace.took(-2 * SLOW_NS)
    assert not reader.soon(reader.want([small]))


def test_small_reads_on_another_thread_tell_that_the_disk_is_quick_again(cold: Store) -> None:
    names = [cold.writer.put(noise(1000, seed)) for seed in range(30)]
    cold.commit()
    reader = cold.resident()
    reader.pace = Pace(lambda: 0)
    reader.pace.took(-2 * SLOW_NS)
    reader.fetch(reader.want(names))
    assert reader.pace.quick


# Views


def pieces_of(parts: list[tuple[bytes, int, int]]) -> bytes:
    return b"".join(data[start : start + length] for data, start, length in parts)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3000), st.integers(1, 3000)), min_size=1, max_size=6),
    st.sampled_from([0, 2000, 1 << 20]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_a_view_is_its_pieces_whatever_is_cached_and_compressed(
    made: tuple[Store, list[bytes]], wanted: list[tuple[int, int, int]], cache_bytes: int
) -> None:
    store, blobs = made
    reader = store.resident(cache_bytes=cache_bytes)
    parts = [(blob_id(blobs[which]), start, min(length, 3000 - start)) for which, start, length in wanted if start < 3000]
    for _ in range(2):
        found = bytes(reader.view(parts))
        assert found == pieces_of([(blobs[which], start, min(length, 3000 - start)) for which, start, length in wanted])
        assert found == bytes(store.reader().view(parts))
    reader.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[bytes]]:
    """A store with blobs of 3,000 bytes, every other one compressible."""
    store = Store(tmp_path_factory.mktemp("packs"))
    blobs = [noise(3000, seed) if seed % 2 else (noise(1500, seed).hex().encode()) for seed in range(6)]
    for blob in blobs:
        store.writer.put(blob)
    store.commit()
    return store, blobs


def test_a_view_names_all_that_is_cold_and_is_whole_after_one_fetch(cold: Store) -> None:
    blobs = [noise(1000, seed) for seed in range(3)]
    names = [cold.writer.put(blob) for blob in blobs]
    cold.commit()
    reader = cold.resident()
    parts = [(names[0], 10, 990), (names[1], 0, 1000), (names[2], 0, 5)]
    with pytest.raises(Cold) as cold_ones:
        reader.view(parts)
    assert cold_ones.value.ids == tuple(names)
    reader.fetch(cold_ones.value.ids)
    assert bytes(reader.view(parts)) == blobs[0][10:] + blobs[1] + blobs[2][:5]


def test_what_a_view_took_only_in_part_is_remembered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name = store.writer.put(noise(1000))
    store.commit()
    reader = store.resident()
    reader.view([(name, 0, 400)])
    monkeypatch.setattr("mimeifs.store.blobs.os.preadv", never)
    assert bytes(reader.view([(name, 400, 600)])) == noise(1000)[400:]


def test_viewing_the_same_again_and_again_costs_the_cache_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [store.writer.put(noise(1000, seed)) for seed in range(3)]
    store.commit()
    reader = store.resident(cache_bytes=5000)
    for _ in range(20):
        for name in names:
            reader.view([(name, 0, 10)])
    monkeypatch.setattr("mimeifs.store.blobs.os.preadv", never)
    assert [bytes(reader.view([(name, 990, 10)])) for name in names] == [noise(1000, seed)[990:] for seed in range(3)]


@pytest.mark.parametrize("length", [1000, 400])
@pytest.mark.parametrize("data", [noise(1000), noise(500).hex().encode()])
def test_a_view_of_damage_is_an_integrity_error(store: Store, data: bytes, length: int) -> None:
    name = store.writer.put(data)
    store.commit()
    store.flip(name, 20)
    with pytest.raises(IntegrityError, match="damaged"):
        store.resident().view([(name, 0, length)])


def test_a_piece_beyond_its_blob_is_damage_from_disk_and_from_memory(store: Store) -> None:
    name = store.writer.put(noise(1000))
    store.commit()
    reader = store.resident()
    for _ in range(2):
        with pytest.raises(IntegrityError, match="1000 bytes"):
            reader.view([(name, 500, 600)])
        reader.get(name)


def test_what_lies_side_by_side_is_asked_of_the_disk_in_one_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [store.writer.put(noise(1000, seed)) for seed in range(6)]
    store.commit()
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "mimeifs.store.blobs.os.posix_fadvise", lambda fd, offset, length, advice: asked.append((offset, length))
    )
    store.resident().ahead([*names[:3], *names[4:]])
    rows = [store.row(name) for name in names]
    assert asked == [
        (rows[0].offset, rows[2].offset + rows[2].stored - rows[0].offset),
        (rows[4].offset, rows[5].offset + rows[5].stored - rows[4].offset),
    ]


def test_asking_ahead_never_waits_for_the_header_of_a_pack(cold: Store) -> None:
    name = cold.writer.put(noise(1000))
    cold.commit()
    reader = cold.resident()
    reader.ahead([name])
    with pytest.raises(Cold):
        reader.get(name)


def test_pieces_of_far_too_large_blobs_take_no_memory_for_all_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "MAX_WINDOW", 5000)
    data = [noise(3000, seed) for seed in range(4)]
    names = [store.writer.put(each) for each in data]
    store.commit()
    reader = store.resident()
    before = len(reader._window)
    assert bytes(reader.view([(name, 7, 10) for name in names])) == b"".join(each[7:17] for each in data)
    assert len(reader._window) == before
