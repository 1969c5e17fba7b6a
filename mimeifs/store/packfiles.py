"""Pack files on disk: opening and reading them, walking their frames, and making the index again from nothing but them.

What this is not: the format (``packs``), a cache (``blobs``) or writing (``packwriter``). Always true: a descriptor handed out
belongs to a pack whose header was checked; what cannot be read from disk is damage, and is said to be.
"""

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import zstandard

from mimeifs.errors import IntegrityError
from mimeifs.store.interfaces import Buffer
from mimeifs.store.packs import (
    CANDIDATE_SIZE,
    FRAME_SIZE,
    HEADER_SIZE,
    START,
    Frame,
    IndexRow,
    PackEnd,
    candidates,
    check_header,
    pack_name,
    parse_header,
    unpack,
)

Lookup = Callable[[bytes], IndexRow | None]
"""The blob index as a function of the digest."""
Read = Callable[[int, int, int], Buffer]
"""Descriptor, size, offset: the bytes there."""

MAX_OPEN = 64
PAGE = 4096
WINDOW = 1 << 20
"""How much is looked through at once behind damage, in bytes."""


def read_at(fd: int, size: int, offset: int) -> bytes:
    """Bytes of a pack, fewer at its end; what the disk cannot read is damage."""
    try:
        return os.pread(fd, size, offset)
    except OSError as error:
        raise unreadable(error, offset) from error


def unreadable(error: OSError, offset: int) -> Exception:
    """What to raise for a failed read."""
    if error.errno == errno.EIO:
        return IntegrityError(f"the disk cannot read a pack at offset {offset}: check the disk")
    return error


class PackFiles:
    """Descriptors of packs for reading, opened when first needed, at most ``limit`` of them. For one thread."""

    def __init__(self, directory: Path, read: Read = read_at, *, limit: int = MAX_OPEN) -> None:
        self._directory = directory
        self._read = read
        self._limit = limit
        self._open: OrderedDict[int, int] = OrderedDict()

    def descriptor(self, number: int) -> int:
        """An open descriptor of pack ``number``; raises ``IntegrityError`` when it is missing or no pack."""
        fd = self._open.get(number)
        if fd is not None:
            self._open.move_to_end(number)
            return fd
        try:
            fd = os.open(self._directory / pack_name(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise IntegrityError(f"{pack_name(number)} is missing in {self._directory}: is its disk there?") from error
        try:
            check_header(self._read(fd, HEADER_SIZE, 0), number)
        except IntegrityError:
            pass  # Every blob in it verifies by itself: a damaged header costs nothing.
        except BaseException:
            os.close(fd)
            raise
        while len(self._open) >= self._limit:
            os.close(self._open.popitem(last=False)[1])
        self._open[number] = fd
        return fd

    def close(self) -> None:
        """Close all; the next use opens what it needs again."""
        while self._open:
            os.close(self._open.popitem()[1])


def pack_numbers(directory: Path) -> list[int]:
    """The numbers of the packs in ``directory``, ascending; other files there are passed over."""
    numbers = []
    for name in os.listdir(directory):
        stem = name.removesuffix(".pack")
        if len(stem) == 8 and all(c in "0123456789abcdef" for c in stem) and name != stem:
            numbers.append(int(stem, 16))
    return sorted(numbers)


class _Walk:
    """One pack from front to back. Everything is read by calls, never through a mapping, where a page that the disk cannot read
    would end the process."""

    def __init__(self, fd: int, number: int) -> None:
        self._fd = fd
        self._number = number
        self.size = os.fstat(fd).st_size

    def check_header(self) -> None:
        """See :func:`~mimeifs.store.packs.check_header`."""
        check_header(read_at(self._fd, HEADER_SIZE, 0), self._number)

    def stored(self, frame: Frame) -> bytes:
        """The stored bytes of a frame."""
        return read_at(self._fd, frame.row.stored, frame.row.offset)

    def frames(self, offset: int = HEADER_SIZE) -> Iterator[Frame]:
        """The frames from ``offset`` on, up to the first place that is none; raises where the disk cannot read."""
        while (frame := self._frame(offset)) is not None:
            yield frame
            offset = frame.stop

    def _frame(self, offset: int) -> Frame | None:
        frame = parse_header(read_at(self._fd, FRAME_SIZE, offset), offset, self._number)
        return frame if frame is not None and frame.stop <= self.size else None

    def following(self, offset: int) -> int | None:
        """Where, at ``offset`` or behind, the next frame with an intact header starts; what cannot be read is passed over."""
        while offset < self.size:
            data = self._around(offset)
            for at in candidates(data):
                with suppress(IntegrityError):
                    if self._frame(offset + at) is not None:
                        return offset + at
            offset += max(len(data) - CANDIDATE_SIZE + 1, 1)
        return None

    def _around(self, offset: int) -> bytes:
        """A window from ``offset`` on, a page where more cannot be read, and zeros where not even that can."""
        page = PAGE - offset % PAGE
        for size in (WINDOW, page):
            with suppress(IntegrityError):
                return read_at(self._fd, size, offset)
        return bytes(page + CANDIDATE_SIZE - 1)


@contextmanager
def _walking(path: Path) -> Iterator[_Walk]:
    with path.open("rb") as file:
        yield _Walk(file.fileno(), int(path.stem, 16))


def scan_pack(path: Path) -> Iterator[Frame]:
    """The frames of one pack up to the first bad one; contents are not verified.

    Raises ``IntegrityError`` when the file does not start as the pack that its name says or cannot be read,
    ``UnknownFormatError`` when another program wrote it.
    """
    with _walking(path) as walk:
        walk.check_header()
        yield from walk.frames()


class Rebuilt(msgspec.Struct, frozen=True):
    """What :func:`rebuild` found. ``end`` is where the writer goes on; ``damaged`` names what lies in a frame and does not
    verify; ``gaps`` are the places in packs where no frame could be read, as (pack, offset), torn tails included."""

    end: PackEnd
    blobs: int
    records: int
    damaged: tuple[bytes, ...]
    gaps: tuple[tuple[int, int], ...]


class _Rebuild:
    """The running totals of one rebuild."""

    def __init__(self, insert: Callable[[bytes, bytes], None]) -> None:
        self._insert = insert
        self._decompressor = zstandard.ZstdDecompressor()
        self._records: dict[bytes, IndexRow] = {}
        self._damaged: list[bytes] = []
        self._gaps: list[tuple[int, int]] = []
        self._blobs = 0

    def add_pack(self, path: Path, number: int) -> None:
        with _walking(path) as walk:
            if walk.size <= HEADER_SIZE:
                return
            offset: int | None = HEADER_SIZE
            try:
                walk.check_header()
            except IntegrityError:  # Every blob in it verifies by itself.
                self._gaps.append((number, 0))
                offset = walk.following(0)
            while offset is not None and offset < walk.size:
                with suppress(IntegrityError):
                    for frame in walk.frames(offset):
                        self._add_frame(walk, frame)
                        offset = frame.stop
                if offset < walk.size:
                    self._gaps.append((number, offset))
                    offset = walk.following(offset + 1)

    def _add_frame(self, walk: _Walk, frame: Frame) -> None:
        row = frame.row
        try:
            plain = unpack(row, walk.stored(frame), frame.digest, self._decompressor)
        except IntegrityError:
            self._damaged.append(frame.digest)
            return
        if row.is_record:
            self._records[frame.digest] = row
        else:
            self._insert(frame.digest, row.sliced(plain).encode())
            self._blobs += 1

    def done(self, end: PackEnd) -> Rebuilt:
        # Records come last: where a blob has the same bytes, the row that says "record" must stay.
        for digest, row in self._records.items():
            self._insert(digest, row.encode())
        return Rebuilt(end, self._blobs, len(self._records), tuple(self._damaged), tuple(self._gaps))


def _nobody_asks(_done: int, _total: int) -> None:
    """It is read in silence."""


def rebuild(
    directory: Path, insert: Callable[[bytes, bytes], None], report: Callable[[int, int], None] = _nobody_asks
) -> Rebuilt:
    """Give ``insert`` the index row (digest, encoded ``IndexRow``) of everything in the packs that verifies, reading it all.

    Damage, the start of a pack included, costs what is damaged and no more. The writer goes on in a new pack, so that nothing
    is cut off. ``report`` hears how many packs of how many were read. Raises ``UnknownFormatError``.
    """
    work = _Rebuild(insert)
    numbers = pack_numbers(directory)
    for done, number in enumerate(numbers):
        report(done, len(numbers))
        work.add_pack(directory / pack_name(number), number)
    return work.done(PackEnd(numbers[-1] + 1, 0) if numbers else START)
