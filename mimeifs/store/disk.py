"""Every change that the store makes to files, LMDB's own and the keys aside, and every wait until the disk has it.

One small place, so that tests can record what was written and forget what was not synced, as a power cut does. What this is
not: policy; who must sync what before what is said where it is done. Reading needs no such place. Errors are the system's own.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from mimeifs.store.interfaces import Buffer

_CREATE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


def create(path: Path) -> int:
    """A descriptor for reading and writing; the file is made where there is none. Its name is durable after
    :func:`sync_directory`."""
    return os.open(path, _CREATE, 0o600)


def write(fd: int, data: Buffer, offset: int) -> int:
    """Write at a place; how many bytes were written (pwrite(2))."""
    return os.pwrite(fd, data, offset)


def write_pieces(fd: int, pieces: Sequence[Buffer], offset: int) -> int:
    """As :func:`write`, one piece behind the other (pwritev(2))."""
    return os.pwritev(fd, pieces, offset)


def allocate(fd: int, size: int) -> None:
    """Make sure that the first ``size`` bytes can be written without need of more room (posix_fallocate(3))."""
    os.posix_fallocate(fd, 0, size)


def cut(fd: int, size: int) -> None:
    """Cut off what lies behind ``size``, or add zeros up to there (ftruncate(2))."""
    os.ftruncate(fd, size)


def sync(fd: int) -> None:
    """Return when what was written is on the disk (fdatasync(2)). After an error nothing is known of what was written since
    the last success: trying again may succeed without it."""
    os.fdatasync(fd)


def sync_directory(path: Path) -> None:
    """Return when the names in a directory are on the disk (fsync(2))."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def move(path: Path, new: Path) -> None:
    """Give a file another name (rename(2)); raises ``FileNotFoundError``."""
    os.rename(path, new)


def remove(path: Path) -> None:
    """Remove a name if it is there (unlink(2))."""
    path.unlink(missing_ok=True)
