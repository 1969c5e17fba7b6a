"""The journal: the one ordered stream of changes from the node to the keeper.

A *frame* is atomic: payload length (u32), checksum (u64, the first 8 bytes of keyed BLAKE3 over position and payload),
payload. The key is the store's secret, so that nobody who writes to a file can have his bytes taken for a frame.
A payload is a sequence of :mod:`operations <mimeifs.store.operations>`; a WRITE, whose data reaches to the frame's end,
is the last. Frames lie in *segments* of ``SEGMENT_SIZE`` bytes, preallocated where there is room, each opening with a
header; a position (LSN) is ``segment number * SEGMENT_SIZE + offset``. A frame never crosses segments; an END frame sends
the reader on. Behind the last frame are zeros, or what was there in an earlier use.

States of a segment: being appended to (the newest), ended, freed (by the keeper, when everything in it is
replayed and no extent points into it). Invariants: what lies before a position never changes; a torn or stale frame never
carries the right checksum, because that covers the position; data that a process did not write itself is only read with
the frame it came in, whose checksum holds. Failure: no room raises ``CapacityError``, a disk that fails
``IntegrityError``, and the stream is as before; a frame cut off by a crash is not part of the stream. Format page:
``docs/format/journal.md``.
"""

import errno
import os
import re
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from mimeifs.errors import CapacityError, IntegrityError, MimeiError, UnknownFormatError
from mimeifs.store import disk
from mimeifs.store.interfaces import Buffer

SEGMENT_SIZE = 32 << 20
MAX_PAYLOAD = 4 << 20
MAX_SPARES = 2
MAX_OPEN = 32
MARGIN = 256 << 10
"""Room that is kept behind frames which make the store grow, for some thousand that make it smaller."""
STEP = 1 << 20
"""How much room is taken at once for a segment on a nearly full disk, in bytes."""
WINDOW = 64 << 10
"""How much is read at once when frames are read in order, in bytes."""
JOINED = 64 << 10
"""Up to so many bytes the pieces of a frame are put together first: hashing and writing one takes less than several."""
CLOSE = 64 << 10
"""Syncs that are no more bytes apart are taken to go on like that."""
DOUBTED = 3 << 20
"""How far behind the end of the stream frames are looked for, in bytes: two of the largest that a mount makes, and more."""
STRIDE = 4 << 10
"""At least so many bytes lie between two frames whose places a reader remembers."""
HELD = 4 << 20
"""How many bytes of long frames a reader keeps, because their data is mostly asked for in pieces."""
PREWRITTEN = 256 << 10
"""How far ahead of them blocks are written, in bytes."""
FORMAT = 1
_MAGIC = b"mimeijnl"
_HEADER = struct.Struct("<8sIQ")
_FRAME = struct.Struct("<I8s")
_LENGTH = struct.Struct("<I")
_END = 0xFFFFFFFF
HEADER_SIZE = 32
FRAME_SIZE = _FRAME.size
NO_KEY = bytes(32)


def segment_path(directory: Path, number: int) -> Path:
    """Where segment ``number`` lies."""
    return directory / f"{number:012x}.seg"


def frame_key(secret: bytes) -> bytes:
    """The key of the checksums, from the store's secret."""
    return blake3(b"mimeifs journal frames", key=secret).digest()


def _checksum(key: bytes, at: int, *pieces: Buffer) -> bytes:
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


def _read(fd: int, size: int, offset: int) -> bytes:
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
        head = _FRAME.pack(size, _checksum(self._key, at, *pieces))
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
                _write_whole(self._fd, _FRAME.pack(_END, _checksum(self._key, at, b"end")), self._offset)
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
            _write_whole(fd, _HEADER.pack(_MAGIC, FORMAT, number), 0)
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


class _Places:
    """Where frames of a segment with the right checksum begin: of each ``STRIDE`` bytes, one; known up to ``end``."""

    __slots__ = ("end", "starts")

    def __init__(self) -> None:
        self.starts = array("I")
        self.end = HEADER_SIZE

    def note(self, offset: int, end: int) -> None:
        """A frame lies there."""
        if not self.starts or offset - self.starts[-1] >= STRIDE:
            self.starts.append(offset)
        self.end = end

    def before(self, offset: int) -> int | None:
        """The last noted start up to ``offset``."""
        index = bisect_right(self.starts, offset)
        return self.starts[index - 1] if index else None


class JournalReader:
    """Reads journal bytes back: frames in order for the keeper, pieces of written data for everybody.

    Data in segments before ``trusted`` is verified each time it is read, with the whole frame that it came in; behind that,
    and not in a segment that is :meth:`distrusted <distrust>`, it is what the caller's process has written itself, and only
    read. ``damaged`` are the segments where a checksum was wrong.
    """

    def __init__(self, directory: Path, key: bytes = NO_KEY, *, trusted: int | None = None) -> None:
        self._directory = directory
        self._key = key
        self._trusted = trusted
        self._distrusted: set[int] = set()
        self._fds: dict[int, int] = {}
        self._window = 0, b""
        self._places: dict[int, _Places] = {}
        self._held: dict[int, bytes] = {}
        """Payloads of verified frames, by the position of their first byte."""
        self.damaged: set[int] = set()

    def distrust(self, numbers: Iterable[int]) -> None:
        """Verify what is read from these segments."""
        self._distrusted.update(numbers)

    def fd(self, number: int) -> int:
        """A descriptor of segment ``number``, opened once. Raises ``IntegrityError`` when it is missing or foreign."""
        known = self._fds.get(number)
        if known is not None:
            return known
        path = segment_path(self._directory, number)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise IntegrityError(f"journal segment {path.name} is missing") from None
        try:
            stored = _number(_read(fd, _HEADER.size, 0))
            if stored != number:
                raise IntegrityError(f"journal segment {path.name} has no valid header")
        except BaseException:
            os.close(fd)
            raise
        if len(self._fds) >= MAX_OPEN:
            os.close(self._fds.pop(next(iter(self._fds))))
        self._fds[number] = fd
        return fd

    def read(self, address: int, length: int) -> bytes:
        """``length`` written bytes at ``address``. Raises ``IntegrityError`` when they are damaged, or the segment was freed,
        also when it is in use again: what a reader is behind with is never taken for what it wanted."""
        number, offset = divmod(address, SEGMENT_SIZE)
        if self._trusted is None or number < self._trusted or number in self._distrusted:
            return self._verified(address, length)
        fd = self.fd(number)
        data = _read(fd, length, offset)
        if len(data) != length:
            raise IntegrityError(f"journal segment {number} ends before position {address + length}")
        self._insist(number)
        return data

    def _insist(self, number: int) -> None:
        """Raise where a segment is not any more what it was."""
        if _number(_read(self.fd(number), _HEADER.size, 0)) != number:
            self.forget(number)
            raise IntegrityError(f"journal segment {number} was freed while it was read")

    def _verified(self, address: int, length: int) -> bytes:
        for start, payload in self._held.items():
            if start <= address and address + length <= start + len(payload):
                return payload[address - start : address - start + length]
        found = self._around(address, length)
        if found is None or found[0] + len(found[1]) < address + length:
            self._insist(address // SEGMENT_SIZE)
            self.damaged.add(address // SEGMENT_SIZE)
            raise IntegrityError(f"the disk has damaged the journal at position {address}")
        start, payload = found
        if len(payload) > JOINED:
            self._hold(start, payload)
        return payload[address - start : address - start + length]

    def _hold(self, start: int, payload: bytes) -> None:
        """Keep a payload, and no more than there is room for."""
        room = HELD - len(payload)
        while self._held and sum(map(len, self._held.values())) > room:
            del self._held[next(iter(self._held))]
        self._held[start] = payload

    def _around(self, address: int, length: int) -> tuple[int, bytes] | None:
        """Where the payload that holds the byte at ``address`` begins, and the payload; ``None`` where no checksum is right. It
        mostly ends with the ``length`` bytes that are asked for."""
        number, offset = divmod(address, SEGMENT_SIZE)
        places = self._places.setdefault(number, _Places())
        if offset >= places.end:
            self._walk(number, places)
        begin = places.before(offset)
        if begin is None:
            return None
        base = number * SEGMENT_SIZE + begin
        window = _read(self.fd(number), min(offset + length - begin, STRIDE + JOINED), begin)
        frame, place = None, 0
        while place + FRAME_SIZE <= len(window):
            following = place + FRAME_SIZE + _LENGTH.unpack_from(window, place)[0]
            if begin + following > offset:
                frame = self._parsed(base + place, window, place)
                break
            place = following
        if frame is None:  # A length before it may be what is damaged: whatever frame is whole is found.
            place, frame = self._sought(base, window, min(offset - begin, len(window) - FRAME_SIZE), offset - begin)
        if frame is None or frame[1] <= address:
            return None
        return base + place + FRAME_SIZE, frame[0]

    def _sought(self, base: int, window: bytes, stop: int, covered: int) -> tuple[int, tuple[bytes, int] | None]:
        """The frame that begins before ``stop`` of what was read at ``base`` and reaches behind ``covered``, and its place."""
        for place in range(stop):
            size = _LENGTH.unpack_from(window, place)[0]
            if 0 < size <= MAX_PAYLOAD and place + FRAME_SIZE + size > covered:
                frame = self._parsed(base + place, window, place)
                if frame is not None:
                    return place, frame
        return stop, None

    def _walk(self, number: int, places: _Places) -> None:
        """Note the frames from where they are not known any more, also behind damaged ones."""
        base = number * SEGMENT_SIZE
        at: int | None = base + places.end
        while at is not None and at // SEGMENT_SIZE == number:
            frame = self.frame(at)
            at = frame[1] if frame is not None else self._following(at)

    def frame(self, at: int) -> tuple[bytes, int] | None:
        """The payload of the frame at ``at`` and where the next begins; ``None`` where the stream ends."""
        number, offset = divmod(at, SEGMENT_SIZE)
        start, window = self._window
        frame = self._parsed(at, window, at - start) if 0 <= at - start < len(window) else None
        if frame is None:
            # What was read earlier may be older than the frame: only the file tells that there is none.
            window = _read(self.fd(number), min(WINDOW, SEGMENT_SIZE - offset), offset)
            self._window = at, window
            frame = self._parsed(at, window, 0)
        if frame is not None:
            places = self._places.get(number)
            if places is None and offset == HEADER_SIZE:
                places = self._places[number] = _Places()
            if places is not None and offset >= places.end:
                places.note(offset, offset + FRAME_SIZE + len(frame[0]))
        return frame

    def _parsed(self, at: int, window: bytes, place: int) -> tuple[bytes, int] | None:
        """The frame at ``at``, whose bytes begin at ``place`` of what was read; read alone where it is longer than that."""
        number, offset = divmod(at, SEGMENT_SIZE)
        if place + FRAME_SIZE > len(window):
            return None
        size, checksum = _FRAME.unpack_from(window, place)
        if size == _END and checksum == _checksum(self._key, at, b"end"):
            return b"", (number + 1) * SEGMENT_SIZE + HEADER_SIZE
        if not size or size > MAX_PAYLOAD or offset + FRAME_SIZE + size > SEGMENT_SIZE:
            return None
        payload = window[place + FRAME_SIZE : place + FRAME_SIZE + size]
        if len(payload) < size:
            payload = _read(self.fd(number), size, offset + FRAME_SIZE)
        if len(payload) != size or checksum != _checksum(self._key, at, payload):
            return None
        return payload, at + FRAME_SIZE + size

    def behind(self, at: int) -> int | None:
        """Where a frame stands behind ``at``, at which there is none: what lies between was damaged, or a power cut came before
        the disk had it. Looked for as far as one damaged frame of a mount reaches, and at the beginnings of later segments."""
        number = at // SEGMENT_SIZE
        found = self._following(at)
        if found is not None:
            return found
        for later in segments(self._directory):
            if later > number and begun(self._directory, later):
                with suppress(IntegrityError):
                    if self.frame(later * SEGMENT_SIZE + HEADER_SIZE) is not None:
                        return later * SEGMENT_SIZE + HEADER_SIZE
        return None

    def _following(self, at: int) -> int | None:
        """Where the next frame of the segment stands behind ``at``, at which there is none; looked for as far as one damaged
        frame of a mount reaches."""
        number, offset = divmod(at, SEGMENT_SIZE)
        data = _read(self.fd(number), min(DOUBTED, SEGMENT_SIZE - offset), offset)
        place, stop = 1, len(data.rstrip(b"\0"))
        while (found := _CANDIDATE.search(data, place, stop)) is not None:
            place = found.start() + 1
            if _leads_on(data, found.start()) and self.frame(at + found.start()) is not None:
                return at + found.start()
        return None

    def forget(self, number: int) -> None:
        """Close the descriptor of a segment that was freed, and know nothing of it any more."""
        self._places.pop(number, None)
        self.damaged.discard(number)
        fd = self._fds.pop(number, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close every descriptor."""
        for number in list(self._fds):
            self.forget(number)


_CANDIDATE = re.compile(rb"(?!\x00{4})..[\x00-\x40]\x00|\xff{4}", re.DOTALL)
"""The length that a frame may begin with, or the mark of the last one."""


def _leads_on(data: bytes, place: int) -> bool:
    """Whether there is a length, or nothing any more, where the frame at ``place`` would end."""
    size: int = _LENGTH.unpack_from(data, place)[0]
    if size == _END:
        return True
    following = place + FRAME_SIZE + size
    if following + _LENGTH.size > len(data):
        return following <= len(data)
    next_size: int = _LENGTH.unpack_from(data, following)[0]
    return next_size <= MAX_PAYLOAD or next_size == _END


def _number(head: bytes) -> int | None:
    """The number in a segment's header, ``None`` when it is no header. Raises ``UnknownFormatError``."""
    if len(head) != _HEADER.size:
        return None
    magic, version, number = _HEADER.unpack(head)
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
            head = file.read(_HEADER.size)
    except FileNotFoundError:
        return False
    stored = _number(head)
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
            while data := _read(source, STEP, offset):
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
