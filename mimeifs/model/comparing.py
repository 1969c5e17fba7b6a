"""Comparing: what differs between two trees of a MiMei, and its log.

Reads only. Equal subtrees are skipped by their digests, so the cost is that of the difference; in the present, names
are compared one by one in those directories alone that were changed since they were last sealed. A hard-linked file that
changed shows at each of its names.

Always true: differences come in path order, a directory before what it holds. Times alone make a difference for what is
no directory; ctime never does. ``Cold`` may come at any step, and the iterator is then spent: callers make a list of it
inside one call.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Flag, auto

import msgspec

from mimeifs.errors import NotFoundError
from mimeifs.ids import BlobId, MimeiId, RecordId
from mimeifs.model.entry import Entry, Kind, TreeRoot, decode, decode_linked, slim
from mimeifs.model.inode import Inode
from mimeifs.model.live import Live, LiveTree
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.mimeis import Mimeis
from mimeifs.model.node import check_name
from mimeifs.model.versions import VersionInfo, Versions
from mimeifs.store import prolly
from mimeifs.store.database import U64
from mimeifs.store.interfaces import BlobSource


class Aspect(Flag):
    """In which ways two entries of one path differ."""

    CONTENT = auto()
    """Bytes of a file, target of a symbolic link, number of a device, where a link to a MiMei leads."""
    ATTRIBUTES = auto()
    """Mode, owner, extended attributes; the time of what has the same content."""
    TYPE = auto()
    """One is a directory, the other a file, and the like."""


NOTHING = Aspect(0)


@dataclass(frozen=True, slots=True)
class Difference:
    """A path on which two trees differ: ``before`` is None where it was added, ``after`` where it was removed.

    A file of the present that was written to since it was sealed has no content in its entry, only its size.
    """

    path: bytes
    before: Entry | None
    after: Entry | None
    aspects: Aspect = NOTHING


@dataclass(frozen=True, slots=True)
class LogLine:
    """A version and the labels that name it, ``release`` among them."""

    version: VersionInfo
    labels: tuple[str, ...]


class Comparing:
    """Comparisons of the MiMeis of one node."""

    def __init__(self, live: Live, mimeis: Mimeis, versions: Versions) -> None:
        self._live = live
        self._mimeis = mimeis
        self._versions = versions

    def diff(self, before: VersionInfo, after: VersionInfo | None) -> Iterator[Difference]:
        """What became different from one version to another, or (``None``) to the present of its MiMei."""
        left = Side(self._live.blobs, self._versions.tree_root(before))
        if after is not None:
            return compare(left, Side(self._live.blobs, self._versions.tree_root(after)))
        return compare(left, LiveSide(self._live.blobs, self._mimeis.tree(before.mimei)))

    def log(self, mimei: MimeiId) -> Iterator[LogLine]:
        """Every version with its labels, newest first."""
        labels: dict[RecordId, list[str]] = {}
        for label, target in self._versions.labels(mimei).items():
            labels.setdefault(target, []).append(label)
        for version in self._versions.newest_first(mimei):
            yield LogLine(version, tuple(sorted(labels.get(version.record, ()))))


def split_path(path: bytes) -> list[bytes]:
    """The names in a path; raises ``InvalidError`` for ``.`` and ``..``."""
    names = [name for name in path.split(b"/") if name]
    for name in names:
        check_name(name)
    return names


def entry_at(blobs: BlobSource, tree: TreeRoot, names: list[bytes]) -> Entry | None:
    """What a version's tree has at a path, a hard-linked file as itself; None where nothing is. May raise ``Cold``."""
    entry = tree.entry
    for name in names:
        row = prolly.get(blobs, entry.root, name) if entry.kind is Kind.DIRECTORY else None
        if row is None:
            return None
        entry = decode(row)
    return resolved(blobs, tree.links, entry)


def resolved(blobs: BlobSource, links: BlobId, entry: Entry) -> Entry:
    """The entry, or for a name of a hard link the inode's."""
    if entry.kind is not Kind.HARD:
        return entry
    row = prolly.get(blobs, links, U64.pack(entry.link_id))
    if row is None:
        raise NotFoundError("a version names a hard-linked file that its link map does not hold")
    return decode_linked(row).entry


# Two sides


@dataclass(frozen=True, slots=True)
class Place:
    """One entry on one side. ``live`` is its inode where the present has it in memory or in rows."""

    entry: Entry
    live: Inode | None = None


class Side:
    """A version's tree, to be compared."""

    def __init__(self, blobs: BlobSource, tree: TreeRoot) -> None:
        self.blobs = blobs
        self.links = tree.links
        self._tree = tree

    def top(self) -> Place:
        """Its root directory."""
        return Place(self._tree.entry)

    def children(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Names in a directory, in order."""
        for name, value in prolly.scan(self.blobs, place.entry.root):
            yield name, Place(decode(value))

    def inode(self, entry: Entry) -> Entry:
        """The entry, or the inode behind a hard link."""
        return resolved(self.blobs, self.links, entry)


class LiveSide(Side):
    """A present. Directories without rows rest, and compare by digest like those of versions."""

    def __init__(self, blobs: BlobSource, tree: LiveTree) -> None:
        self.blobs = blobs
        self._live = tree

    def top(self) -> Place:
        """See ``Side``."""
        return _place(self._live.root)

    def children(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """See ``Side``; nothing is brought into memory for good."""
        directory = place.live
        if not isinstance(directory, LiveDir):
            yield from super().children(place)
            return
        for name, inode, entry in directory.entries():
            if inode is None and entry.live:
                inode = directory.made(name, entry)
            yield name, Place(entry) if inode is None or entry.kind is Kind.HARD else _place(inode)

    def inode(self, entry: Entry) -> Entry:
        """See ``Side``."""
        if entry.kind is not Kind.HARD:
            return entry
        known = self._live.linked.get(entry.link_id)
        return slim(self._live.linked_entry(entry.link_id).entry) if known is None else _place(known).entry


def _place(inode: Inode) -> Place:
    """An inode of the present; a file that was not written to since it was sealed has its content in its entry."""
    entry = slim(inode.entry())
    if isinstance(inode, LiveFile) and inode.number:
        inode.refresh()
        if not inode.extents and inode.size == inode.base.size:
            entry = msgspec.structs.replace(entry, live=0, content=inode.base)
    return Place(entry, inode)


def is_still(inode: Inode, entry: Entry) -> bool:
    """Whether an inode of the present, a directory at rest, is known to be what a version's entry says; hard links below a
    directory may have changed, so that one with any is not."""
    now = _place(inode).entry
    if now.kind is not entry.kind or _aspects(entry, now):
        return False
    return not isinstance(inode, LiveDir) or (inode.base == entry.root and not inode.totals.links)


def compare(left: Side, right: Side) -> Iterator[Difference]:
    """Every path on which two sides differ."""
    changed = None if isinstance(right, LiveSide) else _changed_links(left, right)
    yield from _aspects_of(b"", left, left.top(), right, right.top())
    waiting = [_pairs(left, left.top(), right, right.top(), changed)]
    paths = [b""]
    while waiting:
        step = next(waiting[-1], None)
        if step is None:
            waiting.pop()
            paths.pop()
            continue
        name, old, new = step
        path = paths[-1] + b"/" + name if paths[-1] else name
        yield from _aspects_of(path, left, old, right, new)
        if _is_directory(old) or _is_directory(new):
            waiting.append(_pairs(left, old, right, new, changed))
            paths.append(path)


def _is_directory(place: Place | None) -> bool:
    return place is not None and place.entry.kind is Kind.DIRECTORY


Pair = tuple[bytes, Place | None, Place | None]


def _changed_links(left: Side, right: Side) -> frozenset[int]:
    """Link numbers whose inodes differ."""
    return frozenset(U64.unpack(change.key)[0] for change in prolly.diff(left.blobs, left.links, right.links))


def _pairs(left: Side, old: Place | None, right: Side, new: Place | None, changed: frozenset[int] | None) -> Iterator[Pair]:
    """The children of two directories that may differ, side by side in name order."""
    before = old if old is not None and _is_directory(old) else None
    after = new if new is not None and _is_directory(new) else None
    if before is None or after is None:
        yield from _one_sided(left, before, right, after)
    elif _rests(after) and before.entry.root == after.entry.root:
        # Only hard-linked files can differ where the digests are equal.
        if before.entry.totals.links and changed != frozenset():
            for name, place in left.children(before):
                if _may_hide_links(place.entry, changed):
                    yield name, place, Place(place.entry)
    elif _rests(after):
        linked = before.entry.totals.links and changed != frozenset()
        yield from _both(left, before, right, after) if linked else _by_digest(left, before, after)
    else:
        yield from _both(left, before, right, after)


def _rests(place: Place) -> bool:
    return not isinstance(place.live, LiveDir) or not place.live.number


def _may_hide_links(entry: Entry, changed: frozenset[int] | None) -> bool:
    if entry.kind is Kind.DIRECTORY:
        return bool(entry.totals.links)
    return entry.kind is Kind.HARD and (changed is None or entry.link_id in changed)


def _by_digest(left: Side, old: Place, new: Place) -> Iterator[Pair]:
    for change in prolly.diff(left.blobs, old.entry.root, new.entry.root):
        before = None if change.left is None else Place(decode(change.left))
        yield change.key, before, None if change.right is None else Place(decode(change.right))


def _one_sided(left: Side, before: Place | None, right: Side, after: Place | None) -> Iterator[Pair]:
    if before is not None:
        for name, place in left.children(before):
            yield name, place, None
    if after is not None:
        for name, place in right.children(after):
            yield name, None, place


def _both(left: Side, old: Place, right: Side, new: Place) -> Iterator[Pair]:
    """All names of both, where digests cannot say which differ."""
    ours, theirs = left.children(old), right.children(new)
    mine, other = next(ours, None), next(theirs, None)
    while mine is not None or other is not None:
        if mine is not None and other is not None and mine[0] == other[0]:
            yield mine[0], mine[1], other[1]
            mine, other = next(ours, None), next(theirs, None)
        elif mine is not None and (other is None or mine[0] < other[0]):
            yield mine[0], mine[1], None
            mine = next(ours, None)
        elif other is not None:
            yield other[0], None, other[1]
            other = next(theirs, None)


def _aspects_of(path: bytes, left: Side, old: Place | None, right: Side, new: Place | None) -> Iterator[Difference]:
    before = None if old is None else left.inode(old.entry)
    after = None if new is None else right.inode(new.entry)
    if before is None or after is None:
        yield Difference(path, before, after)
        return
    aspects = _aspects(before, after)
    if aspects:
        yield Difference(path, before, after, aspects)


def _aspects(before: Entry, after: Entry) -> Aspect:
    if before.kind is not after.kind:
        return Aspect.TYPE
    found = NOTHING
    if before.kind is not Kind.DIRECTORY and _content(before) != _content(after):
        found |= Aspect.CONTENT
    elif before.kind is not Kind.DIRECTORY and before.mtime_ns != after.mtime_ns:
        found |= Aspect.ATTRIBUTES
    if _attributes(before) != _attributes(after):
        found |= Aspect.ATTRIBUTES
    return found


def _content(entry: Entry) -> object:
    return entry.live, entry.content, entry.target, entry.rdev, entry.link


def _attributes(entry: Entry) -> object:
    return entry.mode, entry.uid, entry.gid, entry.xattrs, entry.xattr_blob


__all__ = ["Aspect", "Comparing", "Difference", "LogLine", "compare", "entry_at", "resolved", "split_path"]
