"""When a loop may wait for the disk itself."""

from mimeifs.store.pace import QUICK_NS, SLOW_NS, Pace


class Clocked(Pace):
    """A pace whose clock is set by hand."""

    def __init__(self) -> None:
        self.time = 0
        super().__init__(lambda: self.time)

    def spent(self, nanoseconds: int) -> None:
        self.time += nanoseconds
        self.took(self.time - nanoseconds)


def test_a_disk_is_taken_to_be_quick_until_it_shows_otherwise() -> None:
    measured = Clocked()
    assert measured.quick
    for _ in range(20):
        measured.spent(QUICK_NS // 2)
    assert measured.quick


def test_one_long_wait_sends_the_next_to_others_until_they_are_quick_again() -> None:
    measured = Clocked()
    measured.spent(SLOW_NS + 1)
    assert not measured.quick
    for _ in range(20):
        measured.spent(QUICK_NS // 4)
    assert measured.quick


def test_waits_that_are_always_a_little_too_long_are_left_to_others() -> None:
    measured = Clocked()
    for _ in range(20):
        measured.spent(QUICK_NS * 2)
    assert not measured.quick
