"""The store's directory: what lies in it, how it is made, and the lock that keeps it to one owner.

``index/`` is the LMDB environment, ``packs/`` the blobs and records, ``journal/`` the segments, ``lock`` the lock and
``ballast`` room that is given up when the disk is full, so that deleting and committing still work; ``set-aside-N`` is what
was in use and may be missed, for people to look through and remove. The lock is an flock, held by a process and those it
forks, and gone with the last of them: a stale lock cannot be.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from mimeifs.errors import ExistsError, ForbiddenError, LockedError, NotADirError, NotFoundError
from mimeifs.store import disk
from mimeifs.store.database import create_database

BALLAST = 64 << 20


@dataclass(frozen=True, slots=True)
class Storage:
    """Paths inside one store directory."""

    root: Path

    @property
    def index(self) -> Path:
        """The LMDB environment."""
        return self.root / "index"

    @property
    def packs(self) -> Path:
        """The pack files."""
        return self.root / "packs"

    @property
    def journal(self) -> Path:
        """The journal's segments."""
        return self.root / "journal"

    @property
    def ballast(self) -> Path:
        """Room kept for a full disk."""
        return self.root / "ballast"


def set_aside(storage: Storage) -> Path:
    """A new directory in the store for what is no longer used and may be missed."""
    for number in count(1):
        path = storage.root / f"set-aside-{number}"
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path
    raise AssertionError("numbers never end")


class StoreLock:
    """The exclusive lock on a store; lasts until :meth:`release` or the end of every process that inherited it."""

    def __init__(self, storage: Storage) -> None:
        check_owner(storage.root)
        self._fd = os.open(storage.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise LockedError(
                    f"the store in {storage.root} is in use by another process; end that one, or let it do the work"
                ) from error
            raise

    def release(self) -> None:
        """Let others open the store."""
        os.close(self._fd)


def check_owner(path: Path) -> None:
    """Raise unless the directory exists and belongs to this user."""
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        raise NotFoundError(f"no store in {path}; `mimei init` makes one") from None
    except PermissionError:
        raise ForbiddenError(f"{path} may not be entered; it belongs to somebody else") from None
    if not stat.S_ISDIR(facts.st_mode):
        raise NotADirError(f"{path} is not a directory; give one of your own, or one that is not there yet (--home)")
    if facts.st_uid != os.geteuid():
        raise ForbiddenError(
            f"{path} belongs to user {facts.st_uid}, not to you ({os.geteuid()}); use a home directory of your own (--home)"
        )


def create_storage(root: Path) -> Storage:
    """Make an empty store in a directory that does not exist yet or is empty. Raises ``ExistsError``."""
    storage = Storage(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_owner(root)
    if storage.index.exists():
        raise ExistsError(f"there is a store in {root} already")
    storage.packs.mkdir(mode=0o700, exist_ok=True)
    storage.journal.mkdir(mode=0o700, exist_ok=True)
    create_database(storage.index)
    return storage


def ballast_size(root: Path) -> int:
    """How much room is kept: 64 MiB, or 1 % of a disk too small for that."""
    facts = os.statvfs(root)
    return min(BALLAST, facts.f_blocks * facts.f_frsize // 100)


def fill_ballast(storage: Storage) -> OSError | None:
    """Take the room, where there is plenty; quietly not, where there is none. What else kept it from being taken is returned: a
    store can be worked on without."""
    try:
        size = ballast_size(storage.root)
        if (storage.ballast.exists() and storage.ballast.stat().st_size >= size) or available(storage.root) <= 2 * size:
            return None
        fd = disk.create(storage.ballast)
        try:
            disk.allocate(fd, size)
        except OSError:
            disk.cut(fd, 0)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        return None if error.errno in (errno.ENOSPC, errno.EDQUOT) else error
    return None


def drop_ballast(storage: Storage) -> bool:
    """Give the room up, and the journal's spare segments with it; whether there was any."""
    for spare in storage.journal.glob("*.spare"):
        with suppress(FileNotFoundError):  # Whoever writes the journal takes one at any moment.
            disk.remove(spare)
    try:
        size = storage.ballast.stat().st_size
    except FileNotFoundError:
        return False
    if size:
        fd = disk.create(storage.ballast)
        try:
            disk.cut(fd, 0)
        finally:
            os.close(fd)
    return bool(size)


def used(root: Path) -> int:
    """Bytes that the store takes on its disk."""
    total = 0
    for folder in (root, *(path for path in root.iterdir() if path.is_dir())):
        with os.scandir(folder) as found:
            for each in found:
                with suppress(FileNotFoundError):  # The keeper frees segments meanwhile.
                    total += each.stat(follow_symlinks=False).st_blocks * 512
    return total


def available(root: Path) -> int:
    """Bytes a process of this user can still write there."""
    facts = os.statvfs(root)
    return facts.f_bavail * facts.f_frsize
