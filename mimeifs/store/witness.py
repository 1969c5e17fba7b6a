"""Whether bytes that were verified are still in the page cache, the same pages as then.

A witness is a mapping (mmap(2)) of the pages that a blob lies in, made before the blob is read and verified, and never touched
again. A page that the kernel frees it first takes out of every mapping, and it puts one into a mapping only when somebody
touches that: so what ``/proc/self/pagemap`` shows as present was there all the time, and whatever takes bytes out of the page
cache takes those that were verified. Nothing is kept in memory by this; the kernel frees pages as if nobody had looked.

What this is not: the reading and the verifying. Always true: a witness stands only while its pack has not been written to
since (its time of change, stat(2)), so damage to a file in place is seen as well; where the kernel tells too little (before
Linux 5.14, or without ``/proc``) there are no witnesses.
"""

import ctypes
import mmap
import os
import sys
import threading
from collections import OrderedDict
from functools import lru_cache

from mimeifs.store.packs import IndexRow

MAX_WITNESSES = 8192
"""Of about 2 GiB; a process may have 65,530 mappings (``vm.max_map_count``)."""
PAGE = mmap.PAGESIZE
_ENTRY = 8
"""Bytes for each page in ``pagemap``, of which the highest bit says that it is present."""
_POPULATE_READ = 22
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Witness:
    """The pages of one blob as they are now. Raises ``OSError`` where they cannot be mapped."""

    __slots__ = ("_address", "_changed", "_count", "row")

    def __init__(self, fd: int, row: IndexRow) -> None:
        self.row = row
        self._changed = _changed(fd)
        first = row.offset // PAGE
        self._count = (row.offset + row.stored - 1) // PAGE - first + 1
        # One page more, given back at once: where mappings touch, the kernel makes them one, and would put pages of this one
        # back when it fetches those of the next.
        address = _libc.mmap(None, (self._count + 1) * PAGE, mmap.PROT_READ, mmap.MAP_SHARED, fd, first * PAGE)
        if address is None or address == _FAILED:
            raise OSError(ctypes.get_errno(), "mmap")
        self._address: int = address
        _libc.munmap(address + self._count * PAGE, PAGE)
        if _libc.madvise(address, self._count * PAGE, _POPULATE_READ):
            number = ctypes.get_errno()
            self.close()
            raise OSError(number, "madvise")

    def stands(self, fd: int, pagemap: int) -> bool:
        """Whether all pages have stayed, and the file as it was."""
        data = os.pread(pagemap, self._count * _ENTRY, self._address // PAGE * _ENTRY)
        all_of_them = _present(self._count)
        return int.from_bytes(data, sys.byteorder) & all_of_them == all_of_them and _changed(fd) == self._changed

    def close(self) -> None:
        """Let go of the pages."""
        _libc.munmap(self._address, self._count * PAGE)


@lru_cache(257)
def _present(count: int) -> int:
    """The bits that are set where so many pages are present."""
    return sum(1 << (_ENTRY * 8 * (index + 1) - 1) for index in range(count))


def _changed(fd: int) -> tuple[int, int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino, found.st_ctime_ns


class Witnesses:
    """The witnesses of one store's blobs, at most ``most``; may be used from many threads."""

    def __init__(self, *, most: int = MAX_WITNESSES) -> None:
        self._most = most
        self._lock = threading.Lock()
        """Held while one is asked: a mapping that ends leaves its place to another."""
        self._known: OrderedDict[bytes, Witness] = OrderedDict()
        self._pagemap: int | None = None

    def call(self, fd: int, row: IndexRow) -> Witness | None:
        """One that has seen nothing yet, before the blob is read; None where there can be none."""
        if not self._can_look():
            return None
        try:
            return Witness(fd, row)
        except OSError:
            return None

    def _can_look(self) -> bool:
        with self._lock:
            if self._pagemap is None:
                try:
                    self._pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    self._pagemap = -1
            return self._pagemap >= 0

    def keep(self, blob: bytes, witness: Witness, fd: int) -> None:
        """The blob was verified after its witness was called; if pages left meanwhile, it has seen nothing."""
        with self._lock:
            if self._pagemap is None or not witness.stands(fd, self._pagemap):
                witness.close()
                return
            old = self._known.pop(blob, None)
            if old is not None:
                old.close()
            self._known[blob] = witness
            if len(self._known) > self._most:
                self._known.popitem(last=False)[1].close()

    def row(self, blob: bytes) -> IndexRow | None:
        """Where a blob lies of which there is a witness."""
        witness = self._known.get(blob)
        return None if witness is None else witness.row

    def stands(self, blob: bytes, fd: int) -> bool:
        """Whether the page cache holds, in the pack open as ``fd``, what was verified. One that falls is forgotten."""
        with self._lock:
            witness = self._known.get(blob)
            if witness is None or self._pagemap is None:
                return False
            if witness.stands(fd, self._pagemap):
                self._known.move_to_end(blob)
                return True
            self._known.pop(blob).close()
            return False

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            for witness in self._known.values():
                witness.close()
            self._known.clear()
            if self._pagemap is not None and self._pagemap >= 0:
                os.close(self._pagemap)
            self._pagemap = None
