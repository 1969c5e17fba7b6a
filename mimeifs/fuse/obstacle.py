"""Why a mount was refused: FUSE says only that it was, so what it needs is looked at again, one thing after the other.

What this is not: a check before mounting; who may is decided by the kernel and fusermount3(1). Always true: nothing is changed.
"""

import os
import pwd
import shutil
from pathlib import Path

from mimeifs.errors import ForbiddenError, MimeiError, UnsupportedError

DEVICE = Path("/dev/fuse")
CONFIGURATION = Path("/etc/fuse.conf")
_ALLOW = b"user_allow_other"
_MODULE = "load the kernel's module (modprobe fuse), or give the device to this container"


def obstacle(where: Path, said: str, *, allow_other: bool) -> MimeiError:
    """The error for a mount that was refused; ``said`` is what FUSE said, told when nothing better is found."""
    return (
        _of_device(DEVICE)
        or _of_user(where, CONFIGURATION, allow_other=allow_other)
        or ForbiddenError(f"cannot mount on {where}: {said}")
    )


def _of_device(device: Path) -> MimeiError | None:
    if not device.exists():
        return UnsupportedError(f"cannot mount: there is no {device}; {_MODULE}")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        return ForbiddenError(
            f"cannot mount: {device} is closed to you (mode {device.stat().st_mode & 0o777:04o}); run: chmod 666 {device}"
        )
    except OSError as error:
        return UnsupportedError(f"cannot mount: {device} cannot be opened ({error.strerror}); {_MODULE}")
    return None


def _of_user(where: Path, configuration: Path, *, allow_other: bool) -> MimeiError | None:
    """What root need not ask: fusermount3, its configuration, and whose directory it is."""
    if os.geteuid() == 0:
        return None
    if shutil.which("fusermount3") is None:
        return UnsupportedError("cannot mount: fusermount3 is missing; install the package fuse3")
    if allow_other and not allows_other(configuration):
        return ForbiddenError(
            f"cannot mount with --allow-other: {configuration} has no line {_ALLOW.decode()}; add it, or mount without"
        )
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return ForbiddenError(
            f"cannot mount: fusermount3 serves nobody without a name, and user {os.getuid()} has none; add it to /etc/passwd"
        )
    facts = where.stat()
    if not os.access(where, os.W_OK, effective_ids=True) or (facts.st_mode & 0o1000 and facts.st_uid != os.geteuid()):
        return ForbiddenError(f"cannot mount on {where}: it belongs to user {facts.st_uid}; choose a directory of your own")
    return None


def allows_other(configuration: Path) -> bool:
    """Whether fusermount3's configuration lets ordinary users mount for others too."""
    try:
        return _ALLOW in (line.partition(b"#")[0].strip() for line in configuration.read_bytes().splitlines())
    except OSError:
        return False
