"""System calls for rows: those that Python has no function for, and short words for those it has."""

import ctypes
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fuse.system_calls import renameat2

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
NOW = (1 << 30) - 1
OMIT = (1 << 30) - 2
UTIME_NOW = (0, NOW)
UTIME_OMIT = (0, OMIT)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def renaming(source: str, target: str, flags: int = 0) -> Callable[[], None]:
    """A step that renames, with flags of renameat2(2)."""
    return lambda: renameat2(Path(source), Path(target), flags)


def opening(path: str, flags: int, mode: int = 0o666) -> Callable[[], None]:
    """A step that opens and closes."""
    return lambda: os.close(os.open(path, flags, mode))


def with_open(path: str, flags: int, *acts: Callable[[int], Any]) -> Callable[[], list[Any]]:
    """A step that opens, does something with the descriptor, and closes."""

    def step() -> list[Any]:
        with descriptor_of(path, flags) as descriptor:
            return [act(descriptor) for act in acts]

    return step


@contextmanager
def descriptor_of(path: str, flags: int) -> Any:
    """An open descriptor."""
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def utimensat(path: str, access: tuple[int, int], modification: tuple[int, int], flags: int = 0) -> None:
    """utimensat(2), with each time as seconds and nanoseconds, the latter perhaps ``NOW`` or ``OMIT``."""
    times = (_Timespec * 2)(_Timespec(*access), _Timespec(*modification))
    _checked(_libc.utimensat(_AT_FDCWD, os.fsencode(path), times, flags))


def utimensat_null(path: str) -> None:
    """utimensat(2) without times: both are now."""
    _checked(_libc.utimensat(_AT_FDCWD, os.fsencode(path), None, 0))


def fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), which says what a file system cannot do; the C library's posix_fallocate then does it by hand."""
    _checked(_libc.fallocate(descriptor, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def faccessat(path: str, mode: int, flags: int = 0) -> None:
    """faccessat(2) as the C library has it; raises where :func:`os.access` says False."""
    _checked(_libc.faccessat(_AT_FDCWD, os.fsencode(path), mode, flags))


def facts_of(path: str) -> tuple[Any, ...]:
    """Type and mode, links, owner and group."""
    found = os.lstat(path)
    return stat.filemode(found.st_mode), found.st_nlink, found.st_uid, found.st_gid


def rows_named(rows: Sequence[Any]) -> dict[str, Any]:
    """The arguments of ``pytest.mark.parametrize`` for a table whose rows have names, each only once."""
    names = [one.name for one in rows]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    return {"argnames": "played", "argvalues": rows, "ids": names}


def born(path: str) -> bool:
    """Whether statx(2) gives a time of birth."""
    found = ctypes.create_string_buffer(256)
    _checked(_libc.statx(_AT_FDCWD, os.fsencode(path), 0, 0x800, found))
    return bool(ctypes.c_uint32.from_buffer(found).value & 0x800)
