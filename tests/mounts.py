"""What the test run asks the machine about mounts: can it make any, and did it leave one behind?"""

import os
import subprocess
from pathlib import Path

FUSE_DEVICE = Path("/dev/fuse")
MOUNT_TABLE = Path("/proc/self/mountinfo")
_CAP_SYS_ADMIN = 21


def obstacle(device: Path = FUSE_DEVICE) -> str | None:
    """Why no FUSE file system can be mounted here, in words; None when one can."""
    if not device.exists():
        return f"{device} is missing"
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}"
    if os.geteuid() == 0 and not _may_mount(Path("/proc/self/status").read_text()):
        return "this container may not mount (no CAP_SYS_ADMIN)"
    return None


def _may_mount(status: str) -> bool:
    """Whether a ``/proc/PID/status`` shows the capability that mounting as root needs."""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return bool(int(fields["CapEff"], 16) >> _CAP_SYS_ADMIN & 1)


def mounted_under(table: str, folder: Path) -> list[Path]:
    """Mount points at or below ``folder`` in the text of a mountinfo (proc(5)), the innermost first."""
    points = [Path(_unescape(line.split(" ")[4])) for line in table.splitlines()]
    return sorted((point for point in points if point.is_relative_to(folder)), key=lambda point: -len(point.parts))


def _unescape(field: str) -> str:
    """Undo mountinfo's octal escapes of space, tab, newline and backslash."""
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(octal, plain)
    return field


def leftovers(folder: Path) -> list[Path]:
    """What is mounted at or below ``folder`` now; never touches the mounts, which may hang."""
    return mounted_under(MOUNT_TABLE.read_text(), folder)


def detach(point: Path) -> None:
    """Unmount lazily, so that the tree can be removed whatever still holds the mount."""
    command = ["umount", "--lazy"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    subprocess.run([*command, str(point)], check=False, timeout=10)
