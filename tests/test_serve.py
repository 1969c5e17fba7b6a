"""The supervisor's patience with what dies again and again."""

import pytest

from mimeifs import serve
from mimeifs.serve import DEATH_SECONDS, LONGEST_PAUSE, MAX_DEATHS, PAUSE_SECONDS, _Deaths


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(serve.time, "monotonic", lambda: now[0])
    return now


def test_a_few_deaths_in_a_row_are_taken_then_it_is_waited_ever_longer(clock):
    deaths, pauses = _Deaths(), []
    for _ in range(30):
        deaths.another()
        pauses.append(deaths.pause)
        clock[0] += pauses[-1] + 1
    assert pauses[: MAX_DEATHS + 3] == [0.0] * MAX_DEATHS + [PAUSE_SECONDS, 2 * PAUSE_SECONDS, 4 * PAUSE_SECONDS]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_deaths_that_lie_apart_are_accidents(clock):
    deaths = _Deaths()
    for _ in range(3 * MAX_DEATHS):
        assert deaths.another() == 1
        assert deaths.pause == 0
        clock[0] += DEATH_SECONDS + 1


def test_who_has_lived_long_after_a_pause_is_trusted_again(clock):
    deaths = _Deaths()
    for _ in range(MAX_DEATHS + 3):
        deaths.another()
    clock[0] += deaths.pause + DEATH_SECONDS - 1
    assert deaths.another() == MAX_DEATHS + 4
    clock[0] += deaths.pause + DEATH_SECONDS + 1
    assert deaths.another() == 1
