"""Strict comparison of two file trees: everything that lstat(2), listxattr(2) and reading can tell.

Owners, modes, modification times to the nanosecond, sizes, contents, targets, device numbers, extended attributes, and
which names are one file. Left out, because they belong to the place and not to the tree: inode numbers, access and
change times, link counts and sizes of directories.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What one path is."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    nlink: int
    rdev: int
    target: bytes
    xattrs: tuple[tuple[str, bytes], ...]
    twin: bytes
    """The first path, in order, that is the same file."""


def tree(root: bytes) -> dict[bytes, Facts]:
    """Every path below ``root``, and "." for itself."""
    twins: dict[int, bytes] = {}
    found = {}
    for path in sorted(_walk(root, b".")):
        full = os.path.join(root, path)
        one = os.lstat(full)
        special = not stat.S_ISDIR(one.st_mode)
        twin = twins.setdefault(one.st_ino, path) if special and one.st_nlink > 1 else path
        names = sorted(os.listxattr(full, follow_symlinks=False))
        found[path] = Facts(
            one.st_mode,
            one.st_uid,
            one.st_gid,
            one.st_mtime_ns,
            one.st_size if special else 0,
            one.st_nlink if special else 0,
            one.st_rdev,
            os.readlink(full) if stat.S_ISLNK(one.st_mode) else b"",
            tuple((name, os.getxattr(full, name, follow_symlinks=False)) for name in names),
            twin,
        )
    return found


def _walk(root: bytes, below: bytes) -> Iterator[bytes]:
    yield below
    with os.scandir(os.path.join(root, below)) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, directory in names:
        path = name if below == b"." else below + b"/" + name
        if directory:
            yield from _walk(root, path)
        else:
            yield path


def differences(one: bytes, other: bytes) -> list[str]:
    """What differs, in words, at most a few; nothing when the trees are equal."""
    left, right = tree(one), tree(other)
    found = [f"{path!r} only in {one!r}" for path in left.keys() - right.keys()]
    found += [f"{path!r} only in {other!r}" for path in right.keys() - left.keys()]
    for path in sorted(left.keys() & right.keys()):
        if left[path] != right[path]:
            found.append(f"{path!r}: {left[path]} is not {right[path]}")
        elif stat.S_ISREG(left[path].mode) and not _same_bytes(os.path.join(one, path), os.path.join(other, path)):
            found.append(f"{path!r}: contents differ")
    return found[:10]


def _same_bytes(one: bytes, other: bytes) -> bool:
    with open(one, "rb") as left, open(other, "rb") as right:
        while True:
            piece = left.read(1 << 20)
            if piece != right.read(1 << 20):
                return False
            if not piece:
                return True
