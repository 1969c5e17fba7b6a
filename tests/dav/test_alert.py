"""Threads and those they wait for: looking out for a quick client's next request, and giving up who stalls."""

import select
import socket
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from mimeifs.dav import http
from mimeifs.dav.exchange import Answer
from mimeifs.dav.http import Connection, Server
from mimeifs.dav.wire import Patience
from mimeifs.dav.workers import Workers


class Poll:
    """Counts those who only look, and lets the next one who looks see something, ``ready`` times."""

    def __init__(self) -> None:
        self.looks = self.sleeps = self.ready = 0

    def poll(self, ms: float) -> list[tuple[int, int]]:
        if ms:
            self.sleeps += 1
            return []
        self.looks += 1
        if not self.ready:
            return []
        self.ready -= 1
        return [(0, select.POLLIN)]


@pytest.fixture
def pair() -> Iterator[tuple[Connection, Poll]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection, poll = Connection(Server(("127.0.0.1", 0), lambda _: Answer(204)), ours), Poll()
        vars(connection)["_poll"] = poll
        yield connection, poll


def test_a_quick_client_is_seen_without_sleeping(pair: tuple[Connection, Poll]) -> None:
    connection, poll = pair
    poll.ready = 100
    assert all(connection.speaks_soon(0.01, alert=True) for _ in range(100))
    assert (poll.looks, poll.sleeps) == (100, 0)


def test_a_slow_client_costs_less_and_less(pair: tuple[Connection, Poll], monkeypatch: pytest.MonkeyPatch) -> None:
    connection, poll = pair
    monkeypatch.setattr(http, "ALERT_SECONDS", 1e-6)
    looked = []
    for _ in range(500):
        before = poll.looks
        assert not connection.speaks_soon(0.01, alert=True)
        looked.append(poll.looks > before)
    assert poll.sleeps == 500
    assert looked[:8] == [True, False, True, False, False, True, False, False]
    assert 500 / http.MOST_ASLEEP - 2 < sum(looked) < 500 / http.MOST_ASLEEP + 10


def test_a_client_that_is_quick_again_is_looked_out_for_again(pair: tuple[Connection, Poll]) -> None:
    connection, poll = pair
    while not connection._asleep > http.MOST_ASLEEP // 2:
        connection.speaks_soon(0.01, alert=True)
    poll.ready = 1 << 20
    while connection._asleep:
        connection.speaks_soon(0.01, alert=True)
    before = poll.sleeps
    assert all(connection.speaks_soon(0.01, alert=True) for _ in range(10))
    assert poll.sleeps == before


def test_nobody_looks_out_where_others_want_the_processor(pair: tuple[Connection, Poll]) -> None:
    connection, poll = pair
    poll.ready = 10
    assert not connection.speaks_soon(0.01)
    assert (poll.looks, poll.sleeps) == (0, 1)


class Stalled:
    """A connection whose thread has waited for its network for long."""

    def __init__(self) -> None:
        self.socket, self._other = socket.socketpair()
        self.patience = Patience()
        self.patience.since = 1.0

    @property
    def is_hung_up(self) -> bool:
        return not self.socket.recv(1, socket.MSG_DONTWAIT) if select.select([self.socket], [], [], 0)[0] else False

    def close(self) -> None:
        self.socket.close()
        self._other.close()


@pytest.mark.parametrize(("most", "hung_up"), [(2, False), (1, True)])
def test_a_stalled_connection_goes_only_where_no_thread_is_left(most: int, hung_up: bool) -> None:
    workers, stalled, waiting = Workers(None, most), Stalled(), Stalled()
    conn: Any = stalled
    workers._busy[threading.Thread()] = conn
    workers._queue.append(cast("Any", waiting))
    try:
        workers.relieve()
        assert stalled.is_hung_up is hung_up
    finally:
        stalled.close()
        waiting.close()
