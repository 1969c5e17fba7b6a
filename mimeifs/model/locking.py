"""Write locks of WebDAV (RFC 4918, sections 6 and 7): who may change what, for a while.

A lock is noted with the number of the inode it was taken on, so that it goes wherever that goes; one on a name that is not
there yet, with that of the directory and the name. They bind those who ask here, and not FUSE. All are in memory, with a row
each in LOCKS; a check looks at the inodes on one path. The node's clock ends them.

Always true: memory has what the journal says; an inode with a lock stays in memory once it was there; a lock goes, in the same
frame, with the last name of what it is on.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from mimeifs.errors import CapacityError, LockHeldError, NotFoundError, TooLargeError
from mimeifs.model import state
from mimeifs.model.inode import Inode
from mimeifs.model.live import Live
from mimeifs.model.node import Node
from mimeifs.model.resource import Guard, Path
from mimeifs.model.views import MimeiDir
from mimeifs.store import operations
from mimeifs.store.database import U64, Table

MAX_LOCKS = 1 << 16
MAX_OWNER = 8 << 10
MAX_USER = 256
LONGEST_S = 7 * 86400
_SECOND = 10**9


class LockRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of LOCKS. ``name`` is b"" for a lock on the inode itself; ``path`` is where it was when the row was written, and
    ``taken_ns`` when it was taken."""

    token: str
    name: bytes
    path: Path
    owner: str
    user: str
    exclusive: bool
    infinite: bool
    expires_ns: int
    taken_ns: int


class Step(msgspec.Struct, frozen=True):
    """One place on a path: what is there, None for nothing, and its parent, None for the root."""

    path: Path
    node: Node | None
    parent: Node | None


_decode = msgspec.msgpack.Decoder(LockRow).decode


class Locks:
    """The locks of one node."""

    def __init__(self, live: Live, draw: Callable[[int], bytes]) -> None:
        self._live = live
        self._draw = draw
        self._rows: dict[int, dict[str, LockRow]] = {}
        for key, value in live.database.scan(Table.LOCKS, b""):
            self._remember(U64.unpack_from(key)[0], _decode(value))
        live.leaving = self.dropped

    # Memory and rows

    def _remember(self, ino: int, row: LockRow) -> None:
        self._rows.setdefault(ino, {})[row.token] = row
        self._live.held.add(ino)

    def _forget(self, ino: int, token: str) -> None:
        rows = self._rows.get(ino, {})
        rows.pop(token, None)
        if not rows:
            self._rows.pop(ino, None)
            self._live.held.discard(ino)

    def _put(self, ino: int, row: LockRow) -> bytes:
        self._live.prepare(done=lambda _at: self._remember(ino, row))
        return operations.put(Table.LOCKS, _key(ino, row.token), state.encode(row))

    def _drop(self, ino: int, token: str) -> bytes:
        self._live.prepare(done=lambda _at: self._forget(ino, token))
        return operations.delete(Table.LOCKS, _key(ino, token))

    def dropped(self, ino: int) -> list[bytes]:
        """Operations that drop every lock on an inode, or on names in it."""
        return [self._drop(ino, token) for token in self._rows.get(ino, ())]

    def dropped_below(self, step: Step) -> list[bytes]:
        """Operations that drop every lock on a place, and on all that is in it."""
        node, live = step.node or _nowhere(), self._live
        found = [
            ino
            for ino, rows in self._rows.items()
            for row in rows.values()
            if _is_below(live.nodes.get(ino), row, node, step.path)
        ]
        return [op for ino in dict.fromkeys((node.ino, *found)) for op in self.dropped(ino)]

    def carried(self, source: int, target: int) -> list[bytes]:
        """Operations after which the locks of one inode are those of another, which takes its place."""
        ops: list[bytes] = []
        for token, row in self._rows.get(source, {}).items() if source != target else ():
            if not row.name and self._lasts(row):
                ops += [self._drop(source, token), self._put(target, row)]
        return ops

    def filled(self, parent: int, name: bytes, ino: int) -> list[bytes]:
        """Operations after which locks on a name that was not there are those of the inode that is there now."""
        ops: list[bytes] = []
        for row in self.on_name(parent, name):
            ops += [self._drop(parent, row.token), self._put(ino, msgspec.structs.replace(row, name=b""))]
        return ops

    def renamed(self, steps: Sequence[Step], target: Step) -> list[bytes]:
        """Operations after which locks on a name that is not there are on another place: what is there, or its name."""
        source, goal = steps[-1], target.node or target.parent or _nowhere()
        name = b"" if target.node is not None else target.path[-1]
        ops: list[bytes] = []
        for row in self.at(source):
            new = msgspec.structs.replace(row, name=name, path=target.path)
            ops += [self._drop((source.parent or _nowhere()).ino, row.token), self._put(goal.ino, new)]
        return ops

    # Looking

    def _lasts(self, row: LockRow) -> bool:
        return row.expires_ns > self._live.now_ns()

    def on(self, node: Node) -> list[LockRow]:
        """The locks on an inode itself."""
        rows = self._rows.get(node.ino)
        return [row for row in rows.values() if not row.name and self._lasts(row)] if rows and isinstance(node, Inode) else []

    def on_name(self, parent: int, name: bytes) -> list[LockRow]:
        """The locks on a name that was not there when they were taken."""
        rows = self._rows.get(parent)
        return [row for row in rows.values() if row.name == name and self._lasts(row)] if rows else []

    def names_in(self, parent: Node) -> list[bytes]:
        """The names in a directory that are locked and were not there, sorted."""
        rows = self._rows.get(parent.ino)
        if not rows or not isinstance(parent, Inode):
            return []
        return sorted({row.name for row in rows.values() if row.name and self._lasts(row)})

    def at(self, step: Step) -> list[LockRow]:
        """The locks whose root is that place."""
        if not self._rows:
            return []
        named = self.on_name(step.parent.ino, step.path[-1]) if isinstance(step.parent, Inode) else []
        return [*(self.on(step.node) if step.node is not None else ()), *named]

    def covering(self, steps: Sequence[Step]) -> Iterator[tuple[Path, list[LockRow]]]:
        """Locks that cover the last place of a path, by the place they were taken on."""
        for step in steps:
            rows = [row for row in self.at(step) if row.infinite or step is steps[-1]]
            if rows:
                yield step.path, rows

    def below(self, node: Node, path: Path) -> Iterator[tuple[Path, list[LockRow]]]:
        """Locks on what is in a directory, at any depth."""
        for ino, rows in self._rows.items():
            place = self._live.nodes.get(ino)
            for row in rows.values():
                if self._lasts(row) and (row.name or ino != node.ino) and _is_below(place, row, node, path):
                    yield row.path, [row]

    # Checks

    def check(self, steps: Sequence[Step], guard: Guard) -> None:
        """Raise ``LockHeldError`` where a lock covers the last place and the guard does not hold it."""
        if self._rows:
            for path, rows in self.covering(steps):
                _check_held(path, rows, guard)

    def check_member(self, steps: Sequence[Step], guard: Guard) -> None:
        """The same where the last name comes or goes, which changes the directory too."""
        self.check(steps, guard)
        if self._rows and len(steps) > 1:
            rows = self.at(steps[-2])
            if rows:
                _check_held(steps[-2].path, rows, guard)

    def check_below(self, step: Step, guard: Guard) -> None:
        """The same for all that is below a place."""
        if self._rows and step.node is not None:
            for path, rows in self.below(step.node, step.path):
                _check_held(path, rows, guard)

    # Taking and giving back

    def take(
        self, steps: Sequence[Step], user: str, owner: str, *, exclusive: bool, infinite: bool, timeout_s: int
    ) -> tuple[LockRow, list[bytes]]:
        """A new lock on the last place of a path, and the operation that notes it; raises where another one stands in the
        way."""
        step = steps[-1]
        if len(owner.encode(errors="replace")) > MAX_OWNER or len(user.encode(errors="replace")) > MAX_USER:
            raise TooLargeError(f"the owner of a lock has at most {MAX_OWNER} bytes, the name of a user {MAX_USER}")
        if sum(map(len, self._rows.values())) >= MAX_LOCKS:
            raise CapacityError(f"there are {MAX_LOCKS} locks already: give some back")
        others = [*self.covering(steps)]
        if infinite and step.node is not None:
            others += self.below(step.node, step.path)
        for path, rows in others:
            if exclusive or any(row.exclusive for row in rows):
                raise LockHeldError("another lock is in the way", path)
        row = LockRow(
            _token(self._draw(16)),
            b"" if step.node is not None else step.path[-1],
            step.path,
            owner,
            user,
            exclusive,
            infinite,
            self._end(timeout_s),
            self._live.now_ns(),
        )
        return row, [*self._faded(), self._put((step.node or step.parent or _nowhere()).ino, row)]

    def _faded(self) -> list[bytes]:
        """Operations that drop what has timed out."""
        found = [(ino, row.token) for ino, rows in self._rows.items() for row in rows.values() if not self._lasts(row)]
        return [self._drop(ino, token) for ino, token in found[:1000]]

    def _end(self, timeout_s: int) -> int:
        return self._live.now_ns() + max(1, min(timeout_s, LONGEST_S)) * _SECOND

    def _find(self, steps: Sequence[Step], token: str) -> tuple[int, LockRow]:
        for step in steps:
            for row in self.at(step):
                if row.token == token and (row.infinite or step is steps[-1]):
                    return (step.parent if row.name and step.parent is not None else step.node or _nowhere()).ino, row
        raise NotFoundError("no such lock here: it was given back, or has timed out")

    def refresh(self, steps: Sequence[Step], token: str, timeout_s: int) -> tuple[Path, LockRow, list[bytes]]:
        """A lock that covers the last place, from now on for so long; where it is, and the operation."""
        ino, row = self._find(steps, token)
        root = next(path for path, rows in self.covering(steps) if row in rows)
        new = msgspec.structs.replace(row, expires_ns=self._end(timeout_s), path=root)
        return root, new, [self._put(ino, new)]

    def give_back(self, steps: Sequence[Step], token: str, user: str) -> list[bytes]:
        """The operations that end a lock which covers the last place; raises ``LockHeldError`` where it is another user's."""
        ino, row = self._find(steps, token)
        if row.user != user:
            raise LockHeldError("the lock is another user's", row.path)
        return [*self._faded(), self._drop(ino, token)]

    def sleeping(self) -> list[Path]:
        """Where inodes with locks were that are not in memory: a look there brings them in."""
        return [row.path for ino, rows in self._rows.items() if ino not in self._live.nodes for row in rows.values()]


def _is_below(place: Node | None, row: LockRow, node: Node, path: Path) -> bool:
    """Whether a lock's inode, or the directory of its name, is in ``node``, or is it."""
    if not isinstance(place, Inode):
        return row.path[: len(path)] == path
    at: Inode | None = place
    while at is not None:
        if at is node or (isinstance(node, MimeiDir) and at.tree.mimei == node.mimei):
            return True
        at = at.above()
    return False


def _check_held(path: Path, rows: list[LockRow], guard: Guard) -> None:
    if not any(row.token in guard.tokens and row.user == guard.user for row in rows):
        shown = b"/".join(path).decode(errors="replace")
        raise LockHeldError(f"/{shown} is locked: give the token of its lock, or wait", path)


def _key(ino: int, token: str) -> bytes:
    return U64.pack(ino) + token.encode()


def _token(drawn: bytes) -> str:
    """A UUID of version 4 (RFC 9562) as a lock token."""
    number = bytearray(drawn)
    number[6] = number[6] & 0x0F | 0x40
    number[8] = number[8] & 0x3F | 0x80
    text = number.hex()
    return f"urn:uuid:{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _nowhere() -> Node:
    raise NotFoundError("no such file or directory")
