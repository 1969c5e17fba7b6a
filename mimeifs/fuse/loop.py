"""A stand-in for the module ``trio`` inside pyfuse3, so that a request costs neither a lock nor an epoll registration.

pyfuse3's session loop reads ``trio`` as a module global, which is how ``pyfuse3.asyncio`` replaces it. The stand-in asks
``poll(0)`` whether a request is there before it waits, may ask again for some microseconds, may then doze until there is one
or trio has something to do, and leaves everything else to trio.

This is not an event loop and not a second scheduler: long waits, cancellation and wake-ups are trio's.

What always holds: a worker reads the descriptor only directly after ``poll`` found it readable, since that read
blocks; the loop gives way to trio's other tasks at least every ``GIVE_WAY_NS``, and dozes only while none of them has
anything to do; whenever a step ends with the read lock free, one of those who wait for it is scheduled; after
``notify_closing`` nobody returns to the descriptor.
docs/decisions/0002-session-loop.md has the figures.
"""

import logging
import os
import select
import sys
from collections.abc import Callable
from time import monotonic_ns
from types import ModuleType, TracebackType
from typing import Any

import trio

from mimeifs.fuse.greeting import Detour

log = logging.getLogger(__name__)

GIVE_WAY_NS = 2_000_000
"""The longest the session loop goes on without letting other tasks run, handlers' own work aside."""

OTHERS_NS = 1_000_000
"""How long the other tasks may stay in front once the loop has given way, as long as one of them is runnable."""

SPIN_US = 30
"""How long to look for the next request before waiting, with two processors and more."""

DOZE_MS = 5
"""The longest to wait outside of trio; by then going the long way no longer matters."""

SOON = 0.001
"""A deadline within so many seconds counts as one that has passed."""

_EXPECTED = {
    "pyfuse3": ("_session_loop", "_wait_fuse_readable", "init", "main", "terminate", "trio"),
    "trio": ("ClosedResourceError", "Lock", "abc", "lowlevel", "open_nursery"),
    "trio.lowlevel": (
        "ParkingLot",
        "add_instrument",
        "checkpoint",
        "current_statistics",
        "current_task",
        "current_trio_token",
        "notify_closing",
        "wait_readable",
    ),
}


class ReadLock(trio.abc.Instrument):
    """An asynchronous lock whose free case is no checkpoint; who comes first takes it, also before one who was woken.

    Nobody is woken where who released it takes it again in the same step, which is what a worker does whose handler waits for
    nothing: an instrument of trio sees when a step has ended with the lock free.
    """

    __slots__ = ("_held", "_lot", "_woken")

    def __init__(self) -> None:
        self._held = False
        self._woken = False
        self._lot = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        while self._held:
            trio.lowlevel.add_instrument(self)
            await self._lot.park()
            self._woken = False
        self._held = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = False

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """One woken waiter is enough: whoever takes the lock before it lets go of it, too."""
        if not self._held and not self._woken and self._lot:
            self._woken = True
            self._lot.unpark()


class _Census(trio.abc.Instrument):
    """Whether the task that runs is the only one of trio's present round; who is still to run in it is in no statistics."""

    def __init__(self) -> None:
        self.alone = False

    def after_io_wait(self, timeout: float) -> None:
        """Who is runnable now, or becomes so by a deadline that passes before the round begins, makes it up."""
        now = trio.lowlevel.current_statistics()
        self.alone = now.tasks_runnable == 1 and now.seconds_to_next_deadline > SOON


class _Lowlevel:
    """Stands for ``trio.lowlevel``: its own ``wait_readable`` and ``notify_closing``, the rest from trio."""

    def __init__(self, spin_ns: int) -> None:
        self._spin_ns = spin_ns
        self._give_way_at = 0
        self.descriptor = -1
        self._closing = False
        self._detour: Detour | None = None
        self._ready: Callable[[int], list[tuple[int, int]]] = select.poll().poll
        self._either: Callable[[int], list[tuple[int, int]]] | None = None
        self._census = _Census()

    def __getattr__(self, name: str) -> Any:
        return getattr(trio.lowlevel, name)

    def begin(self) -> None:
        """Forget the descriptors of the session before, and of its trio: the kernel gives their numbers again."""
        self.descriptor = -1
        self._either = None
        self._census = _Census()
        self._closing = False
        self._give_way_at = 0

    def give_way_next(self) -> None:
        """Let other tasks run before the next request."""
        self._give_way_at = 0

    def divert(self, wishes: int) -> None:
        """Let the reply that is written next lead through :mod:`mimeifs.fuse.greeting`."""
        if self.descriptor >= 0:
            self._detour = Detour(self.descriptor, wishes)

    def notify_closing(self, fd: int) -> None:
        """As trio's; also reaches a task that waits for its turn in trio and not for the descriptor."""
        self._closing = True
        trio.lowlevel.notify_closing(fd)

    async def wait_readable(self, fd: int) -> None:
        """Return when a read of ``fd`` will not block; raises ``trio.ClosedResourceError`` after ``notify_closing``."""
        if self._detour is not None:
            detour, self._detour = self._detour, None
            detour.end()
        if fd != self.descriptor:
            self._watch(fd)
        ready = self._ready
        now = monotonic_ns()
        if now < self._give_way_at:
            if ready(0):
                return
            end = now + self._spin_ns
            while monotonic_ns() < end:
                if ready(0):
                    return
            if self._dozed():
                return
            await trio.lowlevel.wait_readable(fd)
        else:
            await _let_others_run()
        while not self._closing:
            self._give_way_at = monotonic_ns() + GIVE_WAY_NS
            if ready(0) or self._dozed():
                return
            await trio.lowlevel.wait_readable(fd)
        raise trio.ClosedResourceError("the session is being closed")

    def _dozed(self) -> bool:
        """Wait a little without trio, if nobody in it has anything to do; whether a request has come, and nothing else."""
        either = self._either
        if either is None or not self._census.alone:
            return False
        others = trio.lowlevel.current_statistics()
        if others.tasks_runnable or others.run_sync_soon_queue_size:
            return False
        until_ms = min(others.seconds_to_next_deadline * 1000, DOZE_MS)
        return until_ms >= 1 and [ready for ready, _ in either(int(until_ms))] == [self.descriptor]

    def _watch(self, fd: int) -> None:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        self.descriptor = fd
        self._ready = poller.poll
        trios = _descriptor_of_trio()
        if trios is not None:
            either = select.poll()
            either.register(fd, select.POLLIN)
            either.register(trios, select.POLLIN)
            self._either = either.poll
            trio.lowlevel.add_instrument(self._census)


def _descriptor_of_trio() -> int | None:
    """The epoll descriptor of the run that calls, readable when any of its tasks is to be woken; None where trio is built
    otherwise: nothing public tells it."""
    try:
        number = trio._core._run.GLOBAL_RUN_CONTEXT.runner.io_manager._epoll.fileno()
    except AttributeError:
        return None
    return number if isinstance(number, int) else None


async def _let_others_run() -> None:
    """At least two turns, so that everybody runnable at the call has run, then more while somebody is runnable."""
    end = monotonic_ns() + OTHERS_NS
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    while trio.lowlevel.current_statistics().tasks_runnable and monotonic_ns() < end:
        await trio.lowlevel.checkpoint()


class _Nursery:
    """A nursery that lets a new worker begin before the next request; otherwise each request would start one more."""

    def __init__(self, lowlevel: _Lowlevel) -> None:
        self._lowlevel = lowlevel
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> "_Nursery":
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, trace)

    def start_soon(self, task: Callable[..., Any], *args: object, name: object = None) -> None:
        assert self._nursery is not None, "the nursery is not open"
        self._lowlevel.give_way_next()
        self._nursery.start_soon(task, *args, name=name)


class Facade:
    """What pyfuse3 sees as ``trio``."""

    def __init__(self, spin_us: int) -> None:
        self.lowlevel = _Lowlevel(spin_us * 1000)

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)

    def Lock(self) -> ReadLock:  # noqa: N802 - trio's name
        """The read lock; pyfuse3 asks for one per session, which is how a new session shows."""
        self.lowlevel.begin()
        return ReadLock()

    def open_nursery(self) -> _Nursery:
        """The nursery of the workers."""
        return _Nursery(self.lowlevel)


def install(pyfuse3_module: ModuleType, spin_us: int | None = None) -> None:
    """Put the stand-in into ``pyfuse3_module``; call it before ``pyfuse3.main``.

    ``spin_us``: microseconds to look for the next request before waiting; None chooses by the processors this process
    may use. Leaves plain trio, and says so in the log, where pyfuse3 or trio are not built as expected.
    """
    lacking = _lacking(pyfuse3_module)
    if lacking:
        log.warning("the session loop stays on plain trio: not found: %s", ", ".join(lacking))
        return
    # pyfuse3's stub declares no such global, and that it is one is the very thing checked above.
    vars(pyfuse3_module)["trio"] = Facade(_default_spin_us() if spin_us is None else spin_us)


def descriptor(pyfuse3_module: ModuleType) -> int:
    """That of the session, from its first request on; -1 on plain trio."""
    stand_in = getattr(pyfuse3_module, "trio", None)
    return stand_in.lowlevel.descriptor if isinstance(stand_in, Facade) else -1


def divert(pyfuse3_module: ModuleType, wishes: int) -> None:
    """Add ``wishes`` to the answer to the greeting; call it from ``Operations.init``. Does nothing on plain trio."""
    stand_in = getattr(pyfuse3_module, "trio", None)
    if isinstance(stand_in, Facade):
        stand_in.lowlevel.divert(wishes)


def uninstall(pyfuse3_module: ModuleType) -> None:
    """Give ``pyfuse3_module`` plain trio back; harmless when nothing was installed."""
    if installed(pyfuse3_module):
        vars(pyfuse3_module)["trio"] = trio


def installed(pyfuse3_module: ModuleType) -> bool:
    """Whether the stand-in is in place."""
    return isinstance(getattr(pyfuse3_module, "trio", None), Facade)


def _lacking(pyfuse3_module: ModuleType) -> list[str]:
    places = {"pyfuse3": pyfuse3_module, "trio": trio, "trio.lowlevel": trio.lowlevel}
    lacking = [f"{place}.{name}" for place, names in _EXPECTED.items() for name in names if not hasattr(places[place], name)]
    current = getattr(pyfuse3_module, "trio", None)
    if current is not trio and not isinstance(current, Facade):
        lacking.append("pyfuse3.trio being trio")
    if not hasattr(select, "poll") or not sys.platform.startswith("linux"):
        lacking.append("poll(2) of Linux")
    return lacking


def _default_spin_us() -> int:
    return SPIN_US if len(os.sched_getaffinity(0)) >= 2 else 0
