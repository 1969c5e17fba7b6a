"""The syncer process: turns "make this durable" into fdatasync, and nothing else.

A process of its own, because a sync must wait neither for the node's loop nor for the keeper's heavy work. Everybody
who asked before a sync began is answered by it. Always true: an answer ``position`` means that every journal byte
before it is on disk.
"""

import os
import socket

from mimeifs.messages import Ready, Sync, Synced, receive, receive_waiting, send
from mimeifs.store import disk
from mimeifs.store.journal import SEGMENT_SIZE, segment_path
from mimeifs.store.storage import Storage


def run(storage: Storage, end: socket.socket) -> None:
    """Serve until the node's end is closed or this process is ended."""
    syncing = Syncing(storage)
    send(end, Ready(0))
    while True:
        message = receive(end)
        if message is None:
            return
        wanted = [each.position for each in (message, *receive_waiting(end)) if isinstance(each, Sync)]
        if wanted:
            send(end, syncing.sync(max(wanted)))


class Syncing:
    """Which segments are open, and how far everything is durable."""

    def __init__(self, storage: Storage) -> None:
        self._directory = storage.journal
        self._fds: dict[int, int] = {}
        self._done = -1

    def sync(self, position: int) -> Synced:
        """Make everything before ``position`` durable."""
        newest = (position - 1) // SEGMENT_SIZE
        oldest = newest if self._done < 0 else self._done // SEGMENT_SIZE
        try:
            if self._done < 0:
                oldest = self._oldest_present(newest)
            for number in range(oldest, newest + 1):
                self._sync_segment(number)
        except OSError as error:
            return Synced(position, error.errno or 5)
        for number in [number for number in self._fds if number < newest]:
            os.close(self._fds.pop(number))
        self._done = position
        return Synced(position, 0)

    def _oldest_present(self, newest: int) -> int:
        """The first of the unbroken run of segments that ends with ``newest``."""
        number = newest
        while segment_path(self._directory, number - 1).exists():
            number -= 1
        return number

    def _sync_segment(self, number: int) -> None:
        fd = self._fds.get(number)
        if fd is None:
            try:
                fd = os.open(segment_path(self._directory, number), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return  # Freed: all of it is in LMDB and packs, which are synced.
            self._fds[number] = fd
            disk.sync_directory(self._directory)
        disk.sync(fd)
