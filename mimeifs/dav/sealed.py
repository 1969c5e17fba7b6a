"""Sealed bytes, read from the packs by the process that serves them, with a reader for each who reads.

The index is seen as of one moment; where it does not have a blob yet, as of a newer one. Always true: the index is asked by
one thread at a time, and a reader of packs belongs to whoever took it until it is given back.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.store.content import ContentKind, ContentRef, Reader
from mimeifs.store.database import Database, Table, open_database
from mimeifs.store.interfaces import Buffer
from mimeifs.store.packs import IndexRow
from mimeifs.store.pages import FITTING, PagedReader, Pages, Piece, Pipes
from mimeifs.store.parts import check_length
from mimeifs.store.storage import Storage
from mimeifs.store.witness import Witnesses

CACHE_BYTES = 1 << 20
AHEAD_THREADS = 16


class Sealed:
    """The sealed bytes of one store."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._readers: list[PagedReader] = []
        self._free: list[PagedReader] = []
        self._witnesses, self._pipes = Witnesses(), Pipes()
        self.pool = ThreadPoolExecutor(AHEAD_THREADS, "dav reader")

    def reader(self, ref: ContentRef) -> "SealedReader":
        """A reader of one content."""
        return SealedReader(self, ref)

    def get(self, blob: BlobId) -> bytes:
        """One blob."""
        reader = self.take()
        try:
            return reader.get(blob)
        finally:
            self.give_back(reader)

    def take(self) -> PagedReader:
        """A reader, to be given back: there are as many as were in use at once."""
        with self._lock:
            if self._free:
                return self._free.pop()
            made = PagedReader(self._storage.packs, self._lookup, self._witnesses, self._pipes, cache_bytes=CACHE_BYTES)
            self._readers.append(made)
            return made

    def give_back(self, reader: PagedReader) -> None:
        """It is in use no more."""
        reader.rest()
        with self._lock:
            self._free.append(reader)

    def _lookup(self, digest: bytes) -> IndexRow | None:
        with self._lock:
            if self._database is None:
                self._database = open_database(self._storage.index)
            row = self._database.get(Table.BLOBS, digest)
            if row is None:
                self._database.renew()
                row = self._database.get(Table.BLOBS, digest)
        return None if row is None else IndexRow.decode(row)

    def close(self) -> None:
        """Close everything; no thread may be reading."""
        self.pool.shutdown()
        with self._lock:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
            self._free.clear()
            self._witnesses.close()
            self._pipes.close()
            if self._database is not None:
                self._database.close()
                self._database = None


class SealedReader:
    """Reads one content, quickest from front to back: as pages where these were verified already, else the next block is read
    and verified while the last one is sent. For one thread at a time."""

    def __init__(self, sealed: Sealed, ref: ContentRef) -> None:
        self._sealed = sealed
        self._ref = ref
        self._place = Reader()
        self._expected = 0
        self._next: tuple[int, Future[Piece]] | None = None
        self._own: list[PagedReader] = []
        """Two, since what was read stays where it is while the next is read."""

    def read(self, offset: int, size: int) -> Buffer:
        """At most ``size`` bytes from ``offset``, none only at the end; good until the next call."""
        found = self.piece(offset, size)
        return found.read() if isinstance(found, Pages) else found

    def piece(self, offset: int, size: int) -> Piece:
        """The same for whoever sends it, once."""
        if self._ref.kind is not ContentKind.CHUNKS:
            data = self._sealed.get(self._ref.digest)
            check_length(len(data), (self._ref.digest, 0, self._ref.size))
            return data if not offset and size >= len(data) else data[offset : offset + size]
        follows = 0 < offset == self._expected
        found = self._taken(offset) if follows else None
        if found is None:
            found = self._load(offset, size)
        self._expected = offset + len(found)
        if follows and self._expected < self._ref.size and not isinstance(found, Pages):
            self._next = self._expected, self._sealed.pool.submit(self._load, self._expected, size)
        return found

    def _taken(self, offset: int) -> Piece | None:
        """What was read ahead, if that is what is wanted."""
        following, self._next = self._next, None
        if following is None:
            return None
        data = following[1].result()
        return data if following[0] == offset else None

    def _load(self, offset: int, size: int) -> Piece:
        if not self._own:
            self._own = [self._sealed.take(), self._sealed.take()]
        self._own.reverse()
        size = self._place.whole(self._ref, offset, min(size, FITTING))
        found = self._own[0].piece(self._place.parts(self._own[0], self._ref, offset, size))
        if len(found) != max(min(offset + size, self._ref.size) - offset, 0):
            raise IntegrityError(f"{len(found)} bytes stand where {size} are needed")
        return found

    def close(self) -> None:
        """It is wanted no more, nor is what was read last."""
        following, self._next = self._next, None
        if following is not None:
            following[1].exception()  # Whatever became of it: it has ended.
        own, self._own = self._own, []
        for reader in own:
            self._sealed.give_back(reader)
