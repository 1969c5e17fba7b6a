"""What differs between what a directory held at two moments, map by map, from any path on.

Not here: where the maps are from, and what is there now. Like ``comparing`` it skips what is equal by its digest; unlike it,
every entry that is another counts, a directory also for what is below it, and it can go on where it was left. Nothing is told
of what is in a directory that went, or that gave way to something else: it went with it.

Always true: paths come in order, a directory before what it holds. ``Cold`` may come at any step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mimeifs.ids import BlobId
from mimeifs.model.entry import Entry, Kind, decode
from mimeifs.model.resource import Path
from mimeifs.store import prolly
from mimeifs.store.database import U64
from mimeifs.store.interfaces import BlobSource


@dataclass(frozen=True, slots=True)
class Held:
    """What a directory held: its map, and where that has hard links their map, else the empty one."""

    root: BlobId
    links: BlobId


NOTHING = Held(prolly.EMPTY_ROOT, prolly.EMPTY_ROOT)
Row = tuple[bytes, Entry | None, Entry | None]


def differing(
    blobs: BlobSource, old: Held, new: Held, behind: Path, *, deep: bool
) -> Iterator[tuple[Path, Entry | None, Entry | None]]:
    """Paths, in the directory alone unless ``deep``, whose entries differ, from just behind ``behind``; with both entries."""
    changed = frozenset(U64.unpack(change.key)[0] for change in prolly.diff(blobs, old.links, new.links))
    names = _Names(blobs, changed)
    waiting, path = [names.differing(old.root, new.root, behind[0] if behind else b"", linked=True)], list[bytes]()
    while waiting:
        row = next(waiting[-1], None)
        if row is None:
            waiting.pop()
            del path[-1:]
            continue
        name, before, after = row
        here = (*path, name)
        told = here == behind[: len(here)]
        if not told:
            yield here, before, after
        if deep and after is not None and after.kind is Kind.DIRECTORY:
            first = behind[len(here)] if told and len(behind) > len(here) else b""
            root = before.root if before is not None and before.kind is Kind.DIRECTORY else prolly.EMPTY_ROOT
            waiting.append(names.differing(root, after.root, first, linked=bool(after.totals.links)))
            path.append(name)


class _Names:
    """Differences of single directories, where hard links to ``changed`` inodes differ too."""

    def __init__(self, blobs: BlobSource, changed: frozenset[int]) -> None:
        self._blobs = blobs
        self._changed = changed

    def differing(self, old: BlobId, new: BlobId, first: bytes, *, linked: bool) -> Iterator[Row]:
        """Names from ``first`` on; ``linked`` where there may be hard links below."""
        if not (linked and self._changed):
            for change in prolly.diff(self._blobs, old, new, first=first):
                yield change.key, _decoded(change.left), _decoded(change.right)
            return
        ours, theirs = self._rows(old, first), self._rows(new, first)
        mine, other = next(ours, None), next(theirs, None)
        while mine is not None or other is not None:
            if other is None or (mine is not None and mine[0] < other[0]):
                assert mine is not None
                yield mine[0], decode(mine[1]), None
                mine = next(ours, None)
            elif mine is None or other[0] < mine[0]:
                yield other[0], None, decode(other[1])
                other = next(theirs, None)
            else:
                entry = decode(other[1])
                if mine[1] != other[1] or self._hides(entry):
                    yield other[0], decode(mine[1]), entry
                mine, other = next(ours, None), next(theirs, None)

    def _rows(self, root: BlobId, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        if root == prolly.EMPTY_ROOT:
            return
        value = prolly.get(self._blobs, root, first) if first else None
        if value is not None:
            yield first, value
        yield from prolly.scan(self._blobs, root, after=first or None)

    def _hides(self, entry: Entry) -> bool:
        """Whether an entry that is the same may stand for something that is not."""
        return bool(entry.totals.links) if entry.kind is Kind.DIRECTORY else entry.link_id in self._changed


def _decoded(value: bytes | None) -> Entry | None:
    return None if value is None else decode(value)
