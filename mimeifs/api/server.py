"""The server of a node's socket: a task in the node's loop that answers commands one at a time per connection.

What this is not: what a command does (``handlers``), or how a call of the model is carried through (the ``Carrier``).
Always true: only this user and root are answered; a request over its limit, an unknown one, or bytes that are none at
all get a :class:`~mimeifs.api.requests.Failure` and cost the connection, never the node; a handler that fails in an
unforeseen way is logged and answered. Nothing here waits for ever on a peer that has begun to speak.
"""

import contextlib
import logging
import math
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import trio

from mimeifs.api import errors, handlers
from mimeifs.api.frames import GREETING, MAX_REPLY, MAX_REQUEST, Frames, frame
from mimeifs.api.requests import PASSING, AnyRequest, Failure, decode_request, encode
from mimeifs.api.services import Services
from mimeifs.errors import ForbiddenError, InvalidError, LockHeldError, MimeiError, TooLargeError
from mimeifs.model.node import Who

T = TypeVar("T")
MAX_CONNECTIONS = 64
PATIENCE_SECONDS = 30.0
"""How long a peer may take over one frame, ours or its own."""
_PEER = struct.Struct("iII")
_log = logging.getLogger(__name__)


class Carrier(Protocol):
    """Who carries calls of the model through."""

    async def carry(self, call: Callable[[], T]) -> T:
        """The result of a synchronous call: what is cold is fetched, what comes later waited for. Raises what it raises."""
        ...

    async def durable(self, call: Callable[[], T]) -> T:
        """The same; what the call did is durable, and whoever keeps copies of what it changed has let go of them."""
        ...


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[trio.SocketListener]:
    """A listening socket at ``path``, mode 0600, gone at the end. The caller holds the store's lock, so that a socket
    found there is left over from a dead node."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.unlink(missing_ok=True)
        # Through the descriptor, because a socket's address has no room for a long path (unix(7): 108 bytes).
        plain.bind(f"/proc/self/fd/{folder}/{fresh.name}")
        fresh.chmod(0o600)
        plain.listen(MAX_CONNECTIONS)
        fresh.rename(path)
        async with trio.SocketListener(trio.socket.from_stdlib_socket(plain)) as listener:
            yield listener
    finally:
        plain.close()
        os.close(folder)
        path.unlink(missing_ok=True)


async def serve(
    path: Path,
    carrier: Carrier,
    services: Services,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer commands at ``path`` until cancelled."""
    room = trio.CapacityLimiter(MAX_CONNECTIONS)
    async with listening(path) as listener:
        task_status.started()
        await trio.serve_listeners(partial(_connection, carrier, services, room), [listener])


async def _connection(carrier: Carrier, services: Services, room: trio.CapacityLimiter, stream: trio.SocketStream) -> None:
    """One connection from greeting to end; nothing that happens to it ends the server."""
    async with stream:
        try:
            room.acquire_nowait()
            try:
                await converse(stream, carrier, services, peer(stream))
            finally:
                room.release()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, trio.WouldBlock):
            return
        except Exception:  # noqa: BLE001  # whatever it was, the node goes on
            _log.exception("a connection of the node's socket ended")


def peer(stream: trio.SocketStream) -> Who:
    """Who is at the other end, as the kernel says."""
    _, uid, gid = _PEER.unpack(stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return Who(uid, gid)


async def converse(stream: trio.abc.Stream, carrier: Carrier, services: Services, who: Who) -> None:
    """Greet, then answer requests in turn until the peer hangs up or says something that is none."""
    with trio.fail_after(PATIENCE_SECONDS):
        found = await _greeting(stream)
        await stream.send_all(GREETING)
    if found != GREETING:
        return
    if who.uid not in (0, os.geteuid()):
        await _send(stream, _failure(ForbiddenError("this node belongs to another user")))
        return
    mine, frames = services.by(who), Frames(MAX_REQUEST)
    try:
        while (payload := await _payload(stream, frames)) is not None:
            if not await _answer(stream, carrier, mine, payload):
                return
    finally:
        mine.leave()


async def _greeting(stream: trio.abc.Stream) -> bytes:
    found = bytearray()
    while len(found) < len(GREETING) and (data := await stream.receive_some(len(GREETING) - len(found))):
        found += data
    return bytes(found)


async def _payload(stream: trio.abc.Stream, frames: Frames) -> memoryview | None:
    """The next request's bytes; None when the peer hung up or sent what cannot be one."""
    while True:
        try:
            payload = frames.next()
        except TooLargeError as error:
            await _send(stream, _failure(error))
            return None
        if payload is not None:
            return payload
        count = await _received(stream, frames.room(), PATIENCE_SECONDS if frames.inside else math.inf)
        if not count:
            return None
        frames.add(count)


async def _received(stream: trio.abc.Stream, place: memoryview, patience: float) -> int:
    """Take in what there is; how much, 0 when the peer hung up."""
    if isinstance(stream, trio.SocketStream):
        # What is there already is taken without letting others run, as the stream would: they do while the answer is sent.
        with contextlib.suppress(BlockingIOError):
            return _taken(stream.socket.fileno(), place)
        with trio.fail_after(patience):
            await trio.lowlevel.wait_readable(stream.socket)
        return _taken(stream.socket.fileno(), place)
    with trio.fail_after(patience):
        data = await stream.receive_some(len(place))
    place[: len(data)] = data
    return len(data)


def _taken(fd: int, place: memoryview) -> int:
    try:
        return os.readv(fd, (place,))
    except BlockingIOError:
        raise
    except OSError as error:
        raise trio.BrokenResourceError from error


async def _answer(stream: trio.abc.Stream, carrier: Carrier, services: Services, payload: memoryview) -> bool:
    """Answer one request; whether the connection is still of use."""
    try:
        request = decode_request(payload)
    except msgspec.DecodeError as error:
        await _send(stream, _failure(InvalidError(f"not a request this node knows: {error}")))
        return False
    await _send(stream, await _reply(carrier, services, request))
    return True


async def _reply(carrier: Carrier, services: Services, request: AnyRequest) -> msgspec.Struct:
    try:
        call = partial(handlers.handle, services, request)
        if isinstance(request, PASSING):
            return await carrier.carry(call)
        return await carrier.durable(call)
    except MimeiError as error:
        return _failure(error)
    except Exception as error:  # noqa: BLE001  # logged and answered; the node goes on
        _log.exception("the request %s failed", type(request).__name__)
        return Failure(errors.UNFORESEEN, f"the node met something unforeseen ({type(error).__name__}); see its log")


def _failure(error: MimeiError) -> Failure:
    return Failure(errors.row_of(error).name, str(error), error.path if isinstance(error, LockHeldError) else ())


async def _send(stream: trio.abc.Stream, reply: msgspec.Struct) -> None:
    payload = encode(reply)
    if len(payload) > MAX_REPLY:
        payload = encode(_failure(TooLargeError(f"the answer has {len(payload)} bytes, more than fit in one")))
    with trio.fail_after(PATIENCE_SECONDS):
        await stream.send_all(frame(payload))
