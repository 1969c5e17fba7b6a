"""What is logged of damage and lack of room: enough to know, never so much that it is trouble itself."""

import errno

import pytest

from mimeifs.errors import CapacityError, IntegrityError
from mimeifs.fuse import operations
from mimeifs.fuse.operations import Operations


@pytest.fixture
def bare() -> Operations:
    """The handlers without a mount."""
    made = object.__new__(Operations)
    made._warned = "", 0.0
    return made


def test_the_same_trouble_again_and_again_is_logged_once(bare: Operations, caplog: pytest.LogCaptureFixture) -> None:
    assert {bare.explained(CapacityError("no room")) for _ in range(100)} == {errno.ENOSPC}
    assert bare.explained(IntegrityError("damaged")) == errno.EIO
    assert caplog.messages == ["no room", "damaged"]


def test_trouble_that_stays_is_logged_again_after_a_moment(
    bare: Operations, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((10.0, 10.5, 11.5))
    monkeypatch.setattr(operations, "monotonic", lambda: next(times))
    for _ in range(3):
        bare.explained(CapacityError("no room"))
    assert caplog.messages == ["no room", "no room"]
