"""The process of the network drive: WebDAV on threads, a client of the node's socket like any command.

States: waiting for the node, waiting for a first connection, serving, ended. What it takes to speak HTTP is loaded
with the first connection, so that a drive nobody uses costs next to no memory. It never opens the overlay and never touches
the mount; when it dies it is replaced, and when it cannot listen the node goes on without it.
"""

import logging
import os
import select
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from mimeifs.api.client import connect
from mimeifs.dav.interface import Tree
from mimeifs.dav.listening import PREFIX, DriveOptions, shown
from mimeifs.errors import ConflictError, MimeiError
from mimeifs.freed import keep_freed_memory
from mimeifs.home import Home
from mimeifs.messages import end_signals

if TYPE_CHECKING:
    from mimeifs.dav.http import Server

log = logging.getLogger(__name__)

BACKLOG = 512
NODE_SECONDS = 0.05
"""How often to look whether the node is there."""


class _Ended(Exception):
    """Asked to end before anybody came."""


def run(home: Home, options: DriveOptions, tree: Tree, lifeline: int) -> None:
    """Serve until asked to end, or until the supervisor is gone. Raises ``ConflictError`` where the port is taken."""
    try:
        numbers = end_signals()
        for number in numbers:
            signal.signal(number, _stop_waiting)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        keep_freed_memory()
        if not _node_answers(home, lifeline):
            return
        listener = _listening(options)
        server = _server(home, options, tree, listener) if options.secure else None  # What is wrong with TLS is said at once.
        url = f"{'https' if options.secure else 'http'}://{shown(*listener.getsockname()[:2])}{PREFIX}/"
        _tell(home.drive_file, url)
        log.info("the network drive is at %s", url)
        if lifeline not in select.select([listener.fileno(), lifeline], [], [])[0]:
            _serve(server or _server(home, options, tree, listener), lifeline)
    except _Ended:
        pass
    finally:
        home.drive_file.unlink(missing_ok=True)


def _tell(file: Path, url: str) -> None:
    """Say where the drive is; whoever waits for the file never finds it half written."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.write_text(f"{url}\n")
    fresh.replace(file)


def _listening(options: DriveOptions) -> socket.socket:
    try:
        family = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((options.host, options.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConflictError(
            f"there is no network drive, because {shown(options.host, options.port)} cannot be used ({error}): choose"
            " another place with --dav ADDRESS:PORT, or none with --no-dav; the mount works without it"
        ) from None


def _node_answers(home: Home, lifeline: int) -> bool:
    """Wait for the node; False when the supervisor is gone, as when there will be none."""
    while not select.select([lifeline], [], [], NODE_SECONDS)[0]:
        with suppress(MimeiError):
            client = connect(home.socket)
            if client is not None:
                client.close()
                return True
    return False


def _stop_waiting(_number: int, _frame: FrameType | None) -> None:
    raise _Ended


def _server(home: Home, options: DriveOptions, tree: Tree, listener: socket.socket) -> "Server":
    from mimeifs.drive_server import make_server  # Here, so that a drive nobody uses does not carry it.

    return make_server(home, options, tree, listener)


def _serve(server: "Server", lifeline: int) -> None:
    for number in end_signals():
        signal.signal(number, lambda *_: _end(server))
    server.prepare()
    threading.Thread(target=_end_on_loss, args=(lifeline, server), daemon=True).start()
    server.serve()


def _end(server: "Server") -> None:
    # From another thread: stopping waits for the loop that a signal has interrupted.
    threading.Thread(target=server.stop, daemon=True).start()


def _end_on_loss(lifeline: int, server: "Server") -> None:
    os.read(lifeline, 1)
    server.stop()
