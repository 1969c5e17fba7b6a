"""The journal: the one ordered stream of changes from the node to the keeper.

A *frame* is atomic: payload length (u32), checksum (u64, the first 8 bytes of keyed BLAKE3 over position and payload),
payload. The key is the store's secret, so that nobody who writes to a file can have his bytes taken for a frame.
A payload is a sequence of :mod:`operations <mimeifs.store.operations>`; a WRITE, whose data reaches to the frame's end,
is the last. Frames lie in *segments* of ``SEGMENT_SIZE`` bytes, preallocated where there is room, each opening with a
header; a position (LSN) is ``segment number * SEGMENT_SIZE + offset``. A frame never crosses segments; an END frame sends
the reader on. Behind the last frame are zeros, or what was there in an earlier use.

States of a segment: being appended to (the newest), ended, freed (by the keeper, when everything in it is
replayed and no extent points into it). Invariants: what lies before a position never changes; a torn or stale frame never
carries the right checksum, because that covers the position. Failure: no room raises ``CapacityError``, a disk that fails
``IntegrityError``, and the stream is as before; a frame cut off by a crash is not part of the stream. Format page:
``docs/format/journal.md``.
"""

import errno
import os
import struct
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from mimeifs.errors import CapacityError, IntegrityError, MimeiError, UnknownFormatError
from mimeifs.store import disk
from mimeifs.store.interfaces import Buffer

SEGMENT_SIZE = 32 << 20
MAX_PAYLOAD = 4 << 20
MAX_SPARES = 2
MARGIN = 256 << 10
"""Room that is kept behind frames which make the store grow, for some thousand that make it smaller."""
STEP = 1 << 20
"""How much room is taken at once for a segment on a nearly full disk, in bytes."""
JOINED = 64 << 10
"""Up to so many bytes the pieces of a frame are put together first: hashing and writing one takes less than several."""
CLOSE = 64 << 10
"""Syncs that are no more bytes apart are taken to go on like that."""
PREWRITTEN = 256 << 10
"""How far ahead of them blocks are written, in bytes."""
FORMAT = 1
_MAGIC = b"mimeijnl"
HEADER = struct.Struct("<8sIQ")
FRAME = struct.Struct("<I8s")
END = 0xFFFFFFFF
HEADER_SIZE = 32
FRAME_SIZE = FRAME.size
NO_KEY = bytes(32)


def segment_path(directory: Path, number: int) -> Path:
    """Where segment ``number`` lies."""
    return directory / f"{number:012x}.seg"


def frame_key(secret: bytes) -> bytes:
    """The key of the checksums, from the store's secret."""
    return blake3(b"mimeifs journal frames", key=secret).digest()


def checksum(key: bytes, at: int, *pieces: Buffer) -> bytes:
    """The 8 bytes of keyed BLAKE3 of a frame's position and payload, which may come in pieces."""
    position = at.to_bytes(8, "little")
    if len(pieces) == 1 and len(pieces[0]) <= JOINED:
        return blake3(position + pieces[0], key=key).digest(length=8)
    state = blake3(position, key=key)
    for piece in pieces:
        state.update(piece)
    return state.digest(length=8)


_NO_ROOM = "no room for the journal: free some space on the store's disk"


def _no_room(error: OSError | CapacityError) -> MimeiError:
    """What went wrong, said in the project's words."""
    if isinstance(error, CapacityError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CapacityError(_NO_ROOM)
    return IntegrityError(f"the disk did not take the journal ({error.strerror}): look after the disk")


def _write_whole(fd: int, data: bytes, offset: int) -> None:
    """Write all of ``data``, or raise: half a header or END frame would hide all that comes behind."""
    if disk.write(fd, data, offset) != len(data):
        raise CapacityError(_NO_ROOM)


def _discard(fd: int, path: Path) -> None:
    """Undo a segment; where it stays nevertheless, the next attempt goes over it."""
    os.close(fd)
    with suppress(OSError):
        disk.remove(path)


def read_at(fd: int, size: int, offset: int) -> bytes:
    """Bytes of a segment, fewer at its end; what the disk cannot read is damage."""
    try:
        return os.pread(fd, size, offset)
    except OSError as error:
        raise IntegrityError(f"the disk cannot read the journal ({error.strerror}): look after the disk") from error


def _written(fd: int, size: int) -> int:
    """Behind the first bytes of a segment of that size that were ever written; what is allocated and was not counts as a hole
    (lseek(2)). All of it where the file system does not tell."""
    if not size:
        return 0
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE)
    except OSError:
        return size


def _allocated(fd: int, room: int, needed: int) -> int:
    """How much room a segment that had ``room`` has now: all of it, or on a nearly full disk a little more than is ``needed``
    now, so that things can still be deleted. Raises ``CapacityError`` with nothing taken."""
    if room >= SEGMENT_SIZE:
        return room
    facts = os.fstatvfs(fd)
    free = facts.f_bavail * facts.f_frsize
    sizes = (SEGMENT_SIZE, min(needed + STEP, SEGMENT_SIZE), needed)
    size = next((size for size in sizes if 2 * (size - room) < free), needed)
    try:
        disk.allocate(fd, size)
    except OSError as error:
        with suppress(OSError):
            disk.cut(fd, room)  # What could be had of it is needed elsewhere.
        raise _no_room(error) from error
    return size


def lost(number: int) -> str:
    """What to say when a sync of the journal has failed. The kernel forgets the pages that it could not write, so a second one
    would succeed without them: nothing more is taken or replayed, and what is durable is found again at the next start."""
    return (
        f"the disk did not take the journal ({os.strerror(number)}): nothing written since the last fsync is certain to be"
        " kept; look after the disk, then unmount and mount again"
    )


class JournalWriter:
    """Appends frames; used by the node only. ``first_segment`` must be a number that never was."""

    def __init__(self, directory: Path, first_segment: int, key: bytes = NO_KEY) -> None:
        self._directory = directory
        self._key = key
        self._fd = -1
        self._number = first_segment - 1
        self._base = self._number * SEGMENT_SIZE
        self._offset = SEGMENT_SIZE + HEADER_SIZE
        self._room = 0
        self._written = 0
        """Up to where blocks of the segment were written before frames came there: ahead of them, or in an earlier use."""
        self._synced_at = -CLOSE - 1
        self.broken = ""
        """Why nothing may be appended any more: a sync has failed, and what it was to make durable may be lost."""
        with suppress(CapacityError):  # A full disk can still be looked at; the first append tries again.
            self._roll()

    @property
    def position(self) -> int:
        """Where the next frame will begin."""
        return self._base + self._offset

    @property
    def segment(self) -> int:
        """Number of the segment being appended to."""
        return self._number

    def append(self, *pieces: Buffer, behind: int = 0) -> int:
        """Append one frame made of ``pieces``, with room for ``behind`` bytes more allocated behind it; returns its position.

        Raises ``CapacityError`` or, when the disk fails or the journal is broken, ``IntegrityError``, having appended nothing.
        """
        if self.broken:
            raise IntegrityError(self.broken)
        size = sum(map(len, pieces))
        if not 0 < size <= MAX_PAYLOAD:
            raise ValueError(f"journal frame of {size} bytes")
        needed = size + 2 * FRAME_SIZE
        if behind:
            needed += min(behind, max(0, SEGMENT_SIZE - HEADER_SIZE - needed))
        if self._offset + needed > SEGMENT_SIZE:
            self._roll()
        if self._offset + needed > self._room:
            self._room = _allocated(self._fd, self._room, self._offset + needed)
        offset = self._offset
        at = self._base + offset
        if size <= JOINED:
            pieces = (b"".join(pieces),)
        head = FRAME.pack(size, checksum(self._key, at, *pieces))
        try:
            written = disk.write_pieces(self._fd, (head, *pieces), offset)
        except OSError as error:
            raise _no_room(error) from error
        if written != FRAME_SIZE + size:
            raise CapacityError(_NO_ROOM)
        self._offset = offset + written
        return at

    def prewrite(self) -> None:
        """What is appended is about to be synced: where that happens often, write zeros behind it, in front of what is still to
        come. The first write of an allocated block changes what the file system knows of the file, which a sync has to write
        as well; so only one sync of many does. Where it fails, nothing is lost but time."""
        before, self._synced_at = self._synced_at, self.position
        if self._synced_at - before > CLOSE or self._offset + CLOSE <= self._written:
            return
        start = max(self._offset, self._written)
        size = min(self._offset + PREWRITTEN, self._room) - start
        if size > 0:
            with suppress(OSError):
                self._written = start + disk.write(self._fd, bytes(size), start)

    def _roll(self) -> None:
        number = self._number + 1
        fd, written, room = self._new_segment(number)
        try:
            if self._fd >= 0:
                at = self.position
                _write_whole(self._fd, FRAME.pack(END, checksum(self._key, at, b"end")), self._offset)
        except (OSError, CapacityError) as error:
            _discard(fd, segment_path(self._directory, number))
            raise _no_room(error) from error
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._number = number
        self._base = number * SEGMENT_SIZE
        self._offset = HEADER_SIZE
        self._written = written
        self._room = room

    def _new_segment(self, number: int) -> tuple[int, int, int]:
        """A descriptor of segment ``number``, how much of it was written before, and how much room it has; made from a spare
        one where there is one: such blocks as are written already make syncing what comes into them nearly twice as quick."""
        path = segment_path(self._directory, number)
        for spare in spares(self._directory):
            with suppress(OSError):  # The keeper may need the room and remove it at any moment.
                disk.move(spare, path)
                break
        try:
            fd = disk.create(path)
        except OSError as error:
            raise _no_room(error) from error
        try:
            # The header comes before all else: from then on readers of the spare's old number are told.
            _write_whole(fd, HEADER.pack(_MAGIC, FORMAT, number), 0)
            size = os.fstat(fd).st_size
            return fd, _written(fd, size), _allocated(fd, size, HEADER_SIZE + FRAME_SIZE)
        except (OSError, CapacityError) as error:
            _discard(fd, path)
            raise _no_room(error) from error

    def close(self) -> None:
        """Close the segment; nothing is synced."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def number_in(head: bytes) -> int | None:
    """The number in a segment's header, ``None`` when it is no header. Raises ``UnknownFormatError``."""
    if len(head) != HEADER.size:
        return None
    magic, version, number = HEADER.unpack(head)
    if magic != _MAGIC:
        return None
    if version != FORMAT:
        raise UnknownFormatError(f"journal segment has format {version}, this program knows {FORMAT}")
    return int(number)


def begun(directory: Path, number: int) -> bool:
    """Whether segment ``number`` is there with its header.

    A crash can leave it without one, or with that of the spare it was: then nothing that was synced is in it.
    """
    try:
        with segment_path(directory, number).open("rb") as file:
            head = file.read(HEADER.size)
    except FileNotFoundError:
        return False
    stored = number_in(head)
    return any(head) if stored is None else stored >= number


def doubt(directory: Path, number: int) -> None:
    """Have the kernel forget what it holds of a segment and need not write: where a sync has failed that may be more than the
    disk has (posix_fadvise(2))."""
    fd = os.open(segment_path(directory, number), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def copy_segment(directory: Path, number: int, target: Path) -> None:
    """Copy a segment into another directory, durably; raises ``OSError``."""
    source = os.open(segment_path(directory, number), os.O_RDONLY | os.O_CLOEXEC)
    try:
        copy = disk.create(segment_path(target, number))
        try:
            offset = 0
            while data := read_at(source, STEP, offset):
                offset += disk.write(copy, data, offset)
            disk.sync(copy)
        finally:
            os.close(copy)
    finally:
        os.close(source)


def segments(directory: Path) -> list[int]:
    """Numbers of the segments present, ascending."""
    return sorted(int(path.stem, 16) for path in directory.glob("*.seg"))


def spares(directory: Path) -> list[Path]:
    """Segments kept to be used again."""
    return sorted(directory.glob("*.spare"))


def retire(directory: Path, number: int) -> None:
    """Free a segment that nothing points into and nobody reads: a few whole ones are kept as spares, the others are unlinked.

    Frames left in a spare are no danger: their checksums cover another position, and numbers are never used again.
    """
    path = segment_path(directory, number)
    with suppress(FileNotFoundError):
        if path.stat().st_size == SEGMENT_SIZE and len(spares(directory)) < MAX_SPARES:
            disk.move(path, path.with_suffix(".spare"))
        else:
            disk.remove(path)
