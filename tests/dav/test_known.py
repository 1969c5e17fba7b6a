"""Answers that are kept for as long as the tree stays as it is."""

import os

from mimeifs.api.pulse import Pulse
from mimeifs.dav.known import Known


def test_an_answer_is_good_until_something_changes() -> None:
    pulse = Pulse()
    known = Known[str, int](pulse.count, most=10)
    known.keep("a", 1, known.now())
    assert (known.get("a"), known.get("b")) == (1, None)
    pulse.beat()
    assert known.get("a") is None
    assert (known.last("a"), known.last("b")) == (1, None)
    known.keep("a", 1, known.now())
    assert known.get("a") == 1


def test_what_was_asked_before_a_change_is_not_kept() -> None:
    pulse = Pulse()
    known = Known[str, int](pulse.count, most=10)
    moment = known.now()
    pulse.beat()
    known.keep("a", 1, moment)
    assert known.get("a") is None


def test_memory_stays_within_bounds() -> None:
    known = Known[int, int](lambda: 0, most=3, room=10)
    for number in range(20):
        known.keep(number, number, 0, 3)
        assert known.get(number) == number
        assert len(known._answers) <= 3
    assert known.get(17) == 17, "the oldest goes, not all"
    known.keep(99, 99, 0, 11)
    assert known.get(99) is None
    known.keep(19, 20, 0, 10)
    assert (known.get(18), known.get(19)) == (None, 20)


def test_a_pulse_is_felt_in_another_process() -> None:
    pulse = Pulse()
    child = os.fork()
    if not child:
        pulse.beat()
        pulse.beat()
        os._exit(0)
    os.waitpid(child, 0)
    assert pulse.count() == 2
