"""Pack files on disk: opening and reading them, walking their frames, and making the index again from nothing but them.

What this is not: the format (``packs``), a cache (``blobs``) or writing (``packwriter``). Always true: a descriptor handed out
belongs to a pack whose header was checked; what cannot be read from disk is damage, and is said to be.
"""

import errno
import mmap
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import zstandard

from mimeifs.errors import IntegrityError
from mimeifs.store.interfaces import Buffer
from mimeifs.store.packs import (
    HEADER_SIZE,
    START,
    Frame,
    IndexRow,
    PackEnd,
    check_header,
    next_frame,
    pack_name,
    scan,
    unpack,
)

Lookup = Callable[[bytes], IndexRow | None]
"""The blob index as a function of the digest."""
Read = Callable[[int, int, int], Buffer]
"""Descriptor, size, offset: the bytes there."""

MAX_OPEN = 64


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


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    """The whole file as memory that the kernel reads when it is touched."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            yield view


def scan_pack(path: Path) -> Iterator[Frame]:
    """The frames of one pack up to the first bad one; contents are not verified.

    Raises ``IntegrityError`` when the file does not start as the pack that its name says, ``UnknownFormatError`` when
    another program wrote it.
    """
    number = int(path.stem, 16)
    with _mapped(path) as view:
        check_header(view, number)
        yield from scan(view, number)


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
        with _mapped(path) as view:
            if len(view) <= HEADER_SIZE:
                return
            check_header(view, number)
            offset: int | None = HEADER_SIZE
            while offset is not None and offset < len(view):
                for frame in scan(view, number, offset):
                    self._add_frame(view, frame)
                    offset = frame.stop
                if offset < len(view):
                    self._gaps.append((number, offset))
                    offset = next_frame(view, offset, number)

    def _add_frame(self, view: memoryview, frame: Frame) -> None:
        row = frame.row
        try:
            plain = unpack(row, view[row.offset : frame.stop], frame.digest, self._decompressor)
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


def rebuild(directory: Path, insert: Callable[[bytes, bytes], None]) -> Rebuilt:
    """Give ``insert`` the index row (digest, encoded ``IndexRow``) of everything in the packs that verifies, reading it all.

    Damage in the middle of a pack costs what is damaged and no more. The writer goes on in a new pack, so that nothing is
    cut off. Raises ``UnknownFormatError``, and ``IntegrityError`` for a file that is no pack at all.
    """
    work = _Rebuild(insert)
    numbers = pack_numbers(directory)
    for number in numbers:
        work.add_pack(directory / pack_name(number), number)
    return work.done(PackEnd(numbers[-1] + 1, 0) if numbers else START)
