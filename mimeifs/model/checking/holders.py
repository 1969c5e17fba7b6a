"""Who needs a blob: the versions and the paths in them that cannot be read whole without it.

A subtree that was found not to hold the blob is not entered again, so that many versions of one tree cost little more
than one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mimeifs.errors import MimeiError
from mimeifs.ids import BlobId, MimeiId
from mimeifs.model import state
from mimeifs.model.entry import Entry, Kind, decode, decode_linked, decode_tree
from mimeifs.store import content, prolly
from mimeifs.store.content import ContentKind, ContentRef
from mimeifs.store.database import Database, Table
from mimeifs.store.interfaces import BlobSource


@dataclass(frozen=True, slots=True)
class Holder:
    """A version that needs the blob, and the path in it that does; ``None`` is the version's record, root or link map."""

    mimei: MimeiId
    number: int
    path: bytes | None


def holders(database: Database, blobs: BlobSource, wanted: BlobId) -> Iterator[Holder]:
    """Every version that needs ``wanted``, with each path; damage met elsewhere is passed over."""
    search = _Search(blobs, wanted)
    for key, value in database.scan(Table.VERSIONS, b""):
        row = state.decode_version(value)
        number, record = state.split_version(key)
        for path in search.version(record, row.root):
            yield Holder(MimeiId(key[:32]), number, path)


@dataclass(slots=True)
class _Search:
    blobs: BlobSource
    wanted: BlobId
    without: set[bytes] = field(default_factory=set)
    linked: set[int] = field(default_factory=set)

    def version(self, record: bytes, root: BlobId) -> Iterator[bytes | None]:
        if self.wanted in (record, root):
            yield None
            return
        try:
            tree = decode_tree(self.blobs.get(root))
        except MimeiError:
            return
        if self._in_map(tree.links):
            yield None
        self.linked = set(self._linked(tree.links))
        yield from self._directory(tree.entry, b"")

    def _linked(self, links: BlobId) -> Iterator[int]:
        try:
            for key, value in prolly.scan(self.blobs, links):
                if self._needs(decode_linked(value).entry):
                    yield int.from_bytes(key, "big")
        except MimeiError:
            return

    def _needs(self, entry: Entry) -> bool:
        return entry.xattr_blob == self.wanted or (entry.kind is Kind.FILE and self._in_content(entry.content))

    def _in_content(self, ref: ContentRef) -> bool:
        if ref.kind is not ContentKind.CHUNKS:
            return ref.digest == self.wanted
        if ref.digest in self.without:
            return False
        if self._in_map(ref.digest):
            return True
        try:
            if any(chunk.blob == self.wanted for chunk in content.chunks_from(self.blobs, ref, 0)):
                return True
        except MimeiError:
            return False
        self.without.add(ref.digest)
        return False

    def _in_map(self, root: BlobId) -> bool:
        try:
            return any(node == self.wanted for node in prolly.nodes(self.blobs, root))
        except MimeiError:
            return root == self.wanted

    def _directory(self, entry: Entry, path: bytes) -> Iterator[bytes]:
        """Paths at or below a directory, children before what follows their parent; no recursion, for depth has no bound."""
        visits = [_Visit(entry, path, self._rows(entry.root))]
        while visits:
            visit = visits[-1]
            for child, below in visit.children():
                if child.kind is Kind.DIRECTORY:
                    if self._may_hold(child):
                        visits.append(_Visit(child, below, self._rows(child.root)))
                        break
                elif child.link_id in self.linked if child.kind is Kind.HARD else self._needs(child):
                    visit.found = True
                    yield below
            else:
                visits.pop()
                if visit.entry.xattr_blob == self.wanted or self._in_map(visit.entry.root):
                    visit.found = True
                    yield visit.path
                if visit.found and visits:
                    visits[-1].found = True
                elif not visit.found:
                    self.without.add(visit.entry.root)

    def _may_hold(self, directory: Entry) -> bool:
        """Whether it must be entered. Names of hard links that need the blob may be in what was passed over before."""
        if directory.root not in self.without or directory.xattr_blob == self.wanted:
            return True
        return bool(self.linked and directory.totals.links)

    def _rows(self, root: BlobId) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from prolly.scan(self.blobs, root)
        except MimeiError:
            return


@dataclass(slots=True)
class _Visit:
    """A directory being gone through."""

    entry: Entry
    path: bytes
    rows: Iterator[tuple[bytes, bytes]]
    found: bool = False

    def children(self) -> Iterator[tuple[Entry, bytes]]:
        for name, value in self.rows:
            yield decode(value), self.path + b"/" + name if self.path else name
