"""Folding: what changed in a tree since its newest version becomes prolly maps, and so a version's root.

Runs in the keeper, inside one write transaction, at the exact journal position of the cut. It visits the names in
CHANGED and the directories above them, nothing else: cost grows with the change, not with the tree.

Always true afterwards: CHANGED holds nothing of the tree but names that are withheld; each visited directory's base is its
content, those aside; reading the overlay over the bases gives the same tree as before. Rows of files that the node may
still be writing to are only marked (``folded``, DOOMED): they fall when the node is known to have caught up and did not touch
them again, see :func:`reap`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.model import state
from mimeifs.model.changed_paths import Folded, of_fold
from mimeifs.model.entry import (
    INLINE_XATTRS,
    Entry,
    Kind,
    LinkedInode,
    TreeRoot,
    decode,
    decode_linked,
    encode,
    encode_linked,
    encode_tree,
    encode_xattrs,
)
from mimeifs.store import prolly
from mimeifs.store.content import ContentRef
from mimeifs.store.database import U64, Table
from mimeifs.store.extents import ExtentMap
from mimeifs.store.interfaces import BlobSink
from mimeifs.store.overlay import DirRow, FileRow, Overlay, Totals
from mimeifs.store.recent import RecentNodes

TOMBSTONE = b""
MANY = 1000
"""So many changes of one map are as good as a new map."""
Seal = Callable[[FileRow, ExtentMap], ContentRef]


@dataclass(slots=True)
class Fold:
    """One fold of one tree at journal position ``at``; ``seal(row, extents)`` stores a file's present content. Names that are
    withheld beyond ``time_ns`` stay as their bases have them, and changed.

    ``met`` remembers what was changed, for the index of histories."""

    overlay: Overlay
    blobs: RecentNodes
    seal: Seal
    tree: int
    at: int
    time_ns: int = 1 << 64
    met: Folded = field(default_factory=Folded)
    _rows: dict[int, DirRow] = field(default_factory=dict)
    _withheld: list[tuple[bytes, bytes]] = field(default_factory=list)
    _root: int = 0

    def run(self) -> tuple[BlobId, TreeRoot]:
        """Fold everything; returns the new version's root and what it says."""
        self.blobs.put(prolly.EMPTY_NODE)
        row = state.decode_tree(self.overlay.get(Table.TREES, state.tree_key(self.tree)) or b"")
        names = self._changed()
        links = names.pop(state.LINKS_DIR, set())
        self._root, self.met.links_base = row.root, row.links
        for directory in self._deepest_first(names, row.root):
            self._fold_directory(directory, names[directory])
        row = self._fold_links(row, links)
        self.overlay.put(Table.TREES, state.tree_key(self.tree), state.encode(row))
        self.overlay.clear(Table.CHANGED, state.tree_key(self.tree))
        for key, until in self._withheld:
            self.overlay.put(Table.CHANGED, key, until)
        root = decode(self.overlay.get(Table.ENTRIES, state.entry_key(0, U64.pack(row.root))) or b"")
        tree = TreeRoot(self._slim(self._directory_entry(root)), row.links, row.linked_files, row.linked_bytes)
        return self.blobs.put(encode_tree(tree)), tree

    def changed_since(self, before: TreeRoot | None) -> frozenset[bytes]:
        """Which paths differ from ``before``, the version that this one follows, once it was run."""
        return of_fold(before, self._root, self.met)

    def run_below(self, directory: int) -> None:
        """Fold what is below one directory (0: nothing), and the link map. The tree is still changed since its newest
        version, the directory with what it now has as its base."""
        self.blobs.put(prolly.EMPTY_NODE)
        row = state.decode_tree(self.overlay.get(Table.TREES, state.tree_key(self.tree)) or b"")
        names = self._changed()
        links = names.pop(state.LINKS_DIR, set())
        noted = {number: frozenset(found) for number, found in names.items()}
        for each in self._deepest_first(names, directory):
            self._fold_directory(each, names[each])
            for name in noted.get(each, ()):
                self.overlay.delete(Table.CHANGED, state.changed_key(self.tree, each, name))
        row = self._fold_links(row, links)
        self.overlay.put(Table.TREES, state.tree_key(self.tree), state.encode(row))
        self.overlay.clear(Table.CHANGED, state.changed_key(self.tree, state.LINKS_DIR, b""))
        above = self.overlay.get(Table.PARENTS, U64.pack(directory))
        places = [(row.root, b"")] if above is None else [(row.root, b""), state.split_parent(above)]
        for number, name in places:
            self.overlay.put(Table.CHANGED, state.changed_key(self.tree, number, name), b"")

    def _changed(self) -> dict[int, set[bytes]]:
        names: dict[int, set[bytes]] = {}
        for key, until in self.overlay.scan(Table.CHANGED, state.tree_key(self.tree)):
            if until and U64.unpack(until)[0] > self.time_ns:
                self._withheld.append((key, until))
                continue
            directory, name = state.split_changed(key)
            names.setdefault(directory, set()).add(name)
        return names

    def _deepest_first(self, names: dict[int, set[bytes]], root: int) -> list[int]:
        """Add the directories above, drop those no longer in the tree, and order children before parents."""
        depths: dict[int, int] = {root: 0}
        for directory in list(names):
            path: list[tuple[int, int, bytes]] = []
            at = directory
            while at not in depths:
                row = self.overlay.get(Table.PARENTS, U64.pack(at))
                if row is None:
                    break
                parent, name = state.split_parent(row)
                path.append((at, parent, name))
                at = parent
            if at not in depths:
                del names[directory]
                continue
            for child, parent, name in reversed(path):
                depths[child] = depths[parent] + 1
                names.setdefault(parent, set()).add(name)
        return sorted((each for each in names if each in depths), key=lambda each: -depths[each])

    def _fold_directory(self, directory: int, names: set[bytes]) -> None:
        key = U64.pack(directory)
        row = self._row(directory)
        changes: list[tuple[bytes, bytes | None]] = []
        coming: list[tuple[bytes, Entry | None, int]] = []
        tally = _Tally(row.totals.files, row.totals.size, row.totals.links)
        for name in sorted(name for name in names if name):
            data = self.overlay.get(Table.ENTRIES, key + name)
            if data is None:
                continue
            live = None if data == TOMBSTONE else decode(data)
            if live is None:
                self.overlay.delete(Table.ENTRIES, key + name)
                changes.append((name, None))
                coming.append((name, None, 0))
            else:
                entry = self._slim(self._sealed(directory, name, live))
                tally.count(entry, 1)
                changes.append((name, encode(entry)))
                coming.append((name, entry, live.live if live.kind is Kind.DIRECTORY else 0))
        if not changes:
            return
        base = prolly.apply(self.blobs, self._sink(row.base, changes), row.base, changes, tally.gone)
        self.met.note(directory, coming, tally.old)
        totals = Totals(tally.files, tally.size, row.totals.subdirs, tally.links)
        new = self._rows[directory] = DirRow(base, totals, row.mtime_ns, row.ctime_ns, row.subdirs)
        self.overlay.set_directory(directory, new)

    def _sink(self, base: BlobId, changes: Sequence[object]) -> BlobSink:
        """Where the nodes go of a map that is made from ``base``."""
        return self.blobs.whole if base == prolly.EMPTY_ROOT or len(changes) >= MANY else self.blobs

    def _row(self, directory: int) -> DirRow:
        row = self._rows.get(directory)
        if row is None:
            row = self.overlay.directory(directory)
            if row is None:
                raise IntegrityError(f"directory {directory} of the present has no row")
            self._rows[directory] = row
            self.met.bases[directory] = row.base
        return row

    def _sealed(self, directory: int, name: bytes, entry: Entry) -> Entry:
        """The entry with digests where it had local numbers; its row goes, or is doomed."""
        key = state.entry_key(directory, name)
        if entry.kind is Kind.DIRECTORY:
            return self._directory_entry(entry)
        if entry.kind is Kind.FILE and entry.live:
            return self._file_entry(entry, Table.ENTRIES, key)
        self.overlay.delete(Table.ENTRIES, key)
        return entry

    def _slim(self, entry: Entry) -> Entry:
        """The entry with large extended attributes as a blob, as every entry of a version has them."""
        if not entry.xattrs:
            return entry
        data = encode_xattrs(entry.xattrs)
        if len(data) <= INLINE_XATTRS:
            return entry
        return msgspec.structs.replace(entry, xattrs=(), xattr_blob=self.blobs.whole.put(data))

    def _directory_entry(self, entry: Entry) -> Entry:
        if not entry.live:
            return entry
        row = self._row(entry.live)
        totals = Totals(row.totals.files, row.totals.size, row.subdirs, row.totals.links)
        return msgspec.structs.replace(
            entry, live=0, root=row.base, totals=totals, mtime_ns=row.mtime_ns, ctime_ns=row.ctime_ns
        )

    def _file_entry(self, entry: Entry, table: Table, key: bytes) -> Entry:
        row = self.overlay.file(entry.live)
        if row is None:
            raise IntegrityError(f"{self._called(table, key)} is file {entry.live}, which has no row")
        try:
            content = self.seal(row, self.overlay.extents(entry.live))
        except IntegrityError as error:
            raise IntegrityError(f"{self._called(table, key)}: {error}") from error
        self.overlay.rebase(entry.live, row, content, self.at)
        self.overlay.put(Table.DOOMED, U64.pack(self.at) + U64.pack(entry.live), bytes([table]) + key)
        return msgspec.structs.replace(
            entry, live=0, content=content, size=content.size, mtime_ns=row.mtime_ns, ctime_ns=row.ctime_ns
        )

    def _called(self, table: Table, key: bytes) -> str:
        """What a person calls the file with that row."""
        if table is Table.LINKS:
            return "a file with several names"
        directory, path = U64.unpack_from(key)[0], key[U64.size :]
        while (above := self.overlay.get(Table.PARENTS, U64.pack(directory))) is not None:
            directory, name = state.split_parent(above)
            path = name + b"/" + path
        return f"'{path.decode(errors='backslashreplace')}'"

    def _fold_links(self, row: state.TreeRow, changed: set[bytes]) -> state.TreeRow:
        changes: list[tuple[bytes, bytes | None]] = []
        files, size = row.linked_files, row.linked_bytes
        for link in sorted(changed):
            key = state.link_key(self.tree, U64.unpack(link)[0])
            live = self.overlay.get(Table.LINKS, key)
            if live is None:
                continue
            new = None
            if live == TOMBSTONE:
                self.overlay.delete(Table.LINKS, key)
            else:
                inode = decode_linked(live)
                new = LinkedInode(inode.nlink, self._slim(self._sealed_link(inode.entry, key)))
            old = prolly.get(self.blobs, row.links, link)
            if old is not None:
                self.met.links.append(U64.unpack(link)[0])
            for value, sign in ((None if old is None else decode_linked(old), -1), (new, 1)):
                if value is not None and value.entry.kind is Kind.FILE:
                    files += sign
                    size += sign * value.entry.size
            changes.append((link, None if new is None else encode_linked(new)))
        base = prolly.apply(self.blobs, self._sink(row.links, changes), row.links, changes) if changes else row.links
        return msgspec.structs.replace(row, links=base, linked_files=files, linked_bytes=size)

    def _sealed_link(self, entry: Entry, key: bytes) -> Entry:
        if entry.kind is Kind.FILE and entry.live:
            return self._file_entry(entry, Table.LINKS, key)
        self.overlay.delete(Table.LINKS, key)
        return entry


@dataclass(slots=True)
class _Tally:
    """Totals being counted, and the entries that went."""

    files: int
    size: int
    links: int
    old: dict[bytes, Entry] = field(default_factory=dict)

    def gone(self, name: bytes, value: bytes) -> None:
        """An entry was there and is replaced or removed."""
        entry = self.old[name] = decode(value)
        self.count(entry, -1)

    def count(self, entry: Entry, sign: int) -> None:
        """An entry has come (1) or gone (-1)."""
        if entry.kind is Kind.DIRECTORY:
            self.files += sign * entry.totals.files
            self.size += sign * entry.totals.size
            self.links += sign * entry.totals.links
        elif entry.kind is Kind.FILE:
            self.files += sign
            self.size += sign * entry.size
        elif entry.kind is Kind.HARD:
            self.links += sign


def reap(overlay: Overlay, cut: int) -> None:
    """Drop the rows doomed by the fold at ``cut``, but for what was touched since; the node has caught up with it."""
    for key, row_key in list(overlay.scan(Table.DOOMED, U64.pack(cut))):
        overlay.delete(Table.DOOMED, key)
        number = U64.unpack_from(key, 8)[0]
        row = overlay.file(number)
        if row is None or row.folded != cut:
            continue
        table, entry_key = Table(row_key[0]), row_key[1:]
        live = overlay.get(table, entry_key)
        if live and _file_number(table, live) == number:
            overlay.delete(table, entry_key)
        overlay.drop_file(number)


def _file_number(table: Table, row: bytes) -> int:
    return decode_linked(row).entry.live if table is Table.LINKS else decode(row).live
