"""Sources of time and randomness: the real ones and those for tests keep the same promises."""

import pytest

from mimeifs.clock import Clock, CountingRandomness, ManualClock, Randomness, SystemClock, SystemRandomness


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()])
def test_clocks_give_nanoseconds_since_the_epoch(clock: Clock) -> None:
    now = clock.now_ns()
    assert isinstance(now, int)
    assert 1_600_000_000 * 10**9 < now < 10_000_000_000 * 10**9


@pytest.mark.parametrize("randomness", [SystemRandomness(), CountingRandomness()])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 16, 24, 32, 100])
def test_randomness_gives_exactly_what_was_asked(randomness: Randomness, count: int) -> None:
    assert len(randomness.draw(count)) == count


@pytest.mark.parametrize("randomness", [SystemRandomness(), CountingRandomness()])
def test_two_draws_differ(randomness: Randomness) -> None:
    assert randomness.draw(16) != randomness.draw(16)


def test_a_manual_clock_goes_on_by_its_step() -> None:
    clock = ManualClock(time_ns=100, step_ns=5)
    assert [clock.now_ns(), clock.now_ns()] == [105, 110]


def test_a_manual_clock_can_be_set_back() -> None:
    clock = ManualClock(time_ns=100, step_ns=1)
    clock.time_ns = 10
    assert clock.now_ns() == 11


def test_counting_randomness_can_be_repeated() -> None:
    assert CountingRandomness().draw(32) == CountingRandomness().draw(32)
