"""Where the mount and the disk differ and are meant to, row by row: why, and what the steps give on the mount.

Each reason is also in docs/reference/promises.md. On the disk these rows may give anything.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Different:
    """Why a row differs, and its results on the mount."""

    why: str
    results: list[Any]


_ALLOCATING = "the bindings have no fallocate; the C library's posix_fallocate then does it by hand"

DIFFERENT = {
    **{f"fallocate of mode {mode}": Different(_ALLOCATING, [["ENOTSUP"]]) for mode in (0, 1, 3, 8, 16)},
    "times too far away become the farthest": Different(
        "times are 64 bits of nanoseconds", [*[(1 << 63) - 1] * 3, *[1 - (1 << 63)] * 2]
    ),
    "a file without a name": Different("the bindings have no tmpfile", ["ENOTSUP", "ENOTSUP", "ENOTSUP"]),
    "a rename that leaves a whiteout": Different("whiteouts are for overlay file systems, and no names here", ["EINVAL"]),
    "reading sets the access time": Different("access times are set by utimes alone, as with noatime", [[False, False]]),
    "holes of a sparse file": Different("the bindings have no lseek; all is data (lseek(2))", [[0, 1048579, 1048579]]),
    "blocks of a sparse file": Different("blocks are the size, for what is stored depends on other versions", [2048]),
    "the size of a directory": Different("a directory has no bytes", [0, 0]),
    "flags of chattr": Different("the bindings have no ioctl that reaches files", ["ENOTTY"]),
    "a time of birth": Different("FUSE has none in the bindings' version of it", [False]),
    "allocate what is there": Different("done by hand it changes no byte, and so no time", [[None]]),
}
