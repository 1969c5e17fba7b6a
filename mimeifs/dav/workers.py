"""The threads that answer requests: as many as are busy, up to a bound, in the place of cheroot's ten.

A request whose body is still to be received by a thread is an upload; uploads have three threads of four at most, and wait in a
line of their own for one. When uploads wait, or all threads are taken and another request comes, the thread that has waited
longest for its network is given up. So stalled uploads and slow readers, however many, keep nobody out.
"""

import logging
import os
import socket
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from mimeifs.dav.wire import Patience

log = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
LEAST_PATIENCE = 0.5
LINGER_SECONDS = 0.01


class Conn(Protocol):
    """What a worker needs of a connection."""

    patience: Patience
    socket: socket.socket

    def communicate(self) -> bool | None:
        """Answer a request; whether the connection stays, None where it is somebody else's now."""

    def speaks_soon(self, seconds: float, *, alert: bool = False) -> bool:
        """Wait so long for the next request, ``alert`` where nobody else wants the processor; whether there is one."""

    def close(self) -> None:
        """Hang up."""


class Allowance:
    """How much something may take altogether."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def is_used_up(self) -> bool:
        """Whether nobody may take more."""
        return self._taken >= self._most

    def take(self, size: int) -> int:
        """Take so much, which is given back by and by."""
        if size:
            with self._lock:
                self._taken += size
        return size

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        if size:
            with self._lock:
                self._taken -= size


class Workers:
    """The interface of cheroot's ``ThreadPool``."""

    def __init__(self, server: Any, most: int) -> None:
        self._server = server
        self.min, self.max = 1, most
        self._changed = threading.Condition()
        self._queue: deque[Conn] = deque()
        self._most_uploads = max(1, most * 3 // 4)
        self._uploads = 0
        self._parked: deque[Conn] = deque()
        self._busy: dict[threading.Thread, Conn | None] = {}
        self._idle = 0
        self._processors = len(os.sched_getaffinity(0))
        self._ended = False

    @property
    def idle(self) -> int:
        """Threads without work."""
        return self._idle

    @property
    def qsize(self) -> int:
        """Requests without a thread."""
        return len(self._queue)

    def start(self) -> None:
        """Threads come when they are needed."""

    def put(self, conn: Conn) -> None:
        """Have a request answered."""
        with self._changed:
            self._enqueue(conn)

    def _enqueue(self, conn: Conn) -> None:
        self._queue.append(conn)
        if self._idle >= len(self._queue):
            self._changed.notify()
        elif len(self._busy) < self.max:
            thread = threading.Thread(target=self._work, name="dav worker", daemon=True)
            self._busy[thread] = None
            thread.start()
        else:
            self._give_up(1)

    def may_receive(self, conn: Conn) -> bool:
        """Whether the thread that asks may receive an upload; else it is to let go of the connection, which comes back to a
        thread when there is room, and may then."""
        with self._changed:
            if self._uploads < self._most_uploads:
                self._uploads += 1
                return True
            self._parked.append(conn)
            self._give_up(1)
            return False

    def received(self) -> None:
        """An upload is over; the next one takes its place."""
        with self._changed:
            if self._parked and not self._ended:
                self._enqueue(self._parked.popleft())
            else:
                self._uploads -= 1

    def relieve(self) -> None:
        """Called now and then: make room for those who wait for a thread."""
        with self._changed:
            if self._parked or (len(self._queue) > self._idle and len(self._busy) >= self.max):
                self._give_up(max(len(self._queue), len(self._parked)))

    def _give_up(self, most: int) -> None:
        """Hang up on connections whose threads have waited for the network too long, and longest."""
        limit = monotonic() - LEAST_PATIENCE
        waiting = [conn for conn in self._busy.values() if conn is not None and 0.0 < conn.patience.since < limit]
        for conn in sorted(waiting, key=lambda conn: conn.patience.since)[:most]:
            log.info("a stalled connection is given up, because its thread is needed")
            with suppress(OSError):
                conn.socket.shutdown(socket.SHUT_RDWR)

    def _work(self) -> None:
        me = threading.current_thread()
        while (conn := self._next(me)) is not None:
            keep: bool | None = False
            try:
                while keep := conn.communicate():
                    # Two hops between threads cost more than most requests; who has more to ask asks soon.
                    if self._queue or not conn.speaks_soon(LINGER_SECONDS, alert=self._alone()):
                        break
            except Exception:
                log.exception("a request failed in an unforeseen way")
                keep = False
            try:
                if keep:
                    self._server.put_conn(conn)
                elif keep is not None:
                    conn.close()
            except OSError:
                log.debug("a connection broke while it was put away")

    def _alone(self) -> bool:
        """Whether no other thread works, and there is a processor for the client too."""
        return self._processors > 1 and len(self._busy) - self._idle == 1

    def _next(self, me: threading.Thread) -> Conn | None:
        with self._changed:
            self._busy[me] = None
            self._idle += 1
            try:
                if not self._queue and not self._ended:
                    self._changed.wait_for(lambda: self._queue or self._ended, IDLE_SECONDS)
                if self._queue:
                    conn = self._busy[me] = self._queue.popleft()
                    return conn
                del self._busy[me]
                return None
            finally:
                self._idle -= 1

    def stop(self, timeout: float = 5) -> None:
        """Let those who work finish, hang up on those who do not in time."""
        end = monotonic() + timeout
        with self._changed:
            self._ended = True
            for waiting in (*self._queue, *self._parked):
                waiting.close()
            self._queue.clear()
            self._parked.clear()
            self._changed.notify_all()
            threads = list(self._busy)
        for thread in threads:
            conn = self._busy.get(thread)
            if conn is not None and conn.patience.since:
                with suppress(OSError):
                    conn.socket.shutdown(socket.SHUT_RDWR)
            thread.join(max(end - monotonic(), 0.01))
