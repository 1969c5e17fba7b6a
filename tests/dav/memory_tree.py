"""The tree that WebDAV asks for, in memory: the oracle and stand-in of the node's. Shares no code with it.

A directory that has ``@cur`` shows versions: ``mkdir @label`` beside it freezes a copy of ``@cur`` under that name.
"""

import hashlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from mimeifs.api.tree_requests import (
    ChangedLine,
    ChangesFound,
    Standing,
    State,
    StatesAt,
    VersionLine,
    VersionsAt,
)
from mimeifs.dav.interface import Facts, Guard, Listed, Lock, Path
from mimeifs.errors import (
    CapacityError,
    ChangedError,
    ExistsError,
    IsADirError,
    LockHeldError,
    NotADirError,
    NotFoundError,
    NotPermittedError,
    ReadOnlyError,
    UnsupportedError,
)


@dataclass
class Held:
    token: str
    owner: str
    user: str
    exclusive: bool
    infinite: bool
    expires_ns: int


@dataclass(eq=False)
class Node:
    ino: int
    children: dict[bytes, "Node"] | None = None
    data: bytes = b""
    target: bytes = b""
    mtime_ns: int = field(default_factory=time.time_ns)
    birth_ns: int = field(default_factory=time.time_ns)
    mode: int = 0o100644
    change: int = 0
    properties: dict[str, bytes] = field(default_factory=dict)
    locks: list[Held] = field(default_factory=list)
    frozen: bool = False

    @property
    def is_dir(self) -> bool:
        return self.children is not None

    def walk(self) -> "list[Node]":
        return [self, *(found for child in (self.children or {}).values() for found in child.walk())]


class MemoryReading:
    def __init__(self, facts: Facts, data: bytes) -> None:
        self.facts, self._data = facts, data
        self.closed = False

    def read(self, offset: int, size: int) -> bytes:
        assert not self.closed
        return self._data[offset : offset + size]

    piece = read

    def close(self) -> None:
        self.closed = True


class MemoryStaged:
    def __init__(self, tree: "MemoryTree") -> None:
        self._tree, self._pieces = tree, []
        tree.staged.append(self)

    def write(self, data: bytes) -> None:
        assert 0 < len(data) <= 512 << 10
        self._pieces.append(bytes(data))

    def discard(self) -> None:
        if self in self._tree.staged:
            self._tree.staged.remove(self)

    def commit(self, path: Path, guard: Guard, mtime_ns: int | None = None, hold_s: int = 0) -> Facts:
        facts = self._tree.replace(path, guard, b"".join(self._pieces), mtime_ns)
        self.discard()
        return facts


class MemoryTree:
    listings = None
    small = None

    def __init__(self, room: int = 1 << 40) -> None:
        self._lock = threading.RLock()
        self._number = 1
        self.room = room
        self.staged: list[MemoryStaged] = []
        self.tokens: dict[str, tuple] = {}
        self.root = self._node({})

    def _node(self, children: dict[bytes, Node] | None = None, data: bytes = b"") -> Node:
        self._number += 1
        return Node(self._number, children, data, mode=0o100644 if children is None else 0o40755)

    # Finding

    def _find(self, path: Path) -> Node:
        node = self.root
        for name in path:
            if node.children is None:
                raise NotADirError("not a directory")
            if name not in node.children:
                raise NotFoundError(f"no {name!r}")
            node = node.children[name]
        return node

    def _parent(self, path: Path) -> Node:
        if not path:
            raise ExistsError("the root")
        parent = self._find(path[:-1])
        if not parent.is_dir:
            raise NotADirError("not a directory")
        return parent

    def _facts(self, path: Path, node: Node, *, properties: bool = False) -> Facts:
        if node.is_dir:
            etag = f"d{node.ino}.{sum(n.change for n in node.walk())}"
        else:
            etag = hashlib.sha256(node.data).hexdigest()[:26]
        kind = "dir" if node.is_dir else "symlink" if node.target else "file"
        return Facts(
            name=path[-1] if path else b"",
            kind=kind,
            size=len(node.data),
            mtime_ns=node.mtime_ns,
            ctime_ns=node.mtime_ns,
            birth_ns=node.birth_ns,
            ino=node.ino,
            mode=node.mode,
            etag=etag,
            writable=not node.frozen,
            immutable=node.frozen,
            target=node.target,
            properties=dict(node.properties) if properties else {},
        )

    def look(self, path: Path, *, properties: bool = False) -> Facts:
        with self._lock:
            return self._facts(path, self._find(path), properties=properties)

    def entries(
        self, path: Path, after: bytes = b"", limit: int = 500, *, properties: bool = False
    ) -> tuple[list[Facts], bytes]:
        with self._lock:
            node = self._find(path)
            if node.children is None:
                raise NotADirError("not a directory")
            names = sorted(name for name in node.children if name > after)
            page = [self._facts((*path, name), node.children[name], properties=properties) for name in names[:limit]]
            return page, names[limit - 1] if len(names) > limit else b""

    def pages(self, path: Path, *, properties: bool = False) -> Iterator[Listed]:
        after = b""
        while True:
            page, after = self.entries(path, after, 500, properties=properties)
            yield Listed(tuple(page), after)
            if not after:
                return

    def again(self, path: Path, mark: str, names: Sequence[bytes], *, properties: bool = False) -> Listed:
        raise AssertionError("nothing here has a mark")

    def open(self, path: Path) -> MemoryReading:
        with self._lock:
            node = self._find(path)
            if node.is_dir:
                raise IsADirError("a directory")
            if node.target:
                raise NotPermittedError("this is no regular file")
            return MemoryReading(self._facts(path, node), node.data)

    # Guards

    def _covering(self, path: Path) -> list[tuple[Path, Held]]:
        found: list[tuple[Path, Held]] = []
        node, now = self.root, time.time_ns()
        for depth in range(len(path) + 1):
            if depth:
                if not node.is_dir or path[depth - 1] not in node.children:
                    break
                node = node.children[path[depth - 1]]
            node.locks = [held for held in node.locks if held.expires_ns > now]
            found += [(path[:depth], held) for held in node.locks if held.infinite or depth == len(path)]
        return found

    def _check(self, path: Path, guard: Guard, *, tree: bool = False, parent: bool = False) -> None:
        groups = [[held for _, held in self._covering(path)]]
        if parent and path:
            groups.append([held for _, held in self._covering(path[:-1])])
        if tree:
            groups += [node.locks for node in self._find(path).walk()]
        for locks in groups:
            if locks and not any(held.token in guard.tokens and held.user == guard.user for held in locks):
                raise LockHeldError(f"{path!r} is locked", path)

    def _judge(self, path: Path, guard: Guard) -> None:
        if guard.etag is None:
            return
        try:
            etag = self.look(path).etag
        except (NotFoundError, NotADirError):
            etag = ""
        if etag != guard.etag:
            raise ChangedError("changed meanwhile")

    def _touch(self, node: Node) -> None:
        node.change += 1

    # Changing

    def stage(self, size: int | None) -> MemoryStaged:
        if size is not None and size > self.room:
            raise CapacityError("no room")
        return MemoryStaged(self)

    def replace(self, path: Path, guard: Guard, data: bytes, mtime_ns: int | None) -> Facts:
        with self._lock:
            self._judge(path, guard)
            parent = self._parent(path)
            old = parent.children.get(path[-1])
            if parent.frozen or (old is not None and old.frozen):
                raise ReadOnlyError("a version")
            if old is not None and old.is_dir:
                raise IsADirError("a directory")
            self._check(path, guard, parent=old is None)
            node = old or self._node()
            node.data, node.mtime_ns = data, mtime_ns if mtime_ns is not None else time.time_ns()
            parent.children[path[-1]] = node
            self._touch(node)
            self._touch(parent)
            return self._facts(path, node)

    def mkdir(self, path: Path, guard: Guard) -> Facts:
        with self._lock:
            self._judge(path, guard)
            parent = self._parent(path)
            if parent.frozen:
                raise ReadOnlyError("a version")
            if path[-1] in parent.children:
                raise ExistsError("there")
            self._check(path, guard, parent=True)
            if path[-1].startswith(b"@") and b"@cur" in parent.children:
                node = self._copied(parent.children[b"@cur"])
                for one in node.walk():
                    one.frozen = True
            else:
                node = self._node({})
            parent.children[path[-1]] = node
            self._touch(parent)
            return self._facts(path, node)

    def _copied(self, node: Node) -> Node:
        copy = self._node(None if node.children is None else {}, node.data)
        copy.mtime_ns, copy.properties, copy.target = node.mtime_ns, deepcopy(node.properties), node.target
        for name, child in (node.children or {}).items():
            copy.children[name] = self._copied(child)
        return copy

    def remove(self, path: Path, guard: Guard, *, hold_s: int = 0) -> None:
        with self._lock:
            self._judge(path, guard)
            parent = self._parent(path)
            node = self._find(path)
            if parent.frozen:
                raise ReadOnlyError("a version")
            self._check(path, guard, tree=True, parent=True)
            del parent.children[path[-1]]
            self._touch(parent)
            self._touch(node)

    def _place(self, node: Node, target: Path, guard: Guard, overwrite: bool) -> bool:
        parent = self._parent(target)
        old = parent.children.get(target[-1])
        if parent.frozen:
            raise ReadOnlyError("a version")
        if old is not None and not overwrite:
            raise ExistsError("there")
        self._check(target, guard, tree=old is not None, parent=old is None)
        if old is not None:
            node.locks = [*node.locks, *old.locks]
        parent.children[target[-1]] = node
        self._touch(parent)
        self._touch(node)
        return old is not None

    def move(self, source: Path, target: Path, guard: Guard, *, overwrite: bool, hold_s: int = 0) -> bool:
        with self._lock:
            node, parent = self._find(source), self._parent(source)
            if parent.frozen:
                raise ReadOnlyError("a version")
            self._check(source, guard, tree=True, parent=True)
            self._parent(target)
            replaced = self._place(node, target, guard, overwrite)
            del parent.children[source[-1]]
            self._touch(parent)
            return replaced

    def copy(self, source: Path, target: Path, guard: Guard, *, overwrite: bool, shallow: bool = False) -> bool:
        with self._lock:
            node = self._copied(self._find(source))
            if shallow and node.children is not None:
                node.children = {}
            return self._place(node, target, guard, overwrite)

    def patch(
        self,
        path: Path,
        guard: Guard,
        *,
        properties: dict[str, bytes | None] | None = None,
        mtime_ns: int | None = None,
        birth_ns: int | None = None,
    ) -> Facts:
        with self._lock:
            self._judge(path, guard)
            node = self._find(path)
            if node.frozen:
                raise ReadOnlyError("a version")
            self._check(path, guard)
            for name, value in (properties or {}).items():
                node.properties.pop(name, None)
                if value is not None:
                    node.properties[name] = value
            node.mtime_ns = node.mtime_ns if mtime_ns is None else mtime_ns
            node.birth_ns = node.birth_ns if birth_ns is None else birth_ns
            return self._facts(path, node)

    # Locks

    def _lock_of(self, path: Path, held: Held) -> Lock:
        return Lock(held.token, path, held.owner, held.user, held.exclusive, held.infinite, held.expires_ns)

    def lock(
        self, path: Path, guard: Guard, *, owner: str, exclusive: bool, infinite: bool, timeout_s: int
    ) -> tuple[Lock, bool]:
        with self._lock:
            self._judge(path, guard)
            try:
                node, created = self._find(path), False
            except NotFoundError:
                parent = self._parent(path)
                self._check(path, guard, parent=True)
                node, created = self._node(), True
            others = [held for _, held in self._covering(path)]
            if infinite and not created:
                others += [held for one in node.walk() for held in one.locks]
            if others and (exclusive or any(held.exclusive for held in others)):
                raise LockHeldError("locked already")
            if created:
                parent.children[path[-1]] = node
                self._touch(parent)
            held = Held(f"urn:uuid:{uuid.uuid4()}", owner, guard.user, exclusive, infinite, time.time_ns() + timeout_s * 10**9)
            node.locks.append(held)
            return self._lock_of(path, held), created

    def refresh(self, path: Path, token: str, timeout_s: int) -> Lock:
        with self._lock:
            for where, held in self._covering(path):
                if held.token == token:
                    held.expires_ns = time.time_ns() + timeout_s * 10**9
                    return self._lock_of(where, held)
            raise NotFoundError("no such lock")

    def unlock(self, path: Path, token: str, user: str) -> None:
        with self._lock:
            for where, held in self._covering(path):
                if held.token == token:
                    self._find(where).locks.remove(held)
                    return
            raise NotFoundError("no such lock")

    def locks(self, path: Path) -> list[Lock]:
        with self._lock:
            return [self._lock_of(where, held) for where, held in self._covering(path)]

    def versions(self, path: Path, after: bytes = b"") -> VersionsAt:
        with self._lock:
            for depth in range(len(path), 0, -1):
                try:
                    children = self._find(path[:depth]).children or {}
                except (NotFoundError, NotADirError):
                    continue
                if b"@cur" in children:
                    names = [name for name in children if name.startswith(b"@") and name != b"@cur"]
                    lines = [
                        VersionLine(index + 1, "", "", children[name].birth_ns, "", 0, 0, "", (name[1:].decode(),), ())
                        for index, name in enumerate(names)
                    ]
                    return VersionsAt("", path[:depth], path[depth + 1 :], tuple(reversed(lines)), b"")
            raise NotFoundError("no versions")

    # Versions of one place, and changes

    def _timeline(self, path: Path) -> tuple[Path, Path, str, list[tuple[VersionLine, Path]]]:
        """Where versions are, where the place is in each, which one is shown, and every state of it."""
        found = self.versions(path)
        if len(path) == len(found.base):
            raise NotFoundError("beside the present")
        shown = path[len(found.base)][1:].decode()
        states: list[tuple[VersionLine, Path]] = []
        last = None
        for line in reversed(found.versions):
            where = (*found.base, b"@%d" % line.number, *found.inside)
            try:
                content = self._content(self._find(where))
            except (NotFoundError, NotADirError):
                content = None
            if content is not None and content != last:
                states.append((line, where))
            last = content
        return found.base, found.inside, shown, states

    def _content(self, node: Node) -> object:
        if node.children is None:
            return node.data, tuple(sorted(node.properties.items()))
        return tuple(sorted((name, self._content(child)) for name, child in node.children.items()))

    def standing(self, path: Path) -> Standing:
        with self._lock:
            node = self._find(path)
            tracked = node.is_dir and b"@cur" not in node.children and bool(path)
            try:
                base, inside, shown, states = self._timeline(path)
            except NotFoundError:
                return Standing(path[:1], path[1:], None, "", "", False, False, tracked)
            numbers = [line.number for line, _ in states]
            past = shown.isdigit()
            at = len([number for number in numbers if not past or number <= int(shown)]) - 1
            if at < 0:
                return Standing(base, inside, None, "", "", past, False, tracked)
            before = str(numbers[at - 1]) if at else ""
            after = str(numbers[at + 1]) if past and at + 1 < len(numbers) else ""
            same = not past and self._content(node) == self._content(self._find(states[at][1]))
            return Standing(base, inside, states[at][0], before, after, past, same, tracked)

    def states(self, path: Path, after: bytes = b"", *, properties: bool = False) -> StatesAt:
        with self._lock:
            base, inside, _, states = self._timeline(path)
            start = int(after or b"0")
            page = [State(line, self.look(where, properties=properties)) for line, where in states[start : start + 2]]
            more = start + 2 < len(states)
            return StatesAt(base, inside, tuple(page), b"%d" % (start + 2) if more else b"")

    def _below(self, path: Path, below: Path = ()) -> dict[Path, object]:
        found: dict[Path, object] = {}
        for name, child in sorted((self._find((*path, *below)).children or {}).items()):
            here = (*below, name)
            found[here] = self._content(child)
            if child.is_dir:
                found.update(self._below(path, here))
        return found

    def _noted(self, *value: object) -> str:
        token = f"mimei:sync:{hashlib.sha256(repr(value).encode()).hexdigest()[:16]}"
        self.tokens[token] = value
        return token

    def sync_token(self, path: Path) -> str:
        with self._lock:
            if not self.standing(path).tracked:
                raise UnsupportedError("none here")
            return self._noted(path, None, self._below(path), 0)

    def changes(self, path: Path, token: str, *, deep: bool, limit: int, properties: bool = False) -> ChangesFound:
        with self._lock:
            self.sync_token(path)
            place, before, until, done = self.tokens.get(token, (None, {}, {}, 0)) if token else (path, None, {}, 0)
            if place != path:
                return ChangesFound((), "", False, known=False)
            if before is None:
                before, until = until, self._below(path)
            paths = [one for one in sorted({*before, *until}) if before.get(one) != until.get(one) and (deep or len(one) == 1)]
            rows = []
            for one in paths[done : done + limit]:
                try:
                    facts = self.look((*path, *one), properties=properties)
                except (NotFoundError, NotADirError):
                    facts = None
                rows.append(ChangedLine(one, facts, closed=one[-1] == b"closed"))
            more = done + limit < len(paths)
            reached = self._noted(path, before, until, done + limit) if more else self._noted(path, None, until, 0)
            return ChangesFound(tuple(rows), reached, more)

    def space(self) -> tuple[int, int]:
        with self._lock:
            return sum(len(node.data) for node in self.root.walk()), self.room
