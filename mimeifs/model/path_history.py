"""The history of one path: its distinct states, each with the version that has it first.

Asks the index which versions may have changed the path, and looks at those alone; what the index does not know of is looked
at as well, so the answer is that of looking at every version, in less time. A hard-linked file is followed by its inode.

Always true: states come oldest first; neighbours differ. ``Cold`` may come from any call, with nothing changed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from mimeifs.ids import BlobId, MimeiId, RecordId
from mimeifs.model import path_index
from mimeifs.model.comparing import resolved, split_path
from mimeifs.model.entry import Entry, Kind, TreeRoot, decode, decode_tree
from mimeifs.model.live import Live
from mimeifs.model.versions import VersionInfo, Versions
from mimeifs.store import prolly
from mimeifs.store.interfaces import BlobSource

STRIDE = 64
"""How many versions that follow each other are looked up at once, on the way back."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a path was from a version on; None where it was not there."""

    version: VersionInfo
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A state of a path, with the version that has it first, and the versions that first have the states before and after it,
    where the path was there."""

    here: Moment
    before: VersionInfo | None
    after: VersionInfo | None


class PathHistory:
    """Histories of paths of the MiMeis of one node."""

    def __init__(self, live: Live, versions: Versions) -> None:
        self._live = live
        self._versions = versions

    def moments(self, mimei: MimeiId, path: bytes) -> list[Moment]:
        """The distinct states of a path, oldest first, each with the version that has it first."""
        return list(self.onward(mimei, path, 0))

    def onward(self, mimei: MimeiId, path: bytes, number: int) -> Iterator[Moment]:
        """Those from version ``number`` on, which is one that has a state first, or 0."""
        names, links = split_path(path), set[int]()
        steps = _Steps(self._live.blobs, names, links)
        # The first may be known by the changes of an inode alone, so that it has to be named.
        waiting = [(number, number), *self._ranges(mimei, path_index.digests_of(names) if names else [])]
        heapify(waiting)
        followed, shown, done = 0, None, number - 1
        while waiting:
            first, last = heappop(waiting)
            for version in self._versions.between(mimei, max(first, done + 1), last):
                if len(links) > followed and version.number > done:
                    heappush(waiting, (version.number, last))
                    break
                done = version.number
                entry = steps.entry(version.root)
                if entry != shown:
                    shown = entry
                    yield Moment(version, entry)
            if len(links) > followed:  # From here on the name is a hard link's: whatever changes the inode counts too.
                followed = len(links)
                for more in self._ranges(mimei, list(map(path_index.linked, links))):
                    heappush(waiting, more)

    def newest(self, mimei: MimeiId, path: bytes, wanted: Callable[[Entry], bool]) -> Entry | None:
        """The newest entry of a path that is wanted."""
        names = split_path(path)
        steps = _Steps(self._live.blobs, names, set())
        for version in self._back(mimei, names, None):
            entry = steps.entry(version.root)
            if entry is not None and wanted(entry):
                return entry
        return None

    def standing(self, mimei: MimeiId, path: bytes, version: VersionInfo | None) -> Standing | None:
        """The state that a path has in a version, or (None) the newest in which it is there; None where it is not."""
        backward = self._backward(mimei, split_path(path), version)
        here = next(backward, None)
        while version is None and here is not None and here.entry is None:
            here = next(backward, None)
        if here is None or here.entry is None:
            return None
        before = next((each.version for each in backward if each.entry is not None), None)
        later = (each for each in self.onward(mimei, path, here.version.number) if _place(each.version) > _place(here.version))
        after = None if version is None else next((each.version for each in later if each.entry is not None), None)
        return Standing(here, before, after)

    def _backward(self, mimei: MimeiId, names: list[bytes], version: VersionInfo | None) -> Iterator[Moment]:
        """The distinct states of a path, newest first, from that of a version on."""
        links = set[int]()
        steps = _Steps(self._live.blobs, names, links)
        found: Moment | None = None
        told: VersionInfo | None = None
        for each in self._back(mimei, names, version):
            moment = Moment(each, steps.entry(each.root))
            if links:  # What changed the inode is known only from where the name became a hard link.
                known = reversed(self.moments(mimei, b"/".join(names)))
                yield from (past for past in known if not _is_after(past.version, version) and _is_after(told, past.version))
                return
            if found is not None and moment.entry != found.entry:
                yield found
                told = found.version
            found = moment
        if found is not None:
            yield found

    def _back(self, mimei: MimeiId, names: list[bytes], version: VersionInfo | None) -> Iterator[VersionInfo]:
        """Versions that may have changed a path, newest first, from ``version`` on."""
        newest = version or self._versions.last(mimei)
        if newest is None:
            return
        done = newest.number + 1
        for first, last in sorted(self._ranges(mimei, path_index.digests_of(names) if names else []), reverse=True):
            high = min(last, done - 1)
            while high >= first:
                low = max(first, high - STRIDE + 1)
                for each in reversed(list(self._versions.between(mimei, low, high))):
                    if not _is_after(each, version):
                        yield each
                done, high = low, low - 1

    def _ranges(self, mimei: MimeiId, digests: list[bytes]) -> list[tuple[int, int]]:
        """Numbers, first and last, of versions that may have changed what the digests stand for; all where there is none."""
        if not digests:
            return [(0, path_index.MAX_NUMBER)]
        found = path_index.find(self._live.database, mimei, digests)
        return [*found.gaps, *((number, number) for number in found.numbers)]


def _place(version: VersionInfo) -> tuple[int, RecordId]:
    return version.number, version.record


def _is_after(version: VersionInfo | None, other: VersionInfo | None) -> bool:
    """Whether one comes after the other; None is behind all."""
    return other is not None and (version is None or _place(version) > _place(other))


class _Steps:
    """The way down a path, remembered from version to version: where a digest is the one before, the rest is too.

    The numbers of hard links met at its end are added to ``links``."""

    def __init__(self, blobs: BlobSource, names: list[bytes], links: set[int]) -> None:
        self._blobs = blobs
        self._seen = links
        self._names = names
        self._root: BlobId | None = None
        self._roots: list[BlobId] = []
        self._links: BlobId | None = None
        self._found: Entry | None = None

    def entry(self, root: BlobId) -> Entry | None:
        """The entry in the tree that ``root`` names."""
        if root != self._root:
            tree = decode_tree(self._blobs.get(root))
            self._found = self._walk(tree)
            self._root, self._links = root, tree.links
        return self._found

    def _walk(self, tree: TreeRoot) -> Entry | None:
        entry, before, self._roots = tree.entry, self._roots, []
        for depth, name in enumerate(self._names):
            if entry.kind is not Kind.DIRECTORY:
                return None
            if depth < len(before) and before[depth] == entry.root and tree.links == self._links:
                self._roots += before[depth:]
                return self._found
            self._roots.append(entry.root)
            row = prolly.get(self._blobs, entry.root, name)
            if row is None:
                return None
            entry = decode(row)
        if entry.kind is Kind.HARD:
            self._seen.add(entry.link_id)
        return resolved(self._blobs, tree.links, entry)
