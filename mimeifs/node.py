"""The node process: one trio loop with the model and the FUSE mount, the only process that changes the state of a MiMei.

States: waiting for the keeper, serving, draining (the mount is gone, everything appended is being replayed), ended. It
ends by SIGTERM, SIGINT, SIGHUP or when somebody unmounts; then everything is durable before it exits. If it dies instead, the
keeper finishes what the journal holds.
"""

import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import TypeVar

import trio

from mimeifs.api import server as api
from mimeifs.api.pulse import Pulse
from mimeifs.api.services import services_of
from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.dav.listening import DriveOptions
from mimeifs.engine import Engine, check_device
from mimeifs.errors import CapacityError, IntegrityError, MimeiError, PeerError
from mimeifs.freed import keep_freed_memory
from mimeifs.fuse.mount import Mount, MountOptions
from mimeifs.home import Home
from mimeifs.ids import BlobId
from mimeifs.messages import (
    Announce,
    Broken,
    Go,
    Gone,
    Ready,
    Sync,
    Synced,
    Trouble,
    end_signals,
    receive,
    receive_waiting,
    send,
)
from mimeifs.model.node import Who
from mimeifs.model.versions import Later, Unwritten
from mimeifs.store.database import open_database
from mimeifs.store.interfaces import Cold
from mimeifs.store.journal import lost
from mimeifs.store.pace import Pace
from mimeifs.store.room import Room
from mimeifs.syncer import Syncing

log = logging.getLogger(__name__)
T = TypeVar("T")

"""What asks a node to end. They are blocked when it is forked, so that none is lost before it listens."""

TELL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to serve: a home, where to mount it, how, whom to tell when it is ready, and how to show it as a network drive."""

    home: Home
    mount: Path
    mount_options: MountOptions
    ready: Callable[[], None]
    drive: DriveOptions | None = None
    pulse: Pulse = field(default_factory=Pulse)


class Node:
    """The engine on a trio loop, and its two partners."""

    def __init__(self, engine: Engine, keeper: socket.socket, syncer: socket.socket) -> None:
        self.engine = engine
        self._keeper = keeper
        self._syncer = syncer
        self._room = Room(engine.home.storage)
        self._stirred = trio.Event()
        self._heard = trio.Condition()
        self._heard_event = trio.Event()
        self._synced = 0
        self._asked = 0
        self._syncing = Syncing(engine.home.storage)
        self._sync_pace = Pace(monotonic_ns)
        engine.blobs.pace = Pace(monotonic_ns)
        self._asked_ns = 0
        self._sync_event = trio.Event()
        self.mount: Mount | None = None
        live = engine.live
        live.room = self._room
        live.stirred = self._stir

    def _stir(self) -> None:
        self._stirred.set()

    # Waiting on behalf of the model

    async def carry(self, call: Callable[[], T]) -> T:
        """Carry out a model call: fetch what is cold off the loop, wait for what the keeper has to do, and have the kernel hand
        over first what a version must have."""
        return (await self._carry(call))[0]

    async def _carry(self, call: Callable[[], T]) -> tuple[T, int]:
        """As :meth:`carry`; also up to where the journal holds what the call did."""
        live, journal, written, upto = self.engine.live, self.engine.journal, frozenset[int](), 0
        while True:
            before = journal.position
            try:
                with live.has_written(written):
                    result = call()
                return result, max(upto, journal.position if journal.position > before else 0)
            except Cold as cold:
                await self._fetch(cold.ids)
            except Unwritten as unwritten:
                if self.mount is not None:
                    await self.mount.write_back(unwritten.inos)
                written |= unwritten.inos
            except Later as later:
                written, upto = frozenset(), later.at
                try:
                    await self._replayed(later.at)
                except MimeiError:
                    with suppress(MimeiError):
                        later.proceed(None)
                    raise
                call = partial(later.proceed, self.engine.taken(later.at))

    async def _fetch(self, ids: Sequence[BlobId]) -> None:
        """Bring blobs into memory, off the loop unless that is soon done."""
        blobs = self.engine.blobs
        missing = blobs.want(ids)
        if blobs.soon(missing):
            blobs.fetch(missing)
        else:
            await trio.to_thread.run_sync(blobs.fetch, missing)

    async def _replayed(self, at: int) -> None:
        """Return when the keeper has passed ``at``; raises ``CapacityError`` or ``IntegrityError`` when it cannot now."""
        self._tell(urgent=True)
        while self.engine.live.position <= at:
            if self.engine.journal.broken:
                raise IntegrityError(self.engine.journal.broken)
            if self._room.refusing is not None:
                raise type(self._room.refusing)(*self._room.refusing.args)
            await self._heard_event.wait()

    async def durable(self, call: Callable[[], T]) -> T:
        """Carry out a call from elsewhere than the mount; return when what it did is durable and the kernel knows."""
        result, upto = await self._carry(call)
        await self.sync(upto)
        await self.told()
        return result

    async def told(self) -> None:
        """Return when the kernel has let go of what it knew of all that was changed from elsewhere."""
        if self.mount is not None:
            await self.mount.told()

    async def sync(self, upto: int | None = None) -> None:
        """Return when the journal up to a position, or everything appended so far, is durable; raises ``IntegrityError`` when
        that can no longer be. What the keeper has told of is durable."""
        journal, live = self.engine.journal, self.engine.live
        wanted = journal.position if upto is None else upto
        if max(self._synced, live.position) < wanted:
            journal.prewrite()
        while max(self._synced, live.position) < wanted:
            if journal.broken:
                raise IntegrityError(journal.broken)
            if self._sync_pace.quick and self._asked <= self._synced:
                self._asked = wanted
                self._asked_ns = monotonic_ns()
                self._take_synced(self._syncing.sync(wanted))
                continue
            if self._asked < wanted:
                self._asked = wanted
                self._asked_ns = monotonic_ns()
                send(self._syncer, Sync(wanted))
            await self._sync_event.wait()

    # Partners

    async def hear_syncer(self) -> None:
        """Wake those who wait for a sync."""
        while True:
            await trio.lowlevel.wait_readable(self._syncer)
            if not self._hear_syncer():
                return

    def _hear_syncer(self) -> bool:
        """Take in what the syncer says; whether there will be more."""
        for message in receive_waiting(self._syncer):
            if isinstance(message, Gone):
                return False
            if isinstance(message, Ready):
                self._asked = self._synced  # A predecessor may have died over what it was asked.
            elif isinstance(message, Synced):
                self._take_synced(message)
            self._sync_event.set()
            self._sync_event = trio.Event()
        return True

    def _take_synced(self, message: Synced) -> None:
        self._sync_pace.took(self._asked_ns)
        if message.errno:
            self._break(lost(message.errno))
            send(self._keeper, Broken(self.engine.journal.broken))
        else:
            self._synced = max(self._synced, message.position)

    def _break(self, reason: str) -> None:
        """A sync has failed, here or in the keeper (see :func:`~mimeifs.store.journal.lost`): tell all who wait."""
        if not self.engine.journal.broken:
            self.engine.journal.broken = reason
            log.error("%s", reason)
        self._sync_event.set()
        self._sync_event = trio.Event()
        self._news()

    async def hear_keeper(self) -> None:
        """Take in the keeper's news."""
        while True:
            await trio.lowlevel.wait_readable(self._keeper)
            for message in receive_waiting(self._keeper):
                if isinstance(message, Gone):
                    return
                try:
                    self._take(message)
                except Exception:
                    log.exception("unforeseen error in what the keeper has told")
            self._tell(urgent=False)

    def _take(self, message: object) -> None:
        if isinstance(message, Announce):
            self.engine.heard(message.news)
            self._news()
        elif isinstance(message, Trouble):
            kind = CapacityError if message.full else IntegrityError
            self._room.refusing = kind(message.reason) if message.reason else None
            self._news()
        elif isinstance(message, Broken):
            self._break(message.reason)
        elif isinstance(message, Ready):
            log.warning("the keeper was replaced")
            if self.engine.journal.broken:
                send(self._keeper, Broken(self.engine.journal.broken))
            self._tell(urgent=True)

    def _news(self) -> None:
        """Wake those who wait for the keeper."""
        self._heard_event.set()
        self._heard_event = trio.Event()

    def _tell(self, *, urgent: bool) -> None:
        send(self._keeper, Go(self.engine.journal.position, self.engine.live.position, urgent))

    async def tell_keeper(self) -> None:
        """Let the keeper know of appends, a moment after the first."""
        live = self.engine.live
        while True:
            await self._stirred.wait()
            await trio.sleep(TELL_SECONDS)
            live.drop_unreachable()
            self._stirred = trio.Event()
            live.quiet = True
            self._tell(urgent=False)

    async def drain(self) -> None:
        """Return when everything appended is in LMDB."""
        self.engine.live.drop_unreachable()
        while self.engine.live.position < self.engine.journal.position and not self.engine.journal.broken:
            at = self.engine.journal.position
            with trio.move_on_after(30) as scope:
                try:
                    await self._replayed(at - 1)
                except MimeiError as error:
                    log.error("%s; what the journal holds is replayed at the next start", error)
                    return
            if scope.cancelled_caught:
                log.error("the keeper does not answer; what the journal holds is replayed at the next start")
                return


async def serve(options: ServeOptions, keeper: socket.socket, syncer: socket.socket, lifeline: int) -> None:
    """Mount and serve until asked to end, or until the supervisor, who has the other end of ``lifeline``, is gone."""
    asked = trio.Event()
    failure: Exception | None = None
    numbers = end_signals()
    for number in numbers:
        signal.signal(number, _comes_too_late)  # Stands again when the receiver has gone.
    with trio.open_signal_receiver(*numbers) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        async with trio.open_nursery() as minders:
            minders.start_soon(_ask_on_signal, signals, asked)
            minders.start_soon(_ask_on_loss, lifeline, asked)
            try:
                await _serve(options, keeper, syncer, asked)
            except (MimeiError, OSError) as error:
                failure = error
            minders.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _comes_too_late(_number: int, _frame: object) -> None:
    """Who asks again, as the supervisor does where a signal came to the whole group, is not to kill what ends in order."""


async def _serve(options: ServeOptions, keeper: socket.socket, syncer: socket.socket, asked: trio.Event) -> None:
    ready = await trio.to_thread.run_sync(receive, keeper)
    if not isinstance(ready, Ready) or not ready.first_segment:
        raise PeerError("the keeper did not start; its log says why")
    database = open_database(options.home.storage.index)
    device = options.home.device()
    check_device(database, device)
    engine = Engine(options.home, database, device, ready.first_segment, SystemClock(), SystemRandomness())
    engine.live.beat = options.pulse.beat
    engine.live.beat()  # A predecessor may have died between a change and saying so.
    node = Node(engine, keeper, syncer)
    root = await node.carry(lambda: engine.views.root)
    home = options.home.root
    mount = Mount(options.mount, options.mount_options, home, engine.live, engine.views.past, root, node)
    node.mount = mount
    gc.freeze()
    keep_freed_memory()
    try:
        async with trio.open_nursery() as partners:
            partners.start_soon(node.hear_keeper)
            partners.start_soon(node.hear_syncer)
            partners.start_soon(node.tell_keeper)
            async with trio.open_nursery() as surfaces:
                surfaces.start_soon(_end_when_asked, mount, asked)
                services = services_of(engine, Who(os.geteuid(), os.getegid()))
                await surfaces.start(api.serve, options.home.socket, node, services)
                options.ready()
                await mount.serve()
                surfaces.cancel_scope.cancel()
            await node.drain()
            partners.cancel_scope.cancel()
    finally:
        mount.close()
        engine.close()
        database.close()


async def _ask_on_signal(signals: AsyncIterator[int], asked: trio.Event) -> None:
    async for _ in signals:
        asked.set()


async def _ask_on_loss(lifeline: int, asked: trio.Event) -> None:
    await trio.lowlevel.wait_readable(lifeline)
    asked.set()


async def _end_when_asked(mount: Mount, asked: trio.Event) -> None:
    await asked.wait()
    mount.end()
