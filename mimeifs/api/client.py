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
from mimeifs.api.requests import Failure, Request, decode_reply, encode
from mimeifs.errors import ForbiddenError, PeerError, TooLargeError

R = TypeVar("R", bound=msgspec.Struct)
_ANSWER_SECONDS = 10.0
_PIECE = 128 << 10
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
            payload = encode(request)
        except OverflowError:
            raise TooLargeError("a number that is asked for has more than 64 bits") from None
        if len(payload) > MAX_REQUEST:
            raise TooLargeError(f"a request of {len(payload)} bytes is over the limit of {MAX_REQUEST}")
        try:
            self._socket.sendall(frame(payload))
        except OSError as error:
            raise PeerError(_ENDED) from error

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

    def _receive(self) -> bytes:
        while (payload := self._next()) is None:
            data = self._socket.recv(_PIECE)
            if not data:
                raise PeerError(_ENDED)
            self._frames.feed(data)
        return payload

    def _next(self) -> bytes | None:
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
