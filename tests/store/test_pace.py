"""When a loop may wait for the disk itself."""

import pytest

from mimeifs.store import pace
from mimeifs.store.pace import QUICK_NS, SLOW_NS, Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The monotonic clock's time, to be set."""
    now = [0]
    monkeypatch.setattr(pace, "monotonic_ns", lambda: now[0])
    return now


def took(measured: Pace, clock: list[int], spent: int) -> None:
    clock[0] += spent
    measured.took(clock[0] - spent)


def test_a_disk_is_taken_to_be_quick_until_it_shows_otherwise(clock: list[int]) -> None:
    measured = Pace()
    assert measured.quick
    for _ in range(20):
        took(measured, clock, QUICK_NS // 2)
    assert measured.quick


def test_one_long_wait_sends_the_next_to_others_until_they_are_quick_again(clock: list[int]) -> None:
    measured = Pace()
    took(measured, clock, SLOW_NS + 1)
    assert not measured.quick
    for _ in range(20):
        took(measured, clock, QUICK_NS // 4)
    assert measured.quick


def test_waits_that_are_always_a_little_too_long_are_left_to_others(clock: list[int]) -> None:
    measured = Pace()
    for _ in range(20):
        took(measured, clock, QUICK_NS * 2)
    assert not measured.quick
