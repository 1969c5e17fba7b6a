"""Sealed bytes, read from the packs by the process that serves them, with a reader for each thread.

The index is seen as of one moment; where it does not have a blob yet, as of a newer one. Always true: the index is asked by
one thread at a time, and a reader of packs belongs to one thread.
"""

import threading

from mimeifs.store.blobs import BlobReader
from mimeifs.store.content import ContentKind, ContentRef, Reader
from mimeifs.store.database import Database, Table, open_database
from mimeifs.store.interfaces import Buffer
from mimeifs.store.packs import IndexRow
from mimeifs.store.parts import check_length
from mimeifs.store.storage import Storage

CACHE_BYTES = 8 << 20


class Sealed:
    """The sealed bytes of one store."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._own = threading.local()
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._readers: list[BlobReader] = []

    def reader(self, ref: ContentRef) -> "SealedReader":
        """A reader of one content."""
        return SealedReader(self, ref)

    def blobs(self) -> BlobReader:
        """The reader of the thread that asks."""
        found: BlobReader | None = getattr(self._own, "blobs", None)
        if found is None:
            found = self._own.blobs = BlobReader(self._storage.packs, self._lookup, cache_bytes=CACHE_BYTES)
            with self._lock:
                self._readers.append(found)
        return found

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
        with self._lock:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
            if self._database is not None:
                self._database.close()
                self._database = None


class SealedReader:
    """Reads one content, quickest from front to back. For one thread at a time."""

    def __init__(self, sealed: Sealed, ref: ContentRef) -> None:
        self._sealed = sealed
        self._ref = ref
        self._place = Reader()

    def read(self, offset: int, size: int) -> Buffer:
        """At most ``size`` bytes from ``offset``, none only at the end; good until this thread reads again."""
        if self._ref.kind is ContentKind.BLOB:
            data = self._sealed.blobs().get(self._ref.digest)
            check_length(len(data), (self._ref.digest, 0, self._ref.size))
            return data if not offset and size >= len(data) else data[offset : offset + size]
        size = self._place.whole(self._ref, offset, size)
        return self._place.view(self._sealed.blobs(), self._ref, offset, size)
