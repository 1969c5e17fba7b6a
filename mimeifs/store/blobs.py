"""Blobs and records out of the packs: the readers for every process. The one writer, :class:`PackWriter`, is shown here too.

What this is not: the index, which is asked through a function. Always true: what a reader returns was verified against its
digest when it was read from disk; memory is bounded by the bytes given at the start; a descriptor and a decompressor are never
shared between threads, so one reader belongs to one thread (:meth:`ResidentBlobReader.fetch` is made for another one).
"""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import zstandard
from blake3 import blake3

from mimeifs.errors import IntegrityError, MimeiError, MissingError
from mimeifs.ids import BlobId, show_blob
from mimeifs.store import slices
from mimeifs.store.database import Database, Table
from mimeifs.store.interfaces import Buffer, Cold, Part
from mimeifs.store.pace import Pace
from mimeifs.store.packfiles import Lookup, PackFiles, read_at, unreadable
from mimeifs.store.packs import FRAME_SIZE, ZSTD, IndexRow, damaged, unpack
from mimeifs.store.packwriter import PackWriter
from mimeifs.store.parts import check_length, gathered, joined

__all__ = ["BlobReader", "Lookup", "PackWriter", "ResidentBlobReader"]

SCRATCH_BYTES = 1 << 20
MAX_WANTED = 4096
MAX_WINDOW = 8 << 20
"""The largest memory for a view, in bytes; a request and the whole of its first and last chunk fit in."""
MAX_WAIT = 64 << 10
"""What a loop may wait for, in bytes."""
MAX_LITTLE = MAX_WAIT - 2 * slices.SLICE
"""Up to here a read has only the slices around it verified, in bytes; they are no more than a loop may wait for."""
POPULAR = 8
"""So many times slices of a blob are read before all of it is: about what that costs."""
ENTRY_OVERHEAD = 160
"""What an entry of a cache costs beside its bytes."""


def index_of(database: Database) -> Lookup:
    """The blob index of a database, as a reader asks it."""

    def lookup(digest: bytes) -> IndexRow | None:
        row = database.get(Table.BLOBS, digest)
        return None if row is None else IndexRow.decode(row)

    return lookup


class BlobReader:
    """Blobs and records from the packs of ``directory``, blocking, with a cache of ``cache_bytes``. A ``ViewSource``."""

    def __init__(self, directory: Path, lookup: Lookup, *, cache_bytes: int) -> None:
        self._directory = directory
        self._lookup = lookup
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        self._room = cache_bytes
        self._files = PackFiles(directory, self._read)
        self._decompressor = zstandard.ZstdDecompressor()
        # Used again and again, because fresh memory costs a page fault every 4 KiB.
        self._window = bytearray()

    def get(self, blob: BlobId) -> bytes:
        """See ``BlobSource``; takes the ID of a record as well."""
        data = self._cache.get(blob)
        if data is None:
            return self._load(blob)
        self._cache.move_to_end(blob)
        return data

    def view(self, parts: Sequence[Part]) -> Buffer:
        """See ``ViewSource``. What is read from a pack goes straight into the memory that is returned.

        A blob of which only a piece was wanted is remembered, since whoever reads on wants the rest of it.
        """
        return self._view(parts, [self._in_memory(blob) or self.locate(blob) for blob, _, _ in parts])

    def _view(self, parts: Sequence[Part], found: Sequence[bytes | IndexRow]) -> Buffer:
        size = sum(data.plain if isinstance(data, IndexRow) else len(data) for data in found)
        if size > MAX_WINDOW:
            return joined(self, parts)  # Small pieces of large blobs, as no honest content has them.
        window = self._window_of(size)
        begin = at = 0
        cold: list[BlobId] = []
        for part, data in zip(parts, found, strict=True):
            blob, start, length = part
            if not isinstance(data, IndexRow):
                check_length(len(data), part)
                window[at : at + length] = memoryview(data)[start : start + length]
            else:
                check_length(data.plain, part)
                place = window[at : at + data.plain]
                try:
                    self.fill(place, blob, data)
                except _WouldWait:
                    self._want(blob, data)
                    cold.append(blob)
                    continue
                if length < data.plain or cold:
                    self._remember(blob, bytes(place))
                if start and at:
                    place[:length] = place[start : start + length]
                elif start:
                    begin = at = start
            at += length
        if cold:
            raise Cold(tuple(cold))
        return window[begin:at]

    def _in_memory(self, blob: BlobId) -> bytes | None:
        data = self._cache.get(blob)
        if data is not None:
            self._cache.move_to_end(blob)
        return data

    def _want(self, blob: BlobId, row: IndexRow) -> None:
        """A reader that waits has nothing to want."""

    def _window_of(self, size: int) -> memoryview:
        if size > len(self._window):
            self._window = bytearray(size)
        return memoryview(self._window)

    def fill(self, place: memoryview, blob: BlobId, row: IndexRow) -> None:
        """Put the verified plain bytes of ``blob`` into ``place``, which is as long; raises ``IntegrityError``."""
        if row.flags & ZSTD:
            place[:] = self._from_pack(blob, row)
            return
        fd = self._files.descriptor(row.pack)
        if self._read_into(fd, place, row.offset) < row.stored or blake3(place).digest() != blob:
            raise damaged(row, blob)

    def ahead(self, ids: Iterable[BlobId]) -> None:
        """See ``ViewSource``: asks the kernel to read the stored bytes into its page cache (posix_fadvise(2)).

        What lies side by side is asked for in one go.
        """
        pack = start = stop = 0
        for blob in ids:
            row = self.locate(blob)
            if row.pack != pack or not 0 <= row.offset - stop <= FRAME_SIZE:
                self._advise(pack, start, stop)
                pack, start = row.pack, row.offset
            stop = row.offset + row.stored
        self._advise(pack, start, stop)

    def _advise(self, pack: int, start: int, stop: int) -> None:
        if stop > start:
            os.posix_fadvise(self._files.descriptor(pack), start, stop - start, os.POSIX_FADV_WILLNEED)

    def refresh(self) -> None:
        """Let go of every descriptor: call when packs were removed. Packs that grow or appear need nothing."""
        self._files.close()

    close = refresh

    def _read(self, fd: int, size: int, offset: int) -> Buffer:
        return read_at(fd, size, offset)

    def _read_into(self, fd: int, buffer: memoryview, offset: int) -> int:
        """Fill ``buffer`` from a pack; the count, less at its end."""
        try:
            return os.preadv(fd, (buffer,), offset)
        except OSError as error:
            raise unreadable(error, offset) from error

    def _load(self, blob: BlobId) -> bytes:
        data = self._from_pack(blob, self.locate(blob))
        self._remember(blob, data)
        return data

    def locate(self, blob: BlobId) -> IndexRow:
        """See ``ViewSource``."""
        row = self._lookup(blob)
        if row is None:
            raise MissingError(f"blob {show_blob(blob)} is not in this store; `mimei info` of it says what needs it")
        return row

    def _from_pack(self, blob: BlobId, row: IndexRow) -> bytes:
        stored = self._read(self._files.descriptor(row.pack), row.stored, row.offset)
        return unpack(row, stored, blob, self._decompressor)

    def _remember(self, blob: BlobId, data: bytes) -> None:
        """Put into the cache, which makes room by dropping what was used longest ago."""
        cache = self._cache
        if blob in cache:
            return
        self._room -= len(data) + ENTRY_OVERHEAD
        cache[blob] = data
        while self._room < 0 and cache:
            self._room += len(cache.popitem(last=False)[1]) + ENTRY_OVERHEAD


class _WouldWait(Exception):
    """The bytes are not in the page cache."""


class ResidentBlobReader(BlobReader):
    """A reader for a loop that must not wait long: bytes that are in no memory raise ``Cold`` instead of being read from disk.

    ``fetch`` then reads them on another thread and pins them for the next ``get``. Pins are bounded by ``pin_bytes``: the
    oldest go first, and what they held is in the page cache by then.
    """

    def __init__(self, directory: Path, lookup: Lookup, *, cache_bytes: int, pin_bytes: int = 32 << 20) -> None:
        super().__init__(directory, lookup, cache_bytes=cache_bytes)
        self._waits = False
        self._fetch_files = PackFiles(directory)
        self._fetch_lock = threading.Lock()
        self._scratch = bytearray(SCRATCH_BYTES)
        self._window = bytearray(SCRATCH_BYTES)
        self._wanted: OrderedDict[bytes, IndexRow] = OrderedDict()
        self._pins: OrderedDict[bytes, bytes] = OrderedDict()
        self._pin_room = pin_bytes
        self._pin_lock = threading.Lock()
        self._popularity: OrderedDict[bytes, int] = OrderedDict()
        """How often a slice was wanted of a blob that is not in the cache."""
        self.pace: Pace | None = None
        """How quick the disk is, told by every small read. Where there is one, a loop's small reads wait for a quick disk
        instead of raising ``Cold``."""

    def want(self, ids: Sequence[BlobId]) -> tuple[BlobId, ...]:
        """Those of ``ids`` that no memory of this reader holds, made ready for ``fetch``: for reading ahead.

        Belongs to the thread of ``get``, because it asks the index.
        """
        missing = tuple(blob for blob in ids if blob not in self._cache and blob not in self._pins)
        for blob in missing:
            self._want(blob, self.locate(blob))
        return missing

    def soon(self, ids: Sequence[BlobId]) -> bool:
        """Whether what ``want`` named is so little, and the disk so quick, that a loop may wait for ``fetch`` itself."""
        rows = [row for blob in ids if (row := self._wanted.get(blob)) is not None]
        return self.pace is not None and self.pace.quick and sum(row.stored for row in rows) <= MAX_WAIT

    def ahead(self, ids: Iterable[BlobId]) -> None:
        """See ``ViewSource``."""
        with suppress(_WouldWait):  # The header of a pack not used yet is in no memory: this time nothing is asked for.
            super().ahead(ids)

    def view(self, parts: Sequence[Part]) -> Buffer:
        """See ``BlobReader``; where little is wanted of a blob whose slices are known, only these are read."""
        if len(parts) == 1 and parts[0][2] <= MAX_LITTLE:
            return self._little(parts[0])
        if sum([length for _, _, length in parts]) <= MAX_LITTLE:
            return gathered(lambda part: bytes(self._little(part)), parts)
        return super().view(parts)

    def _little(self, part: Part) -> Buffer:
        blob, start, length = part
        found = self._in_memory(blob) or self.locate(blob)
        if not isinstance(found, IndexRow):
            check_length(len(found), part)
            return memoryview(found)[start : start + length]
        if not found.slices:
            return self._view((part,), (found,)) if length < found.plain else self._small(part, found)
        check_length(found.plain, part)
        if self._is_popular(blob):
            with suppress(IntegrityError):  # Where it is damaged somewhere else, what is wanted can be had.
                return self._view((part,), (found,))
        place = self._sliced(part, found)
        return self._view((part,), (found,)) if place is None else place

    def _small(self, part: Part, row: IndexRow) -> bytes:
        """All of a blob, which is as small as what may be wanted of it."""
        blob = part[0]
        check_length(row.plain, part)
        try:
            return self._from_pack(blob, row)
        except _WouldWait:
            self._want(blob, row)
            raise Cold((blob,)) from None

    def _is_popular(self, blob: BlobId) -> bool:
        """Whether so many slices of a blob were wanted that all of it, which stays in the cache, would have cost as much."""
        times = self._popularity.pop(blob, 0) + 1
        if times > POPULAR:
            return True
        self._popularity[blob] = times
        if len(self._popularity) > MAX_WANTED:
            self._popularity.popitem(last=False)
        return False

    def _sliced(self, part: Part, row: IndexRow) -> memoryview | None:
        """A piece, verified by the slices around it; None where the whole blob has to be looked at."""
        blob, start, length = part
        begin, end = slices.around(start, start + length, row.plain)
        place = self._window_of(end - begin)[: end - begin]
        try:
            count = self._read_into(self._files.descriptor(row.pack), place, row.offset + begin)
        except _WouldWait:
            self._want(blob, row)
            raise Cold((blob,)) from None
        if count < len(place) or not slices.hold(row.slices, begin, place):
            return None
        return place[start - begin : start - begin + length]

    def _in_memory(self, blob: BlobId) -> bytes | None:
        data = super()._in_memory(blob)
        if data is None and blob in self._pins and (data := self._unpin(blob)) is not None:
            self._remember(blob, data)
        return data

    def fetch(self, ids: Sequence[BlobId]) -> None:
        """Read from disk and pin what ``Cold`` or ``want`` named; blocking, for any thread.

        IDs that another call has fetched meanwhile are passed over. Damage in one blob does not keep the others from being
        pinned; its ``IntegrityError`` is raised at the end.
        """
        rows = [(blob, row) for blob in ids if (row := self._wanted.pop(blob, None)) is not None]
        rows.sort(key=lambda found: (found[1].pack, found[1].offset))
        trouble: MimeiError | None = None
        decompressor = zstandard.ZstdDecompressor()  # One for this call: a shared one would race with the thread of get().
        for blob, row in rows:
            try:
                self._pin(blob, unpack(row, self._read_waiting(row), blob, decompressor))
            except MimeiError as error:
                trouble = error
        if trouble is not None:
            raise trouble

    def _read_waiting(self, row: IndexRow) -> bytes:
        """The stored bytes of a row, for any thread: descriptors are shared, and each read has its own copy of one."""
        with self._fetch_lock:
            fd = os.dup(self._fetch_files.descriptor(row.pack))
        pace = self.pace if row.stored <= MAX_WAIT else None
        began = 0 if pace is None else pace.now()
        try:
            return read_at(fd, row.stored, row.offset)
        finally:
            os.close(fd)
            if pace is not None:
                pace.took(began)

    def close(self) -> None:
        """See ``BlobReader``."""
        super().close()
        with self._fetch_lock:
            self._fetch_files.close()

    def _load(self, blob: BlobId) -> bytes:
        data = self._unpin(blob) if blob in self._pins else None
        if data is None:
            row = self.locate(blob)
            try:
                data = self._from_pack(blob, row)
            except _WouldWait:
                self._want(blob, row)
                raise Cold((blob,)) from None
        self._remember(blob, data)
        return data

    def _read(self, fd: int, size: int, offset: int) -> Buffer:
        if size > len(self._scratch):
            self._scratch = bytearray(size)
        buffer = memoryview(self._scratch)[:size]
        return buffer[: self._read_into(fd, buffer, offset)]

    def _read_into(self, fd: int, buffer: memoryview, offset: int) -> int:
        if self._waits:
            return super()._read_into(fd, buffer, offset)
        count = 0
        try:
            count = os.preadv(fd, (buffer,), offset, os.RWF_NOWAIT)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise unreadable(error, offset) from error
            self._waits = True
            return super()._read_into(fd, buffer, offset)
        if count < len(buffer):
            # Not or partly in memory, or cut off on disk: the blocking read tells which.
            return self._wait_for(fd, buffer, offset)
        return count

    def _wait_for(self, fd: int, buffer: memoryview, offset: int) -> int:
        """Read after all where that is soon done."""
        if self.pace is None or not self.pace.quick or len(buffer) > MAX_WAIT:
            raise _WouldWait
        began = self.pace.now()
        count = super()._read_into(fd, buffer, offset)
        self.pace.took(began)
        return count

    def _want(self, blob: BlobId, row: IndexRow) -> None:
        self._wanted[blob] = row
        if len(self._wanted) > MAX_WANTED:
            self._wanted.popitem(last=False)

    def _pin(self, blob: BlobId, data: bytes) -> None:
        with self._pin_lock:
            old = self._pins.pop(blob, None)
            self._pin_room += 0 if old is None else len(old)
            self._pins[blob] = data
            self._pin_room -= len(data)
            while self._pin_room < 0 and len(self._pins) > 1:
                self._pin_room += len(self._pins.popitem(last=False)[1])

    def _unpin(self, blob: BlobId) -> bytes | None:
        with self._pin_lock:
            data = self._pins.pop(blob, None)
            self._pin_room += 0 if data is None else len(data)
            return data
