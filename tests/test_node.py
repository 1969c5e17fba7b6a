"""The node's waiting: syncs that succeed, take long, or fail for good."""

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from mimeifs.clock import CountingRandomness, ManualClock
from mimeifs.engine import LocalEngine, create_home
from mimeifs.errors import CapacityError, IntegrityError
from mimeifs.home import Home
from mimeifs.messages import Announce, Broken, Go, Ready, Sync, Synced, Trouble, pair, receive_waiting, send
from mimeifs.model.node import Who
from mimeifs.model.orders import News
from mimeifs.node import Node
from mimeifs.store.pace import Pace

WHO = Who(1000, 100)


class Local:
    """A node whose partners are the test."""

    def __init__(self, home: Home) -> None:
        self.local = LocalEngine(home, ManualClock(), CountingRandomness(100))
        to_keeper, self.keeper = pair()
        to_syncer, self.syncer = pair()
        self.node = Node(self.local.engine, to_keeper, to_syncer)
        self.ends = (to_keeper, to_syncer, self.keeper, self.syncer)

    def write(self) -> None:
        """Append something."""
        root = self.local.engine.views.root
        self.local.attempt(lambda: root.create(b"f%d" % self.local.engine.journal.position, 0o644, WHO))

    def asked(self) -> list[int]:
        """What the syncer was asked for."""
        return [each.position for each in receive_waiting(self.syncer) if isinstance(each, Sync)]


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Local]:
    home = Home(tmp_path / "home")
    create_home(home, ManualClock(), CountingRandomness(), None, WHO)
    made = Local(home)
    yield made
    made.local.abandon()
    for end in made.ends:
        end.close()


def slow(node: Node) -> None:
    """As after a sync that took a minute."""
    node._sync_pace.took(-(60 * 10**9))


async def test_on_a_quick_disk_nobody_else_is_asked(local: Local) -> None:
    local.write()
    await local.node.sync()
    assert local.asked() == []


async def test_on_a_slow_disk_the_syncer_is_asked_once_for_all_who_wait(local: Local) -> None:
    slow(local.node)
    local.write()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(local.node.hear_syncer)
        async with trio.open_nursery() as waiting:
            for _ in range(3):
                waiting.start_soon(local.node.sync)
            await trio.testing.wait_all_tasks_blocked()
            (position,) = local.asked()
            send(local.syncer, Synced(position, 0))
        nursery.cancel_scope.cancel()


async def test_a_failed_sync_breaks_the_journal_for_good(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    local.write()

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        with pytest.raises(IntegrityError, match="did not take the journal"):
            await local.node.sync()
    # The kernel would now say that all is well: the pages it could not write are forgotten.
    with pytest.raises(IntegrityError, match="did not take the journal"):
        await local.node.sync()
    with pytest.raises(IntegrityError, match="did not take the journal"):
        local.write()


async def test_a_sync_that_failed_here_is_told_to_the_keeper_and_to_each_successor(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.write()

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        with pytest.raises(IntegrityError):
            await local.node.sync()
    assert [type(each) for each in receive_waiting(local.keeper)] == [Broken]
    local.node._take(Ready(0))
    assert [type(each) for each in receive_waiting(local.keeper)] == [Broken, Go]


async def test_a_sync_that_failed_in_the_keeper_ends_all_waiting_and_appending(local: Local) -> None:
    local.write()
    at = local.local.engine.journal.position
    failures: list[IntegrityError] = []

    async def wait() -> None:
        try:
            await local.node._replayed(at)
        except IntegrityError as error:
            failures.append(error)

    async with trio.open_nursery() as waiting:
        waiting.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        local.node._take(Broken("the disk did not take the journal"))
    assert len(failures) == 1
    with pytest.raises(IntegrityError, match="did not take the journal"):
        local.write()
    with pytest.raises(IntegrityError, match="did not take the journal"):
        await local.node.sync()
    await local.node.drain()


async def test_trouble_of_the_keeper_says_whether_room_is_lacking_or_the_disk_fails(local: Local) -> None:
    for full, kind in ((True, CapacityError), (False, IntegrityError)):
        local.node._take(Trouble("what it is", full=full))
        with pytest.raises(kind, match="what it is"):
            local.local.engine.live.reserve(1)
    local.node._take(Trouble("", full=False))
    local.local.engine.live.reserve(1)


async def test_who_waits_for_a_version_is_told_when_the_keeper_has_no_room(local: Local) -> None:
    local.write()
    local.node._take(Trouble("no room", full=True))
    with pytest.raises(CapacityError, match="no room"):
        await local.node._replayed(local.local.engine.journal.position)
    await local.node.drain()


async def test_news_of_a_version_do_no_harm_to_a_node_whose_journal_is_broken(local: Local) -> None:
    local.node._take(Broken("the disk did not take the journal"))
    engine = local.local.engine
    local.node._take(Announce(News(engine.live.position, moved=True, folded=(engine.live.position,))))
    assert engine.live.generation == 2


async def test_what_was_durable_before_a_failure_stays_so(local: Local) -> None:
    local.write()
    await local.node.sync()
    local.local.engine.journal.broken = "a later sync failed"
    await local.node.sync()


async def test_the_syncers_failure_reaches_everybody_who_waits(local: Local) -> None:
    slow(local.node)
    local.write()
    failures: list[IntegrityError] = []

    async def wait() -> None:
        try:
            await local.node.sync()
        except IntegrityError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(local.node.hear_syncer)
        async with trio.open_nursery() as waiting:
            waiting.start_soon(wait)
            waiting.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            send(local.syncer, Synced(local.asked()[0], errno.EIO))
        nursery.cancel_scope.cancel()
    assert len(failures) == 2


async def test_what_came_from_elsewhere_is_answered_when_it_is_durable_and_the_kernel_knows(local: Local) -> None:
    told: list[int] = []

    class Kernel:
        async def told(self) -> None:
            await trio.lowlevel.checkpoint()
            told.append(local.node._synced)

    local.node.mount = cast(Any, Kernel())
    await local.node.durable(local.write)
    assert told == [local.node.engine.journal.position]


async def test_what_the_keeper_has_told_of_is_durable(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(fd: int) -> None:
        raise AssertionError("a sync that nobody needs")

    local.write()
    local.local.settle()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", unwanted)
        await local.node.sync()
        slow(local.node)
        await local.node.sync()
    assert local.asked() == []


async def test_a_call_waits_for_its_own_changes_alone(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fdatasync

    def counting(fd: int) -> None:
        synced.append(fd)
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", counting)
    local.node._sync_pace = Pace(lambda: 0)  # So quick that it syncs itself.
    local.write()
    assert await local.node.durable(lambda: 7) == 7
    assert synced == []
    await local.node.durable(local.write)
    assert len(synced) == 1
