"""Segments that are used again: what lay in them before is not part of the stream."""

from pathlib import Path

import pytest

from mimeifs.errors import CapacityError
from mimeifs.store import journal
from mimeifs.store.journal import HEADER_SIZE, JournalWriter, retire, segments, spares
from mimeifs.store.journalreader import JournalReader


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_SIZE", 4096)


def read_all(directory: Path, number: int) -> list[bytes]:
    reader, at, found = JournalReader(directory), number * 4096 + HEADER_SIZE, []
    while (frame := reader.frame(at)) is not None:
        payload, at = frame
        if not payload:
            break
        found.append(payload)
    reader.close()
    return found


def test_a_retired_segment_is_used_again_without_its_old_frames(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, 1)
    for number in range(3):
        writer.append(b"old %d" % number)
    writer.close()
    retire(tmp_path, 1)
    assert (segments(tmp_path), len(spares(tmp_path))) == ([], 1)
    again = JournalWriter(tmp_path, 2)
    again.append(b"new")
    again.close()
    assert (segments(tmp_path), spares(tmp_path)) == ([2], [])
    assert read_all(tmp_path, 2) == [b"new"]


def test_only_a_few_spares_are_kept(tmp_path: Path) -> None:
    for number in range(1, 6):
        JournalWriter(tmp_path, number).close()
    for number in segments(tmp_path):
        retire(tmp_path, number)
    assert (segments(tmp_path), len(spares(tmp_path))) == ([], journal.MAX_SPARES)


def test_a_spare_that_cannot_be_taken_into_use_is_no_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    JournalWriter(tmp_path, 1).close()
    retire(tmp_path, 1)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "pwrite", full)
    with pytest.raises(CapacityError):
        JournalWriter(tmp_path, 2).append(b"a")
    assert segments(tmp_path) == []
