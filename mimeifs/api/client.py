"""The client of a node's socket: one request, one reply, blocking.

What this is not: what a command does when no node runs (the command line's ``gate``). Always true: an error that the
node reports is raised here as what it was there; anything else that goes wrong on the way is a ``PeerError``.
"""

import os
import socket
import struct
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from mimeifs.api import errors
from mimeifs.api.frames import GREETING, MAX_REPLY, MAX_REQUEST, Frames, check_greeting, frame
from mimeifs.api.requests import Failure, Request, decode_reply, in_parts
from mimeifs.errors import ForbiddenError, PeerError, TooLargeError
from mimeifs.store.interfaces import Buffer

R = TypeVar("R", bound=msgspec.Struct)
_ANSWER_SECONDS = 10.0
_PEER = struct.Struct("iII")
_ENDED = "the node ended in the middle of an answer; what it had promised is kept: see its log"


class Client:
    """An open connection to a node."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._frames = Frames(MAX_REPLY)

    def greet(self) -> None:
        """Make sure of the other end; raises ``PeerError``."""
        self._socket.settimeout(_ANSWER_SECONDS)
        try:
            self._socket.sendall(GREETING)
            found = b""
            while len(found) < len(GREETING) and (data := self._socket.recv(len(GREETING) - len(found))):
                found += data
        except TimeoutError:
            raise PeerError("the node does not answer on its socket; if it hangs, end it and start it again") from None
        except OSError as error:
            raise PeerError(f"the node's socket fails: {error.strerror}") from error
        if not found:
            raise PeerError("the node hung up at once: it is ending, or has too many connections")
        check_greeting(found)
        self._socket.settimeout(None)

    def call(self, request: Request[R]) -> R:
        """The node's reply; raises what the node raised, or ``PeerError``."""
        self.post(request)
        return self.heard(request)

    def post(self, request: Request[R]) -> None:
        """Send a request; its reply is to be heard later, in turn."""
        try:
            payload, behind = in_parts(request)
        except OverflowError:
            raise TooLargeError("a number that is asked for has more than 64 bits") from None
        size = len(payload) + len(behind)
        if size > MAX_REQUEST:
            raise TooLargeError(f"a request of {size} bytes is over the limit of {MAX_REQUEST}")
        try:
            self._send(frame(payload, len(behind)), behind)
        except OSError as error:
            raise PeerError(_ENDED) from error

    def _send(self, head: bytes, behind: Buffer) -> None:
        """Send both, one behind the other, without joining them."""
        if not len(behind):
            self._socket.sendall(head)
            return
        sent = self._socket.sendmsg((head, behind))
        if sent < len(head):
            self._socket.sendall(head[sent:])
        with memoryview(behind) as view:
            self._socket.sendall(view[max(sent - len(head), 0) :])

    def heard(self, _request: Request[R]) -> R:
        """The reply to the first request that has none yet; raises what the node raised, or ``PeerError``."""
        try:
            answer = self._receive()
        except OSError as error:
            raise PeerError(_ENDED) from error
        try:
            reply = decode_reply(answer)
        except msgspec.DecodeError as error:
            raise PeerError(f"the node's answer makes no sense to this program: {error}") from error
        if isinstance(reply, Failure):
            raise errors.from_wire(reply.error, reply.message, reply.path)
        return cast("R", reply)

    def _receive(self) -> memoryview:
        while (payload := self._next()) is None:
            count = self._socket.recv_into(self._frames.room())
            if not count:
                raise PeerError(_ENDED)
            self._frames.add(count)
        return payload

    def _next(self) -> memoryview | None:
        try:
            return self._frames.next()
        except TooLargeError as error:
            raise PeerError(f"the node's answer makes no sense to this program: {error}") from error

    def peer_process(self) -> int:
        """The process that listens at the other end, as the kernel says (SO_PEERCRED, unix(7))."""
        found = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        return int(_PEER.unpack(found)[0])

    def lives(self) -> bool:
        """Whether the other end has not hung up; between two calls only."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def connect(path: Path) -> Client | None:
    """A connection to the node that listens at ``path``, or None when nobody does. Raises ``PeerError``."""
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_REQUEST)  # Or as much as anybody may have.
    try:
        # Through the descriptor, because a socket's address has no room for a long path (unix(7): 108 bytes).
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        return None
    except PermissionError:
        connection.close()
        raise ForbiddenError(f"the socket {path} belongs to another user's node") from None
    except OSError as error:
        connection.close()
        raise PeerError(f"the socket {path} cannot be used: {error.strerror}") from error
    finally:
        os.close(folder)
    client = Client(connection)
    try:
        client.greet()
    except BaseException:
        client.close()
        raise
    return client
