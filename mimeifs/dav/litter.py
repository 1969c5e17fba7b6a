"""What desktops leave in every folder they look at (``.DS_Store``, ``._name``, ``Thumbs.db``...): kept in memory, so that it
costs no version anything, and forgotten with the process.

What this is not: a rule about files that come by other ways. What is in the tree under such a name stays there and is
shown; only what a client of the drive would make anew is kept aside. Bounded: the oldest goes where there is no room.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from uuid import uuid4

from msgspec import structs

from mimeifs.dav.dates import SECOND
from mimeifs.dav.interface import (
    ChangesFound,
    Facts,
    Guard,
    Listed,
    Lock,
    Path,
    Reading,
    Staged,
    Standing,
    StatesAt,
    Tree,
    VersionsAt,
)
from mimeifs.errors import LockHeldError, MimeiError, NotFoundError, TooLargeError
from mimeifs.store.interfaces import Buffer

MAX_BYTES = 16 << 20
MAX_FILE = 4 << 20
MAX_FILES = 10_000
SLICE = 256 << 10
NAMES = frozenset((b".ds_store", b"thumbs.db", b"desktop.ini", b".directory", b".metadata_never_index", b".hidden"))


def is_litter(path: Path) -> bool:
    """Whether the last name is one that desktops make by themselves."""
    return bool(path) and (path[-1].startswith(b"._") or path[-1].lower() in NAMES)


class _Kept:
    """A file in memory, open."""

    def __init__(self, facts: Facts, data: bytes) -> None:
        self.facts = facts
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        """See ``Reading``."""
        return self._data[offset : offset + size]

    piece = read

    def close(self) -> None:
        """See ``Reading``."""


class _Upload:
    """A file on its way into memory."""

    def __init__(self, litter: "LitterTree") -> None:
        self._litter = litter
        self._data = bytearray()

    def write(self, data: Buffer) -> None:
        """See ``Staged``."""
        if len(self._data) + len(data) > MAX_FILE:
            raise TooLargeError(f"a file that a desktop makes for itself has at most {MAX_FILE} bytes here")
        self._data += data

    def discard(self) -> None:
        """See ``Staged``."""
        self._data.clear()

    def commit(self, path: Path, guard: Guard, mtime_ns: int | None = None, hold_s: int = 0) -> Facts:
        """See ``Staged``."""
        return self._litter.keep(path, bytes(self._data), mtime_ns)


class LitterTree:
    """The tree for requests about litter that is not in it: those files are here, all else is the tree's below."""

    listings = None
    small = None

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, tuple[Facts, bytes]] = OrderedDict()
        self._locks: dict[Path, Lock] = {}
        self._bytes = 0

    def keep(self, path: Path, data: bytes, mtime_ns: int | None) -> Facts:
        """Take a file in, where its directory can be written to."""
        parent = self._tree.look(path[:-1])
        now = time.time_ns() if mtime_ns is None else mtime_ns
        etag = hashlib.blake2b(data, digest_size=16).hexdigest()
        facts = Facts(path[-1], "file", len(data), now, now, now, 0, 0o100644, etag, parent.writable, immutable=False)
        with self._lock:
            self._forget(path)
            self._kept[path] = facts, data
            self._bytes += len(data)
            while self._bytes > MAX_BYTES or len(self._kept) > MAX_FILES:
                self._forget(next(iter(self._kept)))
        return facts

    def _forget(self, path: Path) -> bool:
        facts, data = self._kept.pop(path, (None, b""))
        self._bytes -= len(data)
        return facts is not None

    def _found(self, path: Path) -> tuple[Facts, bytes] | None:
        with self._lock:
            return self._kept.get(path)

    def apart(self, path: Path) -> bool:
        """Whether a change at ``path`` stays out of the tree: litter that the tree does not have."""
        if not is_litter(path):
            return False
        try:
            self._tree.look(path)
        except MimeiError:
            return True
        return False

    # The interface; see ``Tree``.

    def look(self, path: Path, *, properties: bool = False) -> Facts:
        """See ``Tree``."""
        found = self._found(path)
        return found[0] if found else self._tree.look(path, properties=properties)

    def entries(
        self, path: Path, after: bytes = b"", limit: int = 500, *, properties: bool = False
    ) -> tuple[list[Facts], bytes]:
        """See ``Tree``. What is kept aside is not listed."""
        return self._tree.entries(path, after, limit, properties=properties)

    def pages(self, path: Path, *, properties: bool = False) -> Iterator[Listed]:
        """See ``Tree``, and ``entries``."""
        return self._tree.pages(path, properties=properties)

    def again(self, path: Path, mark: str, names: Sequence[bytes], *, properties: bool = False) -> Listed:
        """See ``Tree``."""
        return self._tree.again(path, mark, names, properties=properties)

    def open(self, path: Path) -> Reading:
        """See ``Tree``."""
        found = self._found(path)
        return _Kept(*found) if found else self._tree.open(path)

    def stage(self, size: int | None) -> Staged:
        """See ``Tree``: into memory."""
        return _Upload(self)

    def mkdir(self, path: Path, guard: Guard) -> Facts:
        """See ``Tree``."""
        return self._tree.mkdir(path, guard)

    def remove(self, path: Path, guard: Guard, *, hold_s: int = 0) -> None:
        """See ``Tree``."""
        with self._lock:
            there = self._forget(path)
            self._locks.pop(path, None)
        if not there:
            self._tree.remove(path, guard, hold_s=hold_s)

    def move(self, source: Path, target: Path, guard: Guard, *, overwrite: bool, hold_s: int = 0) -> bool:
        """See ``Tree``; from or to memory it is a copy and a removal."""
        found = self._found(source)
        if found is None:
            return self._tree.move(source, target, guard, overwrite=overwrite, hold_s=hold_s)
        replaced = self.copy(source, target, guard, overwrite=overwrite)
        with self._lock:
            self._forget(source)
        return replaced

    def copy(self, source: Path, target: Path, guard: Guard, *, overwrite: bool, shallow: bool = False) -> bool:
        """See ``Tree``."""
        found = self._found(source)
        if found is None:
            return self._tree.copy(source, target, guard, overwrite=overwrite, shallow=shallow)
        try:
            self.look(target)
            replaced = True
        except NotFoundError:
            replaced = False
        staged = self.stage(None) if self.apart(target) else self._tree.stage(len(found[1]))
        try:
            for start in range(0, len(found[1]), SLICE):
                staged.write(found[1][start : start + SLICE])
            staged.commit(target, guard, found[0].mtime_ns)
        except BaseException:
            staged.discard()
            raise
        return replaced

    def patch(
        self,
        path: Path,
        guard: Guard,
        *,
        properties: dict[str, bytes | None] | None = None,
        mtime_ns: int | None = None,
        birth_ns: int | None = None,
    ) -> Facts:
        """See ``Tree``; what is kept aside takes anything, and keeps its times."""
        found = self._found(path)
        if found is not None:
            return self.keep(path, found[1], mtime_ns if mtime_ns is not None else found[0].mtime_ns)
        return self._tree.patch(path, guard, properties=properties, mtime_ns=mtime_ns, birth_ns=birth_ns)

    def lock(
        self, path: Path, guard: Guard, *, owner: str, exclusive: bool, infinite: bool, timeout_s: int
    ) -> tuple[Lock, bool]:
        """See ``Tree``; one lock a file, which ends with the process."""
        if self.locks(path):
            raise LockHeldError("it is locked already", path)
        created = self._found(path) is None
        if created:
            self.keep(path, b"", None)
        expires_ns = time.time_ns() + timeout_s * SECOND
        made = Lock(f"urn:uuid:{uuid4()}", path, owner, guard.user, exclusive, False, expires_ns)
        with self._lock:
            self._locks[path] = made
        return made, created

    def refresh(self, path: Path, token: str, timeout_s: int) -> Lock:
        """See ``Tree``."""
        with self._lock:
            held = self._locks.get(path)
            if held is None or held.token != token:
                raise NotFoundError("there is no such lock")
            made = self._locks[path] = structs.replace(held, expires_ns=time.time_ns() + timeout_s * SECOND)
            return made

    def unlock(self, path: Path, token: str, user: str) -> None:
        """See ``Tree``."""
        with self._lock:
            self._locks.pop(path, None)

    def locks(self, path: Path) -> list[Lock]:
        """See ``Tree``."""
        with self._lock:
            held = self._locks.get(path)
            if held is not None and held.expires_ns > time.time_ns():
                return [held]
            self._locks.pop(path, None)
        return [] if is_litter(path) else self._tree.locks(path)

    def versions(self, path: Path, after: bytes = b"") -> VersionsAt:
        """See ``Tree``."""
        return self._tree.versions(path, after)

    def standing(self, path: Path) -> Standing:
        """See ``Tree``."""
        return self._tree.standing(path)

    def states(self, path: Path, after: bytes = b"", *, properties: bool = False) -> StatesAt:
        """See ``Tree``."""
        return self._tree.states(path, after, properties=properties)

    def sync_token(self, path: Path) -> str:
        """See ``Tree``."""
        return self._tree.sync_token(path)

    def changes(self, path: Path, token: str, *, deep: bool, limit: int, properties: bool = False) -> ChangesFound:
        """See ``Tree``."""
        return self._tree.changes(path, token, deep=deep, limit=limit, properties=properties)

    def space(self) -> tuple[int, int]:
        """See ``Tree``."""
        return self._tree.space()
