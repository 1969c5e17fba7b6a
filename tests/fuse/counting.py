"""``python counting.py FILE serve ...``: the command ``mimei``, its node counting in FILE how often each handler is called.

FILE holds a number of eight bytes for each of :data:`HANDLERS`; the node only ever adds to them. Requests that libfuse or
pyfuse3 answers by itself are not seen, nor is a forget, which nobody waits for.
"""

import mmap
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HANDLERS = (
    "lookup",
    "getattr",
    "setattr",
    "readlink",
    "mknod",
    "mkdir",
    "symlink",
    "link",
    "unlink",
    "rmdir",
    "rename",
    "create",
    "open",
    "read",
    "write",
    "flush",
    "release",
    "fsync",
    "opendir",
    "readdir",
    "releasedir",
    "getxattr",
    "listxattr",
    "setxattr",
    "removexattr",
    "access",
    "statfs",
)
_NUMBERS = struct.Struct(f"={len(HANDLERS)}Q")
SIZE = _NUMBERS.size


def counts(file: Path) -> dict[str, int]:
    """How often each handler has been called so far."""
    return dict(zip(HANDLERS, _NUMBERS.unpack(file.read_bytes()), strict=True))


def _counted(original: Callable[..., Any], shared: mmap.mmap, place: int) -> Callable[..., Any]:
    async def counted(*args: Any, **named: Any) -> Any:
        shared[place : place + 8] = (int.from_bytes(shared[place : place + 8], sys.byteorder) + 1).to_bytes(8, sys.byteorder)
        return await original(*args, **named)

    return counted


def main() -> int:
    from mimeifs.cli.main import main as mimei
    from mimeifs.fuse.operations import Operations

    with open(sys.argv.pop(1), "r+b") as file:
        shared = mmap.mmap(file.fileno(), SIZE)
    for number, name in enumerate(HANDLERS):
        setattr(Operations, name, _counted(getattr(Operations, name), shared, 8 * number))
    return mimei(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
