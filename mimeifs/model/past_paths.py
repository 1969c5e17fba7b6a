"""``@history/PATH/``: the distinct versions of one path, as files that programs open.

A path that was a file in some version is a directory here, holding each distinct state under the number of the version
that has it first, padded so that the newest comes last, with the path's own extension:
``@history/holiday/a.jpg/00003.jpg``. A path that was a directory holds the paths below it. Everything is resolved when
asked for; nothing is stored.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mimeifs.errors import NotFoundError
from mimeifs.ids import MimeiId
from mimeifs.model.comparing import Comparing, Moment
from mimeifs.model.entry import Kind, decode
from mimeifs.model.inode import Inode
from mimeifs.model.node import Node, check_name
from mimeifs.model.versions import VersionInfo
from mimeifs.model.virtual import VirtualDir
from mimeifs.store import prolly

if TYPE_CHECKING:
    from mimeifs.model.views import Views

DIGITS = 5


class HistoryDir(VirtualDir):
    """The history of one path of a MiMei."""

    __slots__ = ("mimei", "path")

    volatile = True

    def __init__(self, views: "Views", ino: int, anchor: Inode, mimei: MimeiId, path: bytes) -> None:
        super().__init__(views, ino, anchor)
        self.mimei = mimei
        self.path = path

    def _moments(self) -> list[Moment]:
        comparing = Comparing(self.views.live, self.views.mimeis, self.views.versions)
        return list(comparing.history(self.mimei, self.path))

    def _name_of(self, version: VersionInfo) -> bytes:
        base = self.path.rpartition(b"/")[2]
        stem, dot, extension = base.rpartition(b".")
        return b"%0*d%s" % (DIGITS, version.number, dot + extension if stem else b"")

    def _states(self, moments: list[Moment]) -> dict[bytes, VersionInfo]:
        """The path's states as a file, by name."""
        return {
            self._name_of(moment.version): moment.version
            for moment in moments
            if moment.entry is not None and moment.entry.kind is not Kind.DIRECTORY
        }

    def _below(self, moments: list[Moment]) -> list[bytes]:
        """Names in the path's newest state as a directory."""
        for moment in reversed(moments):
            if moment.entry is not None and moment.entry.kind is Kind.DIRECTORY:
                rows = prolly.scan(self.views.live.blobs, moment.entry.root)
                return [name for name, value in rows if decode(value).kind is not Kind.LINK]
        return []

    def lookup(self, name: bytes) -> Node:
        """See ``Node``."""
        check_name(name)
        version = self._states(self._moments()).get(name)
        if version is not None:
            return self._state(version, name)
        child = self._child(name)
        if not any(moment.entry is not None for moment in child._moments()):
            raise NotFoundError("no version has anything of that name")
        return child

    def _child(self, name: bytes) -> "HistoryDir":
        path = self.path + b"/" + name if self.path else name
        made = self.views.virtual(HistoryDir(self.views, self.child_ino(name), self.anchor, self.mimei, path))
        if not isinstance(made, HistoryDir):
            raise NotFoundError("no such file or directory")
        return made

    def _state(self, version: VersionInfo, name: bytes) -> Node:
        node: Node = self.views.shown_version(version, self.ino, name)
        for part in self.path.split(b"/"):
            node = node.lookup(part)
        return node

    def scan(self, after: bytes) -> Iterator[tuple[bytes, Node]]:
        """See ``Node``."""
        moments = self._moments()
        states = self._states(moments)
        for name in sorted({*states, *self._below(moments)}):
            if name > after:
                yield name, self._state(states[name], name) if name in states else self._child(name)
