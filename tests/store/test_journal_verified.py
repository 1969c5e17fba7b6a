"""Written data that another process may have written is read with the frame it came in: as it was written, or not at all."""

import random
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimeifs.errors import IntegrityError
from mimeifs.store import journal
from mimeifs.store.journal import FRAME_SIZE, JournalWriter, retire, segment_path, segments, spares
from mimeifs.store.journalreader import HELD, JournalReader

KEY = b"k" * 32
SIZES = [1, 20, 300, 4096, 16 << 10, 70_000, 1 << 20]
sizes = st.lists(st.one_of(st.sampled_from(SIZES), st.integers(1, 9000)), min_size=1, max_size=60)


def written(directory, lengths, seed):
    """Frames of those lengths; their addresses with their bytes."""
    writer = JournalWriter(directory, 1, KEY)
    rng = random.Random(seed)
    found = []
    for length in lengths:
        data = rng.randbytes(length)
        found.append((writer.append(b"head", data) + FRAME_SIZE + 4, data))
    writer.close()
    return found


def replayed(directory, reader):
    """Read every frame as the keeper does."""
    at = journal.SEGMENT_SIZE + journal.HEADER_SIZE
    while at // journal.SEGMENT_SIZE in segments(directory) and (frame := reader.frame(at)) is not None:
        at = frame[1]


def change(directory, address, data):
    number, offset = divmod(address, journal.SEGMENT_SIZE)
    with segment_path(directory, number).open("r+b") as file:
        file.seek(offset)
        file.write(data)


@settings(max_examples=150, deadline=None)
@given(st.data(), sizes, st.booleans())
def test_what_is_damaged_is_refused_and_nothing_else(tmp_path_factory, data, lengths, before):
    directory = tmp_path_factory.mktemp("journal")
    with pytest.MonkeyPatch.context() as patch:  # A thousand segments of full size would fill the disk.
        patch.setattr(journal, "SEGMENT_SIZE", 4 << 20)
        try:
            damaged_and_read(directory, data, lengths, before=before)
        finally:
            shutil.rmtree(directory)


def damaged_and_read(directory, data, lengths, *, before):
    frames = written(directory, lengths, len(lengths))
    reader = JournalReader(directory, KEY)
    if before:
        replayed(directory, reader)
    hurt = set()
    for index in data.draw(st.sets(st.integers(0, len(frames) - 1), max_size=3)):
        address, piece = frames[index]
        # From the first byte of the frame (its length) to the last of its data.
        place = address - 4 - FRAME_SIZE + data.draw(st.integers(0, len(piece) + 3 + FRAME_SIZE))
        number, offset = divmod(place, journal.SEGMENT_SIZE)
        old = segment_path(directory, number).read_bytes()[offset]
        change(directory, place, bytes([old ^ data.draw(st.integers(1, 255))]))
        hurt.add(index)
    for index in data.draw(st.permutations(range(len(frames)))):
        address, piece = frames[index]
        start = data.draw(st.integers(0, len(piece) - 1))
        length = data.draw(st.integers(1, len(piece) - start))
        if index in hurt:
            with pytest.raises(IntegrityError):
                reader.read(address + start, length)
        else:
            assert reader.read(address + start, length) == piece[start : start + length]
    assert bool(reader.damaged) == bool(hurt)
    reader.close()


def test_what_was_appended_after_a_first_look_is_read_too(tmp_path):
    writer, reader = JournalWriter(tmp_path, 1, KEY), JournalReader(tmp_path, KEY)
    for number in range(200):
        data = random.Random(number).randbytes(1 + 97 * number)
        address = writer.append(data) + FRAME_SIZE
        assert reader.read(address, len(data)) == data
    writer.close()
    reader.close()


def test_what_the_process_has_written_itself_is_only_read(tmp_path):
    ((address, data),) = written(tmp_path, [5000], 1)
    change(tmp_path, address + 17, b"damage")
    reader = JournalReader(tmp_path, KEY, trusted=1)
    assert reader.read(address, 5000) == data[:17] + b"damage" + data[23:]
    reader.distrust([1])
    with pytest.raises(IntegrityError, match="damaged"):
        reader.read(address, 5000)
    reader.close()


def test_a_segment_before_those_is_verified(tmp_path):
    ((address, _),) = written(tmp_path, [5000], 1)
    change(tmp_path, address + 17, b"damage")
    reader = JournalReader(tmp_path, KEY, trusted=2)
    with pytest.raises(IntegrityError, match="damaged"):
        reader.read(address, 10)
    reader.close()


def test_what_is_beyond_the_end_or_across_frames_is_nobodys(tmp_path):
    first, second = written(tmp_path, [5000, 5000], 1)
    reader = JournalReader(tmp_path, KEY)
    for address, length in ((first[0], 5001), (first[0] - 20, 4), (second[0] + 5000, 1), (second[0] + (1 << 20), 10)):
        with pytest.raises(IntegrityError):
            reader.read(address, length)
    reader.close()


def test_a_segment_that_was_freed_is_told_from_a_damaged_one(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_SIZE", 1 << 16)
    writer = JournalWriter(tmp_path, 1, KEY)
    address = writer.append(bytes(5000)) + FRAME_SIZE
    reader = JournalReader(tmp_path, KEY)
    assert reader.read(address, 5000) == bytes(5000)
    while writer.segment < 4:
        writer.append(bytes(6000))
    retire(tmp_path, 1)
    while spares(tmp_path):
        writer.append(bytes(6000))
    with pytest.raises(IntegrityError, match=r"freed|missing"):
        reader.read(address, 5000)
    assert not reader.damaged
    writer.close()
    reader.close()


def test_pieces_of_long_frames_are_read_once_and_kept_in_little_room(tmp_path, monkeypatch):
    frames = written(tmp_path, [1 << 20] * 12, 3)
    reader = JournalReader(tmp_path, KEY)
    replayed(tmp_path, reader)
    hashed = []
    honest = journal.checksum
    monkeypatch.setattr(journal, "checksum", lambda key, at, *pieces: hashed.append(at) or honest(key, at, *pieces))
    for address, data in frames:
        for start in range(0, 1 << 20, 1 << 17):
            assert reader.read(address + start, 1 << 17) == data[start : start + (1 << 17)]
        assert sum(map(len, reader._held.values())) <= HELD
    assert len(hashed) == len(frames)
    reader.close()


def test_frames_far_behind_what_is_damaged_are_found(tmp_path):
    frames = written(tmp_path, [3000] * 40 + [1 << 20] * 9 + [3000] * 40, 5)
    start = frames[20][0]
    change(tmp_path, start, bytes(frames[55][0] - start - 100))
    reader = JournalReader(tmp_path, KEY)
    for index, (address, data) in enumerate(frames):
        if 20 <= index < 55:
            with pytest.raises(IntegrityError):
                reader.read(address, len(data))
        else:
            assert reader.read(address, len(data)) == data
    reader.close()


def test_what_is_all_damaged_is_looked_through_once(tmp_path, monkeypatch):
    frames = written(tmp_path, [5000] * 500, 6)
    reader = JournalReader(tmp_path, b"another key" * 2 + bytes(10))
    looked = []
    honest = JournalReader._first_between
    monkeypatch.setattr(JournalReader, "_first_between", lambda *at: looked.append(at[2] - at[1]) or honest(*at))
    for address, _ in frames:
        with pytest.raises(IntegrityError):
            reader.read(address, 5000)
    assert sum(looked) <= journal.SEGMENT_SIZE
    reader.close()


def test_nothing_is_looked_for_behind_what_is_asked_for(tmp_path, monkeypatch):
    """A segment that is used again has frames of its life before behind the last one: seconds of looking, for nothing."""
    frames = written(tmp_path, [5000] * 500, 7)
    retire(tmp_path, 1)
    reader = JournalReader(tmp_path, KEY)
    writer = JournalWriter(tmp_path, 2, KEY)
    frames = [(writer.append(b"head", data) + FRAME_SIZE + 4, data) for _, data in frames[:50]]
    writer.close()
    monkeypatch.setattr(JournalReader, "_first_between", lambda *at: pytest.fail("looked for frames"))
    for address, data in (*frames[30:], *frames[:30]):
        assert reader.read(address, len(data)) == data
    reader.close()
