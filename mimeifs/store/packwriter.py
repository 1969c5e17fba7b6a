"""The one writer of packs: buffers frames, writes them in few large writes, and syncs once for a batch.

What this is not: the index. The caller stores :meth:`PackWriter.take_rows` and ``end`` in one transaction after each sync; what
lies behind the committed end is nobody's and is cut off at the next start. Always true: a row is handed out only for bytes that
are synced; a failure loses nothing that was synced; memory stays within one buffer. Used by one thread.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import zstandard
from blake3 import blake3

from mimeifs.errors import CapacityError, IntegrityError, MissingError, TooLargeError
from mimeifs.ids import BlobId, RecordId, show_blob
from mimeifs.store import disk
from mimeifs.store.packfiles import Lookup, PackFiles, pack_numbers, read_at
from mimeifs.store.packs import (
    FRAME_SIZE,
    HEADER_SIZE,
    MAX_PLAIN,
    RECORD,
    START,
    ZSTD,
    IndexRow,
    Kind,
    PackEnd,
    check_header,
    encode_frame,
    encode_header,
    pack_name,
    unpack,
)

ROLL_BYTES = 256 << 20
FLUSH_BYTES = 4 << 20
MAX_SOUND = 1 << 16
_SMALL = 64
_LARGE = 128 << 10
_SAMPLE = 4 << 10
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def _room() -> Iterator[None]:
    """A full disk or quota, or a disk that fails, said in the project's words."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise CapacityError("no room for more packs: free some space on the store's disk") from error
        raise IntegrityError(f"the disk did not take a pack ({error.strerror}): look after the disk") from error


class PackWriter:
    """Appends blobs and records to the packs of ``directory``, from the committed ``end`` on: ``BlobSource`` and ``BlobSink``.

    ``lookup`` is asked for what is committed; it must see the rows of ``take_rows`` from the next ``put`` on. Raises
    ``IntegrityError`` when the packs do not fit ``end``.
    """

    end: PackEnd
    """How far everything is synced; to be stored by the caller together with the rows."""

    def __init__(self, directory: Path, end: PackEnd, lookup: Lookup) -> None:
        self.end = end
        self._directory = directory
        self._lookup = lookup
        self._files = PackFiles(directory)
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._quick = zstandard.ZstdCompressor(level=-1)
        self._decompressor = zstandard.ZstdDecompressor()
        self._fresh: dict[bytes, IndexRow] = {}
        self._synced: dict[bytes, IndexRow] = {}
        self._sound: set[bytes] = set()
        self._number = end.number
        self._offset = end.offset
        self._place = end.offset
        self._pieces: dict[int, bytes] = {}  # Where in the pack each will be: what lies from _offset to _place, in order.
        self._written: dict[int, int] = {}
        self._unsynced: set[int] = set()
        self._grown = False
        self._failed = False
        self._cut_tail()

    def put(self, data: bytes) -> BlobId:
        """See ``BlobSink``. After a ``CapacityError``, :meth:`abandon`."""
        return self._put(data, self._compressor)

    def put_node(self, data: bytes) -> BlobId:
        """As :meth:`put`, for nodes of maps: mostly digests, they shrink as far in half the time."""
        return self._put(data, self._quick)

    def put_plain(self, data: bytes) -> BlobId:
        """As :meth:`put`, stored as it is."""
        return self._put(data, None)

    def _put(self, data: bytes, compressor: zstandard.ZstdCompressor | None) -> BlobId:
        digest = BlobId(blake3(data).digest())
        if not self._holds(digest):
            self._append(Kind.BLOB, digest, data, compressor)
        return digest

    def _holds(self, digest: BlobId) -> bool:
        """Whether the blob is stored and sound. A damaged one counts as missing: what was put is then stored anew, which heals
        all that name it. What this process has written or checked itself is not read again."""
        if self._row(digest) is None:
            return False
        if digest in self._fresh or digest in self._sound:
            return True
        try:
            self.get(digest)
        except (IntegrityError, OSError):
            return False
        if len(self._sound) >= MAX_SOUND:
            self._sound.clear()
        self._sound.add(digest)
        return True

    def put_record(self, data: bytes) -> RecordId:
        """Store a signed record. A blob that happens to have the same bytes does not stand for it."""
        digest = blake3(data).digest()
        row = self._row(digest)
        if row is None or not row.is_record:
            self._append(Kind.RECORD, digest, data, self._compressor)
        return RecordId(digest)

    def get(self, blob: BlobId) -> bytes:
        """See ``BlobSource``; blocking, and sees what was put a moment ago."""
        row = self._row(blob)
        if row is None:
            raise MissingError(f"no blob {show_blob(blob)} in this store")
        if row.pack == self._number and row.offset >= self._offset:
            stored = self._pieces[row.offset] if row.stored else b""
        else:
            stored = read_at(self._files.descriptor(row.pack), row.stored, row.offset)
        return unpack(row, stored, blob, self._decompressor)

    def sync(self) -> None:
        """Write what is buffered and wait until the disk has it: one fdatasync for each pack touched.

        Raises ``CapacityError`` or ``IntegrityError``; then :meth:`abandon`, since a second sync could succeed without the
        bytes.
        """
        self._refuse_failed()
        with _room():
            self._flush()
            try:
                for number in sorted(self._unsynced):
                    disk.sync(self._written[number])
                if self._grown:
                    disk.sync_directory(self._directory)
            except OSError:
                self._failed = True
                raise
        self._unsynced.clear()
        self._grown = False
        for number in [number for number in self._written if number != self._number]:
            os.close(self._written.pop(number))
        self._synced.update(self._fresh)
        self._fresh.clear()
        self.end = PackEnd(self._number, self._offset)

    def take_rows(self) -> list[tuple[bytes, bytes]]:
        """Index rows (digest, encoded ``IndexRow``) of all that was synced since the last call, for the caller's transaction.

        If that transaction fails, put everything again: rows that are not committed are known to nobody.
        """
        rows = [(digest, row.encode()) for digest, row in self._synced.items()]
        self._synced.clear()
        return rows

    def abandon(self) -> None:
        """Forget what is not synced and cut the packs back to ``end``; the writer can go on. For after a failure."""
        self._fresh.clear()
        self._pieces.clear()
        self._files.close()
        # Cutting may itself fail where no room is left. That does no harm: the next write goes over the same place.
        for number in [number for number in self._written if number > self.end.number or self.end.offset == 0]:
            os.close(self._written.pop(number))
            with suppress(OSError):
                disk.remove(self._directory / pack_name(number))
        if self.end.number in self._written:
            with suppress(OSError):
                disk.cut(self._written[self.end.number], self.end.offset)
        self._number, self._offset, self._place = self.end.number, self.end.offset, self.end.offset
        self._unsynced.clear()
        self._grown = self._failed = False

    def close(self) -> None:
        """Let go of the files; what is not synced is lost."""
        self._files.close()
        while self._written:
            os.close(self._written.popitem()[1])

    def _row(self, digest: bytes) -> IndexRow | None:
        return self._fresh.get(digest) or self._synced.get(digest) or self._lookup(digest)

    def _append(self, kind: Kind, digest: bytes, data: bytes, compressor: zstandard.ZstdCompressor | None) -> None:
        self._refuse_failed()
        if len(data) > MAX_PLAIN:
            raise TooLargeError(f"a blob of {len(data)} bytes is over the limit of {MAX_PLAIN}")
        flags, stored = (0, data) if compressor is None else _shrink(data, compressor)
        size = len(stored)
        if self._place > HEADER_SIZE and self._place + FRAME_SIZE + size > ROLL_BYTES:
            self._flush()
            self._number, self._offset, self._place = self._number + 1, 0, 0
        if self._place == 0:
            self._pieces[0] = encode_header(self._number)
            self._place = HEADER_SIZE
        place = self._place + FRAME_SIZE
        self._pieces[self._place] = encode_frame(kind, flags, digest, len(data), size)
        self._pieces[place] = stored
        self._place = place + size
        flags |= RECORD if kind is Kind.RECORD else 0
        self._fresh[digest] = IndexRow(self._number, place, size, len(data), flags).sliced(data)
        if self._place - self._offset >= FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write what is buffered at its place. When that fails nothing has moved, and trying again is safe."""
        if not self._pieces:
            return
        with _room():
            fd = self._descriptor(self._number)
            self._unsynced.add(self._number)
            data = memoryview(b"".join(self._pieces.values()))
            done = 0
            while done < len(data):
                done += disk.write(fd, data[done:], self._offset + done)
        self._offset += done
        self._pieces.clear()

    def _descriptor(self, number: int) -> int:
        fd = self._written.get(number)
        if fd is None:
            path = self._directory / pack_name(number)
            if self._offset == 0:
                self._grown = True
                fd = disk.create(path)
                disk.cut(fd, 0)
            else:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            self._written[number] = fd
        return fd

    def _refuse_failed(self) -> None:
        if self._failed:
            raise RuntimeError("the last sync failed: abandon() before writing more")

    def _cut_tail(self) -> None:
        """Remove what lies behind the committed end: no index refers to it."""
        numbers = pack_numbers(self._directory)
        if self.end == START and numbers:
            # An index that was lost looks like a new store: cutting its packs would lose everything, so go on behind them.
            self.end = PackEnd(numbers[-1] + 1, 0)
            self._number = self.end.number
            return
        for number in numbers:
            if number > self.end.number or (number == self.end.number and self.end.offset == 0):
                disk.remove(self._directory / pack_name(number))
        if self.end.offset:
            self._cut_last()

    def _cut_last(self) -> None:
        name = pack_name(self.end.number)
        try:
            fd = self._descriptor(self.end.number)
        except FileNotFoundError as error:
            raise IntegrityError(f"{name} is missing in {self._directory}: is its disk there?") from error
        try:
            check_header(read_at(fd, HEADER_SIZE, 0), self.end.number)
            whole = os.fstat(fd).st_size >= self.end.offset
        except IntegrityError:
            whole = False
        if whole:
            if os.fstat(fd).st_size > self.end.offset:
                disk.cut(fd, self.end.offset)
            return
        # Its blobs verify by themselves, those that were cut off excepted; only nothing is added to it any more.
        self.end = PackEnd(self.end.number + 1, 0)
        self._number, self._offset, self._place = self.end.number, 0, 0


def _shrink(data: bytes, compressor: zstandard.ZstdCompressor) -> tuple[int, bytes]:
    """Flags and stored bytes: zstd where that saves a twentieth. A large blob is judged by four samples first."""
    size = len(data)
    if size < _SMALL:
        return 0, data
    if size >= _LARGE:
        step = size // 4
        sample = b"".join(data[start : start + _SAMPLE] for start in range(0, 4 * step, step))
        if not _saves(len(sample), len(compressor.compress(sample))):
            return 0, data
    stored = compressor.compress(data)
    if not _saves(size, len(stored)):
        return 0, data
    # What zstandard gives keeps the memory that the worst case would have needed, for as long as it lives.
    return ZSTD, memoryview(stored).tobytes()


def _saves(size: int, stored: int) -> bool:
    return stored <= size - size // 20
