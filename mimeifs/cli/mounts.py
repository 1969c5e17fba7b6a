"""What is mounted, and taking it away again.

Always true: a mount point is never looked at by this process, which would hang where its node hangs; the kernel's list
(``/proc/self/mountinfo``, proc_pid_mountinfo(5)) says what there is.
"""

import os
import subprocess
from pathlib import Path

from mimeifs.errors import ConflictError, InvalidError, NotFoundError
from mimeifs.home import typed_path

TABLE = Path("/proc/self/mountinfo")
KIND = b"fuse.mimei"
_STALE = "Transport endpoint is not connected"
_SECONDS = 10
_LINKS = 40
"""How many links in a row the kernel follows, too: path_resolution(7)."""


def mimei_mounts(table: bytes) -> list[Path]:
    """Mount points of nodes in the text of a mountinfo, the newest first."""
    return [where for where, _ in _mounts(table)]


def mounts_of(table: bytes, user: int) -> list[Path]:
    """Those that a user may unmount: their own, of root all."""
    return [where for where, options in _mounts(table) if user == 0 or b"user_id=%d" % user in options]


def _mounts(table: bytes) -> list[tuple[Path, list[bytes]]]:
    """Mount points of nodes and what FUSE says of them, the newest first."""
    found = []
    for line in table.splitlines():
        fields = line.split(b" ")
        if b"-" in fields and fields[fields.index(b"-") + 1] == KIND:
            found.append((Path(os.fsdecode(_unescaped(fields[4]))), fields[-1].split(b",")))
    return found[::-1]


def _unescaped(path: bytes) -> bytes:
    for code, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        path = path.replace(code, byte)
    return path


def place(argument: str) -> Path:
    """A path as the kernel lists it: links are followed, and a mount at its end is not asked for anything, since readlink(2)
    of what is no link is answered by the kernel. Raises ``InvalidError``, ``NotFoundError``."""
    path = Path(os.path.normpath(typed_path(argument)))
    for _ in range(_LINKS):
        path = Path(os.path.normpath(os.path.join(os.path.realpath(path.parent), path.name)))
        try:
            path = path.parent / os.readlink(path)
        except OSError:
            return path
    raise InvalidError(f"too many symbolic links at {argument}")


def find(argument: str, mounts: list[Path]) -> Path:
    """The mount that a person means by its path, or by the last part of it; raises ``NotFoundError``."""
    where = place(argument)
    named = [mount for mount in mounts if mount.name == argument]
    if where in mounts:
        return where
    if len(named) == 1:
        return named[0]
    there = ", ".join(map(str, mounts)) or "none"
    raise NotFoundError(f"no node of yours is mounted on {argument}; mounted are: {there}")


def unmount(where: Path) -> None:
    """Unmount; a mount whose process is gone, whoever still holds it. Raises ``ConflictError`` when it is in use."""
    said = _run(where)
    if said is None:
        return
    if is_stale(where):
        unmount_lazily(where)
        return
    raise ConflictError(
        f"{where} cannot be unmounted ({said}): leave it (`fuser -vm {where}` says who is in it), or use --lazy"
    )


def unmount_lazily(where: Path) -> None:
    """Detach now; what still uses it keeps it until it is done."""
    said = _run(where, "-l" if os.geteuid() == 0 else "-z")
    if said is not None:
        raise ConflictError(f"{where} cannot be unmounted ({said})")


def _run(where: Path, *options: str) -> str | None:
    """Unmount; None when it worked, else what was said."""
    command = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
    done = subprocess.run([*command, *options, "--", str(where)], capture_output=True, text=True, check=False, env=_english())
    return None if done.returncode == 0 else done.stderr.strip().replace("\n", "; ")


def is_stale(where: Path) -> bool:
    """Whether the process behind a mount is gone. Another process looks, so that this one cannot hang."""
    try:
        done = subprocess.run(
            ["stat", "--", str(where)], capture_output=True, text=True, check=False, timeout=_SECONDS, env=_english()
        )
    except subprocess.TimeoutExpired:
        return False
    return _STALE in done.stderr


def _english() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
