"""The stand-in for trio in pyfuse3: its pieces alone, and the real session loop on a real mount.

Run as a program, this file is the daemon of the mount tests: the file system of the yardstick plus a few names that act when
looked up. It prints what happened as one line of JSON when it ends.
"""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pyfuse3
import pytest
import trio
import trio.testing

from benchmarks import harness
from benchmarks.memfs import MemoryFs
from mimeifs.fuse import loop

ENOUGH = 40
"""Turns that each other task must have had before a flood of requests ends."""

FLOODING = 3
"""Clients of the flood; turns count from when the last of them has begun."""

LIFE_S = 60
"""After this the daemon ends in any case: a client that waits for a dead loop cannot be killed."""


# The pieces


def pieces(spin_us: int = 0) -> loop.Facade:
    return loop.Facade(spin_us)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


async def test_a_free_lock_is_taken_without_a_checkpoint() -> None:
    lock = loop.ReadLock()
    with trio.testing.assert_no_checkpoints():
        async with lock:
            pass


async def test_the_lock_admits_one_at_a_time_and_everybody_in_the_end() -> None:
    lock = loop.ReadLock()
    inside: list[int] = []
    seen: list[int] = []

    async def visit(number: int) -> None:
        async with lock:
            inside.append(number)
            await trio.lowlevel.checkpoint()
            seen.append(len(inside))
            inside.remove(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(visit, number)
    assert seen == [1] * 20


async def test_one_who_takes_the_lock_again_does_not_lose_the_wakeup_of_another() -> None:
    lock = loop.ReadLock()
    entered: list[str] = []

    async def other() -> None:
        async with lock:
            entered.append("other")

    async with trio.open_nursery() as nursery:
        async with lock:
            nursery.start_soon(other)
            await trio.testing.wait_all_tasks_blocked()
        async with lock:  # overtakes the woken task, which parks again
            await trio.testing.wait_all_tasks_blocked()
            assert entered == []
    assert entered == ["other"]


async def test_a_cancelled_waiter_leaves_the_wakeup_to_the_next() -> None:
    lock = loop.ReadLock()
    entered: list[int] = []
    scopes = [trio.CancelScope() for _ in range(3)]

    async def visit(number: int) -> None:
        with scopes[number]:
            async with lock:
                entered.append(number)

    async with trio.open_nursery() as nursery, lock:
        for number in range(3):
            nursery.start_soon(visit, number)
        await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()
        scopes[1].cancel()
    assert 2 in entered


async def test_a_ready_descriptor_needs_no_checkpoint(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "GIVE_WAY_NS", 3600 * 10**9)
    lowlevel = pieces().lowlevel
    os.write(pipe[1], b"x")
    await lowlevel.wait_readable(pipe[0])
    with trio.testing.assert_no_checkpoints():
        await lowlevel.wait_readable(pipe[0])


@pytest.mark.parametrize("spin_us", [0, 40])
async def test_an_unready_descriptor_is_really_waited_for(pipe: tuple[int, int], spin_us: int) -> None:
    lowlevel = pieces(spin_us).lowlevel
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lowlevel.wait_readable, pipe[0])
        await trio.testing.wait_all_tasks_blocked()
        os.write(pipe[1], b"x")


@pytest.fixture
def dozes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, list[int]]]]:
    """How long each doze was to last at most, where a whole one would be a quarter of a minute, and what ended it."""
    monkeypatch.setattr(loop, "DOZE_MS", 15_000)
    seen: list[tuple[int, list[int]]] = []
    watch = loop._Lowlevel._watch

    def watch_and_note(self: loop._Lowlevel, fd: int) -> None:
        watch(self, fd)
        either = self._either
        assert either is not None, "trio is built as expected"

        def noted(most_ms: int) -> list[tuple[int, int]]:
            found = either(most_ms)
            seen.append((most_ms, [ready for ready, _ in found]))
            return found

        self._either = noted

    monkeypatch.setattr(loop._Lowlevel, "_watch", watch_and_note)
    return seen


@pytest.mark.parametrize("spin_us", [0, 40])
async def test_what_comes_soon_is_waited_for_without_trio(
    pipe: tuple[int, int], spin_us: int, dozes: list[tuple[int, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio.lowlevel, "wait_readable", None)
    lowlevel = pieces(spin_us).lowlevel
    with ThreadPoolExecutor(1) as threads:
        for _ in range(5):
            threads.submit(lambda: (time.sleep(0.01), os.write(pipe[1], b"x")))
            await lowlevel.wait_readable(pipe[0])
            os.read(pipe[0], 1)
    assert dozes == [(15_000, [pipe[0]])] * 5


async def test_a_thread_that_is_done_ends_a_doze(pipe: tuple[int, int], dozes: list[tuple[int, list[int]]]) -> None:
    done = False

    async def other() -> None:
        nonlocal done
        for _ in range(20):
            await trio.to_thread.run_sync(time.sleep, 0.01)
        done = True

    lowlevel = pieces().lowlevel
    with ThreadPoolExecutor(1) as requests:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            while not done:
                requests.submit(lambda: (time.sleep(0.002), os.write(pipe[1], b"x")))
                await lowlevel.wait_readable(pipe[0])
                os.read(pipe[0], 1)
    assert [pipe[0]] in [ready for _, ready in dozes]
    assert [] not in [ready for _, ready in dozes]


async def test_nobody_dozes_while_others_of_the_round_are_still_to_run(
    pipe: tuple[int, int], dozes: list[tuple[int, list[int]]]
) -> None:
    lowlevel = pieces().lowlevel
    os.write(pipe[1], b"x")
    await lowlevel.wait_readable(pipe[0])
    os.read(pipe[0], 1)

    async def other() -> None:
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        os.write(pipe[1], b"x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await lowlevel.wait_readable(pipe[0])
    assert dozes == []


async def test_a_doze_ends_before_the_next_deadline(pipe: tuple[int, int], dozes: list[tuple[int, list[int]]]) -> None:
    with trio.move_on_after(0.05):
        await pieces().lowlevel.wait_readable(pipe[0])
    assert [ready for _, ready in dozes] == [[]]
    assert dozes[0][0] <= 50


async def test_a_trio_that_is_built_otherwise_is_waited_in(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_descriptor_of_trio", lambda: None)
    lowlevel = pieces().lowlevel
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lowlevel.wait_readable, pipe[0])
        await trio.testing.wait_all_tasks_blocked()
        os.write(pipe[1], b"x")


async def test_others_run_although_the_descriptor_is_always_ready(pipe: tuple[int, int]) -> None:
    lowlevel = pieces().lowlevel
    os.write(pipe[1], b"x")
    turns = 0

    async def other() -> None:
        nonlocal turns
        while turns < ENOUGH:
            turns += 1
            await trio.sleep(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(3_000_000):
            await lowlevel.wait_readable(pipe[0])
            if turns >= ENOUGH:
                break
    assert turns >= ENOUGH


async def test_a_ready_descriptor_does_not_hide_a_cancellation(pipe: tuple[int, int]) -> None:
    lowlevel = pieces().lowlevel
    os.write(pipe[1], b"x")
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(3_000_000):
            await lowlevel.wait_readable(pipe[0])
    assert scope.cancelled_caught


async def test_closing_ends_a_wait(pipe: tuple[int, int]) -> None:
    lowlevel = pieces().lowlevel

    async def close() -> None:
        await trio.testing.wait_all_tasks_blocked()
        lowlevel.notify_closing(pipe[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(trio.ClosedResourceError):
            await lowlevel.wait_readable(pipe[0])


async def test_closing_ends_one_who_is_giving_way_with_a_ready_descriptor(pipe: tuple[int, int]) -> None:
    lowlevel = pieces().lowlevel
    os.write(pipe[1], b"x")

    async def close() -> None:
        lowlevel.notify_closing(pipe[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(trio.ClosedResourceError):
            await lowlevel.wait_readable(pipe[0])


async def test_a_new_session_forgets_that_the_last_was_closed(pipe: tuple[int, int]) -> None:
    facade = pieces()
    facade.lowlevel.notify_closing(pipe[0])
    facade.Lock()
    os.write(pipe[1], b"x")
    await facade.lowlevel.wait_readable(pipe[0])


async def test_a_new_session_knows_no_descriptor_of_the_last(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    facade = pieces()
    os.write(pipe[1], b"x")
    await facade.lowlevel.wait_readable(pipe[0])
    assert facade.lowlevel._either is not None
    monkeypatch.setattr(loop, "_descriptor_of_trio", lambda: None)
    facade.Lock()
    await facade.lowlevel.wait_readable(pipe[0])
    assert facade.lowlevel._either is None


async def test_a_started_worker_begins_before_the_next_request(pipe: tuple[int, int]) -> None:
    facade = pieces()
    os.write(pipe[1], b"x")
    await facade.lowlevel.wait_readable(pipe[0])
    begun: list[str] = []

    async def worker() -> None:
        begun.append("worker")

    async with facade.open_nursery() as nursery:
        nursery.start_soon(worker, name="worker")
        await facade.lowlevel.wait_readable(pipe[0])
        assert begun == ["worker"]


def test_everything_else_is_trio_itself() -> None:
    facade = pieces()
    assert facade.ClosedResourceError is trio.ClosedResourceError
    assert facade.lowlevel.current_task is trio.lowlevel.current_task


# Installing


@pytest.fixture
def likeness() -> ModuleType:
    """A module with the names of pyfuse3 that the stand-in leans on."""
    module = ModuleType("likeness")
    for name in ("_session_loop", "_wait_fuse_readable", "init", "main", "terminate"):
        setattr(module, name, print)
    vars(module)["trio"] = trio
    return module


def test_the_pyfuse3_in_use_is_built_as_expected() -> None:
    try:
        loop.install(pyfuse3)
        assert loop.installed(pyfuse3)
    finally:
        loop.uninstall(pyfuse3)
    assert vars(pyfuse3)["trio"] is trio


def test_installing_again_takes_the_new_spin(likeness: ModuleType) -> None:
    loop.install(likeness, 0)
    first = vars(likeness)["trio"]
    loop.install(likeness, 20)
    assert loop.installed(likeness)
    assert vars(likeness)["trio"] is not first


@pytest.mark.parametrize("name", ["_session_loop", "_wait_fuse_readable", "trio"])
def test_a_pyfuse3_built_otherwise_keeps_plain_trio_and_the_log_says_so(
    likeness: ModuleType, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    delattr(likeness, name)
    loop.install(likeness)
    assert not loop.installed(likeness)
    assert f"pyfuse3.{name}" in caplog.text


def test_another_stand_in_is_left_alone(likeness: ModuleType) -> None:
    vars(likeness)["trio"] = other = ModuleType("asyncio's")
    loop.install(likeness)
    loop.uninstall(likeness)
    assert vars(likeness)["trio"] is other


def test_one_processor_means_no_spin(likeness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(loop, "Facade", chosen.append)
    for processors in ({0}, {0, 1}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, processors=processors: processors)
        vars(likeness)["trio"] = trio
        monkeypatch.setattr(loop, "_lacking", lambda module: [])
        loop.install(likeness)
    assert chosen == [0, loop.SPIN_US]


# On a mount


@pytest.fixture(params=["spin", "no-spin"])
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[harness.Mounted]:
    spin_us = "30" if request.param == "spin" else "0"
    point = tmp_path.resolve() / "mount"
    point.mkdir()
    command = [sys.executable, "-m", "tests.fuse.test_loop", str(point), spin_us]
    with harness.Mounted("probe", command, point, tmp_path / "log") as system:
        yield system
    assert harness.mount_row(point) is None


def report(system: harness.Mounted) -> dict[str, object]:
    """What the daemon said at its end."""
    system.end()
    said: dict[str, object] = json.loads(system.log_tail().splitlines()[-1])
    return said


def ask(system: harness.Mounted, name: str) -> int:
    """Look a name up and return the error number: every call is one request, since failures are not cached."""
    try:
        os.stat(system.point / name)
    except OSError as error:
        return error.errno or 0
    return 0


@pytest.mark.mount
def test_files_keep_their_bytes_and_a_signal_ends_the_loop(mounted: harness.Mounted) -> None:
    data = os.urandom(3_000_000)
    (mounted.point / "file").write_bytes(data)
    assert (mounted.point / "file").read_bytes() == data
    assert report(mounted)["ended"] == "returned"


@pytest.mark.mount
@pytest.mark.parametrize(
    ("name", "ended"), [("terminate", "returned"), ("cancel", "cancelled"), ("terminate-late", "returned")]
)
def test_the_loop_ends_when_told_to(mounted: harness.Mounted, name: str, ended: str) -> None:
    for _ in range(50):
        ask(mounted, "missing")
    ask(mounted, name)
    mounted.wait_end()
    assert report(mounted)["ended"] == ended


@pytest.mark.mount
def test_the_loop_ends_when_somebody_unmounts(mounted: harness.Mounted) -> None:
    ask(mounted, "missing")
    harness.unmount(mounted.point)
    mounted.wait_end()
    assert report(mounted)["ended"] == "returned"


@pytest.mark.mount
def test_handlers_that_wait_do_not_hold_up_others(mounted: harness.Mounted) -> None:
    waiting = 8
    # The kernel looks up one name of a directory at a time, so each waits in a directory of its own.
    for number in range(waiting):
        (mounted.point / f"{number}").mkdir()
    with ThreadPoolExecutor(waiting) as pool:
        answers = [pool.submit(ask, mounted, f"{number}/wait") for number in range(waiting)]
        # Answers 0 once all of them are inside their handlers at the same time, and lets them go.
        while ask(mounted, f"go-{waiting}"):
            assert ask(mounted, "missing") == errno.ENOENT
        assert [answer.result(60) for answer in answers] == [errno.ENOENT] * waiting


@pytest.mark.mount
def test_other_tasks_get_their_turns_under_a_flood_of_requests(mounted: harness.Mounted) -> None:
    flood = (
        "import os, sys\n"
        "os.path.exists('mark')\n"
        "for _ in range(400_000):\n"
        "    if os.path.exists('progressed'):\n"
        "        sys.exit(0)\n"
        "sys.exit('the other tasks stood still')\n"
    )
    clients = [
        subprocess.Popen([sys.executable, "-c", flood], cwd=mounted.point, stderr=subprocess.PIPE) for _ in range(FLOODING)
    ]
    said = [client.communicate(timeout=120)[1] for client in clients]
    assert said == [b""] * FLOODING


@pytest.mark.mount
def test_requests_do_not_multiply_workers(mounted: harness.Mounted) -> None:
    for _ in range(500):
        ask(mounted, "missing")
    assert int(str(report(mounted)["workers"])) < 20


@pytest.mark.mount
def test_an_idle_mount_costs_no_processor_time(mounted: harness.Mounted) -> None:
    for _ in range(500):
        ask(mounted, "missing")
    ask(mounted, "calm")
    before = mounted.cpu_s()
    time.sleep(0.6)  # the window of the measurement: nothing is waited for
    assert mounted.cpu_s() - before <= 0.06


# The daemon


class ProbeFs(MemoryFs):
    """The yardstick's file system, in which looking some names up does something."""

    def __init__(self) -> None:
        super().__init__()
        self.scope = trio.CancelScope()
        self.others = trio.CancelScope()
        self.inside = 0
        self.gone = trio.Event()
        self.timer_turns = 0
        self.socket_turns = 0

    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        word, _, number = name.partition(b"-")
        if name == b"wait":
            self.inside += 1
            await self.gone.wait()
        elif word == b"go" and self.inside == int(number):
            self.gone.set()
            return self.fleeting()
        elif name == b"mark":
            self.inside += 1
            self.timer_turns = self.socket_turns = 0
        elif name == b"progressed" and self.inside == FLOODING and min(self.timer_turns, self.socket_turns) >= ENOUGH:
            return self.fleeting()
        elif name == b"calm":
            self.others.cancel()
        elif name in ACTS:
            ACTS[name](self)
        return await super().lookup(parent_inode, name, ctx)

    def fleeting(self) -> pyfuse3.EntryAttributes:
        """Attributes of something that is there for this one question; no later one about them will come."""
        attr = pyfuse3.EntryAttributes()
        attr.st_ino = 1 << 40
        attr.st_mode = 0o100644
        attr.st_nlink = 1
        attr.entry_timeout = 0
        attr.attr_timeout = 300
        return attr

    async def timer(self) -> None:
        while True:
            await trio.sleep(0.001)
            self.timer_turns += 1

    async def echo(self) -> None:
        near, far = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair())
        while True:
            await near.send_all(b"x")
            await near.send_all(await far.receive_some(1))
            await far.receive_some(1)
            self.socket_turns += 1
            await trio.sleep(0)


def terminate_late() -> None:
    pyfuse3.terminate()


ACTS: dict[bytes, Callable[[ProbeFs], None]] = {
    b"terminate": lambda fs: pyfuse3.terminate(),
    b"terminate-late": lambda fs: trio.lowlevel.current_trio_token().run_sync_soon(terminate_late),
    b"cancel": lambda fs: fs.scope.cancel(),
}


class Census(trio.abc.Instrument):
    """Counts the workers of pyfuse3 that were ever started."""

    def __init__(self) -> None:
        self.workers = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.workers += task.name.startswith("pyfuse-")


async def serve(filesystem: ProbeFs) -> str:
    async def others() -> None:
        with filesystem.others:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(filesystem.timer)
                nursery.start_soon(filesystem.echo)

    async def on_signal() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as received:
            async for _ in received:
                pyfuse3.terminate()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        nursery.start_soon(on_signal)
        filesystem.scope.deadline = trio.current_time() + LIFE_S
        with filesystem.scope:
            await pyfuse3.main()
        nursery.cancel_scope.cancel()
    if trio.current_time() >= filesystem.scope.deadline:
        return "expired"
    return "cancelled" if filesystem.scope.cancelled_caught else "returned"


def daemon(point: str, spin_us: int) -> None:
    filesystem, census = ProbeFs(), Census()
    loop.install(pyfuse3, spin_us)
    assert loop.installed(pyfuse3)
    pyfuse3.init(filesystem, point, {*pyfuse3.default_options, "fsname=probe"})
    try:
        ended = trio.run(serve, filesystem, instruments=[census])
    finally:
        pyfuse3.close()
    print(json.dumps({"ended": ended, "workers": census.workers}), flush=True)


if __name__ == "__main__":
    daemon(sys.argv[1], int(sys.argv[2]))
