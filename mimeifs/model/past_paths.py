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
from mimeifs.model.entry import Entry, Kind, decode
from mimeifs.model.inode import Inode
from mimeifs.model.node import Node, check_name
from mimeifs.model.path_history import PathHistory
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

    @property
    def _history(self) -> PathHistory:
        return PathHistory(self.views.live, self.views.versions)

    def _name_of(self, version: VersionInfo) -> bytes:
        base = self.path.rpartition(b"/")[2]
        stem, dot, extension = base.rpartition(b".")
        return b"%0*d%s" % (DIGITS, version.number, dot + extension if stem else b"")

    def _states(self) -> dict[bytes, VersionInfo]:
        """The path's states as a file, by name; the root of a MiMei is none."""
        return {
            self._name_of(moment.version): moment.version
            for moment in (self._history.moments(self.mimei, self.path) if self.path else ())
            if moment.entry is not None and not _is_directory(moment.entry)
        }

    def _below(self) -> list[bytes]:
        """Names in the path's newest state as a directory."""
        newest = self._history.newest(self.mimei, self.path, _is_directory)
        if newest is None:
            return []
        rows = prolly.scan(self.views.live.blobs, newest.root)
        return [name for name, value in rows if decode(value).kind is not Kind.LINK]

    def lookup(self, name: bytes) -> Node:
        """See ``Node``."""
        check_name(name)
        version = self._states().get(name) if name[:DIGITS].isdigit() else None
        if version is not None:
            return self._state(version, name)
        child = self._child(name)
        if self._history.newest(self.mimei, child.path, lambda _entry: True) is None:
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
        states = self._states()
        for name in sorted({*states, *self._below()}):
            if name > after:
                yield name, self._state(states[name], name) if name in states else self._child(name)


def _is_directory(entry: Entry) -> bool:
    return entry.kind is Kind.DIRECTORY
