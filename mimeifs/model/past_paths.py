"""``@history/PATH/``: the distinct versions of one path, as files that programs open.

A path that was a file in some version is a directory here, holding each distinct state under the number of the version
that has it first, padded so that the newest comes last, with the path's own extension:
``@history/holiday/a.jpg/00003.jpg``. A path that was a directory holds the paths below it. Everything is resolved when
asked for; nothing is stored.

Always true: who comes to a state of a file here could come to it in its version as well.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from mimeifs.errors import NotFoundError
from mimeifs.ids import MimeiId
from mimeifs.model import acl
from mimeifs.model.entry import FILE_TYPE, Entry, Kind, decode
from mimeifs.model.inode import Inode
from mimeifs.model.node import Node, Stat, check_name
from mimeifs.model.past import PastDir, xattrs_of
from mimeifs.model.path_history import PathHistory
from mimeifs.model.versions import VersionInfo
from mimeifs.model.virtual import VirtualDir
from mimeifs.store import prolly

if TYPE_CHECKING:
    from mimeifs.model.views import Views

DIGITS = 5


class Gate(NamedTuple):
    """Whom a directory lets in: its owner, group and rights, and its access control list as it is stored."""

    uid: int
    gid: int
    mode: int
    rules: bytes = b""

    @property
    def is_open(self) -> bool:
        """Whether it lets in everybody."""
        return self.mode & 0o555 == 0o555 and not self.rules


def narrowed(gates: set[Gate]) -> Gate | None:
    """A gate for those whom all of these let in, or root alone where no one gate can say who that is; None for everybody."""
    gates = {gate for gate in gates if not gate.is_open}
    first = next(iter(gates), None)
    if first is None or len(gates) == 1:
        return first
    if any(gate.rules or gate[:2] != first[:2] for gate in gates):
        return Gate(0, 0, 0o700)
    mode = 0o777
    for gate in gates:
        mode &= gate.mode
    return Gate(first.uid, first.gid, mode)


class HistoryDir(VirtualDir):
    """The history of one path of a MiMei."""

    __slots__ = ("_found", "mimei", "path")

    volatile = True

    def __init__(self, views: "Views", ino: int, anchor: Inode, mimei: MimeiId, path: bytes) -> None:
        super().__init__(views, ino, anchor)
        self.mimei = mimei
        self.path = path
        self._found: tuple[tuple[int, int], Gate | None] | None = None
        """Its gate, as of what the journal and LMDB held."""

    def stat(self) -> Stat:
        """See ``Node``."""
        stat, gate = super().stat(), self._gate()
        if gate is None:
            return stat
        return replace(stat, mode=FILE_TYPE[Kind.DIRECTORY] | gate.mode, uid=gate.uid, gid=gate.gid)

    def get_xattr(self, name: bytes) -> bytes:
        """See ``Node``; the access control list of whoever may come in."""
        gate = self._gate() if name == acl.ACCESS else None
        return gate.rules if gate is not None and gate.rules else super().get_xattr(name)

    def _gate(self) -> Gate | None:
        """Whom it lets in, None for everybody: looked for once while nothing changes."""
        live = self.views.live
        now = live.journal.position, live.position
        if self._found is None or self._found[0] != now:
            self._found = now, self._find_gate()
        return self._found[1]

    def _find_gate(self) -> Gate | None:
        """Where the newest that a version has here is a directory, whom that lets in. Else whom the last directory
        here did, and those above in each version that a state is shown of; what these do in their newest is seen to there."""
        newest = self._history.newest(self.mimei, self.path, _is_anything)
        if newest is not None and _is_directory(newest):
            return narrowed({self._gate_of(newest)})
        moments = self._history.moments(self.mimei, self.path)
        before = [moment.entry for moment in moments if moment.entry is not None and _is_directory(moment.entry)]
        gates = {self._gate_of(entry) for entry in before[-1:]}
        for moment in moments:
            if moment.entry is not None and not _is_directory(moment.entry):
                gates |= self._on_the_way(moment.version)
        return narrowed(gates)

    def _on_the_way(self, version: VersionInfo) -> set[Gate]:
        """Gates above the path in a version that let in fewer than everybody, and others than in the newest version."""
        way = [self._gate_of(node.entry) for node in self._way(version, b"")[:-1] if isinstance(node, PastDir)]
        closed = [(depth, gate) for depth, gate in enumerate(way) if not gate.is_open]
        return {gate for depth, gate in closed if gate != self._gate_at(b"/".join(self.path.split(b"/")[:depth]))}

    def _gate_at(self, path: bytes) -> Gate | None:
        newest = self._history.newest(self.mimei, path, _is_directory)
        return None if newest is None else self._gate_of(newest)

    def _gate_of(self, entry: Entry) -> Gate:
        rules = dict(xattrs_of(self.views.live.blobs, entry)).get(acl.ACCESS, b"")
        return Gate(entry.uid, entry.gid, entry.mode & 0o777, rules)

    @property
    def _history(self) -> PathHistory:
        return PathHistory(self.views.live, self.views.versions)

    def _name_of(self, version: VersionInfo) -> bytes:
        base = self.path.rpartition(b"/")[2]
        stem, dot, extension = base.rpartition(b".")
        return b"%0*d%s" % (DIGITS, version.number, dot + extension if stem else b"")

    def _states(self) -> dict[bytes, VersionInfo]:
        """The path's states as a file, by name; the root of a MiMei is none. Of what is a directory now, only those that are no
        more closed than it."""
        moments = self._history.moments(self.mimei, self.path) if self.path else []
        versions = [moment.version for moment in moments if moment.entry is not None and not _is_directory(moment.entry)]
        newest = next((moment.entry for moment in reversed(moments) if moment.entry is not None), None)
        if newest is not None and _is_directory(newest):
            versions = [version for version in versions if not self._on_the_way(version)]
        return {self._name_of(version): version for version in versions}

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
        if self._history.newest(self.mimei, child.path, _is_anything) is None:
            raise NotFoundError("no version has anything of that name")
        return child

    def _child(self, name: bytes) -> "HistoryDir":
        path = self.path + b"/" + name if self.path else name
        made = self.views.virtual(HistoryDir(self.views, self.child_ino(name), self.anchor, self.mimei, path))
        if not isinstance(made, HistoryDir):
            raise NotFoundError("no such file or directory")
        return made

    def _state(self, version: VersionInfo, name: bytes) -> Node:
        return self._way(version, name)[-1]

    def _way(self, version: VersionInfo, name: bytes) -> list[Node]:
        """From the root of a version down to the state that it has of this path."""
        way: list[Node] = [self.views.shown_version(version, self.ino, name)]
        for part in self.path.split(b"/"):
            way.append(way[-1].lookup(part))
        return way

    def scan(self, after: bytes) -> Iterator[tuple[bytes, Node]]:
        """See ``Node``."""
        states = self._states()
        for name in sorted({*states, *self._below()}):
            if name > after:
                yield name, self._state(states[name], name) if name in states else self._child(name)


def _is_directory(entry: Entry) -> bool:
    return entry.kind is Kind.DIRECTORY


def _is_anything(_entry: Entry) -> bool:
    return True
