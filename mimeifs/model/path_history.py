"""The history of one path: its distinct states, each with the version that has it first.

Asks the index which versions may have changed the path, and looks at those alone; what the index does not know of is looked
at as well, so the answer is that of looking at every version, in less time. A hard-linked file is followed by its inode.

Always true: states come oldest first; neighbours differ. ``Cold`` may come from any call, with nothing changed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mimeifs.ids import BlobId, MimeiId
from mimeifs.model import path_index
from mimeifs.model.comparing import resolved, split_path
from mimeifs.model.entry import Entry, Kind, TreeRoot, decode, decode_tree
from mimeifs.model.live import Live
from mimeifs.model.versions import VersionInfo, Versions
from mimeifs.store import prolly
from mimeifs.store.interfaces import BlobSource


@dataclass(frozen=True, slots=True)
class Moment:
    """What a path was from a version on; None where it was not there."""

    version: VersionInfo
    entry: Entry | None


class PathHistory:
    """Histories of paths of the MiMeis of one node."""

    def __init__(self, live: Live, versions: Versions) -> None:
        self._live = live
        self._versions = versions

    def moments(self, mimei: MimeiId, path: bytes) -> list[Moment]:
        """The distinct states of a path, oldest first, each with the version that has it first."""
        names = split_path(path)
        versions, links = self._versions_of(mimei, path_index.digests_of(names) if names else []), set[int]()
        found = list(_distinct(_Steps(self._live.blobs, names, links), versions))
        if not links:
            return found
        more = self._versions_of(mimei, list(map(path_index.linked, links)))
        together = _ascending({*versions, *more})
        return list(_distinct(_Steps(self._live.blobs, names, links), together))

    def newest(self, mimei: MimeiId, path: bytes, wanted: Callable[[Entry], bool]) -> Entry | None:
        """The newest entry of a path that is wanted."""
        names = split_path(path)
        steps = _Steps(self._live.blobs, names, set())
        for version in reversed(self._versions_of(mimei, path_index.digests_of(names) if names else [])):
            entry = steps.entry(version.root)
            if entry is not None and wanted(entry):
                return entry
        return None

    def _versions_of(self, mimei: MimeiId, digests: list[bytes]) -> list[VersionInfo]:
        """Versions that may have changed what the digests stand for, oldest first; all of them where there is no digest."""
        if not digests:
            return _ascending(self._versions.newest_first(mimei))
        found = path_index.find(self._live.database, mimei, digests)
        ranges = [*found.gaps, *((number, number) for number in found.numbers)]
        return _ascending(version for first, last in ranges for version in self._versions.between(mimei, first, last))


def _ascending(versions: Iterable[VersionInfo]) -> list[VersionInfo]:
    return sorted(versions, key=lambda version: (version.number, version.record))


def _distinct(steps: "_Steps", versions: list[VersionInfo]) -> Iterator[Moment]:
    shown: Entry | None = None
    for version in versions:
        entry = steps.entry(version.root)
        if entry != shown:
            shown = entry
            yield Moment(version, entry)


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
