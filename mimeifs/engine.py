"""The engine: model and store of one node, put together.

Two ways to run it. In the ``node`` process the keeper is another process and :meth:`Engine.heard` is called with its
news. In a command without a running node, and in tests, :class:`LocalEngine` has the keeper inside and carries
everything out at once.

Always true: ``heard`` is called with news in order, never inside a model call.
"""

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from mimeifs.clock import Clock, Randomness
from mimeifs.errors import ExistsError, ForbiddenError, MimeiError
from mimeifs.home import Home
from mimeifs.ids import KeyId, MimeiId, show_key
from mimeifs.model import records
from mimeifs.model.comparing import Comparing
from mimeifs.model.delegation import Right
from mimeifs.model.identity import SigningKey
from mimeifs.model.keeper import Keeper
from mimeifs.model.live import Live
from mimeifs.model.mimeis import Mimeis, Signer
from mimeifs.model.names import WallTime
from mimeifs.model.node import Who
from mimeifs.model.orders import CallKind, News, Taken
from mimeifs.model.path_history import PathHistory
from mimeifs.model.references import References
from mimeifs.model.transplant import Transplant
from mimeifs.model.versions import Later, Versions
from mimeifs.model.views import Views
from mimeifs.store import disk, operations
from mimeifs.store.blobs import ResidentBlobReader, index_of
from mimeifs.store.database import U64, Database, Table, open_database
from mimeifs.store.interfaces import Cold
from mimeifs.store.journal import JournalWriter, frame_key
from mimeifs.store.journalreader import JournalReader
from mimeifs.store.storage import StoreLock, check_owner, create_storage

CACHE_BYTES = 24 << 20
T = TypeVar("T")


def local_to_ns(wall: WallTime) -> int:
    """Local wall time as nanoseconds since the epoch."""
    return int(time.mktime((*wall, 0, 0, -1))) * 10**9


class Engine:
    """Model and store of one node, on an opened database and the journal's first free segment."""

    def __init__(
        self, home: Home, database: Database, device: SigningKey, first_segment: int, clock: Clock, randomness: Randomness
    ) -> None:
        storage = home.storage
        self.home = home
        self.database = database
        key = database.meta(b"inode key")
        self.journal = JournalWriter(storage.journal, first_segment, frame_key(key))
        self.reader = JournalReader(storage.journal, frame_key(key), trusted=first_segment)
        self.blobs = ResidentBlobReader(storage.packs, index_of(database), cache_bytes=CACHE_BYTES)
        author = KeyId(database.meta(b"author"))
        self.live = Live(database, self.journal, self.reader, self.blobs, clock, key)
        self.mimeis = Mimeis(self.live, Signer(author, device), randomness)
        self.versions = Versions(self.mimeis, local_to_ns)
        self.transplant = Transplant(self.live, self.mimeis, self.versions)
        self.comparing = Comparing(self.live, self.mimeis, self.versions)
        self.history = PathHistory(self.live, self.versions)
        self.references = References(self.live, self.mimeis, self.versions)
        self.views = Views(self.live, self.mimeis, self.versions, key)
        self._taken: dict[int, Taken] = {}

    def heard(self, news: News) -> None:
        """Take in the keeper's news."""
        for taken in news.taken:
            self._taken[taken.at] = taken
        if news.taken:
            self.blobs.refresh()
        self.reader.distrust(news.damaged)
        self.live.announced(news.position, moved=news.moved)
        for cut in news.folded:
            # Where the journal takes nothing the rows stay until a node starts; they are superfluous, not wrong.
            with suppress(MimeiError):
                self.live.append(operations.call(CallKind.REAP, U64.pack(cut)))

    def taken(self, at: int) -> Taken | None:
        """What came of the CUT at ``at``, once."""
        return self._taken.pop(at, None)

    def close(self) -> None:
        """Close what this process has open; the journal keeps what was not replayed."""
        self.journal.close()
        self.reader.close()
        self.blobs.close()


class LocalEngine:
    """An engine with the keeper inside: every call is carried out, replayed and durable when it returns."""

    def __init__(self, home: Home, clock: Clock, randomness: Randomness) -> None:
        home.check()
        self._lock = StoreLock(home.storage)
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            device = home.device()
            self.database = open_database(home.storage.index)
            undo.callback(self.database.close)
            self.keeper = Keeper(home.storage, self.database, device)
            undo.callback(self.keeper.close)
            first = self.keeper.recover()
            self.keeper.free_all()
            self.engine = Engine(home, self.database, device, first, clock, randomness)
            undo.pop_all()

    def settle(self) -> None:
        """Replay everything appended so far."""
        engine = self.engine
        engine.live.drop_unreachable()
        while self.keeper.position < engine.journal.position:
            news = self.keeper.advance(engine.journal.position)
            engine.heard(news)
            self.keeper.acknowledged(news.position)
            self.keeper.free_all()

    def run(self, call: Callable[[], T]) -> T:
        """Carry out a model call: fetch what is cold, wait for what is later, and make it durable."""
        result = self.attempt(call)
        self.settle()
        return result

    def attempt(self, call: Callable[[], T]) -> T:
        """As :meth:`run`, without replaying unless the call needs it."""
        while True:
            try:
                return call()
            except Cold as cold:
                self.engine.blobs.fetch(cold.ids)
            except Later as later:
                self.settle()
                call = partial(later.proceed, self.engine.taken(later.at))

    def close(self) -> None:
        """Replay, close and unlock."""
        self.settle()
        self.abandon()

    def abandon(self) -> None:
        """Close without replaying, as a crash would."""
        self.engine.close()
        self.keeper.close()
        self.database.close()
        self._lock.release()


def create_home(home: Home, clock: Clock, randomness: Randomness, passphrase: bytes | None, who: Who) -> MimeiId:
    """Make keys, store and root MiMei in a home; returns the root's ID. Raises ``ExistsError``, ``ForbiddenError``.

    The store gets its name when it is whole: what an interrupted attempt left is begun anew.
    """
    if home.begun:
        raise ExistsError(f"there is a store in {home.root} already")
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_owner(home.root)
    making = replace(home, store="store.unfinished")
    shutil.rmtree(making.storage.root, ignore_errors=True)
    try:
        root = _make_store(making, clock, randomness, passphrase, who)
    except BaseException:
        shutil.rmtree(making.storage.root, ignore_errors=True)
        raise
    disk.move(making.storage.root, home.storage.root)
    disk.sync_directory(home.root)
    return root


def _make_store(home: Home, clock: Clock, randomness: Randomness, passphrase: bytes | None, who: Who) -> MimeiId:
    storage = create_storage(home.storage.root)
    user, device = home.make_keys(randomness, passphrase)
    now = clock.now_ns()
    delegation = records.sign(records.Delegation(user.key_id, device.key_id, now, None, frozenset(Right)), user)
    database = open_database(storage.index)
    with database.write() as transaction:
        for key, value in ((b"inode key", randomness.draw(32)), (b"author", user.key_id)):
            transaction.put(key, value, db=database.tables[Table.META])
        transaction.put(user.key_id + device.key_id, delegation.data, db=database.tables[Table.DELEGATIONS])
    database.close()
    local = LocalEngine(home, clock, randomness)
    try:
        mimeis = local.engine.mimeis
        info = mimeis.root_info()
        local.engine.live.append(
            operations.call(CallKind.RECORD, delegation.data) + operations.put(Table.META, b"root", info.record.mimei_id)
        )
        local.run(lambda: mimeis.create(info, who))
        return info.record.mimei_id
    finally:
        local.close()


def check_device(database: Database, device: SigningKey) -> None:
    """Raise unless the author delegated to this device's key."""
    author = database.meta(b"author")
    if database.get(Table.DELEGATIONS, author + device.key_id) is None:
        raise ForbiddenError(f"the key of this device ({show_key(device.key_id)}) holds no delegation from the author")
