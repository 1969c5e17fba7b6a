"""Reading the journal back: frames in order for the keeper, pieces of written data for everybody.

Always true: data that a process did not write itself is only given out of a frame whose checksum holds as it was read, whatever
an earlier look has found. Places of frames are noted as they are met, one in :data:`STRIDE` bytes, or by walking a segment, no
farther than is asked for; damage between them is stepped over. Failure: what is damaged, freed or cannot be read raises
``IntegrityError``, and costs who wants those bytes. Format page: ``docs/format/journal.md``.
"""

import os
import re
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mimeifs.errors import IntegrityError
from mimeifs.store import journal
from mimeifs.store.journal import (
    END,
    FRAME,
    FRAME_SIZE,
    HEADER,
    HEADER_SIZE,
    JOINED,
    MAX_PAYLOAD,
    NO_KEY,
    begun,
    number_in,
    read_at,
    segment_path,
    segments,
)

MAX_OPEN = 32
WINDOW = 64 << 10
"""How much is read at once when frames are read in order, in bytes."""
DOUBTED = 3 << 20
"""How far behind the end of the stream frames are looked for, in bytes: two of the largest that a mount makes, and more."""
LIKELY = 64 << 20
"""How many bytes are hashed at once of what would be frames with none behind them, each as a long one: much looks like one."""
LIKELY_FAR = 2 << 30
"""As many in all where a segment is damaged, for what begins farther than :data:`JOINED` bytes before what is asked for: noise
of one long frame, twice."""
STRIDE = 4 << 10
"""At least so many bytes lie between two frames whose places a reader remembers."""
HELD = 4 << 20
"""How many bytes of long frames a reader keeps, because their data is mostly asked for in pieces."""
_LENGTH = struct.Struct("<I")
_WAYS_OUT = "put it back, or have `mimei rebuild --force` make the index again, without what no version has"


class _Places:
    """Where frames of a segment with the right checksum begin: of each ``STRIDE`` bytes, one; known up to ``end``."""

    __slots__ = ("end", "left", "sought", "starts")

    def __init__(self) -> None:
        self.starts = array("I")
        self.end = HEADER_SIZE
        self.sought = 0
        """How far behind it no frame begins that others follow."""
        self.left = LIKELY_FAR
        """How many bytes may still be hashed of what would be frames that begin far before what is asked for."""

    def note(self, offset: int, end: int) -> None:
        """A frame lies there."""
        if not self.starts or offset - self.starts[-1] >= STRIDE:
            self.starts.append(offset)
        self.end = end

    def before(self, offset: int) -> int:
        """The last noted start up to ``offset``, or where the first frame is."""
        index = bisect_right(self.starts, offset)
        return self.starts[index - 1] if index else HEADER_SIZE


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
            raise IntegrityError(f"journal segment {path} is missing: {_WAYS_OUT}") from None
        try:
            stored = number_in(read_at(fd, HEADER.size, 0))
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
        number, offset = divmod(address, journal.SEGMENT_SIZE)
        if self._trusted is None or number < self._trusted or number in self._distrusted:
            return self._verified(address, length)
        fd = self.fd(number)
        data = read_at(fd, length, offset)
        if len(data) != length:
            raise IntegrityError(f"journal segment {number} ends before position {address + length}")
        self._insist(number)
        return data

    def _insist(self, number: int) -> None:
        """Raise where a segment is not any more what it was."""
        if number_in(read_at(self.fd(number), HEADER.size, 0)) != number:
            self.forget(number)
            raise IntegrityError(f"journal segment {number} was freed while it was read")

    def _verified(self, address: int, length: int) -> bytes:
        for start, payload in self._held.items():
            if start <= address and address + length <= start + len(payload):
                return payload[address - start : address - start + length]
        found = self._around(address, length)
        if found is None or found[0] + len(found[1]) < address + length:
            self._insist(address // journal.SEGMENT_SIZE)
            self.damaged.add(address // journal.SEGMENT_SIZE)
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
        number, offset = divmod(address, journal.SEGMENT_SIZE)
        places = self._places.setdefault(number, _Places())
        if offset >= places.end:
            self._walk(number, places, offset)
        base, begin = address - offset, places.before(offset)
        window, place = read_at(self.fd(number), min(offset + length - begin, STRIDE + JOINED), begin), 0
        while place + FRAME_SIZE <= len(window):
            following = place + FRAME_SIZE + _length(window, place)
            if begin + following > offset:
                frame = self._parsed(base + begin + place, window, place)
                if frame is not None and frame[1] > address:
                    return base + begin + place + FRAME_SIZE, frame[0]
                break
            place = following
        return self._sought(address, begin, places)

    def _sought(self, address: int, begin: int, places: _Places) -> tuple[int, bytes] | None:
        """The same where what leads there from ``begin`` is damaged, or was stepped over: just behind that, then near the
        address, since what is asked for mostly begins its frame, then as far off as a frame reaches."""
        last = address % journal.SEGMENT_SIZE - FRAME_SIZE
        found, _ = self._covering(address, begin, min(begin + STRIDE, last), LIKELY)
        if found is None:
            found, _ = self._covering(address, last - JOINED, last, LIKELY)
        if found is None and places.left > 0:
            found, places.left = self._covering(address, last - MAX_PAYLOAD, last - JOINED, places.left)
        return found

    def _covering(self, address: int, start: int, stop: int, likely: int) -> tuple[tuple[int, bytes] | None, int]:
        """Where the payload begins that holds the byte at ``address``, and the payload, of frames that begin between two
        offsets of that segment, the last first; and what is left of the ``likely`` bytes to hash."""
        number, offset = divmod(address, journal.SEGMENT_SIZE)
        start = max(start, HEADER_SIZE)
        if start > stop:
            return None, likely
        data = read_at(self.fd(number), offset - start, start)
        places = [found.start() - _LAST for found in _LENGTHS.finditer(data, _LAST, stop - start + _LENGTH.size)]
        for place in reversed(places):
            at, size = address - offset + start + place, _length(data, place)
            if at + FRAME_SIZE + size > address and likely > 0:
                likely -= max(size, JOINED)
                frame = self._parsed(at, data, place)
                if frame is not None and frame[1] > address:
                    return (at + FRAME_SIZE, frame[0]), likely
        return None, likely

    def _walk(self, number: int, places: _Places, offset: int) -> None:
        """Note the frames from where they are not known any more to the one that holds the byte at ``offset``, and none behind
        it: what is there may be no frame at all. Behind damage, what others follow is looked for."""
        base = number * journal.SEGMENT_SIZE
        while places.end <= offset:
            if self.frame(base + places.end) is None:
                begin = max(places.end, places.sought) + 1
                if begin > offset or self._first_between(base + begin, base + offset + 1, 0) is None:
                    places.sought = max(places.sought, offset)
                    return

    def frame(self, at: int) -> tuple[bytes, int] | None:
        """The payload of the frame at ``at`` and where the next begins; ``None`` where the stream ends."""
        number, offset = divmod(at, journal.SEGMENT_SIZE)
        start, window = self._window
        frame = self._parsed(at, window, at - start) if 0 <= at - start < len(window) else None
        if frame is None:
            # What was read earlier may be older than the frame: only the file tells that there is none.
            window = read_at(self.fd(number), min(WINDOW, journal.SEGMENT_SIZE - offset), offset)
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
        number, offset = divmod(at, journal.SEGMENT_SIZE)
        if place + FRAME_SIZE > len(window):
            return None
        size, stored = FRAME.unpack_from(window, place)
        if size == END and stored == journal.checksum(self._key, at, b"end"):
            return b"", (number + 1) * journal.SEGMENT_SIZE + HEADER_SIZE
        if not size or size > MAX_PAYLOAD or offset + FRAME_SIZE + size > journal.SEGMENT_SIZE:
            return None
        payload = window[place + FRAME_SIZE : place + FRAME_SIZE + size]
        if len(payload) < size:
            payload = read_at(self.fd(number), size, offset + FRAME_SIZE)
        if len(payload) != size or stored != journal.checksum(self._key, at, payload):
            return None
        return payload, at + FRAME_SIZE + size

    def behind(self, at: int) -> int | None:
        """Where a frame stands behind ``at``, at which there is none: what lies between was damaged, or a power cut came before
        the disk had it. Looked for as far as one damaged frame of a mount reaches, and at the beginnings of later segments."""
        number = at // journal.SEGMENT_SIZE
        found = self._first_between(at + 1, min(at + DOUBTED, (number + 1) * journal.SEGMENT_SIZE), LIKELY)
        if found is not None:
            return found
        for later in segments(self._directory):
            if later > number and begun(self._directory, later):
                with suppress(IntegrityError):
                    if self.frame(later * journal.SEGMENT_SIZE + HEADER_SIZE) is not None:
                        return later * journal.SEGMENT_SIZE + HEADER_SIZE
        return None

    def is_cut_off(self, at: int) -> bool:
        """Whether the segment ends in the midst of what lies at ``at``, where there is no frame: room for all of a frame, and
        for the mark behind it, is taken before it is written."""
        number, offset = divmod(at, journal.SEGMENT_SIZE)
        size = os.fstat(self.fd(number)).st_size
        length = _length(read_at(self.fd(number), _LENGTH.size, offset), 0)
        return size < offset + FRAME_SIZE + (length if length <= MAX_PAYLOAD and size < journal.SEGMENT_SIZE else 0)

    def _first_between(self, start: int, stop: int, likely: int) -> int | None:
        """Where the first frame stands that begins there, both in one segment: of those that no other seems to follow, only as
        long as what was hashed for them is less than ``likely`` bytes."""
        number, offset = divmod(start, journal.SEGMENT_SIZE)
        data, left = read_at(self.fd(number), stop - start + _LAST, offset), likely
        for found in _LENGTHS.finditer(data, _LAST):
            place = found.start() - _LAST
            size = _length(data, place)
            leads_on = self._leads_on(number, offset + place, size)
            if (leads_on or left > 0) and self.frame(start + place) is not None:
                return start + place
            left -= 0 if leads_on else max(size, JOINED)
        return None

    def _leads_on(self, number: int, offset: int, size: int) -> bool:
        """Whether two more lengths stand where they would, if a frame of ``size`` bytes stood at ``offset``."""
        for _ in range(2):
            offset += FRAME_SIZE + size
            size = _length(read_at(self.fd(number), _LENGTH.size, offset), 0)
            if size == END:
                return True
            if not 0 < size <= MAX_PAYLOAD:
                return False
        return True

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


_LAST = _LENGTH.size - 1
_LENGTHS = re.compile(rb"\x00(?<=[\x00-\x40]\x00)(?<!\x00{4})")
"""The last byte of a length that a frame may begin with; a pattern that begins with one byte is searched for quickest."""


def _length(data: bytes, place: int) -> int:
    """The length of the frame that begins there, 0 behind the end."""
    return int(_LENGTH.unpack_from(data, place)[0]) if place + _LENGTH.size <= len(data) else 0
