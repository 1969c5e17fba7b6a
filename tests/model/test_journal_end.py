"""Where frames stand behind the end of the journal, that is told and they are kept; a torn end is none."""

import logging
import os
from pathlib import Path

import pytest

from mimeifs.engine import LocalEngine
from mimeifs.model.live_dir import LiveDir
from mimeifs.store.journal import FRAME_SIZE, segment_path, segments
from tests.model.conftest import WHO, Local, Randomness, open_local
from tests.store.packing import noise


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Local, list[int]]:
    """A home that died with appends that were not replayed, and where each of them begins."""
    local = open_local(tmp_path)
    top = local.mimei()
    places = [append(local, top, b"f%d" % number) for number in range(30)]
    local.running.abandon()
    return local, places


def append(local: Local, top: LiveDir, name: bytes) -> int:
    """Make a file that is not replayed; where the frame of its bytes is."""
    attempt = local.running.attempt
    file = attempt(lambda: top.create(name, 0o644, WHO))
    position = local.engine.journal.position
    attempt(lambda: file.open(writing=True).write(0, noise(3000, position)))
    return position


def change(local: Local, offset: int, data: bytes) -> None:
    (number,) = segments(local.home.storage.journal)[-1:]
    with segment_path(local.home.storage.journal, number).open("r+b") as file:
        file.seek(offset)
        file.write(data)


def offset_of(position: int) -> int:
    return position % (32 << 20)


def reopened(local: Local) -> int:
    """How many files are there again."""
    local.running = LocalEngine(local.home, local.clock, Randomness())
    mimei = next(mimei for mimei, row in local.engine.mimeis.all() if row.name == "photos")
    names = [name for name, _ in local.present(mimei).scan(b"")]
    assert local.findings() == []
    return len(names)


@pytest.mark.parametrize("damage", ["flipped", "zeros", "length", "checksum"])
def test_damage_before_the_end_is_told_and_what_is_behind_is_kept(
    killed: tuple[Local, list[int]], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    local, places = killed
    at = offset_of(places[10])
    journal = local.home.storage.journal
    where, data = {
        "flipped": (at + FRAME_SIZE + 700, b"\xaa\x55"),
        "zeros": (at, bytes(9000)),
        "length": (at, (1 << 30).to_bytes(4, "little")),
        "checksum": (at + 5, b"\x01\x02\x03"),
    }[damage]
    change(local, where, data)
    numbers = segments(journal)
    before = {number: segment_path(journal, number).read_bytes() for number in numbers}
    assert reopened(local) == 11  # The eleventh is there, its bytes are not.
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    aside = local.home.storage.root / "set-aside-1"
    assert len(told) == 1
    assert str(aside) in told[0].getMessage()
    assert before[segments(aside)[-1]] == segment_path(aside, segments(aside)[-1]).read_bytes()
    local.running.close()
    caplog.clear()
    assert reopened(local) == 11
    assert not caplog.records
    local.running.close()


@pytest.mark.parametrize("cut", [1, 1000, 3000])
def test_a_torn_end_is_nothing_to_tell(killed: tuple[Local, list[int]], cut: int, caplog: pytest.LogCaptureFixture) -> None:
    local, places = killed
    change(local, offset_of(places[-1]) + cut, bytes(4000))
    assert reopened(local) == 30
    assert not caplog.records
    assert not list(local.home.storage.root.glob("set-aside*"))
    local.running.close()


def test_what_a_segment_held_in_an_earlier_use_is_nothing_to_tell(
    killed: tuple[Local, list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    local, places = killed
    (number,) = segments(local.home.storage.journal)[-1:]
    old = segment_path(local.home.storage.journal, number).read_bytes()
    start = offset_of(places[0])
    change(local, offset_of(places[-1]) + FRAME_SIZE + 3100, old[start : start + 20_000] + os.urandom(1 << 20))
    assert reopened(local) == 30
    assert not caplog.records
    local.running.close()


@pytest.mark.parametrize("behind", [1, 5, FRAME_SIZE, 700, -5])
def test_a_segment_that_was_cut_off_is_told(
    killed: tuple[Local, list[int]], behind: int, caplog: pytest.LogCaptureFixture
) -> None:
    local, places = killed
    (number,) = segments(local.home.storage.journal)[-1:]
    os.truncate(segment_path(local.home.storage.journal, number), offset_of(places[10]) + behind)
    assert reopened(local) in (10, 11)
    (told,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "cut off" in told.getMessage()
    assert str(local.home.storage.root / "set-aside-1") in told.getMessage()
    caplog.clear()
    local.running.close()
    assert reopened(local) in (10, 11)
    assert not caplog.records
    local.running.close()
