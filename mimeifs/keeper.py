"""The keeper process: :class:`mimeifs.model.keeper.Keeper` driven by what the node says.

It replays at once when the node is waiting for a version or has got far ahead, else when the node has appended nothing for a
moment, so that it does not take processor time from a program that is changing files, and soon enough in any case; when
nothing is asked, it frees segments nobody needs, seals files nobody has written to for a while, and fills gaps of the index of
histories. Told to end, it finishes what the journal holds first. A full or failing disk does not end it: the node is told, and
it tries again.
"""

import logging
import select
import signal
import socket
import time

from mimeifs.errors import CapacityError, MimeiError
from mimeifs.home import Home
from mimeifs.messages import (
    END_SIGNAL,
    Announce,
    Broken,
    Go,
    Gone,
    Ready,
    Trouble,
    ignore_group_signals,
    receive_waiting,
    send,
)
from mimeifs.model.keeper import Keeper
from mimeifs.model.orders import News
from mimeifs.store.database import open_database
from mimeifs.store.journal import SEGMENT_SIZE
from mimeifs.store.storage import drop_ballast, fill_ballast

log = logging.getLogger(__name__)

LAG_BYTES = 128 << 20
"""How much the overlay may lag behind. Each replay waits for the disk: while much is written, few large ones are quicker."""
LAG_SECONDS = 1.0
"""How long the overlay may lag behind a node that never pauses."""
REST_SECONDS = 0.15
"""How long a node that has appended nothing is taken to pause."""
IDLE_SECONDS = 2.0
PAUSE_SECONDS = 0.05
SEAL_BYTES = 64 << 20
HOT_SEGMENTS = 48
RETRY_SECONDS = 1.0


def run(home: Home, end: socket.socket, *, replacing: bool) -> None:
    """Serve until told to end by :data:`END_SIGNAL`. A keeper that replaces another leaves the node's open files alone."""
    ending = _Ending()
    storage = home.storage
    database = open_database(storage.index)
    keeper = Keeper(storage, database, home.device())
    first = 0 if replacing else keeper.recover()
    work = _Work(home, keeper, end, ending.wake)
    if replacing:
        work.follow()
    else:
        work.keep_room()
    send(end, Ready(first))
    while not ending.asked and not work.alone:
        work.turn()
    work.finish()
    keeper.close()
    database.close()


class _Ending:
    """Whether the supervisor has asked this process to end; ``wake`` becomes readable then."""

    def __init__(self) -> None:
        self.asked = False
        self.wake, notify = socket.socketpair()
        notify.setblocking(False)
        self._notify = notify
        signal.set_wakeup_fd(notify.fileno())
        signal.signal(END_SIGNAL, self._ask)
        ignore_group_signals()

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True


class _Work:
    """What the node wants, and how far the keeper is."""

    def __init__(self, home: Home, keeper: Keeper, end: socket.socket, wake: socket.socket) -> None:
        self._home = home
        self._keeper = keeper
        self._end = end
        self._wake = wake
        self._target = keeper.position
        self._urgent = False
        self._since = 0.0
        self._heard = 0.0
        self._quiet = time.monotonic()
        self._settled = keeper.position
        self._trouble: bool | None = False
        """Whether the node was told that nothing can be committed; None: a predecessor may have."""
        self._bare = False
        self.alone = False
        """Whether node and supervisor are gone."""
        self.unsure = False
        """Whether a predecessor may have died before it could announce what it had committed."""

    def follow(self) -> None:
        """Go on where one died that may have told the node anything, or nothing."""
        self.unsure, self._trouble = True, None

    def turn(self) -> None:
        """Wait for messages no longer than something else is due, then do what is due."""
        select.select([self._end, self._wake], [], [], self._patience())
        for message in receive_waiting(self._end):
            if isinstance(message, Go):
                self._announce_again(message.heard)
                self._keeper.acknowledged(message.heard)
                if message.position > self._target:
                    self._heard = time.monotonic()
                    self._since = self._since or self._heard
                    self._target = message.position
                self._urgent = self._urgent or message.urgent
            elif isinstance(message, Broken):
                self._keeper.broken = message.reason
            elif isinstance(message, Gone):
                self.alone = True
                return
        if self._keeper.broken:
            return
        try:
            if self._due():
                self._replay()
                return
            self._keeper.free_one()
            if time.monotonic() - self._quiet > IDLE_SECONDS or self._crowded():
                self._idle()
        except CapacityError as error:
            if not self._keeper.free_one():  # Tried again then.
                self._no_room(error)
        except (MimeiError, OSError) as error:
            self._failed(error)

    def _announce_again(self, heard: int) -> None:
        if self.unsure and heard < self._keeper.position:
            self._tell(News(self._keeper.position, moved=True))
        self.unsure = False

    def _patience(self) -> float:
        if self._keeper.broken:
            return 60.0
        if self._keeper.has_superfluous:
            return 0.0
        if self._trouble:
            return RETRY_SECONDS
        if self._since:
            return max(0.0, self._replay_at - time.monotonic())
        if self._keeper.edited or self._keeper.knows_gaps:
            return IDLE_SECONDS if self._keeper.edited else 60.0
        return max(PAUSE_SECONDS, self._quiet + IDLE_SECONDS - time.monotonic())

    @property
    def _replay_at(self) -> float:
        """When to replay what nobody waits for."""
        return min(self._since + LAG_SECONDS, self._heard + REST_SECONDS)

    def _due(self) -> bool:
        lag = self._target - self._keeper.position
        waited = self._since and time.monotonic() >= self._replay_at
        return bool(lag > 0 and (self._urgent or waited or lag > LAG_BYTES))

    def _replay(self) -> None:
        while self._keeper.position < self._target:
            self._tell(self._keeper.advance(self._target))
        self._urgent, self._since, self._quiet = False, 0.0, time.monotonic()
        self._recovered()

    def _crowded(self) -> bool:
        oldest = min(self._keeper.edited.values(), default=self._keeper.position)
        return self._keeper.position - oldest > HOT_SEGMENTS * SEGMENT_SIZE

    def _idle(self) -> None:
        if self._keeper.edited or self._keeper.knows_gaps:
            self._seal()
        else:
            self._keeper.index_some()

    def _seal(self) -> None:
        before = self._keeper.position if self._crowded() else self._settled + 1
        self._settled = self._keeper.position
        if self._keeper.edited:
            news = self._keeper.seal_idle(before, SEAL_BYTES)
            if news.moved or news.damaged:
                self._tell(news)
        self._quiet = time.monotonic()
        self._recovered()

    def _tell(self, news: News) -> None:
        send(self._end, Announce(news))

    def _no_room(self, error: CapacityError) -> None:
        """Give the ballast up and try again; while there is none left, the node refuses to grow."""
        if self._dropped():
            log.warning("%s; the ballast is given up", error)
        elif self._trouble is not True:
            log.error("%s; the mount refuses writes until there is room", error)
            send(self._end, Trouble(str(error), full=True))
            self._trouble = True

    def _dropped(self) -> bool:
        try:
            return drop_ballast(self._home.storage)
        except OSError:
            return False

    def _failed(self, error: MimeiError | OSError) -> None:
        """The disk fails: what was committed stays, and nothing may grow until a commit succeeds again."""
        if self._keeper.broken:
            log.error("%s", error)
            send(self._end, Broken(self._keeper.broken))
        elif self._trouble is not True:
            log.error("%s; the mount refuses writes until that is mended", error)
            send(self._end, Trouble(str(error), full=False))
            self._trouble = True

    def _recovered(self) -> None:
        if self._trouble is not False:
            send(self._end, Trouble("", full=False))
            self._trouble = False
        self.keep_room()  # Who makes room may have given it up as well.

    def keep_room(self) -> None:
        """Take room for a full disk; what keeps it from being taken is told once."""
        error = fill_ballast(self._home.storage)
        if error is not None and not self._bare:
            log.warning("no room can be kept for a full disk: %s", error)
        self._bare = error is not None

    def finish(self) -> None:
        """Replay everything the journal holds: the node has ended."""
        try:
            before = -1
            while before != self._keeper.position:
                before = self._keeper.position
                self._keeper.advance(None)
            self._keeper.free_all()
        except (MimeiError, OSError) as error:
            log.error("%s; the rest of the journal is replayed at the next start", error)
