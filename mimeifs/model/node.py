"""Nodes: everything that has a place in the tree of a node, and what can be asked of it.

A :class:`Node` is what FUSE calls an inode and WebDAV a resource. Live files and directories, those of versions, and the
virtual directories of a MiMei are its kinds; each overrides what it allows, and what it does not raises the error that
POSIX has for it. Calls are synchronous and atomic: they check first and change after; ``Cold`` and every error leave
things as they were.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from mimeifs.errors import (
    InvalidError,
    IsADirError,
    NameTooLongError,
    NoAttributeError,
    NotADirError,
    ReadOnlyError,
    UnsupportedError,
)
from mimeifs.store.interfaces import Buffer

NAME_MAX = 255
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


class Stat(msgspec.Struct, frozen=True, gc=False):
    """Attributes as stat(2) gives them; ``mode`` includes the file type; times in nanoseconds, size in bytes."""

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class Who(msgspec.Struct, frozen=True, gc=False):
    """On whose behalf something is made. ``umask`` takes bits from the mode where no default access list says otherwise."""

    uid: int
    gid: int
    umask: int = 0


class Change(msgspec.Struct, frozen=True):
    """What setattr shall change; ``None`` leaves a field alone. ``mode`` holds permission bits."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


NO_CHANGE = Change()


class Handle(Protocol):
    """An open file."""

    def read(self, offset: int, size: int) -> Buffer:
        """Up to ``size`` bytes from ``offset``; short only at the end of the file. Good until the next read of anything."""
        ...

    def write(self, offset: int, data: bytes) -> int:
        """Write all of ``data`` at ``offset``; raises ``CapacityError`` having written nothing."""
        ...

    def close(self) -> None:
        """The last descriptor is gone."""
        ...


class Node:
    """One place in the tree. Subclasses override what they allow."""

    __slots__ = ("ino", "lookups", "surface")

    immutable = False
    """Whether contents and attributes can never change, so that the kernel may cache them without limit."""

    volatile = False
    """Whether entries may change without a call of the surface, so that the kernel must ask for each name every time."""

    def __init__(self, ino: int) -> None:
        self.ino = ino
        self.lookups = 0
        self.surface: Any = None

    @property
    def may_stay(self) -> bool:
        """Whether it is worth keeping, or must be kept, when the kernel no longer knows it."""
        return False

    def leave(self) -> bool:
        """Leave memory if nothing needs this node there; whether it did."""
        return True

    def closed(self) -> None:
        """Nobody can reach it any more: no handle, no surface."""

    def stat(self) -> Stat:
        """Attributes."""
        raise NotImplementedError

    def lookup(self, name: bytes) -> "Node":
        """The child of that name; raises ``NotFoundError``."""
        raise NotADirError("not a directory")

    def scan(self, after: bytes) -> Iterator[tuple[bytes, "Node"]]:
        """Children in name order, from just behind ``after``."""
        raise NotADirError("not a directory")

    def steady(self, name: bytes) -> bool:
        """Whether this name, though of a volatile place or of no stored entry, leads to the same a moment later."""
        return False

    def readlink(self) -> bytes:
        """Target of a symbolic link."""
        raise InvalidError("not a symbolic link")

    def open(self, *, writing: bool) -> Handle:
        """Open the file."""
        raise IsADirError("is a directory")

    def set(self, change: Change) -> None:
        """Change attributes."""
        raise ReadOnlyError("versions are read-only; work in @cur")

    def create(self, name: bytes, mode: int, who: Who) -> "Node":
        """Make an empty regular file."""
        raise self._refusal()

    def mkdir(self, name: bytes, mode: int, who: Who) -> "Node":
        """Make a directory."""
        raise self._refusal()

    def mknod(self, name: bytes, mode: int, rdev: int, who: Who) -> "Node":
        """Make a regular file, fifo, socket or device; ``mode`` includes the type."""
        raise self._refusal()

    def symlink(self, name: bytes, target: bytes, who: Who) -> "Node":
        """Make a symbolic link."""
        raise self._refusal()

    def link(self, name: bytes, node: "Node") -> "Node":
        """Give ``node`` one more name here."""
        raise self._refusal()

    def unlink(self, name: bytes) -> None:
        """Remove a name that is no directory."""
        raise self._refusal()

    def rmdir(self, name: bytes) -> None:
        """Remove an empty directory."""
        raise self._refusal()

    def rename(self, name: bytes, target: "Node", new_name: bytes, flags: int) -> None:
        """rename(2) and renameat2(2) with ``RENAME_NOREPLACE`` or ``RENAME_EXCHANGE``."""
        raise self._refusal()

    def _refusal(self) -> Exception:
        return ReadOnlyError("versions are read-only; work in @cur")

    def get_xattr(self, name: bytes) -> bytes:
        """One extended attribute; raises ``NoAttributeError``."""
        raise NoAttributeError("no such attribute")

    def list_xattrs(self) -> list[bytes]:
        """Names of the extended attributes."""
        return []

    def set_xattr(self, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        raise ReadOnlyError("versions are read-only; work in @cur")

    def remove_xattr(self, name: bytes) -> None:
        """Remove an extended attribute."""
        raise ReadOnlyError("versions are read-only; work in @cur")


def check_name(name: bytes) -> None:
    """Raise unless ``name`` can be an entry's name: 1 to 255 bytes, no slash, no NUL, not ``.`` or ``..``; any other
    bytes are."""
    if len(name) > NAME_MAX:
        raise NameTooLongError(f"a name has at most {NAME_MAX} bytes, this one has {len(name)}")
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        shown = name.decode(errors="backslashreplace")
        raise InvalidError(f"not a name for a file: '{shown}' (no slash, no NUL, not empty, not . or ..)")


def check_target(target: bytes) -> None:
    """Raise unless ``target`` can be a symbolic link's: 1 to 4095 bytes."""
    if len(target) > 4095:
        raise NameTooLongError("the target of a symbolic link has at most 4095 bytes")
    if not target or b"\0" in target:
        raise InvalidError("the target of a symbolic link is empty or holds a NUL")


__all__ = ["Change", "Handle", "Node", "Stat", "UnsupportedError", "Who", "check_name", "check_target"]
