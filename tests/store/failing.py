"""A disk that fails at one call: every change that the store makes, and every read, is counted, and one of them goes wrong.

Either the N-th call fails once with ``EIO``, or from the N-th on there is no room, until there is again: then what would
grow fails with ``ENOSPC``, and a write may be cut short first. LMDB writes through its own code: its commits are counted too,
and fail as it says itself. What this is not: a disk that loses what it had (see :mod:`tests.store.powercut`).
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import lmdb
import pytest

from mimeifs.store import disk
from mimeifs.store.database import Database, Transaction


class Fault(Enum):
    """What goes wrong, from when on."""

    WRITING = "a change fails"
    READING = "a read fails"
    FULL = "no room any more"


GROWING = frozenset(("create", "write", "write_pieces", "allocate", "commit"))
READING = frozenset(("pread", "preadv"))


@dataclass(slots=True)
class Faults:
    """Which call fails; ``at`` 0 is none. Counts only while ``armed``."""

    fault: Fault
    at: int = 0
    armed: bool = False
    calls: int = 0
    struck: list[str] = field(default_factory=list)
    """What has failed, by the name of the call."""

    def strikes(self, call: str) -> bool:
        """Count a call; whether it fails."""
        if not self.armed or not self._counts(call):
            return False
        self.calls += 1
        hit = self.calls >= self.at if self.fault is Fault.FULL else self.calls == self.at
        if self.at and hit:
            self.struck.append(call)
        return bool(self.at) and hit

    def _counts(self, call: str) -> bool:
        if self.fault is Fault.READING:
            return call in READING
        return call in GROWING if self.fault is Fault.FULL else call not in READING

    def meet(self, call: str) -> None:
        """Count a call; raise when it fails."""
        if self.strikes(call):
            raise self.error()

    def error(self) -> OSError:
        """What the system says."""
        number = errno.ENOSPC if self.fault is Fault.FULL else errno.EIO
        return OSError(number, os.strerror(number))

    @contextmanager
    def spared(self) -> Iterator[None]:
        """Nothing fails and nothing is counted meanwhile."""
        before, self.armed = self.armed, False
        try:
            yield
        finally:
            self.armed = before


def install(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store's calls go wrong as ``faults`` says, for as long as ``monkeypatch`` lasts."""
    _install_changes(faults, monkeypatch)
    pread, preadv, begin = os.pread, os.preadv, Database.write

    def read(fd: int, size: int, offset: int) -> bytes:
        faults.meet("pread")
        return pread(fd, size, offset)

    def read_into(fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        faults.meet("preadv")
        return preadv(fd, buffers, offset, flags)

    @contextmanager
    def commit(self: Database) -> Iterator[Transaction]:
        with begin(self) as transaction:
            yield transaction
            if faults.strikes("commit"):
                full = faults.fault is Fault.FULL
                raise lmdb.DiskError(os.strerror(errno.ENOSPC)) if full else lmdb.Error(os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", read)
    monkeypatch.setattr(os, "preadv", read_into)
    monkeypatch.setattr(Database, "write", commit)


def _install_changes(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    create, write, write_pieces = disk.create, disk.write, disk.write_pieces

    def creating(path: Path) -> int:
        if not path.exists():
            faults.meet("create")
        return create(path)

    def writing(fd: int, data: bytes, offset: int) -> int:
        if not faults.strikes("write"):
            return write(fd, data, offset)
        _cut_short(faults, len(data))
        return write(fd, data[: len(data) // 2], offset)

    def writing_pieces(fd: int, pieces: Sequence[bytes], offset: int) -> int:
        if not faults.strikes("write_pieces"):
            return write_pieces(fd, pieces, offset)
        whole = b"".join(pieces)
        _cut_short(faults, len(whole))
        return write(fd, whole[: len(whole) // 2], offset)

    monkeypatch.setattr(disk, "create", creating)
    monkeypatch.setattr(disk, "write", writing)
    monkeypatch.setattr(disk, "write_pieces", writing_pieces)
    for name in ("allocate", "cut", "sync", "sync_directory", "move", "remove"):
        monkeypatch.setattr(disk, name, _failing(faults, name))


def _cut_short(faults: Faults, size: int) -> None:
    """Return where a write is to be cut short: the first time that there is no room."""
    if faults.fault is not Fault.FULL or len(faults.struck) > 1 or size < 2:
        raise faults.error()


def _failing(faults: Faults, name: str) -> object:
    real = getattr(disk, name)

    def call(*arguments: object) -> object:
        faults.meet(name)
        return real(*arguments)

    return call
