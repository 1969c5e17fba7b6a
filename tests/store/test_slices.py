"""Small reads of large blobs: little is read and verified, and what was damaged since is never served."""

import os
from collections.abc import Sequence
from random import Random

import msgspec
import pytest

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.store.blobs import MAX_LITTLE, MAX_WAIT, POPULAR
from mimeifs.store.interfaces import Cold
from mimeifs.store.pace import SLOW_NS, Pace
from mimeifs.store.slices import SHORT, SLICE
from tests.store.packing import Store, never, noise

SIZE = 13 * SLICE + 1234
DATA = noise(SIZE)
EVERYWHERE = [0, 1, SLICE - 1, SLICE, 5 * SLICE + 77, 13 * SLICE - 1, 13 * SLICE, SIZE - 1]


def put(store: Store, data: bytes = DATA) -> BlobId:
    name = store.writer.put(data)
    store.commit()
    return name


class Counting:
    """preadv(2), adding up how many bytes were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self._preadv = os.preadv
        monkeypatch.setattr("mimeifs.store.blobs.os.preadv", self)

    def __call__(self, fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        self.asked += sum(map(len, buffers))
        return self._preadv(fd, buffers, offset, flags)


def test_any_piece_is_what_was_stored(store: Store) -> None:
    blobs = [DATA, noise(SIZE, 2)[: SIZE - SLICE], bytes(SIZE), noise(3000, 3), noise(MAX_WAIT + 1, 4)]
    names = [put(store, blob) for blob in blobs]
    reader, draw = store.resident(cache_bytes=100_000), Random(7)
    for _ in range(600):
        parts, expected = [], b""
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            which = draw.randrange(len(blobs))
            start = draw.randrange(len(blobs[which]))
            length = min(draw.choice((1, 4096, SLICE, MAX_LITTLE, MAX_WAIT)), len(blobs[which]) - start)
            parts.append((names[which], start, length))
            expected += blobs[which][start : start + length]
        assert bytes(reader.view(parts)) == expected


def test_a_small_read_reads_and_verifies_little(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimeifs.store.blobs.POPULAR", len(EVERYWHERE) + 1)
    name, reader = put(store), store.resident(cache_bytes=0)
    reader.view([(name, 0, 10)])  # Opens the pack.
    for start in EVERYWHERE:
        counting = Counting(monkeypatch)
        assert bytes(reader.view([(name, start, 1)])) == DATA[start : start + 1]
        assert 0 < counting.asked <= SLICE


def test_a_blob_of_which_much_is_wanted_is_read_whole_and_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name, reader = put(store), store.resident(cache_bytes=SIZE + 1000)
    counting, asked = Counting(monkeypatch), []
    for _ in range(POPULAR + 2):
        before = counting.asked
        assert bytes(reader.view([(name, 5, 1)])) == DATA[5:6]
        asked.append(counting.asked - before)
    assert asked[0] >= SLICE  # And the pack's header.
    assert asked[1:] == [SLICE] * (POPULAR - 1) + [SIZE, 0]


def test_only_what_is_long_and_stored_as_it_is_has_slices(store: Store) -> None:
    long, short, shrunk = put(store, noise(SHORT + 1)), put(store, noise(SHORT)), put(store, bytes(SIZE))
    record = store.writer.put_record(noise(SIZE, 5))
    store.commit()
    assert [len(store.row(name).slices) for name in (long, short, shrunk, record)] == [5 * 32, 0, 0, 0]


def test_slices_of_a_lost_index_come_back(store: Store) -> None:
    put(store)
    _, rows = store.rebuilt()
    assert rows == store.rows


def test_a_blob_of_an_index_without_slices_is_read_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name = put(store)
    store.rows[name] = msgspec.structs.replace(store.row(name), slices=b"").encode()
    reader, counting = store.resident(), Counting(monkeypatch)
    assert bytes(reader.view([(name, 70_000, 5)])) == DATA[70_000:70_005]
    assert counting.asked >= SIZE


def test_wrong_slices_serve_nothing_wrong(store: Store) -> None:
    name = put(store)
    row = store.row(name)
    store.rows[name] = msgspec.structs.replace(row, slices=bytes(len(row.slices))).encode()
    assert bytes(store.resident().view([(name, 70_000, 5)])) == DATA[70_000:70_005]
    store.flip(name, 70_003)
    with pytest.raises(IntegrityError, match="damaged"):
        store.resident().view([(name, 70_000, 5)])


@pytest.mark.parametrize("at", EVERYWHERE)
def test_what_is_damaged_after_it_was_verified_is_never_served(store: Store, at: int) -> None:
    name, reader = put(store), store.resident(cache_bytes=0)
    assert bytes(reader.view([(name, at, 1)])) == DATA[at : at + 1]
    store.flip(name, at)
    for begin in (at, max(at - 4000, 0)):
        with pytest.raises(IntegrityError, match="damaged"):
            reader.view([(name, begin, at + 1 - begin)])


def test_damage_anywhere_is_never_served_whatever_is_read(store: Store) -> None:
    name, draw = put(store), Random(9)
    row = store.row(name)
    reader = store.resident(cache_bytes=0)
    reader.view([(name, 0, 1)])
    with store.last_pack().open("r+b", buffering=0) as pack:
        for _ in range(300):
            start = draw.randrange(SIZE - 5000)
            damaged = draw.randrange(SIZE)
            pack.seek(row.offset + damaged)
            pack.write(bytes([DATA[damaged] ^ 1]))
            try:
                assert bytes(reader.view([(name, start, 5000)])) == DATA[start : start + 5000]
                assert not start <= damaged < start + 5000
            except IntegrityError:
                assert start - SLICE < damaged < start + 5000 + SLICE
            pack.seek(row.offset + damaged)
            pack.write(DATA[damaged : damaged + 1])
            assert bytes(reader.view([(name, start, 5000)])) == DATA[start : start + 5000]


def test_a_blob_that_was_mended_elsewhere_is_found_there(store: Store) -> None:
    name, reader = put(store), store.resident(cache_bytes=0)
    reader.view([(name, 0, 1)])
    before = store.row(name)
    store.flip(name, 5000)
    del store.rows[name]
    put(store)
    assert store.row(name) != before
    assert bytes(reader.view([(name, 4000, 4096)])) == DATA[4000:8096]


def test_a_pack_that_ends_early_is_damage(store: Store) -> None:
    name, reader = put(store), store.resident(cache_bytes=0)
    reader.pace = Pace(lambda: 0)
    reader.view([(name, 0, 1)])
    os.truncate(store.last_pack(), store.row(name).offset + 3 * SLICE + 5)
    assert bytes(reader.view([(name, 2 * SLICE, SLICE)])) == DATA[2 * SLICE : 3 * SLICE]
    with pytest.raises(Cold) as cold:
        reader.view([(name, 3 * SLICE, 4)])
    with pytest.raises(IntegrityError):
        reader.fetch(cold.value.ids)


def test_a_piece_beyond_the_blob_is_damage(store: Store) -> None:
    name, reader = put(store), store.resident(cache_bytes=0)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="are needed"):
            reader.view([(name, SIZE - 5, 10)])
        reader.view([(name, SIZE - 5, 5)])


def test_what_is_in_no_memory_is_named_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [put(store), put(store, noise(SIZE, 2))]
    reader = store.resident(cache_bytes=0)
    reader.view([(names[0], 0, 1)])
    monkeypatch.setattr("mimeifs.store.blobs.os.preadv", never)
    parts = [(names[0], SIZE - 3, 3), (names[1], 0, 3)]
    with pytest.raises(Cold) as cold:
        reader.view(parts)
    assert cold.value.ids == tuple(names)
    reader.fetch(cold.value.ids)
    assert bytes(reader.view(parts)) == DATA[-3:] + noise(SIZE, 2)[:3]


def test_slices_are_waited_for_where_the_disk_is_quick(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name, preadv = put(store), os.preadv
    reader = store.resident(cache_bytes=0)
    reader.pace = Pace(lambda: 0)
    reader.view([(name, 0, 1)])

    def nothing_resident(fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        return never() if flags else preadv(fd, buffers, offset)

    monkeypatch.setattr("mimeifs.store.blobs.os.preadv", nothing_resident)
    at = 3 * SLICE - 1
    assert bytes(reader.view([(name, at, MAX_LITTLE)])) == DATA[at : at + MAX_LITTLE]
    reader.pace.took(-2 * SLOW_NS)
    with pytest.raises(Cold):
        reader.view([(name, at, MAX_LITTLE)])
