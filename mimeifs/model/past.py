"""Versions as directories: read-only nodes over prolly maps, made when asked for and forgotten without a trace.

Inode numbers need no memory: a number is the top bit, 39 bits for a directory and 24 bits for the rank of the name in
it (all ones is the directory itself). A directory has two such 39-bit numbers: its *identity*, a keyed hash down from
the version's root digest, under which its files are numbered wherever they are seen; and its *place*, hashed down from
where it is shown, because Linux gives a directory one place and ``@last`` and ``@5`` may be the same version. Ranks
never change, since versions never do.

Always true: a directory is in the registry as long as the kernel knows it or a file in it; two known directories never
share a number (a collision takes the next free one). ``Cold`` may come from any call.
"""

from collections.abc import Callable, Iterator

import msgspec
from blake3 import blake3

from mimeifs.errors import CrossTreeError, IntegrityError, IsADirError, NotADirError, NotFoundError, ReadOnlyError
from mimeifs.ids import BlobId, MimeiId, RecordId
from mimeifs.model.entry import FILE_TYPE, Entry, Kind, Link, TreeRoot, decode, decode_linked, decode_xattrs
from mimeifs.model.node import Handle, Node, Stat, check_name
from mimeifs.store import content, prolly
from mimeifs.store.content import EMPTY, ContentRef
from mimeifs.store.database import U64
from mimeifs.store.interfaces import BlobSource, Buffer, ViewSource

PAST_BIT = 1 << 63
RANK_BITS = 24
_SELF = (1 << RANK_BITS) - 1
_SPACE = 1 << 39
_FILE = Kind.FILE
_REGULAR = FILE_TYPE[Kind.FILE]

ResolveLink = Callable[["PastDir", bytes, Link], Node | None]
"""What a link in a version shows; None for nothing."""


class Origin:
    """The version that a past node belongs to."""

    __slots__ = ("mimei", "number", "record", "time_ns", "tree", "writer")

    def __init__(self, mimei: MimeiId, number: int, record: RecordId, time_ns: int, writer: bytes, tree: TreeRoot) -> None:
        self.mimei = mimei
        self.number = number
        self.record = record
        self.time_ns = time_ns
        self.writer = writer
        self.tree = tree


class Past:
    """The registry of directories of versions, and the way from an inode number to a node."""

    def __init__(self, blobs: ViewSource, key: bytes, resolve_link: ResolveLink) -> None:
        self.blobs = blobs
        self.resolve_link = resolve_link
        self._key = key
        self._places: dict[int, PastDir] = {}
        self._identities: dict[int, PastDir] = {}

    def root(self, origin: Origin, map_root: BlobId, place: bytes) -> "PastDir":
        """A version's root directory as shown at ``place`` (any bytes that name where)."""
        identity = self.number(b"version" + map_root)
        return self._known(PastDir(self, origin, origin.tree.entry, b"", self.number(b"place" + place), identity))

    def number(self, *parts: bytes) -> int:
        """A 39-bit keyed hash."""
        return int.from_bytes(blake3(b"".join(parts), key=self._key).digest(length=8), "big") % _SPACE

    def known_child(self, parent: "PastDir", name: bytes, entry: Entry) -> "PastDir":
        """The directory node of an entry in ``parent``."""
        place = self.number(parent.place.to_bytes(8, "big"), name)
        identity = self.number(parent.identity.to_bytes(8, "big"), name)
        return self._known(PastDir(self, parent.origin, entry, parent.path_of(name), place, identity))

    def _known(self, made: "PastDir") -> "PastDir":
        while (known := self._places.get(made.place)) is not None:
            if known.same_as(made):
                return known
            made.place = (made.place + 1) % _SPACE
        made.ino = PAST_BIT | made.place << RANK_BITS | _SELF
        return made

    def hold(self, node: Node, count: int = 1) -> None:
        """The kernel has learned of ``node`` once more."""
        if isinstance(node, PastDir):
            node.lookups += count
            self._places[node.place] = node
        elif isinstance(node, PastLeaf):
            holder = node.holder
            holder.leaf_lookups += count
            self._identities[holder.identity] = holder

    def holder(self, directory: "PastDir") -> "PastDir":
        """The directory object under whose identity files are known, so that counts meet in one place."""
        while (known := self._identities.get(directory.identity)) is not None:
            if known.entry.root == directory.entry.root and known.path == directory.path:
                return known
            directory.identity = (directory.identity + 1) % _SPACE
        return directory

    def release(self, ino: int, count: int) -> None:
        """The kernel has forgotten ``count`` lookups."""
        number, rank = ino >> RANK_BITS & _SPACE - 1, ino & _SELF
        if rank == _SELF:
            place = self._places.get(number)
            if place is not None:
                place.lookups -= count
                if place.lookups <= 0:
                    del self._places[number]
            return
        holder = self._identities.get(number)
        if holder is not None:
            holder.leaf_lookups -= count
            if holder.leaf_lookups <= 0:
                del self._identities[number]

    def node(self, ino: int) -> Node:
        """The node of a number that the kernel holds; raises ``NotFoundError``."""
        number, rank = ino >> RANK_BITS & _SPACE - 1, ino & _SELF
        found = self._places.get(number) if rank == _SELF else self._identities.get(number)
        if found is None:
            raise NotFoundError("no such file or directory")
        return found if rank == _SELF else found.leaf_at(rank)

    def plain(self, ino: int) -> bool:
        """Whether what the kernel knows by that number is known to have no extended attributes, without looking at it:
        `ls -l` asks that of every file it has just been told of."""
        holder, rank = self._identities.get(ino >> RANK_BITS & _SPACE - 1), ino & _SELF
        return holder is not None and bool(ino & PAST_BIT) and holder.plain_from <= rank < holder.plain_to

    @property
    def known(self) -> int:
        """Directories held."""
        return len(self._places) + len(self._identities)


class PastDir(Node):
    """A directory of a version, at one place."""

    __slots__ = ("entry", "identity", "leaf_lookups", "origin", "past", "path", "place", "plain_from", "plain_to")

    immutable = True

    def __init__(self, past: Past, origin: Origin, entry: Entry, path: bytes, place: int, identity: int) -> None:
        super().__init__(0)
        self.past = past
        self.origin = origin
        self.entry = entry
        self.path = path
        self.place = place
        self.identity = identity
        self.leaf_lookups = 0
        self.plain_from = self.plain_to = 0

    def same_as(self, other: "PastDir") -> bool:
        """Whether both are one directory of one version."""
        return (self.origin.record, self.path, self.entry) == (other.origin.record, other.path, other.entry)

    def path_of(self, name: bytes) -> bytes:
        """Path of a child inside the version."""
        return self.path + b"/" + name if self.path else name

    def stat(self) -> Stat:
        """See ``Node``."""
        entry = self.entry
        atime = entry.mtime_ns if entry.atime_ns is None else entry.atime_ns
        mode, nlink = FILE_TYPE[Kind.DIRECTORY] | entry.mode, 2 + entry.totals.subdirs
        return Stat(self.ino, mode, nlink, entry.uid, entry.gid, 0, 0, atime, entry.mtime_ns, entry.ctime_ns)

    def lookup(self, name: bytes) -> Node:
        """See ``Node``."""
        check_name(name)
        found = prolly.find(self.past.blobs, self.entry.root, name)
        if found is None:
            raise NotFoundError("no such file or directory")
        return self._child(name, found[0], decode(found[1]))

    def _child(self, name: bytes, rank: int, entry: Entry) -> Node:
        kind = entry.kind
        if kind is _FILE:
            return PastLeaf(self.past.holder(self), rank, entry, 1, self.path_of(name))
        if kind is Kind.DIRECTORY:
            return self.past.known_child(self, name, entry)
        if kind is Kind.LINK and entry.link is not None:
            shown = self.past.resolve_link(self, name, entry.link)
            if shown is not None:
                return shown
            # Of what had no version yet nothing was kept, and what stands beside it is to be found all the same.
            return self.past.known_child(
                self, name, msgspec.structs.replace(entry, kind=Kind.DIRECTORY, link=None, root=prolly.EMPTY_ROOT)
            )
        if kind is Kind.HARD:
            return self._links().leaf_of(U64.pack(entry.link_id))
        return PastLeaf(self.past.holder(self), rank, entry, 1, self.path_of(name))

    def _links(self) -> "PastLinks":
        past, origin = self.past, self.origin
        identity = past.number(b"links", origin.tree.links)
        return PastLinks(past, origin, Entry(Kind.DIRECTORY, root=origin.tree.links), b"\0links", identity, identity)

    def leaf_at(self, rank: int) -> Node:
        """The file of that rank; raises ``NotFoundError``."""
        try:
            name, value = prolly.at(self.past.blobs, self.entry.root, rank)
        except IndexError:
            raise NotFoundError("no such file or directory") from None
        return self._child(name, rank, decode(value))

    def scan(self, after: bytes) -> Iterator[tuple[bytes, Node]]:
        """See ``Node``."""
        found = prolly.find(self.past.blobs, self.entry.root, after) if after else None
        first = 0 if found is None else found[0] + 1
        for rank, name, node in self.scan_from(first):
            if found is not None or name > after or not after:
                yield name, node
            del rank

    def scan_from(self, first: int) -> Iterator[tuple[int, bytes, Node]]:
        """Rank, name and node from that rank on."""
        holder, above = self.past.holder(self), self.path_of(b"")
        for rank, (name, value) in enumerate(prolly.scan_from(self.past.blobs, self.entry.root, first), first):
            entry = decode(value)
            if not entry.xattrs and entry.xattr_blob is None:
                holder.plain_from = holder.plain_from if rank == holder.plain_to else rank
                holder.plain_to = rank + 1
            is_file = entry.kind is _FILE
            yield rank, name, PastLeaf(holder, rank, entry, 1, above + name) if is_file else self._child(name, rank, entry)

    def get_xattr(self, name: bytes) -> bytes:
        """See ``Node``."""
        return (
            xattr_of(self.past.blobs, self.entry, name)
            if self.entry.xattrs or self.entry.xattr_blob
            else super().get_xattr(name)
        )

    def list_xattrs(self) -> list[bytes]:
        """See ``Node``."""
        return [name for name, _ in xattrs_of(self.past.blobs, self.entry)]

    def rename(self, name: bytes, target: Node, new_name: bytes, flags: int) -> None:
        """See ``Node``; refused either way."""
        if isinstance(target, PastDir) and target.origin.record == self.origin.record:
            raise self._refusal()
        raise CrossTreeError("a version keeps what it has; copy out of it")

    def open(self, *, writing: bool) -> Handle:
        """See ``Node``."""
        raise IsADirError("is a directory")


class PastLinks(PastDir):
    """A version's link map, seen as the directory that numbers its hard-linked files."""

    __slots__ = ()

    def leaf_of(self, link: bytes) -> Node:
        """The hard-linked file of that link number."""
        found = prolly.find(self.past.blobs, self.entry.root, link)
        if found is None:
            raise IntegrityError("a version names a hard-linked file that its link map does not hold")
        return self._leaf(found[0], found[1])

    def leaf_at(self, rank: int) -> Node:
        """See ``PastDir``."""
        return self._leaf(rank, prolly.at(self.past.blobs, self.entry.root, rank)[1])

    def _leaf(self, rank: int, value: bytes) -> Node:
        linked = decode_linked(value)
        return PastLeaf(self.past.holder(self), rank, linked.entry, linked.nlink, b"")


class PastLeaf(Node):
    """Anything of a version that is no directory; made for one call, and its own handle."""

    __slots__ = ("entry", "holder", "nlink", "path", "rank")

    immutable = True

    def __init__(self, holder: PastDir, rank: int, entry: Entry, nlink: int, path: bytes) -> None:
        super().__init__(PAST_BIT | holder.identity << RANK_BITS | rank)
        self.holder = holder
        self.rank = rank
        self.entry = entry
        self.nlink = nlink
        self.path = path

    @property
    def origin(self) -> Origin:
        """The version it belongs to."""
        return self.holder.origin

    def stat(self) -> Stat:
        """See ``Node``."""
        entry = self.entry
        kind = entry.kind
        size = entry.size if kind is _FILE or kind is not Kind.SYMLINK else len(entry.target)
        atime = entry.mtime_ns if entry.atime_ns is None else entry.atime_ns
        mode = (_REGULAR if kind is _FILE else FILE_TYPE[kind]) | entry.mode
        return Stat(self.ino, mode, self.nlink, entry.uid, entry.gid, entry.rdev, size, atime, entry.mtime_ns, entry.ctime_ns)

    def lookup(self, name: bytes) -> Node:
        """See ``Node``."""
        raise NotADirError("not a directory")

    def readlink(self) -> bytes:
        """See ``Node``."""
        return self.entry.target if self.entry.kind is Kind.SYMLINK else super().readlink()

    def open(self, *, writing: bool) -> "PastHandle":
        """See ``Node``."""
        if writing:
            raise ReadOnlyError("versions are read-only; work in @cur")
        return PastHandle(self.holder.past.blobs, self.entry.content)

    def get_xattr(self, name: bytes) -> bytes:
        """See ``Node``."""
        return xattr_of(self.holder.past.blobs, self.entry, name)

    def list_xattrs(self) -> list[bytes]:
        """See ``Node``."""
        return [name for name, _ in xattrs_of(self.holder.past.blobs, self.entry)]


class PastHandle:
    """An open file of a version."""

    __slots__ = ("_blobs", "_reader", "content")

    def __init__(self, blobs: ViewSource, ref: ContentRef) -> None:
        self._blobs = blobs
        self._reader = content.Reader()
        self.content = ref

    def read(self, offset: int, size: int) -> Buffer:
        """See ``Handle``; may raise ``Cold``."""
        if self.content == EMPTY:
            return b""
        return self._reader.view(self._blobs, self.content, offset, size)

    def write(self, offset: int, data: bytes) -> int:
        """See ``Handle``."""
        raise ReadOnlyError("versions are read-only; work in @cur")

    def close(self) -> None:
        """See ``Handle``."""


def xattrs_of(blobs: BlobSource, entry: Entry) -> tuple[tuple[bytes, bytes], ...]:
    """Every extended attribute of an entry."""
    return entry.xattrs if entry.xattr_blob is None else decode_xattrs(blobs.get(entry.xattr_blob))


def xattr_of(blobs: BlobSource, entry: Entry, name: bytes) -> bytes:
    """One extended attribute of an entry; raises ``NoAttributeError``."""
    for key, value in xattrs_of(blobs, entry):
        if key == name:
            return value
    return Node(0).get_xattr(name)
