"""Reading the journal back: frames in order for the keeper, pieces of written data for everybody.

Always true: data that a process did not write itself is only given out of a frame whose checksum holds as it was read, whatever
an earlier look has found. Places of frames are noted as they are met, one in :data:`STRIDE` bytes, or by walking a segment
once; damage between them is stepped over. Failure: what is damaged, freed or cannot be read raises ``IntegrityError``, and
costs who wants those bytes. Format page: ``docs/format/journal.md``.
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
"""How many bytes are hashed there of what would be frames with none behind them, each as a long one: much looks like one."""
LIKELY_HELD = 1 << 30
"""As many where what is found decides whether a file can be read: for each :data:`DOUBTED` bytes."""
STRIDE = 4 << 10
"""At least so many bytes lie between two frames whose places a reader remembers."""
HELD = 4 << 20
"""How many bytes of long frames a reader keeps, because their data is mostly asked for in pieces."""
_LENGTH = struct.Struct("<I")
_WAYS_OUT = "put it back, or have `mimei rebuild --force` make the index again, without what no version has"


class _Places:
    """Where frames of a segment with the right checksum begin: of each ``STRIDE`` bytes, one; known up to ``end``."""

    __slots__ = ("end", "fruitless", "starts")

    def __init__(self) -> None:
        self.starts = array("I")
        self.end = HEADER_SIZE
        self.fruitless = -1
        """The position where frames behind it were last looked for."""

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
            self._walk(number, places)
        begin = places.before(offset)
        if begin is None:
            return None
        base = number * journal.SEGMENT_SIZE + begin
        window = read_at(self.fd(number), min(offset + length - begin, STRIDE + JOINED), begin)
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
        base = number * journal.SEGMENT_SIZE
        at: int | None = base + places.end
        while at is not None and at // journal.SEGMENT_SIZE == number:
            frame = self.frame(at)
            if frame is not None:
                at = frame[1]
            elif at == places.fruitless:  # Unless something is appended there is nothing.
                break
            else:
                places.fruitless = at
                at = self._following(at, journal.SEGMENT_SIZE, LIKELY_HELD)

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
        found = self._following(at, DOUBTED, LIKELY)
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

    def _following(self, at: int, reach: int, likely: int) -> int | None:
        """Where the next frame of the segment stands, at most ``reach`` bytes behind ``at``, at which there is none."""
        start, stop = at + 1, min(at + reach, (at // journal.SEGMENT_SIZE + 1) * journal.SEGMENT_SIZE)
        while start < stop:
            found = self._first_between(start, min(start + DOUBTED, stop), likely)
            if found is not None:
                return found
            start += DOUBTED
        return None

    def _first_between(self, start: int, stop: int, likely: int) -> int | None:
        """Where the first frame stands that begins there, both in one segment; ``likely`` is for those with none behind."""
        number, offset = divmod(start, journal.SEGMENT_SIZE)
        data = read_at(self.fd(number), stop - start + _LENGTH.size - 1, offset)
        last, place, left = len(data.rstrip(b"\0")) + _LENGTH.size - 1, 0, likely
        while (found := _CANDIDATE.search(data, place, last)) is not None:
            place = found.start()
            size = _length(data, place) % END
            leads_on = _leads_on(data, place)
            left -= 0 if leads_on else max(size, JOINED)
            if (leads_on or left > 0) and self.frame(start + place) is not None:
                return start + place
            place += 1
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


def _length(data: bytes, place: int) -> int:
    """The length of the frame that begins there, 0 behind the end."""
    return int(_LENGTH.unpack_from(data, place)[0]) if place + _LENGTH.size <= len(data) else 0


def _leads_on(data: bytes, place: int) -> bool:
    """Whether two more lengths stand where they would, if the frame at ``place`` were one."""
    for _ in range(2):
        place += FRAME_SIZE + _length(data, place)
        if not 0 < _length(data, place) <= MAX_PAYLOAD:
            return False
    return True
