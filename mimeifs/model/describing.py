"""What there is to say of a place in the tree, and of those in a directory, page by page.

Reads only, and brings into memory no more than the path that leads there. Always true: a page is in name order; going on behind
its last name, what exists throughout comes once. ``Cold`` may come from any call.
"""

import stat
from collections.abc import Iterator, Sequence
from heapq import merge

from mimeifs.errors import MimeiError, NameTooLongError, NotFoundError
from mimeifs.model.entry import Entry, Kind
from mimeifs.model.etags import NOTHING, etag_of, strong
from mimeifs.model.inode import Inode
from mimeifs.model.live import Live
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.locking import LockRow, Locks, Step
from mimeifs.model.marks import changed_since, is_loose, mark_of
from mimeifs.model.node import Node, check_name
from mimeifs.model.past import PastLeaf
from mimeifs.model.past_paths import HistoryDir
from mimeifs.model.properties import birth_in, kept_with, properties_in
from mimeifs.model.resource import Facts, Page, Path, ResourceKind
from mimeifs.model.views import AllDir, RootDir, Views
from mimeifs.model.virtual import AbsentDir
from mimeifs.store.content import EMPTY, ContentRef

MAX_DEPTH = 1000
MAX_PATH = 32 << 10
PAGE = 128
"""The most entries in a page: about as many as the loop can spare the time for."""
PAGE_BYTES = 256 << 10
_KINDS: dict[int, ResourceKind] = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}
_LOCKED_MODE = stat.S_IFREG | 0o644


class Spot:
    """A place that a path leads to: what is there, if anything is, and what is on the way."""

    __slots__ = ("fixed", "locked", "steps")

    def __init__(self, steps: list[Step], fixed: bool, locked: list[LockRow]) -> None:
        self.steps = steps
        self.fixed = fixed
        self.locked = locked
        """Locks on a name where nothing is: a locked empty name."""

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.steps[-1].path

    @property
    def name(self) -> bytes:
        """Its name; b"" for the root."""
        return self.path[-1] if self.path else b""

    @property
    def node(self) -> Node | None:
        """What is there."""
        return self.steps[-1].node

    @property
    def parent(self) -> Node | None:
        """The directory it is in; None for the root."""
        return self.steps[-1].parent

    def found(self) -> Node:
        """What is there; raises ``NotFoundError``."""
        if self.node is None:
            raise NotFoundError("no such file or directory")
        return self.node


class Describing:
    """Looks at the tree of one node."""

    def __init__(self, live: Live, views: Views, locks: Locks) -> None:
        self._live = live
        self._views = views
        self._locks = locks
        self._visited: list[Node] = []

    def walk(self, path: Path) -> Spot:
        """The place that a path leads to; raises ``NotFoundError`` where a directory on the way is missing."""
        self._leave()
        return self.walk_more(path)

    def walk_more(self, path: Path) -> Spot:
        """The same beside an earlier walk, which still counts."""
        _check_path(path)
        node: Node = self._views.root
        steps, fixed = [Step((), node, None)], False
        for depth, name in enumerate(path, 1):
            check_name(name)
            parent, child = node, self._child(node, name, last=depth == len(path))
            steps.append(Step(path[:depth], child, parent))
            if child is None:
                locked = self._locks.on_name(parent.ino, name) if isinstance(parent, Inode) else []
                return Spot(steps, False, locked)
            fixed = fixed or (child.immutable and not parent.immutable and parent.steady(name))
            node = child
            self._visited.append(node)
        return Spot(steps, fixed, [])

    def _child(self, node: Node, name: bytes, *, last: bool) -> Node | None:
        try:
            return node.lookup(name)
        except NotFoundError:
            if not last:
                raise
            return None

    def _leave(self) -> None:
        """Let what the last walk brought into memory leave it again."""
        for node in self._visited:
            if isinstance(node, Inode):
                self._live.visited(node)
        self._visited.clear()

    # Facts

    def facts(self, spot: Spot, *, properties: bool) -> Facts:
        """What there is to say of a place; raises ``NotFoundError``."""
        if spot.node is None and spot.locked:
            return _locked_facts(spot.name, spot.locked[0].taken_ns)
        return facts_of(spot.name, spot.found(), fixed=spot.fixed, properties=properties)

    def page(self, spot: Spot, after: bytes, limit: int, *, properties: bool) -> Page:
        """Facts of what is in a directory, from just behind ``after``."""
        node = spot.found()
        rows, loose, size, limit = list[Facts](), list[bytes](), 0, max(1, min(limit, PAGE))
        mark, entries = mark_of(node, self._locks), self._listed(node, after)
        for name, child in entries:
            if isinstance(child, Facts):
                rows.append(child)
            else:
                size += self._add(spot, name, child, rows, loose, properties=properties)
            if len(rows) == limit or size > PAGE_BYTES:
                return Page(tuple(rows), b"" if next(entries, None) is None else name, mark, tuple(loose))
        return Page(tuple(rows), b"", mark, tuple(loose))

    def again(self, spot: Spot, mark: str, names: Sequence[bytes], *, properties: bool) -> Page:
        """Facts of some of the names in a directory, and of those that have changed since it had that mark, with the mark it
        has now; none and no mark where that is not known, or not worth it."""
        node = spot.found()
        now = mark_of(node, self._locks)
        changed = [] if now == mark else changed_since(node, mark)
        if not (mark and now) or changed is None or len(names) + len(changed) > PAGE:
            return Page((), b"")
        rows, loose, gone, size = list[Facts](), list[bytes](), list[bytes](), 0
        for name in dict.fromkeys((*names, *changed)):
            try:
                child = _member(node, name)
            except NotFoundError:
                gone.append(name)
                continue
            size += self._add(spot, name, child, rows, loose, properties=properties)
        return Page(tuple(rows), b"", now, tuple(loose), tuple(gone)) if size <= PAGE_BYTES else Page((), b"")

    def _add(
        self, spot: Spot, name: bytes, child: Node | None, rows: list[Facts], loose: list[bytes], *, properties: bool
    ) -> int:
        """Add the row of a name, None where only locks are, and note where it is loose; how many bytes of properties it has. A
        link to what this node does not have shows nothing."""
        node = spot.found()
        if child is None:
            rows.append(_locked_facts(name, self._locks.on_name(node.ino, name)[0].taken_ns))
            return 0
        if isinstance(child, Inode) and child.kind is Kind.LINK:
            try:
                child = self._live.resolve_link(child)
            except MimeiError:
                loose.append(name)
                return 0
        if isinstance(child, AbsentDir):
            loose.append(name)
            return 0
        fixed = spot.fixed or (child.immutable and not node.immutable and node.steady(name))
        facts = facts_of(name, child, fixed=fixed, properties=properties)
        rows.append(facts)
        if is_loose(node, child, facts):
            loose.append(name)
        return sum(len(key) + len(value) for key, value in facts.properties.items()) if facts.properties else 0

    def _listed(self, node: Node, after: bytes) -> Iterator[tuple[bytes, Node | Facts | None]]:
        plain = isinstance(node, LiveDir) and not isinstance(node, RootDir)
        real = _entries(node, after) if isinstance(node, LiveDir) and plain else node.scan(after)
        locked = [name for name in self._locks.names_in(node) if name > after]
        if not locked:
            yield from real
            return
        before = None
        for name, child in merge(real, ((name, None) for name in locked), key=lambda row: row[0]):
            if name != before:
                yield name, child
            before = name


def _check_path(path: Path) -> None:
    if len(path) > MAX_DEPTH or sum(map(len, path)) > MAX_PATH:
        raise NameTooLongError(f"a path has at most {MAX_DEPTH} names, and {MAX_PATH} bytes in them")


def _entries(directory: LiveDir, after: bytes) -> Iterator[tuple[bytes, Node | Facts]]:
    """Children of a live directory, or what there is to say of them at once; those that are not in memory do not come into
    it."""
    live, seed = directory.tree.live, directory.seed
    number = live.known_ino if live.has_exceptions(seed) else live.natural_ino
    for name, known, entry in directory.entries(after):
        if known is None and entry.kind is Kind.FILE and not entry.live and not entry.xattrs and entry.xattr_blob is None:
            yield name, _plain_facts(name, entry, number(seed, name))
        else:
            yield name, known or _brief(directory, name, entry)


def _member(directory: Node, name: bytes) -> Node:
    """One of the names in a directory, as a page has it; raises ``NotFoundError``."""
    if not isinstance(directory, LiveDir):
        return directory.lookup(name)
    known = directory.children.get(name, directory)
    if known is None:
        raise NotFoundError("no such file or directory")
    return _brief(directory, name, directory.stored_entry(name)) if known is directory else known


def _brief(directory: LiveDir, name: bytes, entry: Entry) -> Inode:
    """The inode of a stored entry. A link stays in memory, because what it leads to is known to be shown there."""
    if entry.kind is Kind.HARD:
        return directory.adopt_linked(name, entry.link_id)
    return directory.adopt(name, entry) if entry.kind is Kind.LINK else directory.made(name, entry)


def _plain_facts(name: bytes, entry: Entry, ino: int) -> Facts:
    """As :func:`facts_of` of a sealed file of the present that has no attributes, without making the file."""
    content, mtime_ns, ctime_ns = entry.content, entry.mtime_ns, entry.ctime_ns
    etag = strong(content.digest) if content.size else NOTHING
    born = min(mtime_ns, ctime_ns)
    mode = stat.S_IFREG | entry.mode
    return Facts(name, "file", content.size, mtime_ns, ctime_ns, born, ino, mode, etag, True, False, b"", {}, content)


def facts_of(name: bytes, node: Node, *, fixed: bool, properties: bool) -> Facts:
    """What there is to say of a node that is seen under a name; ``fixed`` where the path to it leads to the same for ever."""
    stat_ = node.stat()
    kind: ResourceKind = _KINDS.get(stat.S_IFMT(stat_.mode), "other")
    xattrs = kept_with(node)
    born = birth_in(xattrs) if xattrs else None
    return Facts(
        name,
        kind,
        0 if kind == "dir" else stat_.size,
        stat_.mtime_ns,
        stat_.ctime_ns,
        min(stat_.mtime_ns, stat_.ctime_ns) if born is None else born,
        stat_.ino,
        stat_.mode,
        etag_of(node),
        not node.immutable and not isinstance(node, AllDir | HistoryDir),
        fixed and node.immutable,
        node.readlink() if kind == "symlink" else b"",
        properties_in(xattrs) if properties and xattrs else {},
        sealed_content(node),
    )


def sealed_content(node: Node) -> ContentRef | None:
    """What names the bytes of a file that is sealed."""
    if isinstance(node, LiveFile):
        node.refresh()
        return node.sealed()
    if isinstance(node, PastLeaf) and node.entry.kind is Kind.FILE:
        return node.entry.content
    return None


def _locked_facts(name: bytes, taken_ns: int) -> Facts:
    """A locked empty name looks like an empty file."""
    return Facts(name, "file", 0, taken_ns, taken_ns, taken_ns, 0, _LOCKED_MODE, NOTHING, True, False, content=EMPTY)
