"""System calls that Python has no function for, and what to expect of those that are refused."""

import ctypes
import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100


def refused(number: int) -> AbstractContextManager[object]:
    """Expect an ``OSError`` of that errno."""
    return pytest.raises(OSError, match=rf"^\[Errno {number}\]")


def renameat2(source: Path, target: Path, flags: int) -> None:
    """rename(2) with flags; raises ``OSError``."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


class Listing:
    """A directory stream of the C library: opendir(3), readdir(3), telldir(3), seekdir(3)."""

    class _Entry(ctypes.Structure):
        _fields_ = (
            ("ino", ctypes.c_uint64),
            ("offset", ctypes.c_int64),
            ("length", ctypes.c_ushort),
            ("type", ctypes.c_ubyte),
            ("name", ctypes.c_char * 256),
        )

    def __init__(self, path: Path) -> None:
        for name, result in (
            ("opendir", ctypes.c_void_p),
            ("readdir", ctypes.POINTER(self._Entry)),
            ("telldir", ctypes.c_long),
        ):
            getattr(_libc, name).restype = result
        self._stream = ctypes.c_void_p(_libc.opendir(os.fsencode(path)))
        assert self._stream.value, path

    def next(self) -> bytes | None:
        """The next name but ``.`` and ``..``; None at the end."""
        while entry := self.entry():
            if entry[0] not in (b".", b".."):
                return entry[0]
        return None

    def entry(self) -> tuple[bytes, int] | None:
        """The next name, those two included, and its number; None at the end."""
        entry = _libc.readdir(self._stream)
        return (bytes(entry.contents.name), entry.contents.ino) if entry else None

    def rest(self) -> list[bytes]:
        """All names to come."""
        return list(iter(self.next, None))

    def tell(self) -> int:
        """A place to come back to."""
        return int(_libc.telldir(self._stream))

    def seek(self, place: int) -> None:
        """Go back to a place."""
        _libc.seekdir(self._stream, ctypes.c_long(place))

    def close(self) -> None:
        """End the stream."""
        _libc.closedir(self._stream)
