"""Sealed bytes on their way from the page cache to a socket without being copied: references to pages, held in a pipe.

What a pipe refers to is neither freed nor exchanged by the kernel (splice(2)). So pages are taken first, and then their
witnesses are asked whether these are the pages that were verified. Always true: what is handed out was verified; what is not
known to be goes through memory of ours, verified again, and leaves a witness.
"""

import fcntl
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from mimeifs.ids import BlobId
from mimeifs.store.blobs import BlobReader, Lookup
from mimeifs.store.interfaces import Buffer, Part
from mimeifs.store.packs import ZSTD, IndexRow
from mimeifs.store.parts import check_length
from mimeifs.store.witness import Witnesses

PIPE_BYTES = 1 << 20
"""What anybody may have one pipe refer to (``fs.pipe-max-size``), in whole pages."""
MAX_PIPES = 64
FITTING = 896 << 10
"""So many bytes fit in whatever chunks they come, each of which may begin and end in the middle of a page."""


class Pages:
    """Verified bytes, to be sent or read once. For one thread at a time."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            self.close()  # Whoever has many pipes may have no more of that size.
            raise
        self._size = 0
        self.left = 0

    def __len__(self) -> int:
        """How many bytes there were before the first was sent."""
        return self._size

    def begin(self) -> None:
        """What follows is something new."""
        self._size = 0

    def take(self, fd: int, offset: int, size: int) -> None:
        """Refer to more, of a file; raises ``OSError``, and in the middle of it where there is no room."""
        while size:
            count = os.splice(fd, self._in, size, offset_src=offset, flags=os.SPLICE_F_NONBLOCK)
            if not count:
                raise OSError("a pack is shorter than its index says")
            self._size += count
            self.left += count
            offset, size = offset + count, size - count

    def send(self, fd: int) -> None:
        """Send what a socket takes now; raises ``BlockingIOError`` where that is nothing yet."""
        count = os.splice(self._out, fd, self.left, flags=os.SPLICE_F_NONBLOCK)
        if not count:
            raise ConnectionError("the other end takes nothing any more")
        self.left -= count

    def read(self) -> bytes:
        """All that is left, copied."""
        data = os.read(self._out, self.left)
        self.left -= len(data)
        return data if not self.left else data + self.read()

    def close(self) -> None:
        """Let go of the pages."""
        os.close(self._in)
        os.close(self._out)


Piece = Buffer | Pages
"""Bytes to be sent."""


class Pipes:
    """Pipes that are used again and again, at most ``most``; may be used from many threads."""

    def __init__(self, *, most: int = MAX_PIPES) -> None:
        self._left = most
        self._lock = threading.Lock()
        self._free: list[Pages] = []

    def take(self) -> Pages:
        """One with nothing in it; raises ``OSError`` where there can be no more."""
        with self._lock:
            if self._free:
                return self._free.pop()
            if not self._left:
                raise OSError("there are enough pipes")
            made = Pages()
            self._left -= 1
            return made

    def give_back(self, pages: Pages) -> None:
        """It is in use no more; what it still holds on to is let go."""
        with self._lock:
            if pages.left:
                pages.close()
                self._left += 1
            else:
                self._free.append(pages)

    def close(self) -> None:
        """Close those that are not in use."""
        with self._lock:
            for pages in self._free:
                pages.close()
            self._free.clear()


class PagedReader(BlobReader):
    """A reader that gives pages where it can. For one thread at a time, as every reader."""

    def __init__(self, directory: Path, lookup: Lookup, witnesses: Witnesses, pipes: Pipes, *, cache_bytes: int) -> None:
        super().__init__(directory, lookup, cache_bytes=cache_bytes)
        self._witnesses = witnesses
        self._pipes = pipes
        self._pages: Pages | None = None

    def piece(self, parts: Sequence[Part]) -> Piece:
        """The parts one behind the other, verified; good until the next call, and to be sent once."""
        return self._paged(parts) or self.view(parts)

    def _paged(self, parts: Sequence[Part]) -> Pages | None:
        """Pages, if all of the parts were verified and have stayed in the page cache since."""
        rows = [row for blob, _, _ in parts if (row := self._witnesses.row(blob)) is not None]
        if not rows or len(rows) < len(parts):
            return None
        found = [self._files.descriptor(row.pack) for row in rows]
        try:
            pages = self._emptied()
            for part, row, fd in zip(parts, rows, found, strict=True):
                check_length(row.plain, part)
                pages.take(fd, row.offset + part[1], part[2])
        except OSError:
            return None
        # Only now, when none of these pages can be exchanged any more.
        verified = [self._witnesses.stands(blob, fd) for (blob, _, _), fd in zip(parts, found, strict=True)]
        return pages if all(verified) else None

    def _emptied(self) -> Pages:
        """A pipe with nothing in it; raises ``OSError``."""
        if self._pages is not None and self._pages.left:
            self.rest()
        if self._pages is None:
            self._pages = self._pipes.take()
        self._pages.begin()
        return self._pages

    def fill(self, place: memoryview, blob: BlobId, row: IndexRow) -> None:
        """See ``BlobReader``; with a witness."""
        if row.flags & ZSTD:
            super().fill(place, blob, row)
            return
        fd = self._files.descriptor(row.pack)
        witness = self._witnesses.call(fd, row)
        try:
            super().fill(place, blob, row)
        except BaseException:
            if witness is not None:
                witness.close()
            raise
        if witness is not None:
            self._witnesses.keep(blob, witness, fd)

    def ahead(self, ids: Iterable[BlobId]) -> None:
        """See ``ViewSource``: of what has a witness the most is in memory."""
        super().ahead(blob for blob in ids if self._witnesses.row(blob) is None)

    def rest(self) -> None:
        """Nobody takes what is left of the last piece."""
        pages, self._pages = self._pages, None
        if pages is not None:
            self._pipes.give_back(pages)
