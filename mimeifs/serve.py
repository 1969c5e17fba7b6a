"""The supervisor: one parent that forks node, keeper, syncer and network drive, and minds them.

States: starting, serving, ending. The others are replaced when they die, on the same sockets: at once, and where that does not
help, as with damage that each successor meets, after a pause, in which nothing is taken and everything can be read. When the
node ends, cleanly or not, the keeper is told to finish the journal and everything ends, the mount included. A node
that died by itself is started again, a few times in a row; an error that it met itself is raised here as what it was there.
If the supervisor itself is killed, the others notice that its end of their pipes is gone, and end in order. Nothing is done
here but forking, waiting and signals.
"""

import gc
import logging
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from mimeifs import keeper, messages, node, syncer
from mimeifs.api import errors
from mimeifs.errors import MimeiError, PeerError
from mimeifs.fuse.mount import mounted_device
from mimeifs.node import ServeOptions
from mimeifs.store.storage import StoreLock

log = logging.getLogger(__name__)

RESTARTS = 3
"""So many deaths of the node in a row are taken."""
MAX_DEATHS = 5
DEATH_SECONDS = 60
"""More deaths in a row than that, each within so many seconds of the last, are no accident: each successor meets the same."""
PAUSE_SECONDS = 5.0
"""How long nobody replaces a keeper or syncer then, at first; twice as long each time, up to :data:`LONGEST_PAUSE`."""
LONGEST_PAUSE = 600.0
_DYING = "what is written cannot be carried into the store: the keeper dies of it again and again; the log of the node says why"


def serve(options: ServeOptions) -> int:
    """Serve until told to end; the exit code. Raises ``LockedError`` and its like before anything is started, and what
    keeps the node from starting."""
    options.home.check()
    lock = StoreLock(options.home.storage)
    try:
        deaths = _Deaths()
        while True:
            supervisor = _Supervisor(options)
            code = supervisor.run()
            if code >= 0 or supervisor.asked or deaths.another() > RESTARTS:
                return max(code, 1) if code else 0
            log.error("the node died (%d); starting it again", code)
    finally:
        lock.release()


class _Child(NamedTuple):
    """A process that was forked, and the end of the pipe on which it tells the error that ends it."""

    name: str
    tells: int


class _Deaths:
    """How often one of the processes has died in a row."""

    def __init__(self) -> None:
        self._streak = 0
        self._last = -math.inf

    def another(self) -> int:
        """It has died again; how often now."""
        now = time.monotonic()
        if now - self._last > DEATH_SECONDS + self.pause:
            self._streak = 0
        self._last, self._streak = now, self._streak + 1
        return self._streak

    @property
    def pause(self) -> float:
        """How many seconds to wait before it is replaced."""
        more = self._streak - MAX_DEATHS
        return float(min(PAUSE_SECONDS * 2 ** min(more - 1, 20), LONGEST_PAUSE)) if more > 0 else 0.0


class _Supervisor:
    """One generation of the processes."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._to_keeper, self._keeper_end = messages.pair()
        self._to_syncer, self._syncer_end = messages.pair()
        self._lifeline, self._life = os.pipe()
        self._children: dict[int, _Child] = {}
        self._deaths = {name: _Deaths() for name in ("keeper", "syncer", "drive")}
        self._missing: dict[str, float] = {}
        """Who is to be replaced, and when."""
        self._awaited = {signal.SIGCHLD, *messages.end_signals()}
        """Signals that wait until they are asked for: a handler would not run where one comes just before wait(2) is called."""
        self.asked = False

    def run(self) -> int:
        """Fork, mind, and clean up; 0, the node's exit code, or minus the signal that killed it. Raises what ended it."""
        gc.collect()
        gc.freeze()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        try:
            self._fork("keeper", self._keep)
            self._fork("syncer", self._sync)
            self._fork("node", self._node)
            if self._options.drive is not None:
                self._fork("drive", self._drive)
            return self._mind()
        finally:
            while signal.sigtimedwait(self._awaited, 0) is not None:
                pass  # It ends already.
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._close_all_but()
            os.close(self._lifeline)
            os.close(self._life)

    def _close_all_but(self, *kept: socket.socket) -> None:
        """Close ends of others: one whose partner and supervisor are gone is to notice."""
        for end in (self._to_keeper, self._keeper_end, self._to_syncer, self._syncer_end):
            if end not in kept:
                end.close()

    def _keep(self) -> None:
        self._close_all_but(self._keeper_end)
        keeper.run(self._options.home, self._keeper_end, replacing=False)

    def _keep_on(self) -> None:
        self._close_all_but(self._keeper_end)
        keeper.run(self._options.home, self._keeper_end, replacing=True)

    def _sync(self) -> None:
        self._close_all_but(self._syncer_end)
        messages.ignore_group_signals()
        syncer.run(self._options.home.storage, self._syncer_end)

    def _node(self) -> None:
        self._close_all_but(self._to_keeper, self._to_syncer)
        trio.run(node.serve, self._options, self._to_keeper, self._to_syncer, self._lifeline)

    def _drive(self) -> None:
        from mimeifs import drive  # Here, so that only this process carries what it takes to speak HTTP.
        from mimeifs.dav.tree import NodeTree

        self._close_all_but()
        home, options = self._options.home, self._options.drive
        if options is not None:
            drive.run(home, options, NodeTree(home.socket, home.storage, self._options.pulse.count), self._lifeline)

    def _fork(self, name: str, work: Callable[[], None]) -> None:
        tells, telling = os.pipe()
        pid = os.fork()
        if pid:
            os.close(telling)
            self._children[pid] = _Child(name, tells)
            return
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        os.close(self._life)
        code = 1
        try:
            work()
            code = 0
        except (MimeiError, OSError) as error:
            code = _tell(telling, error)
        except BaseException:
            log.exception("%s: unforeseen error", name)
        finally:
            logging.shutdown()
            os._exit(code)

    def _ask(self) -> None:
        self.asked = True
        for pid, child in self._children.items():
            if child.name == "node":
                os.kill(pid, signal.SIGTERM)

    def _wait(self) -> tuple[int, int]:
        """As wait(2); who asks for the end meanwhile is heard, and who is missing is replaced when it is time."""
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                return pid, status
            heard = signal.sigtimedwait(self._awaited, self._until_due())
            if heard is not None and heard.si_signo != signal.SIGCHLD:
                self._ask()
            for name in [name for name, due in self._missing.items() if due <= time.monotonic()]:
                del self._missing[name]
                self._replace(name)

    def _until_due(self) -> float:
        """How long to wait, in seconds."""
        return max(0.0, min(self._missing.values(), default=math.inf) - time.monotonic()) if self._missing else 3600.0

    def _replace(self, name: str) -> None:
        self._fork(name, self._keep_on if name == "keeper" else self._sync)

    def _mind(self) -> int:
        """Wait for children until the node is gone; replace the others. Raises what ended the node."""
        began = time.monotonic()
        while True:
            pid, status = self._wait()
            child = self._children.pop(pid)
            name, code, told = child.name, os.waitstatus_to_exitcode(status), _heard(child)
            at_once = name == "keeper" and code > 0 and time.monotonic() - began < 1
            if at_once:
                self._ask()
            if at_once or name == "node":
                self._finish()
                if told is not None:
                    raise told
                return code
            if told is not None:
                log.error("%s: %s", name, told)
            if name == "drive":
                self._replace_drive(code, ended=told is not None or self.asked or code == 0)
                continue
            self._deaths[name].another()
            pause = self._deaths[name].pause
            if not pause:
                log.error("the %s died (%d) and is replaced", name, code)
                self._replace(name)
                continue
            log.error("the %s died (%d), as others have before it; another is started in %.0f s", name, code, pause)
            self._missing[name] = time.monotonic() + pause
            if name == "keeper":  # One that lives would say so itself.
                messages.send(self._keeper_end, messages.Trouble(_DYING, full=False))

    def _replace_drive(self, code: int, *, ended: bool) -> None:
        """Start another network drive, unless it was asked to end or cannot listen where it was to; whatever becomes of it, the
        mount stays."""
        if ended or self._deaths["drive"].another() > MAX_DEATHS:
            if not ended:
                log.error("the network drive died too often (%d) and stays away; the mount works without it", code)
            return
        log.error("the network drive died (%d) and is replaced", code)
        self._fork("drive", self._drive)

    def _finish(self) -> None:
        """The node is gone: let the keeper finish, end the others, and make sure nothing stays mounted."""
        unmount_stale(str(self._options.mount))
        self._options.home.drive_file.unlink(missing_ok=True)
        for pid, child in self._children.items():
            os.kill(pid, messages.END_SIGNAL if child.name == "keeper" else signal.SIGKILL)
        for pid in list(self._children):
            os.waitpid(pid, 0)
            child = self._children.pop(pid)
            told = _heard(child)
            if told is not None:
                log.error("%s: %s", child.name, told)


def _tell(telling: int, error: MimeiError | OSError) -> int:
    """Write to the supervisor what ends this process; the exit code."""
    known = error if isinstance(error, MimeiError) else errors.of_os_error(error) or PeerError(str(error))
    row = errors.row_of(known)
    try:
        os.write(telling, msgspec.msgpack.encode((row.name, str(known))))
    except BrokenPipeError:
        log.error("%s", known)
    return row.exit_code


def _heard(child: _Child) -> MimeiError | None:
    """What a process that is gone has told."""
    with open(child.tells, "rb") as pipe:
        told = pipe.read()
    return errors.from_wire(*msgspec.msgpack.decode(told, type=tuple[str, str])) if told else None


def unmount_stale(where: str) -> None:
    """Take a mount away whose process is gone."""
    if mounted_device(Path(where)):
        subprocess.run(["fusermount3", "-u", "-z", "--", where], check=False, capture_output=True)
