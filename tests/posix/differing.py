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


_KEPT = ("-rwxrwSrwx", 1, 1000, 1000)
_SET_GID = "the kernel has a FUSE file system drop set-gid only together with the group's execute bit"

_ALLOCATING = "the bindings have no fallocate; the C library's posix_fallocate then does it by hand"

DIFFERENT = {
    **{f"fallocate of mode {mode}": Different(_ALLOCATING, [["ENOTSUP"]]) for mode in (0, 1, 3, 8, 16)},
    "allocate what is there": Different("done by hand it changes no byte, and so no time", [[None]]),
    "a write by Bob of mode 2767": Different(_SET_GID, [[1], _KEPT]),
    "truncate by Bob of mode 2767": Different(_SET_GID, ["done", _KEPT]),
    "truncate to the same size by Bob of mode 2767": Different(_SET_GID, ["done", _KEPT]),
    "ftruncate by Bob of mode 2767": Different(_SET_GID, [[None], _KEPT]),
    "fallocate by Bob of mode 2767": Different(_SET_GID, [[None], _KEPT]),
}
