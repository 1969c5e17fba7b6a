"""Filling the index of histories where it has gaps: for versions from before it, or that came with a fork.

Part of the keeper's idle work, a few versions at a time. Always true: a version whose tree cannot be read is noted as having
changed everything, so that whoever asks looks for himself.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mimeifs.errors import MimeiError
from mimeifs.ids import ID_SIZE, MimeiId, RecordId
from mimeifs.model import path_index, state
from mimeifs.model.changed_paths import EVERYTHING, of_trees
from mimeifs.model.entry import TreeRoot, decode_tree
from mimeifs.store.database import U64, Database, Table
from mimeifs.store.interfaces import BlobSource
from mimeifs.store.overlay import Overlay

STEP_VERSIONS = 64
STEP_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers of versions that no run holds, both ends included; versions there are among them."""

    mimei: MimeiId
    first: int
    last: int


def gaps(database: Database) -> list[Gap]:
    """What the index does not know."""
    found = []
    for key, _ in database.scan(Table.MIMEIS, b""):
        mimei = MimeiId(key)
        for first, last in path_index.find(database, mimei, []).gaps:
            numbers = [number for number, _ in _versions(database, mimei, first, last)]
            if numbers:
                found.append(Gap(mimei, numbers[0], numbers[-1]))
    return found


def fill(overlay: Overlay, blobs: BlobSource, gap: Gap) -> Gap | None:
    """Note what the first versions of a gap changed; the rest of it."""
    before = _before(overlay, gap)
    rows: list[bytes] = []
    last = gap.first
    for count, (number, row) in enumerate(_versions(overlay, gap.mimei, gap.first, gap.last)):
        if number > last and (count >= STEP_VERSIONS or len(rows) >= STEP_ROWS):
            break
        last = number
        after = _tree(blobs, row)
        rows += [digest + U64.pack(number) for digest in _changed(blobs, _tree(blobs, before), after)]
        before = row
    path_index.put(overlay, path_index.Run(gap.mimei, gap.first, last, 1), sorted(set(rows)))
    return Gap(gap.mimei, last + 1, gap.last) if last < gap.last else None


def _versions(rows: Database | Overlay, mimei: MimeiId, first: int, last: int) -> Iterator[tuple[int, state.VersionRow]]:
    for key, value in rows.scan(Table.VERSIONS, mimei, state.version_key(mimei, first, RecordId(b""))):
        number = state.split_version(key)[0]
        if number > last:
            return
        yield number, state.decode_version(value)


def _before(overlay: Overlay, gap: Gap) -> state.VersionRow | None:
    """The version before a gap."""
    for key in overlay.keys_back(Table.VERSIONS, gap.mimei):
        if U64.unpack_from(key, ID_SIZE)[0] < gap.first:
            return state.decode_version(overlay.get(Table.VERSIONS, key) or b"")
    return None


def _tree(blobs: BlobSource, row: state.VersionRow | None) -> TreeRoot | None:
    try:
        return None if row is None else decode_tree(blobs.get(row.root))
    except MimeiError:
        return None


def _changed(blobs: BlobSource, before: TreeRoot | None, after: TreeRoot | None) -> frozenset[bytes]:
    try:
        return EVERYTHING if after is None else of_trees(blobs, before, after)
    except MimeiError:
        return EVERYTHING
