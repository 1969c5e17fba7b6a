"""Trees that rest: whether a directory's map, all below it, and a tree's link map are complete and add up.

What was found sound once is not walked again, whichever version meets it next: memory holds 16 bytes for each distinct
directory and chunk map. Always true: an ``IntegrityError`` of the source becomes a finding.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from blake3 import blake3
from msgspec.structs import replace

from mimeifs.errors import IntegrityError, MimeiError, MissingError
from mimeifs.ids import BlobId
from mimeifs.model.checking.findings import Fault, Finding, below
from mimeifs.model.entry import Entry, Kind, LinkedInode, TreeRoot, decode, decode_linked
from mimeifs.store import content, prolly
from mimeifs.store.content import ContentKind, ContentRef
from mimeifs.store.database import U64, Database, Table
from mimeifs.store.interfaces import BlobSource
from mimeifs.store.overlay import Totals
from mimeifs.store.packs import IndexRow


@dataclass(slots=True)
class Trees:
    """Checks trees against the blobs of one store; ``damaged`` are blobs known not to verify."""

    database: Database
    blobs: BlobSource
    damaged: frozenset[bytes]
    _seen: set[bytes] = field(default_factory=set)

    def _first_time(self, *parts: bytes) -> bool:
        key = blake3(b"".join(parts)).digest(length=16)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def tree(self, tree: TreeRoot, where: str) -> Iterator[Finding]:
        """A version's tree, its link map and what they say of each other."""
        if not self._first_time(b"tree", tree.entry.root, repr(tree).encode()):
            return
        yield from self.stored(prolly.EMPTY_ROOT, None, where)
        yield from self.entry(tree.entry, where, b"")
        yield from self.link_map(tree.links, tree.linked_files, tree.linked_bytes, where)
        try:
            names = self.count_links(tree.entry)
            rows = {U64.unpack(key)[0]: decode_linked(value).nlink for key, value in rows_of(self.blobs, tree.links)}
        except MimeiError:
            return  # Said already.
        for link_id in names.keys() | rows.keys():
            if names[link_id] != rows.get(link_id, 0):
                yield Finding(
                    Fault.WRONG, where, f"inode {link_id} has {names[link_id]} names, its link map says {rows.get(link_id, 0)}"
                )

    def link_map(self, links: BlobId, files: int, size: int, where: str) -> Iterator[Finding]:
        """A link map, its contents and the totals kept of it."""
        if not self._first_time(b"links", links, U64.pack(files), U64.pack(size)):
            return
        found = total = 0
        try:
            for key, value in rows_of(self.blobs, links):
                linked = decode_linked(value)
                found += linked.entry.kind is Kind.FILE
                total += linked.entry.size if linked.entry.kind is Kind.FILE else 0
                yield from self.linked(linked, where, key)
        except IntegrityError as error:
            yield _unreadable(error, where, links)
            return
        if (found, total) != (files, size):
            yield Finding(Fault.WRONG, where, f"its link map holds {found} files of {total} bytes, not {files} of {size}")

    def linked(self, linked: LinkedInode, where: str, key: bytes) -> Iterator[Finding]:
        """One row of a link map."""
        if linked.entry.kind in (Kind.DIRECTORY, Kind.HARD) or not linked.nlink or len(key) != U64.size:
            yield Finding(
                Fault.WRONG, where, f"its link map holds a {linked.entry.kind.name.lower()} with {linked.nlink} names"
            )
            return
        yield from self.entry(linked.entry, where, b"\0link " + str(U64.unpack(key)[0]).encode())

    def entry(self, entry: Entry, where: str, path: bytes) -> Iterator[Finding]:
        """An entry without local numbers, and everything below it."""
        waiting = [(path, entry)]
        while waiting:
            path, entry = waiting.pop()
            if entry.live:
                yield Finding(Fault.WRONG, below(where, path), "a local number stands where a digest belongs")
            elif entry.kind is Kind.DIRECTORY:
                yield from self._directory(entry, where, path, waiting)
            else:
                yield from self._leaf(entry, where, path)

    def _directory(self, entry: Entry, where: str, path: bytes, waiting: list[tuple[bytes, Entry]]) -> Iterator[Finding]:
        yield from self._attributes(entry, where, path)
        if not self._first_time(entry.root, repr(entry.totals).encode()):
            return
        totals = Totals()
        place = below(where, path)
        try:
            for name, value in rows_of(self.blobs, entry.root):
                child = decode(value)
                totals = add(totals, child)
                inner = path + b"/" + name if path else name
                if child.kind is Kind.DIRECTORY:
                    waiting.append((inner, child))
                else:
                    yield from self._leaf(child, where, inner)
        except IntegrityError as error:
            yield _unreadable(error, place, entry.root)
            return
        if totals != entry.totals:
            yield Finding(Fault.WRONG, place, f"it holds {_show(totals)}; its entry says {_show(entry.totals)}")

    def base(self, root: BlobId, totals: Totals, where: str) -> Iterator[Finding]:
        """The base of a live directory. Its subdirectories are counted elsewhere, so those of ``totals`` are not asked."""
        try:
            subdirs = sum(decode(value).kind is Kind.DIRECTORY for _, value in rows_of(self.blobs, root))
        except IntegrityError as error:
            yield _unreadable(error, where, root)
            return
        yield from self.entry(Entry(Kind.DIRECTORY, root=root, totals=replace(totals, subdirs=subdirs)), where, b"")

    def _leaf(self, entry: Entry, where: str, path: bytes) -> Iterator[Finding]:
        if entry.kind is Kind.FILE:
            yield from self._attributes(entry, where, path)
            yield from self.content(entry.content, below(where, path))
        elif entry.kind is not Kind.HARD:
            yield from self._attributes(entry, where, path)

    def _attributes(self, entry: Entry, where: str, path: bytes) -> Iterator[Finding]:
        if entry.xattr_blob is not None:
            yield from self.stored(entry.xattr_blob, None, below(where, path))

    def content(self, ref: ContentRef, where: str) -> Iterator[Finding]:
        """That every blob of a content is there and of the right size."""
        if ref.kind is ContentKind.BLOB:
            yield from self.stored(ref.digest, ref.size, where)
        elif ref.kind is ContentKind.CHUNKS and self._first_time(b"chunks", ref.digest, U64.pack(ref.size)):
            try:
                last: tuple[BlobId, int] | None = None
                for chunk in content.chunks_from(self.blobs, ref, 0):
                    if last != (last := (chunk.blob, chunk.stop - chunk.start)):  # A hole is one chunk, over and over.
                        yield from self.stored(*last, where)
            except IntegrityError as error:
                yield _unreadable(error, where, ref.digest)

    def stored(self, blob: BlobId, size: int | None, where: str) -> Iterator[Finding]:
        """That a blob is there, has that size, and is not known to be damaged."""
        row = self.database.get(Table.BLOBS, blob)
        if row is None:
            yield Finding(Fault.MISSING, where, "bytes of it are not in the store", blob)
        elif blob in self.damaged:
            yield Finding(Fault.DAMAGED, where, "bytes of it are damaged", blob)
        elif size is not None and IndexRow.decode(row).plain != size:
            yield Finding(Fault.WRONG, where, f"a blob of {IndexRow.decode(row).plain} bytes stands for {size}", blob)

    def count_links(self, entry: Entry) -> Counter[int]:
        """How many names each hard-linked inode has at or below an entry; enters flagged directories only. Raises as the
        source does."""
        names: Counter[int] = Counter()
        waiting = [entry]
        while waiting:
            at = waiting.pop()
            if at.kind is Kind.HARD:
                names[at.link_id] += 1
            elif at.kind is Kind.DIRECTORY and at.totals.links:
                waiting.extend(decode(value) for _, value in rows_of(self.blobs, at.root))
        return names


def rows_of(blobs: BlobSource, root: BlobId) -> Iterator[tuple[bytes, bytes]]:
    """Rows of a map. The empty one is known without being stored, which it is from the first version on."""
    return prolly.scan(blobs, root) if root != prolly.EMPTY_ROOT else iter(())


def add(totals: Totals, entry: Entry) -> Totals:
    """The totals of a directory that also holds ``entry``."""
    files, size, subdirs, links = totals.files, totals.size, totals.subdirs, totals.links
    if entry.kind is Kind.DIRECTORY:
        below = entry.totals
        return Totals(files + below.files, size + below.size, subdirs + 1, links + below.links)
    if entry.kind is Kind.FILE:
        return Totals(files + 1, size + entry.size, subdirs, links)
    return Totals(files, size, subdirs, links + (entry.kind is Kind.HARD))


def _show(totals: Totals) -> str:
    return f"{totals.files} files of {totals.size} bytes, {totals.subdirs} directories and {totals.links} names of hard links"


def _unreadable(error: MimeiError, where: str, blob: BlobId) -> Finding:
    return Finding(Fault.MISSING if isinstance(error, MissingError) else Fault.DAMAGED, where, str(error), blob)
