"""Which paths a version changed, as digests for the index of histories.

Two ways to the same answer: from what a fold met, which costs nothing beside the fold, and from two trees by digest, for
versions that no fold here made and for whoever checks. What came, went or was replaced as a whole is noted at its top: copying
in, renaming or restoring a directory is one note, whatever it holds. So is a directory in which more than ``MANY`` names
changed.

Always true: a path that differs is noted itself, or all below one of the directories above it is; or it is a name of a hard
link whose inode is noted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from mimeifs.ids import BlobId
from mimeifs.model.entry import Entry, Kind, TreeRoot, decode
from mimeifs.model.path_index import linked, own, whole
from mimeifs.store import prolly
from mimeifs.store.database import U64
from mimeifs.store.interfaces import BlobSource

MANY = 4096
EVERYTHING = frozenset({whole(b"")})


@dataclass(frozen=True, slots=True)
class Subdir:
    """A name that is or was a directory: its map before and after, None where it was or is something else, and the number
    of the live directory it is now, else 0."""

    name: bytes
    before: BlobId | None
    after: BlobId | None
    number: int


@dataclass(slots=True)
class Changes:
    """What changed in one directory: every name, and which of them are directories."""

    names: list[bytes] = field(default_factory=list)
    subdirs: list[Subdir] = field(default_factory=list)

    def add(self, name: bytes, before: Entry | None, after: Entry | None, number: int = 0) -> None:
        """An entry is, or was, another."""
        if before != after:
            self.names.append(name)
            old, new = _map_of(before), _map_of(after)
            if old is not None or new is not None:
                self.subdirs.append(Subdir(name, old, new, number))


def _map_of(entry: Entry | None) -> BlobId | None:
    return entry.root if entry is not None and entry.kind is Kind.DIRECTORY else None


@dataclass(slots=True)
class Folded:
    """What a fold met, by directory number: the base before it, and what changed (None: too much to say). ``links`` are the
    numbers of changed inodes that there were before."""

    bases: dict[int, BlobId] = field(default_factory=dict)
    changes: dict[int, Changes | None] = field(default_factory=dict)
    links_base: BlobId = prolly.EMPTY_ROOT
    links: list[int] = field(default_factory=list)

    def note(self, directory: int, coming: list[tuple[bytes, Entry | None, int]], old: dict[bytes, Entry]) -> None:
        """Names of a directory have new entries, each with a live directory's number or 0, in place of the ``old`` ones.

        Those of one that was empty, as all are that are copied in, are not kept: memory would grow with the tree."""
        changes = Changes()
        if self.bases[directory] == prolly.EMPTY_ROOT or len(coming) > MANY:
            self.changes[directory] = None
            return
        for name, entry, number in coming:
            changes.add(name, old.get(name), entry, number)
        self.changes[directory] = changes


def of_fold(before: TreeRoot | None, root: int, folded: Folded) -> frozenset[bytes]:
    """What differs from ``before``, the version that comes before the fold's. What the fold met says so only where it began
    with that version's maps, which their digests tell."""
    if before is None or folded.bases[root] != before.entry.root or folded.links_base != before.links:
        return EVERYTHING

    def within(number: int) -> Changes | None:
        return folded.changes.get(number, _NONE)

    def deeper(subdir: Subdir) -> Changes | None:
        same = folded.bases.get(subdir.number, subdir.after) == subdir.before
        return within(subdir.number) if same else None

    return _noted(within(root), folded.links, deeper)


_NONE = Changes()


def of_trees(blobs: BlobSource, before: TreeRoot | None, after: TreeRoot) -> frozenset[bytes]:
    """What differs between two trees. May raise ``Cold`` and ``IntegrityError``."""
    if before is None:
        return EVERYTHING
    top = differing(blobs, before.entry.root, after.entry.root)
    links = changed_links(blobs, before, after)
    return _noted(top, links, lambda subdir: differing(blobs, subdir.before, subdir.after))


def differing(blobs: BlobSource, before: BlobId | None, after: BlobId | None) -> Changes | None:
    """What differs between two maps of directories, but not below them; None where one is no directory."""
    if before is None or after is None:
        return None
    found = Changes()
    for change in prolly.diff(blobs, before, after):
        old, new = (None if side is None else decode(side) for side in (change.left, change.right))
        found.add(change.key, old, new)
    return found


def changed_links(blobs: BlobSource, before: TreeRoot, after: TreeRoot) -> list[int]:
    """Numbers of hard-linked inodes that both trees have, and that differ."""
    changes = prolly.diff(blobs, before.links, after.links)
    return [U64.unpack(change.key)[0] for change in changes if change.left is not None and change.right is not None]


def _noted(top: Changes | None, links: list[int], deeper: Callable[[Subdir], Changes | None]) -> frozenset[bytes]:
    """Digests of what changed; ``deeper`` says what did below a directory, None where that is all."""
    found: set[bytes] = set(map(linked, links) if len(links) <= MANY else EVERYTHING)
    waiting: list[tuple[bytes, Changes | None]] = [(b"", top)]
    while waiting:
        path, changes = waiting.pop()
        if changes is None or len(changes.names) > MANY:
            found.add(whole(path))
            continue
        above = path + b"/" if path else b""
        found.update(own(above + name) for name in changes.names)
        waiting += [(above + subdir.name, deeper(subdir)) for subdir in changes.subdirs]
    return frozenset(found)
