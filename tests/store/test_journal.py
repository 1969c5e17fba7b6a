"""The journal: what is appended is read back, a torn tail is a prefix, no room changes nothing."""

import errno
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimeifs.errors import CapacityError, IntegrityError, UnknownFormatError
from mimeifs.store import journal
from mimeifs.store.journal import (
    FRAME_SIZE,
    HEADER_SIZE,
    MAX_PAYLOAD,
    STEP,
    JournalWriter,
    begun,
    frame_key,
    retire,
    segment_path,
    segments,
    spares,
)
from mimeifs.store.journalreader import JournalReader

SMALL = 1 << 16
PAYLOADS = [b"one", b"two" * 100, b"\7" * 17, b"four"]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_SIZE", SMALL)


@pytest.fixture
def reader(tmp_path):
    found = JournalReader(tmp_path)
    yield found
    found.close()


def appended(directory, payloads, first=1):
    writer = JournalWriter(directory, first)
    positions = [writer.append(payload) for payload in payloads]
    writer.close()
    return positions


def stream(directory, at):
    """Payloads from ``at`` to the end of the stream, END frames left out, and where it ends."""
    reader = JournalReader(directory)
    found = []
    while begun(directory, at // journal.SEGMENT_SIZE) and (frame := reader.frame(at)) is not None:
        at = frame[1]
        if frame[0]:
            found.append(frame[0])
    reader.close()
    return found, at


def test_frames_come_back_in_order(tmp_path, small):
    positions = appended(tmp_path, PAYLOADS)
    assert positions[0] == SMALL + HEADER_SIZE
    assert stream(tmp_path, positions[0])[0] == PAYLOADS


def test_a_frame_of_pieces_is_their_join(tmp_path, small):
    writer = JournalWriter(tmp_path, 1)
    at = writer.append(b"head", b"", b"body")
    assert stream(tmp_path, at) == ([b"headbody"], writer.position)
    writer.close()


@pytest.mark.parametrize("size", [1, journal.JOINED - 4, journal.JOINED - 3, 3 * journal.JOINED])
def test_pieces_make_the_same_frame_however_they_are_cut(tmp_path, size):
    payload = b"head" + os.urandom(size)
    for number, pieces in enumerate(
        ((payload,), (payload[:4], memoryview(payload)[4:]), (payload[:4], bytearray(payload[4:])))
    ):
        place = tmp_path / str(number)
        place.mkdir()
        writer = JournalWriter(place, 1, b"k" * 32)
        at = writer.append(*pieces)
        writer.close()
        assert JournalReader(place, b"k" * 32).frame(at) == (payload, at + FRAME_SIZE + len(payload))
    assert len({segment_path(tmp_path / str(number), 1).read_bytes() for number in range(3)}) == 1


def test_written_data_is_read_at_its_address(tmp_path, small, reader):
    (at,) = appended(tmp_path, [b"0123456789"])
    assert reader.read(at + FRAME_SIZE + 3, 4) == b"3456"


@pytest.mark.parametrize("size", [0, MAX_PAYLOAD + 1])
def test_a_frame_that_no_reader_would_take_is_refused(tmp_path, size):
    writer = JournalWriter(tmp_path, 1)
    with pytest.raises(ValueError):
        writer.append(bytes(size))
    writer.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, SMALL // 3), min_size=1, max_size=20))
def test_the_stream_goes_on_in_the_next_segment(tmp_path_factory, sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "SEGMENT_SIZE", SMALL)
        directory = tmp_path_factory.mktemp("journal")
        payloads = [bytes([index % 255 + 1]) * size for index, size in enumerate(sizes)]
        positions = appended(directory, payloads)
        assert stream(directory, positions[0])[0] == payloads
        assert positions == sorted(positions)
        for at, payload in zip(positions, payloads, strict=True):
            assert at // SMALL == (at + FRAME_SIZE + len(payload)) // SMALL


def test_a_tail_torn_at_any_byte_is_a_prefix_of_what_was_appended(tmp_path, small):
    positions = appended(tmp_path, PAYLOADS)
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    end = positions[-1] + FRAME_SIZE + len(PAYLOADS[-1]) - SMALL
    for cut in range(HEADER_SIZE, end):
        for rest in (b"", bytes(SMALL - cut), b"\xff" * (SMALL - cut)):
            path.write_bytes(whole[:cut] + rest)
            complete = [
                payload
                for at, payload in zip(positions, PAYLOADS, strict=True)
                if at - SMALL + FRAME_SIZE + len(payload) <= cut
            ]
            assert stream(tmp_path, positions[0])[0] == complete


def test_a_flipped_bit_ends_the_stream_there(tmp_path, small):
    positions = appended(tmp_path, PAYLOADS)
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    for offset in range(positions[1] - SMALL, positions[2] - SMALL):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])
        assert stream(tmp_path, positions[0])[0] == PAYLOADS[:1]


def test_a_frame_copied_elsewhere_is_no_frame(tmp_path, small):
    positions = appended(tmp_path, PAYLOADS)
    path = segment_path(tmp_path, 1)
    whole = bytearray(path.read_bytes())
    first, second = positions[0] - SMALL, positions[1] - SMALL
    whole[second : second + FRAME_SIZE + 3] = whole[first : first + FRAME_SIZE + 3]
    path.write_bytes(whole)
    assert stream(tmp_path, positions[0])[0] == PAYLOADS[:1]


@pytest.mark.parametrize("content", [b"", bytes(10), bytes(100)])
def test_a_segment_that_a_crash_left_without_header_has_not_begun(tmp_path, small, content):
    segment_path(tmp_path, 1).write_bytes(content)
    assert not begun(tmp_path, 1)
    assert not begun(tmp_path, 2)
    appended(tmp_path, PAYLOADS, first=3)
    assert begun(tmp_path, 3)
    assert segments(tmp_path) == [1, 3]


def test_a_spare_that_a_crash_left_with_its_old_header_has_not_begun(tmp_path, small):
    appended(tmp_path, PAYLOADS)
    segment_path(tmp_path, 1).rename(segment_path(tmp_path, 5))
    assert not begun(tmp_path, 5)
    segment_path(tmp_path, 5).write_bytes(b"garbage!" * 10)
    assert begun(tmp_path, 5), "damage is for the reader to tell"


def test_a_segment_in_use_again_is_not_read_as_what_it_was(tmp_path, small, reader):
    (at,) = appended(tmp_path, [b"old bytes"])
    assert reader.read(at + FRAME_SIZE, 3) == b"old"
    retire(tmp_path, 1)
    appended(tmp_path, [b"new bytes"], first=2)
    for _ in range(2):
        with pytest.raises(IntegrityError):
            reader.read(at + FRAME_SIZE, 3)


def test_a_spare_that_is_removed_at_that_moment_is_not_missed(tmp_path, small, monkeypatch):
    appended(tmp_path, PAYLOADS)
    retire(tmp_path, 1)
    gone = list(spares(tmp_path))
    gone[0].unlink()
    monkeypatch.setattr(journal, "spares", lambda directory: gone)
    at = appended(tmp_path, PAYLOADS, first=2)[0]
    assert stream(tmp_path, at)[0] == PAYLOADS


def test_bytes_written_to_a_file_are_never_taken_for_a_frame(tmp_path, small):
    """Somebody who knows the format and the place puts frames into a file; a crash and a spare bring them to the tail."""
    forged = JournalWriter(tmp_path, 2)
    forged.append(b"x")
    forged.append(b"forged")
    forged.close()
    segment_path(tmp_path, 2).rename(tmp_path / "000000000001.spare")
    key = frame_key(b"s" * 32)
    writer = JournalWriter(tmp_path, 2, key)
    at = writer.append(b"x")
    writer.close()
    assert b"forged" in segment_path(tmp_path, 2).read_bytes()
    reader = JournalReader(tmp_path, key)
    payload, following = reader.frame(at)
    assert payload == b"x"
    assert reader.frame(following) is None
    reader.close()


def test_another_format_is_refused_with_both_numbers(tmp_path, small, reader):
    appended(tmp_path, PAYLOADS)
    path = segment_path(tmp_path, 1)
    path.write_bytes(b"mimeijnl" + (7).to_bytes(4, "little") + path.read_bytes()[12:])
    with pytest.raises(UnknownFormatError, match=r"7.*1"):
        reader.fd(1)


@pytest.mark.parametrize("head", [b"", b"garbage!" * 4, b"mimeijnl" + (1).to_bytes(4, "little") + (2).to_bytes(8, "little")])
def test_a_segment_that_is_not_itself_is_damage(tmp_path, small, reader, head):
    segment_path(tmp_path, 1).write_bytes(head)
    with pytest.raises(IntegrityError):
        reader.fd(1)


def test_a_missing_segment_is_damage_to_whom_it_is_needed(tmp_path, reader):
    with pytest.raises(IntegrityError, match="missing"):
        reader.read(123, 4)


def test_reading_past_the_end_of_a_segment_is_damage(tmp_path, small, reader):
    (at,) = appended(tmp_path, [b"x"])
    with pytest.raises(IntegrityError):
        reader.read(at, SMALL)


def syncs_of_new_blocks(writer, times, size=4000):
    """How many of so many syncs of one frame each come upon blocks that were never written, by the segment's own account."""
    changing = 0
    for number in range(times):
        before = writer._written
        writer.append(bytes([number % 255 + 1]) * size)
        changing += writer._offset > before
        writer.prewrite()
    return changing


def test_of_many_syncs_few_come_upon_blocks_never_written(tmp_path):
    writer = JournalWriter(tmp_path, 1)
    at = writer.position
    assert syncs_of_new_blocks(writer, 500) <= 3
    writer.close()
    payloads, end = stream(tmp_path, at)
    assert len(payloads) == 500
    assert end == writer.position
    path = segment_path(tmp_path, 1)
    assert path.stat().st_size == journal.SEGMENT_SIZE
    assert not any(path.read_bytes()[end - journal.SEGMENT_SIZE :])


def test_what_is_written_ahead_is_never_where_frames_are(tmp_path, small, monkeypatch):
    written = []

    def noted(fd, data, offset):
        written.append((writer.position, offset, offset + len(data)))
        return os.pwrite(fd, data, offset)

    writer = JournalWriter(tmp_path, 1)
    at = writer.position
    with monkeypatch.context() as patch:
        patch.setattr(journal.disk, "write", noted)
        for number in range(100):
            patch.setattr(journal, "CLOSE", 8000 if number % 2 else 4000)
            writer.append(bytes([number + 1]) * 3000)
            writer.prewrite()
    writer.close()
    assert [payload[0] for payload in stream(tmp_path, at)[0] if payload] == list(range(1, 101))
    ahead = [(position % SMALL, start, stop) for position, start, stop in written if stop - start > HEADER_SIZE]
    assert len(ahead) >= 3
    assert all(offset <= start < stop <= SMALL for offset, start, stop in ahead)


def test_nothing_is_written_ahead_of_seldom_syncs_nor_in_a_spare(tmp_path, small, monkeypatch):
    (tmp_path / "000000000001.spare").write_bytes(b"\7" * SMALL)
    ahead = []
    monkeypatch.setattr(journal, "CLOSE", 5000)
    writer = JournalWriter(tmp_path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(journal.disk, "write", lambda fd, data, offset: ahead.append(offset))
        assert syncs_of_new_blocks(writer, 10) == 0
        assert not ahead
    writer._roll()
    with monkeypatch.context() as patch:
        patch.setattr(journal.disk, "write", lambda fd, data, offset: ahead.append(offset))
        assert syncs_of_new_blocks(writer, 5, 6000) == 5
        assert not ahead
    writer.close()


def test_a_spare_that_was_hardly_written_is_written_ahead_in(tmp_path):
    first = JournalWriter(tmp_path, 1)
    first.append(b"x" * 10_000)
    first.close()
    retire(tmp_path, 1)
    assert len(spares(tmp_path)) == 1
    writer = JournalWriter(tmp_path, 2)
    assert spares(tmp_path) == []
    assert writer._written < 1 << 20
    assert syncs_of_new_blocks(writer, 500) <= 6
    assert writer._written > 500 * 4000
    writer.close()


def test_a_disk_that_takes_no_zeros_takes_frames(tmp_path, monkeypatch):
    writer = JournalWriter(tmp_path, 1)
    at = writer.position
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        assert syncs_of_new_blocks(writer, 20) == 20
    writer.close()
    assert len(stream(tmp_path, at)[0]) == 20


def refuse(*_args):
    raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize("function", ["posix_fallocate", "pwrite", "pwritev"])
@pytest.mark.parametrize("rolls", [False, True])
def test_no_room_leaves_the_stream_as_it_was(tmp_path, small, monkeypatch, function, rolls):
    writer = JournalWriter(tmp_path, 1)
    first = writer.append(b"a" * (SMALL - 100 if rolls else 10))
    before = writer.position
    with monkeypatch.context() as patch:
        patch.setattr(os, function, refuse)
        if rolls or function == "pwritev":
            with pytest.raises(CapacityError):
                writer.append(b"b" * 200)
            assert writer.position == before or function == "pwritev"
            assert len(stream(tmp_path, first)[0]) == 1
    at = writer.append(b"b" * 200)
    writer.close()
    assert stream(tmp_path, first)[0][1:] == [b"b" * 200]
    assert at >= before


def test_a_short_write_appends_nothing(tmp_path, small, monkeypatch):
    writer = JournalWriter(tmp_path, 1)
    at = writer.position
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", lambda fd, pieces, offset: os.pwrite(fd, b"".join(pieces)[:20], offset))
        with pytest.raises(CapacityError):
            writer.append(b"c" * 50)
    assert stream(tmp_path, at) == ([], at)
    assert writer.append(b"d") == at
    assert stream(tmp_path, at)[0] == [b"d"]
    writer.close()


def test_a_disk_that_fails_is_not_taken_for_a_lack_of_room(tmp_path, small, monkeypatch):
    writer = JournalWriter(tmp_path, 1)

    def fail(*_args):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "pwritev", fail)
    with pytest.raises(IntegrityError, match="broken"):
        writer.append(b"x")
    writer.close()


def test_a_segment_that_cannot_be_made_is_not_left_behind(tmp_path, small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        writer = JournalWriter(tmp_path, 1)
        before = writer.position
        with pytest.raises(CapacityError):
            writer.append(b"a")
        assert segments(tmp_path) == []
    assert writer.append(b"a") == before
    writer.close()
    assert stream(tmp_path, before)[0] == [b"a"]


def test_a_nearly_full_disk_gives_a_segment_as_much_room_as_it_needs(tmp_path, monkeypatch):
    blocks = 2 * STEP + (100 << 10)
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result((4096, 1, *[blocks] * 3, 0, 0, 0, 0, 255)))
    asked = []
    monkeypatch.setattr(os, "posix_fallocate", lambda fd, offset, size: asked.append(size) or os.truncate(fd, size))
    writer = JournalWriter(tmp_path, 1)
    at = writer.append(b"a" * 1000)
    writer.append(b"b" * STEP)
    writer.close()
    assert all(size < 3 * STEP for size in asked)
    assert stream(tmp_path, at)[0] == [b"a" * 1000, b"b" * STEP]
    retire(tmp_path, 1)
    assert spares(tmp_path) == []


@pytest.mark.parametrize("size", [1, 700, 5000])
def test_what_grows_leaves_room_for_what_does_not(tmp_path, small, monkeypatch, size):
    writer, margin = JournalWriter(tmp_path, 1), 1000
    first = writer.position

    def fill(payload, behind):
        count = 0
        with suppress(CapacityError):
            while True:
                writer.append(payload, behind=behind)
                count += 1
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        large = fill(bytes(size), margin)
        small = fill(b"r" * 100, 0)
    assert SMALL // (size + FRAME_SIZE) > large >= (SMALL - HEADER_SIZE - margin) // (size + FRAME_SIZE) - 1
    assert small >= margin // (100 + 2 * FRAME_SIZE)
    writer.append(bytes(size), behind=margin)
    writer.close()
    assert len(stream(tmp_path, first)[0]) == large + small + 1


def test_what_is_as_long_as_a_segment_has_no_room_behind_it(tmp_path, small):
    writer = JournalWriter(tmp_path, 1)
    longest = bytes(SMALL - HEADER_SIZE - 2 * FRAME_SIZE)
    assert [at - HEADER_SIZE for at in (writer.append(longest, behind=1000), writer.append(longest, behind=1000))] == [
        SMALL,
        2 * SMALL,
    ]
    writer.close()


def test_a_forgotten_segment_is_opened_again(tmp_path, small, reader):
    (at,) = appended(tmp_path, [b"x"])
    reader.fd(1)
    reader.forget(1)
    reader.forget(1)
    assert reader.read(at + FRAME_SIZE, 1) == b"x"


def test_the_vectors_of_the_format_page(tmp_path):
    vectors = json.loads((Path(__file__).parent.parent / "data" / "journal" / "vectors.json").read_text())
    raw, number = bytes.fromhex(vectors["segment"]), vectors["number"]
    segment_path(tmp_path, number).write_bytes(raw)
    key = frame_key(bytes.fromhex(vectors["secret"]))
    reader = JournalReader(tmp_path, key)
    for frame in vectors["frames"]:
        payload, following = reader.frame(frame["at"])
        assert payload.hex() == frame["payload"]
    assert following == vectors["end"]
    assert reader.frame(following) == (b"", (number + 1) * journal.SEGMENT_SIZE + HEADER_SIZE)
    reader.close()
    writer = JournalWriter(tmp_path, number, key)
    for frame in vectors["frames"]:
        assert writer.append(bytes.fromhex(frame["payload"])) == frame["at"]
    writer._roll()
    writer.close()
    assert segment_path(tmp_path, number).read_bytes()[: len(raw)] == raw
