"""The supervisor: one parent that forks node, keeper and syncer, and minds them.

States: starting, serving, ending. The keeper and the syncer are replaced when they die, on the same sockets; when the
node ends, cleanly or not, the keeper is told to finish the journal and everything ends, the mount included. A node
that died by itself is started again, a few times. If the supervisor itself is killed, the others notice that its end of
their pipes is gone, and end in order. Nothing is done here but forking, waiting and signals.
"""

import gc
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import trio

from mimeifs import keeper, messages, node, syncer
from mimeifs.api.errors import row_of
from mimeifs.errors import MimeiError
from mimeifs.fuse.mount import mounted_device
from mimeifs.node import ServeOptions
from mimeifs.store.storage import StoreLock

log = logging.getLogger(__name__)

RESTARTS = 3
MAX_DEATHS = 5
DEATH_SECONDS = 60
"""More deaths of keeper and syncer than that in so many seconds are no accident: each successor would meet the same fault."""


def serve(options: ServeOptions) -> int:
    """Serve until told to end; the exit code. Raises ``LockedError`` and its like before anything is started."""
    options.home.check()
    lock = StoreLock(options.home.storage)
    try:
        for attempt in range(RESTARTS + 1):
            supervisor = _Supervisor(options)
            code = supervisor.run()
            if code >= 0 or attempt == RESTARTS or supervisor.asked:
                return max(code, 1) if code else 0
            log.error("the node died (%d); starting it again", code)
    finally:
        lock.release()
    return 1


class _Supervisor:
    """One generation of the three processes."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._to_keeper, self._keeper_end = messages.pair()
        self._to_syncer, self._syncer_end = messages.pair()
        self._lifeline, self._life = os.pipe()
        self._children: dict[int, str] = {}
        self.asked = False

    def run(self) -> int:
        """Fork, mind, and clean up; 0, the node's exit code, or minus the signal that killed it."""
        gc.collect()
        gc.freeze()
        before = {number: signal.signal(number, self._ask) for number in node.END_SIGNALS}
        try:
            self._fork("keeper", self._keep)
            self._fork("syncer", self._sync)
            self._fork("node", self._node)
            if self.asked:
                self._ask(0, None)
            return self._mind()
        finally:
            for number, action in before.items():
                signal.signal(number, action)
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

    def _fork(self, name: str, work: Callable[[], None]) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, node.END_SIGNALS)
        pid = os.fork()
        if pid:
            self._children[pid] = name
            signal.pthread_sigmask(signal.SIG_UNBLOCK, node.END_SIGNALS)
            return
        os.close(self._life)
        code = 1
        try:
            work()
            code = 0
        except MimeiError as error:
            log.error("%s: %s", name, error)
            code = row_of(error).exit_code
        except OSError as error:
            log.error("%s: %s", name, error)
        except BaseException:
            log.exception("%s: unforeseen error", name)
        finally:
            logging.shutdown()
            os._exit(code)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True
        for pid, name in self._children.items():
            if name == "node":
                os.kill(pid, signal.SIGTERM)

    def _mind(self) -> int:
        """Wait for children until the node is gone; replace the others."""
        began = time.monotonic()
        deaths: list[float] = []
        while True:
            pid, status = os.wait()
            name = self._children.pop(pid)
            if name == "node":
                self._finish()
                return os.waitstatus_to_exitcode(status)
            code = os.waitstatus_to_exitcode(status)
            if name == "keeper" and code > 0 and time.monotonic() - began < 1:
                self._ask(0, None)
                self._finish()
                return code
            deaths = [when for when in [*deaths, time.monotonic()] if when > time.monotonic() - DEATH_SECONDS]
            if len(deaths) > MAX_DEATHS:
                log.error(
                    "the %s died %d times in %d s; giving up, what the journal holds is kept", name, len(deaths), DEATH_SECONDS
                )
                self._ask(0, None)
                self._finish()
                return 1
            log.error("the %s died (%d) and is replaced", name, code)
            self._fork(name, self._keep_on if name == "keeper" else self._sync)

    def _finish(self) -> None:
        """The node is gone: let the keeper finish, end the syncer, and make sure nothing stays mounted."""
        unmount_stale(str(self._options.mount))
        for pid, name in self._children.items():
            os.kill(pid, messages.END_SIGNAL if name == "keeper" else signal.SIGKILL)
        for pid in list(self._children):
            os.waitpid(pid, 0)
            del self._children[pid]


def unmount_stale(where: str) -> None:
    """Take a mount away whose process is gone."""
    if mounted_device(Path(where)):
        subprocess.run(["fusermount3", "-u", "-z", "--", where], check=False, capture_output=True)
