"""Whose files a mount shows, and with which rights.

Not what is stored: ``uid=``, ``gid=`` and ``umask=`` change what stat(2) says and whom new files belong to; chmod(2) and
chown(2) still go to what is stored.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace
from pyfuse3 import FUSEError, RequestContext

from mimeifs.model import acl
from mimeifs.model.inode import Inode
from mimeifs.model.node import Change, Stat, Who

_SPACES = (b"user.", b"trusted.", b"security.")
_SETUID, _SETGID = 0o4000, 0o2000
SET_IDS = _SETUID | _SETGID
_FSETID = 4
"""The number of CAP_FSETID (capabilities(7))."""


@dataclass(frozen=True, slots=True)
class Showing:
    """How attributes are shown; None and 0 leave them as they are stored."""

    acls: bool = True
    uid: int | None = None
    gid: int | None = None
    umask: int = 0

    @property
    def changes(self) -> bool:
        """Whether anything is shown differently from what is stored."""
        return self.uid is not None or self.gid is not None or bool(self.umask)

    def stat(self, stat: Stat) -> Stat:
        """Attributes as shown."""
        uid, gid = stat.uid if self.uid is None else self.uid, stat.gid if self.gid is None else self.gid
        return replace(stat, uid=uid, gid=gid, mode=stat.mode & ~self.umask)

    def who(self, ctx: RequestContext) -> Who:
        """Whom what a request makes belongs to."""
        uid, gid = ctx.uid if self.uid is None else self.uid, ctx.gid if self.gid is None else self.gid
        return Who(uid, gid, ctx.umask)


AS_STORED = Showing()


def drops_setgid(stat: Stat, ctx: RequestContext) -> bool:
    """Whether a new access control list takes S_ISGID away, as chmod(2) does: the caller is neither in the group nor may
    set any. The kernel would say so only to servers that speak a newer form of the request."""
    return bool(stat.mode & _SETGID) and ctx.gid != stat.gid and not _may_keep(ctx, stat.gid)


def _may_keep(ctx: RequestContext, group: int) -> bool:
    """Whether the caller is in a group or has CAP_FSETID; not when it is gone."""
    return may_set_ids(ctx) or str(group) in _status(ctx.pid).get("Groups", "").split()


def may_set_ids(ctx: RequestContext) -> bool:
    """Whether the caller has CAP_FSETID over files here; not when it is gone. In a user namespace of its own anybody has it
    (user_namespaces(7)), which counts for nothing outside."""
    try:
        here = os.readlink(f"/proc/{ctx.pid}/ns/user") == os.readlink("/proc/self/ns/user")
    except OSError:  # Only root may look at the namespaces of others.
        here = ctx.uid == 0
    return here and bool(int(_status(ctx.pid).get("CapEff", "0"), 16) >> _FSETID & 1)


def _status(pid: int) -> dict[str, str]:
    """What ``/proc`` says of a process (proc_pid_status(5)); nothing when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":", 1) for line in lines if ":" in line)


def check_space(name: bytes, *, lists: bool) -> None:
    """Raise for a name that no extended attribute has here (xattr(7)). Where there are no access control ``lists``, programs
    such as cp then set modes instead."""
    if name in acl.NAMES and lists:
        return
    if not name.startswith(_SPACES):
        raise FUSEError(errno.EOPNOTSUPP)
    if name in _SPACES:
        raise FUSEError(errno.EINVAL)


def without_set_ids(node: Inode, change: Change, ctx: RequestContext) -> Change:
    """A change of owner or size, or one that only tells of a write to come, with the mode that a file with set-id bits is
    left with.

    The kernel leaves it to us (:mod:`mimeifs.fuse.greeting`): whoever gets a new owner loses them, whoever is cut only by those
    who may not keep them; a request that changes nothing is there for their sake alone. Changes of times do nothing.
    """
    given, cut = change.uid is not None or change.gid is not None, change.size is not None
    if not given and (change.atime_ns is not None or change.mtime_ns is not None) and not cut:
        return change
    if cut and not given and may_set_ids(ctx):
        return change
    lost = _SETUID
    if node.mode & 0o010 or (ctx.gid != node.gid and not _may_keep(ctx, node.gid)):
        lost |= _SETGID
    return change if not node.mode & lost else replace(change, mode=node.mode & ~lost)
