"""What the processes of a node say to each other, and the sockets they say it on.

Sequenced-packet Unix sockets keep messages whole; the supervisor holds both ends, so what was sent to a process that
died is read by its successor. What it had read and not answered is lost: the successor says ``Ready``, and is told again.
Messages are msgpack arrays, tagged.
"""

import signal
import socket

import msgspec

from mimeifs.model.orders import News

END_SIGNAL = signal.SIGUSR1
"""What ends a keeper: what ends a node may come to the whole process group, and the keeper must outlive the node."""

BUFFER = 4 << 20
MAX_MESSAGE = 1 << 20


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """Keeper to node: the journal is replayed; begin with this segment. ``first_segment`` 0 from a keeper or syncer
    that may replace another."""

    first_segment: int


class Go(msgspec.Struct, frozen=True, array_like=True, tag="go"):
    """Node to keeper: frames before ``position`` are there; everything announced up to ``heard`` was taken in."""

    position: int
    heard: int
    urgent: bool


class Announce(msgspec.Struct, frozen=True, array_like=True, tag="news"):
    """Keeper to node."""

    news: News


class Trouble(msgspec.Struct, frozen=True, array_like=True, tag="trouble"):
    """Keeper to node: nothing more can be committed until ``reason`` is gone; "" when it is. ``full`` when it is for lack of
    room, else the disk fails."""

    reason: str
    full: bool


class Broken(msgspec.Struct, frozen=True, array_like=True, tag="broken"):
    """Keeper to node, and node to keeper: a sync of the journal has failed, for ``reason``; nothing more is appended to it or
    committed from it until both start again."""

    reason: str


class Sync(msgspec.Struct, frozen=True, array_like=True, tag="sync"):
    """Node to syncer: make everything before ``position`` durable."""

    position: int


class Synced(msgspec.Struct, frozen=True, array_like=True, tag="synced"):
    """Syncer to node: done up to ``position``, or the errno of what failed."""

    position: int
    errno: int


class Gone(msgspec.Struct, frozen=True, array_like=True, tag="gone"):
    """Never sent: the other side and the supervisor, who held it for a successor, are both gone."""


Message = Ready | Go | Announce | Trouble | Broken | Sync | Synced
encode = msgspec.msgpack.encode
decode = msgspec.msgpack.Decoder(Message).decode


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends with room for whole bursts."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    return ends


def send(end: socket.socket, message: Message) -> None:
    """Send one message."""
    end.send(encode(message))


def receive(end: socket.socket) -> Message | None:
    """The next message; ``None`` when the other side has closed."""
    data = end.recv(MAX_MESSAGE)
    return decode(data) if data else None


def receive_waiting(end: socket.socket) -> list[Message | Gone]:
    """Every message that is there, without waiting; the last is ``Gone`` when there is nobody left to send one."""
    found: list[Message | Gone] = []
    while True:
        try:
            data = end.recv(MAX_MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        if not data:
            found.append(Gone())
            return found
        found.append(decode(data))


def end_signals() -> tuple[signal.Signals, ...]:
    """What ends a node: SIGTERM, SIGINT, and a terminal that is closed, unless nohup(1) has that ignored."""
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hang_up)


def ignore_group_signals() -> None:
    """Leave what ends a node to the supervisor and the node."""
    for number in end_signals():
        signal.signal(number, signal.SIG_IGN)
