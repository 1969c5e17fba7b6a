"""A mount: from the mount point to the session loop and back.

One mount in a process, because pyfuse3 has one session. Always true: once :meth:`Mount.close` returns the kernel no
longer has the mount; the mount point itself is never looked at, only ``/proc/self/mountinfo``, since looking would ask
ourselves.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyfuse3
import trio

from mimeifs.errors import InvalidError
from mimeifs.fuse import loop
from mimeifs.fuse.attributes import AS_STORED, Showing
from mimeifs.fuse.obstacle import obstacle
from mimeifs.fuse.operations import Operations, Rim
from mimeifs.model.live import Live
from mimeifs.model.node import Node
from mimeifs.model.past import Past

log = logging.getLogger(__name__)

READ_AHEAD_KB = 1024
GREETING_SECONDS = 0.05
_MAX_SOURCE = 1024
"""Bytes of a mount's source; mount(2) takes a page of options at most."""


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How to mount. ``passed`` goes to fusermount as it is (``ro``, ``noexec``, ``nosuid``...); with ``writeback`` the kernel
    may keep what programs write, and hand it over later."""

    allow_other: bool = False
    xattrs: bool = True
    passed: frozenset[str] = frozenset()
    showing: Showing = AS_STORED
    writeback: bool = False


_PASSED = frozenset(
    ("ro", "rw", "noexec", "exec", "nosuid", "suid", "nodev", "dev", "noatime", "sync", "dirsync", "auto_unmount")
)
_OWN = frozenset(("allow_other", "default_permissions", "noxattr", "xattr", "noacl", "acl", "writeback", "writethrough"))
_NUMBERS = {"uid": (10, (1 << 32) - 2), "gid": (10, (1 << 32) - 2), "umask": (8, 0o777)}
"""Options with a number: its base, and the largest."""
_OPPOSITES = {
    "ro": "rw",
    "exec": "noexec",
    "suid": "nosuid",
    "dev": "nodev",
    "xattr": "noxattr",
    "acl": "noacl",
    "writeback": "writethrough",
}


def parse_options(text: str, *, allow_other: bool = False) -> MountOptions:
    """Mount options as after ``-o``: comma-separated; of opposites and numbers the last counts, as with mount(8). Raises
    ``InvalidError`` that says what there is."""
    words: set[str] = set()
    numbers: dict[str, int] = {}
    opposites = _OPPOSITES | {other: word for word, other in _OPPOSITES.items()}
    for word in filter(None, text.split(",")):
        key, equals, value = word.partition("=")
        if equals and key in _NUMBERS:
            numbers[key] = _number(key, value)
        elif word in _PASSED | _OWN:
            words.discard(opposites.get(word, ""))
            words.add(word)
        else:
            known = [*_PASSED, *_OWN, *(f"{key}=" for key in _NUMBERS)]
            raise InvalidError(f"unknown mount option {word!r}; there are: {', '.join(sorted(known))}")
    xattrs, as_stored = "noxattr" not in words, not numbers
    if "acl" in words and not (xattrs and as_stored):
        raise InvalidError("the mount option acl goes with none of noxattr, uid=, gid= and umask=")
    acls = xattrs and as_stored and "noacl" not in words
    showing = Showing(acls, numbers.get("uid"), numbers.get("gid"), numbers.get("umask", 0))
    passed = frozenset(words & _PASSED)
    return MountOptions(allow_other or "allow_other" in words, xattrs, passed, showing, "writeback" in words)


def _number(key: str, value: str) -> int:
    base, largest = _NUMBERS[key]
    digits = "0123456789"[:base]
    if not value or value.strip(digits) or int(value, base) > largest:
        shown, kind = (f"{largest:o}", "an octal number") if base == 8 else (str(largest), "a number")
        raise InvalidError(f"mount option {key}={value}: {key}= takes {kind} from 0 to {shown}")
    return int(value, base)


def source_of(home: Path) -> str:
    """What the lists of mounts show as a mount's device: the node's home, in characters that no such list has to escape."""
    return "mimei:" + quote(os.fsencode(home))[-_MAX_SOURCE:]


class Mount:
    """One mounted tree."""

    def __init__(self, where: Path, options: MountOptions, home: Path, live: Live, past: Past, root: Node, rim: Rim) -> None:
        self._operations = Operations(live, past, root, rim, xattrs=options.xattrs, showing=options.showing)
        self._operations.enable_writeback_cache = options.writeback
        self._where = where
        words = {f"fsname={source_of(home)}", "subtype=mimei", "default_permissions", *options.passed}
        if options.allow_other:
            words.add("allow_other")
        loop.install(pyfuse3)
        try:
            pyfuse3.init(self._operations, str(where), words)
        except RuntimeError as error:
            raise obstacle(where, str(error), allow_other=options.allow_other) from error
        self._open = True

    async def serve(self) -> None:
        """Answer requests until :meth:`end`, or until somebody unmounts."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._raise_read_ahead)
            nursery.start_soon(self._operations.invalidations.run)
            nursery.start_soon(self._operations.crowd.run)
            await pyfuse3.main()
            nursery.cancel_scope.cancel()

    async def _raise_read_ahead(self) -> None:
        """Let the kernel read 1 MiB ahead, once its first request has set its own limit; only root may; it is only speed."""
        await self._operations.greeted.wait()
        await trio.sleep(GREETING_SECONDS)
        try:
            device = mounted_device(self._where)
            if device:
                Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(str(READ_AHEAD_KB))
        except OSError as error:
            log.info("read-ahead stays as it is: %s", error)

    async def write_back(self, inos: frozenset[int]) -> None:
        """Return when the kernel has written what it held of these inodes."""
        await self._operations.invalidations.write_back(inos)

    async def told(self) -> None:
        """Return when the kernel has heard of every change that came from elsewhere so far."""
        await self._operations.invalidations.told()

    def end(self) -> None:
        """Have :meth:`serve` return."""
        pyfuse3.terminate()

    def close(self) -> None:
        """Unmount and forget."""
        if self._open:
            self._open = False
            pyfuse3.close(unmount=True)
            self._operations.close_all()
            loop.uninstall(pyfuse3)


def mounted_device(where: Path) -> str:
    """The ``major:minor`` of the newest FUSE mount on ``where``, or "" (proc_pid_mountinfo(5))."""
    wanted, found = os.fsencode(where), ""
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            fields = line.split()
            kind = fields[fields.index(b"-") + 1]
            if _unescaped(fields[4]) == wanted and kind.startswith(b"fuse"):
                found = fields[2].decode()
    return found


def _unescaped(path: bytes) -> bytes:
    for code, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        path = path.replace(code, byte)
    return path
