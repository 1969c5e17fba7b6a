"""A node and a keeper on one store, each seeing the other's work only when told to, as two processes would.

Every blob is cold until asked for, so that each call is interrupted wherever it can be.
"""

from collections import deque
from functools import partial

from mimeifs.engine import Engine
from mimeifs.model.keeper import Keeper
from mimeifs.model.versions import Later
from mimeifs.store.database import Database, open_database
from mimeifs.store.interfaces import Cold
from mimeifs.store.storage import StoreLock


class Chilled:
    """A blob reader that has forgotten everything at the start of each call."""

    def __init__(self, blobs):
        self._blobs = blobs
        self._warm = set()

    def cool(self):
        self._warm.clear()

    def get(self, blob):
        if blob not in self._warm:
            raise Cold((blob,))
        return self._blobs.get(blob)

    def fetch(self, ids):
        self._blobs.fetch(ids)
        self._warm.update(ids)

    def __getattr__(self, name):
        return getattr(self._blobs, name)


class Lagging:
    def __init__(self, home, clock, randomness):
        self._lock = StoreLock(home.storage)
        self.home, device = home, home.device()
        self.node_database = open_database(home.storage.index)
        self.keeper_database = Database(home.storage.index, self.node_database._env)
        self.keeper = Keeper(home.storage, self.keeper_database, device)
        first = self.keeper.recover()
        self.node_database.renew()
        self.engine = Engine(home, self.node_database, device, first, clock, randomness)
        self.blobs = Chilled(self.engine.blobs)
        self.engine.blobs = self.engine.live.blobs = self.engine.views.past.blobs = self.blobs
        self.unheard = deque()

    @property
    def end(self):
        return self.engine.journal.position

    def call(self, call):
        """A model call; whoever needs an answer of the keeper gets it at once."""
        self.blobs.cool()
        while True:
            try:
                return call()
            except Cold as cold:
                self.blobs.fetch(cold.ids)
            except Later as later:
                self.settle()
                call = partial(later.proceed, self.engine.taken(later.at))

    def replay(self, upto):
        if self.keeper.position < upto:
            before = self.keeper.position
            self.unheard.append(self.keeper.advance(upto))
            assert self.keeper.position > before, "the keeper does not get on"

    def seal_idle(self, before, budget):
        self.unheard.append(self.keeper.seal_idle(before, budget))

    def replace_keeper(self):
        """The keeper dies with news untold; its successor says where it goes on."""
        self.keeper.close()
        self.unheard.clear()
        self.keeper_database.renew()
        self.keeper = Keeper(self.home.storage, self.keeper_database, self.home.device())
        self.unheard.append(self.keeper.advance(self.keeper.position))

    def hear(self):
        if self.unheard:
            news = self.unheard.popleft()
            self.engine.heard(news)
            self.keeper.acknowledged(news.position)
            self.keeper.free_all()

    def settle(self):
        while self.keeper.position < self.end or self.unheard:
            self.replay(self.end)
            while self.unheard:
                self.hear()

    def abandon(self):
        self.engine.close()
        self.keeper.close()
        self.keeper_database._read.abort()
        self.node_database.close()
        self._lock.release()
