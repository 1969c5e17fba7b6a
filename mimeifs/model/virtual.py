"""Virtual nodes: directories and symbolic links that exist only as a view.

An *anchor* is the live inode that a view stands for or hangs on; its owner and times are the view's. Virtual nodes are
made when asked for and registered only while the kernel knows them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mimeifs.errors import NotFoundError, NotPermittedError
from mimeifs.model.entry import FILE_TYPE, Kind, Link, View
from mimeifs.model.inode import Inode
from mimeifs.model.node import Change, Node, Stat

if TYPE_CHECKING:
    from mimeifs.model.views import Views


class VirtualDir(Node):
    """A directory that exists only as a view; its entries may change at any moment."""

    __slots__ = ("anchor", "views")

    def __init__(self, views: "Views", ino: int, anchor: Inode) -> None:
        super().__init__(ino)
        self.views = views
        self.anchor = anchor

    def stat(self) -> Stat:
        """See ``Node``."""
        anchor = self.anchor
        times = anchor.mtime_ns, anchor.mtime_ns, anchor.ctime_ns
        return Stat(self.ino, FILE_TYPE[Kind.DIRECTORY] | self.mode, 2, anchor.uid, anchor.gid, 0, 0, *times)

    @property
    def mode(self) -> int:
        """Permission bits."""
        return 0o755

    def child_ino(self, name: bytes) -> int:
        """Number of a virtual child."""
        return self.views.live.natural_ino(self.ino, name)

    def set(self, change: Change) -> None:
        """See ``Node``."""
        raise NotPermittedError("this directory is made of versions; its attributes cannot be changed")

    def _refusal(self) -> Exception:
        return NotPermittedError("this directory holds versions only; work in @cur, or `mkdir @label` to take a version")


class AbsentDir(VirtualDir):
    """What a link shows of a MiMei that is not on this node: that it is there, and nothing in it."""

    __slots__ = ("reason",)

    def __init__(self, views: "Views", ino: int, anchor: Inode, reason: str) -> None:
        super().__init__(views, ino, anchor)
        self.reason = reason

    def lookup(self, name: bytes) -> Node:
        """See ``Node``."""
        raise NotFoundError(self.reason)

    def scan(self, after: bytes) -> Iterator[tuple[bytes, Node]]:
        """See ``Node``; who lists it is told, so that nobody takes it for empty."""
        raise NotFoundError(self.reason)

    def _refusal(self) -> Exception:
        return NotFoundError(self.reason)


class PlaceLink(Node):
    """A symbolic link, ``depth`` directories below the node's root, to the place where a present is shown already."""

    __slots__ = ("depth", "first", "views")

    def __init__(self, ino: int, views: "Views", first: Inode, depth: int) -> None:
        super().__init__(ino)
        self.views = views
        self.first = first
        self.depth = depth

    def stat(self) -> Stat:
        """See ``Node``."""
        first = self.first
        times = first.mtime_ns, first.mtime_ns, first.ctime_ns
        return Stat(self.ino, FILE_TYPE[Kind.SYMLINK] | 0o777, 1, first.uid, first.gid, 0, len(self.readlink()), *times)

    def readlink(self) -> bytes:
        """See ``Node``."""
        special = self.first.special
        inside = [b"@cur"] if isinstance(special, Link) and special.view is View.ALL else []
        return b"/".join([*[b".."] * self.depth, *self.views.parts_to(self.first), *inside])


class UpLink(PlaceLink):
    """A symbolic link to the directory above."""

    __slots__ = ()

    def readlink(self) -> bytes:
        """See ``Node``."""
        return b".."
