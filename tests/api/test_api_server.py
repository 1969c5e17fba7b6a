"""The server and the client on a real socket: replies, errors, hostile peers, and what is left when it ends."""

import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
import trio
import trio.testing

from mimeifs.api import requests, server
from mimeifs.api.client import Client, connect
from mimeifs.api.frames import GREETING, HEAD, MAX_REQUEST, frame
from mimeifs.errors import NotFoundError, PeerError, TooLargeError
from mimeifs.model.node import Who
from tests.api.conftest import Store

T = TypeVar("T")
ME = Who(os.geteuid(), os.getegid())


class Carrying:
    """A carrier that is a local engine, and notes which way each call came."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ways: list[str] = []

    async def carry(self, call: Callable[[], T]) -> T:
        self.ways.append("carry")
        await trio.lowlevel.checkpoint()
        return self.store.local.run(call)

    async def durable(self, call: Callable[[], T]) -> T:
        self.ways.append("durable")
        return self.store.local.run(call)


@asynccontextmanager
async def served(store: Store, path: Path) -> AsyncIterator[Carrying]:
    carrier = Carrying(store)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, path, carrier, store.services)
        yield carrier
        nursery.cancel_scope.cancel()


async def in_thread(call: Callable[[], T]) -> T:
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(call)


def connected(path: Path) -> Client:
    client = connect(path)
    assert client is not None
    return client


@pytest.fixture
def path(tmp_path: Path) -> Path:
    deep = tmp_path / ("long" * 20) / ("longer" * 20)  # more than a socket's address holds
    deep.mkdir(parents=True)
    return deep / "socket"


async def test_requests_are_answered_in_turn(store: Store, path: Path) -> None:
    def work() -> tuple[str, bytes, str]:
        client = connected(path)
        made = client.call(requests.Create(b"photos"))
        line = client.call(requests.List()).mimeis[0]
        record = client.call(requests.Backup(b"photos")).version.record
        client.close()
        return made.mimei, line.name, record

    async with served(store, path) as carrier:
        mimei, name, record = await in_thread(work)
    assert (mimei[0], name, record[0]) == ("m", b"photos", "r")
    assert carrier.ways == ["durable", "carry", "durable"]


async def test_an_error_arrives_as_itself_and_the_connection_goes_on(store: Store, path: Path) -> None:
    def work() -> int:
        client = connected(path)
        with pytest.raises(NotFoundError, match="no MiMei nope"):
            client.call(requests.Info(b"nope"))
        found = client.call(requests.List())
        client.close()
        return len(found.mimeis)

    async with served(store, path):
        assert await in_thread(work) == 0


async def test_the_socket_is_private_and_goes_with_the_server(store: Store, path: Path) -> None:
    async with served(store, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == []
    assert connect(path) is None


async def test_the_socket_of_a_dead_node_is_replaced(store: Store, path: Path) -> None:
    async with served(store, path):
        os.link(path, path.with_name("kept"))
    os.rename(path.with_name("kept"), path)
    assert connect(path) is None
    async with served(store, path):
        (await in_thread(lambda: connected(path))).close()


async def test_something_unforeseen_is_answered_and_the_server_lives(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    def work() -> None:
        client = connected(path)
        with pytest.raises(PeerError, match=r"unforeseen \(ZeroDivisionError\); see its log"):
            client.call(requests.List())
        client.close()

    monkeypatch.setattr(server.handlers, "handle", broken)
    async with served(store, path):
        await in_thread(work)
        await in_thread(work)
    assert "secret" in caplog.text


def exchange(path: Path, *pieces: bytes) -> bytes:
    """What the server says to these bytes until it hangs up."""
    with socket.socket(socket.AF_UNIX) as plain:
        folder = os.open(path.parent, os.O_PATH)
        plain.connect(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        for piece in pieces:
            plain.sendall(piece)
        found = b""
        while data := plain.recv(1 << 16):
            found += data
    return found


def failure(answer: bytes) -> requests.Failure:
    """The failure in an answer that follows a greeting."""
    assert answer[: len(GREETING)] == GREETING
    size = HEAD.unpack_from(answer, len(GREETING))[0]
    payload = answer[len(GREETING) + HEAD.size :]
    assert len(payload) == size
    reply = requests.decode_reply(payload)
    assert isinstance(reply, requests.Failure)
    return reply


HOSTILE = {
    "a length over the limit": (HEAD.pack(MAX_REQUEST + 1), "too-large"),
    "a length of 4 GiB": (b"\xff\xff\xff\xff", "too-large"),
    "no MessagePack": (frame(b"\xc1\xc1"), "invalid"),
    "nothing": (frame(b""), "invalid"),
    "an unknown request": (frame(msgspec.msgpack.encode({"type": "reboot"})), "invalid"),
    "a field of another type": (frame(msgspec.msgpack.encode({"type": "info", "name": [1]})), "invalid"),
    "a map that is very deep": (frame(b"\x81\xa4type" + b"\x91" * 60000), "invalid"),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_frame_costs_the_connection_only(store: Store, path: Path, what: str) -> None:
    piece, error = HOSTILE[what]
    async with served(store, path):
        answer = await in_thread(lambda: exchange(path, GREETING, piece))
        assert failure(answer).error == error
        (await in_thread(lambda: connected(path))).close()


async def test_another_protocol_is_hung_up_on(store: Store, path: Path) -> None:
    async with served(store, path):
        assert await in_thread(lambda: exchange(path, b"GET / HTTP/1")) == GREETING


async def test_another_user_is_refused(store: Store) -> None:
    mine, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.converse, mine, Carrying(store), store.services, Who(ME.uid + 12345, 0))
        await theirs.send_all(GREETING + frame(requests.encode(requests.List())))
        answer = bytearray(await theirs.receive_some())
        while len(answer) < 40:
            answer += await theirs.receive_some()
    assert failure(bytes(answer)).error == "forbidden"


async def test_who_begins_and_does_not_finish_is_hung_up_on(store: Store, autojump_clock: trio.testing.MockClock) -> None:
    mine, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(GREETING + b"\0\0")
    with pytest.raises(trio.TooSlowError):
        await server.converse(mine, Carrying(store), store.services, ME)


async def test_the_peer_is_who_the_kernel_says(path: Path) -> None:
    async with server.listening(path) as listener:
        client = await trio.to_thread.run_sync(_plainly, path)
        stream = await listener.accept()
        assert server.peer(stream) == ME
        await stream.aclose()
        client.close()


def _plainly(path: Path) -> socket.socket:
    plain = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_PATH)
    plain.connect(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    return plain


async def test_an_answer_too_large_for_a_frame_is_an_error(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        client = connected(path)
        client.call(requests.Create(b"photos"))
        with pytest.raises(TooLargeError, match="the answer has"):
            client.call(requests.Info(b"photos"))
        client.close()

    monkeypatch.setattr(server, "MAX_REPLY", 300)
    async with served(store, path):
        await in_thread(work)


async def test_a_request_over_the_limit_is_not_sent(store: Store, path: Path) -> None:
    def work() -> None:
        client = connected(path)
        with pytest.raises(TooLargeError, match="the limit"):
            client.call(requests.Backup(b"photos", "x" * MAX_REQUEST))
        client.close()

    async with served(store, path):
        await in_thread(work)


# The client, against peers that misbehave


def against(path: Path, behave: Callable[[socket.socket], None]) -> threading.Thread:
    """A peer that takes one connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(path))
    listener.listen()

    def run() -> None:
        with listener, listener.accept()[0] as connection:
            behave(connection)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.fixture
def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "socket"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad", GREETING[:-1] + b"\2"])
def test_a_peer_that_is_no_node_is_named_so(near: Path, said: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(len(GREETING), socket.MSG_WAITALL)
        connection.sendall(said)

    thread = against(near, behave)
    with pytest.raises(PeerError):
        connect(near)
    thread.join()


@pytest.mark.parametrize("answer", [b"", b"\0\0", frame(b"\xc1"), b"\xff\xff\xff\xff", frame(b"\x81\xa4type\xa1x")])
def test_an_answer_that_makes_no_sense_is_the_peers_fault(near: Path, answer: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(len(GREETING), socket.MSG_WAITALL)
        connection.sendall(GREETING)
        connection.recv(1 << 16)
        connection.sendall(answer)

    thread = against(near, behave)
    client = connect(near)
    assert client is not None
    with pytest.raises(PeerError):
        client.call(requests.List())
    client.close()
    thread.join()


def test_where_no_socket_is_nobody_answers(tmp_path: Path) -> None:
    assert connect(tmp_path / "no" / "socket") is None
    assert connect(tmp_path / "socket") is None


def test_a_file_in_the_sockets_place_is_nobody(tmp_path: Path) -> None:
    (tmp_path / "socket").write_text("x")
    assert connect(tmp_path / "socket") is None
