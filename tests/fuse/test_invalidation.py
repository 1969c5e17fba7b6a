"""Telling the kernel what has changed: in order, beside the loop, and known to be done."""

import errno
import threading

import pyfuse3
import pytest
import trio

from mimeifs.fuse.invalidation import Invalidations


def run(told: Invalidations, act: object) -> None:
    async def both() -> None:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(told.run)
                await act()  # type: ignore[operator]
                nursery.cancel_scope.cancel()

    trio.run(both)


def test_who_waits_goes_on_when_the_kernel_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    going, said = threading.Event(), list[object]()

    def entry(parent: int, name: bytes) -> None:
        going.wait(10)
        said.append((parent, name))

    monkeypatch.setattr(pyfuse3, "invalidate_entry", entry)
    monkeypatch.setattr(pyfuse3, "invalidate_inode", lambda ino, attr_only: said.append((ino, attr_only)))
    told = Invalidations()

    async def act() -> None:
        told.entry(5, b"name")
        told.attributes(7)
        with trio.move_on_after(0.05) as early:
            await told.told()
        assert early.cancelled_caught
        assert said == []
        going.set()
        await told.told()
        assert said == [(5, b"name"), (7, True)]
        await told.told()

    run(told, act)


def test_what_the_kernel_does_not_know_needs_no_telling(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def entry(parent: int, _name: bytes) -> None:
        raise OSError(errno.ENOENT if parent == 5 else errno.EIO, "no")

    monkeypatch.setattr(pyfuse3, "invalidate_entry", entry)
    told = Invalidations()

    async def act() -> None:
        told.entry(5, b"name")
        await told.told()
        assert caplog.messages == []
        told.entry(6, b"name")
        await told.told()
        assert len(caplog.messages) == 1

    run(told, act)


def test_the_end_does_not_wait_for_a_kernel_that_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, going, done, said = threading.Event(), threading.Event(), threading.Event(), list[bytes]()

    def entry(_parent: int, name: bytes) -> None:
        said.append(name)
        reached.set()
        going.wait(10)
        done.set()

    monkeypatch.setattr(pyfuse3, "invalidate_entry", entry)
    told = Invalidations()

    async def act() -> None:
        told.entry(5, b"blocks")
        told.entry(5, b"never said")
        await trio.to_thread.run_sync(reached.wait, 10)

    run(told, act)
    assert not done.is_set()
    going.set()
    assert done.wait(10)
    assert said == [b"blocks"]
