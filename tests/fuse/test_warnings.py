"""What is logged of damage and lack of room: enough to know, never so much that it is trouble itself."""

import errno

import pytest

from mimeifs.errors import CapacityError, IntegrityError
from mimeifs.fuse import trouble
from mimeifs.fuse.trouble import Trouble


def test_the_same_trouble_again_and_again_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    mine = Trouble()
    assert {mine.explained(CapacityError("no room")).errno for _ in range(100)} == {errno.ENOSPC}
    assert mine.explained(IntegrityError("damaged")).errno == errno.EIO
    assert caplog.messages == ["no room", "damaged"]


def test_trouble_that_stays_is_logged_again_after_a_moment(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, times = Trouble(), iter((10.0, 10.5, 11.5))
    monkeypatch.setattr(trouble, "monotonic", lambda: next(times))
    for _ in range(3):
        mine.explained(CapacityError("no room"))
    assert caplog.messages == ["no room", "no room"]
