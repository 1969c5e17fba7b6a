"""Tree entries: what a directory says of one name, and the root of a version, as they are encoded.

An :class:`Entry` is a value. In a version its content and subdirectories are digests; in the overlay they may instead be
local numbers (``live``), whose rows hold what changes often. Format page: ``docs/format/tree.md``.

Always true: encoding is canonical (one entry, one sequence of bytes); decoding hostile bytes raises ``IntegrityError``.
"""

import stat
import struct
from enum import IntEnum

import msgspec

from mimeifs.codec import Reader, put_bytes, put_uint
from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId, MimeiId, blob_id
from mimeifs.store.content import EMPTY, ContentKind, ContentRef
from mimeifs.store.overlay import Totals

INLINE_XATTRS = 1024
NO_BLOB = BlobId(bytes(32))


class Kind(IntEnum):
    """What an entry is."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    CHARACTER = 5
    BLOCK = 6
    SOCKET = 7
    LINK = 8
    """A MiMei, in this place."""
    HARD = 9
    """One of several names of an inode in the tree's link map."""


FILE_TYPE = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.SOCKET: stat.S_IFSOCK,
    Kind.LINK: stat.S_IFDIR,
}
"""The file type bits of st_mode; the inode behind HARD has its own."""


class View(IntEnum):
    """What a link to a MiMei shows."""

    ALL = 0
    """The directory of its versions."""
    CUR = 1
    """Its present."""
    VERSION = 2
    """One version, by the name in ``version``."""


class Link(msgspec.Struct, frozen=True):
    """Where a LINK entry leads."""

    mimei: MimeiId
    view: View
    version: str = ""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One name's inode. ``mode`` holds the permission bits (07777) only; ``live`` is a local number or 0.

    ``root`` and ``totals`` belong to directories, ``content`` to files, ``target`` to symbolic links, ``rdev`` to
    devices, ``link`` to LINK, ``link_id`` to HARD. ``atime_ns`` is set only by utimens, else None: then atime shows as
    mtime.
    """

    kind: Kind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    size: int = 0
    content: ContentRef = EMPTY
    root: BlobId = NO_BLOB
    totals: Totals = Totals()
    target: bytes = b""
    rdev: int = 0
    link: Link | None = None
    link_id: int = 0
    live: int = 0
    atime_ns: int | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    xattr_blob: BlobId | None = None


_HEAD = struct.Struct(">BBHIIqqQ")
_U64 = struct.Struct(">Q")
_I64 = struct.Struct(">q")
_HARD = struct.Struct(">BQ")
_DIR = struct.Struct(">32sQIQ")
_NLINK = struct.Struct(">I")
_MODE_MAX = 0o7777
_CHUNKS, _LIVE, _ATIME, _XATTRS, _XATTR_BLOB = 1, 2, 4, 8, 16


def encode(entry: Entry) -> bytes:
    """The canonical bytes of an entry."""
    kind = entry.kind
    if kind is Kind.HARD:
        return _HARD.pack(kind, entry.link_id)
    flags, size = 0, entry.size
    if entry.live:
        flags |= _LIVE
        body = _U64.pack(entry.live)
    elif kind is Kind.FILE:
        flags |= _CHUNKS if entry.content.kind is ContentKind.CHUNKS else 0
        size = entry.content.size
        body = entry.content.digest if size else b""
    else:
        size = entry.totals.size if kind is Kind.DIRECTORY else size
        body = _body(entry)
    if entry.atime_ns is not None:
        flags |= _ATIME
        body += _I64.pack(entry.atime_ns)
    if entry.xattr_blob is not None:
        flags |= _XATTR_BLOB
        body += entry.xattr_blob
    elif entry.xattrs:
        flags |= _XATTRS
        body += encode_xattrs(entry.xattrs)
    return _HEAD.pack(kind, flags, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.ctime_ns, size) + body


def _body(entry: Entry) -> bytes:
    out = bytearray()
    if entry.kind is Kind.DIRECTORY:
        out += _DIR.pack(entry.root, entry.totals.files, entry.totals.subdirs, entry.totals.links)
    elif entry.kind is Kind.SYMLINK:
        put_bytes(out, entry.target)
    elif entry.kind in (Kind.CHARACTER, Kind.BLOCK):
        put_uint(out, entry.rdev)
    elif entry.kind is Kind.LINK and entry.link is not None:
        out += entry.link.mimei
        put_uint(out, entry.link.view)
        put_bytes(out, entry.link.version.encode())
    return bytes(out)


def encode_xattrs(xattrs: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Extended attributes, sorted by name: a count, then names and values."""
    out = bytearray()
    put_uint(out, len(xattrs))
    for name, value in sorted(xattrs):
        put_bytes(out, name)
        put_bytes(out, value)
    return bytes(out)


def slim(entry: Entry) -> Entry:
    """The entry as versions have it: large extended attributes named by the digest of their encoding."""
    data = encode_xattrs(entry.xattrs) if entry.xattrs else b""
    if len(data) <= INLINE_XATTRS:
        return entry
    return msgspec.structs.replace(entry, xattrs=(), xattr_blob=blob_id(data))


def decode_xattrs(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Inverse of :func:`encode_xattrs`."""
    reader = Reader(data)
    found = _xattrs(reader)
    reader.done()
    return found


def _xattrs(reader: Reader) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((reader.field(255), reader.field(1 << 16)) for _ in range(reader.uint()))


def decode(data: bytes) -> Entry:
    """Inverse of :func:`encode`; raises ``IntegrityError`` for anything else."""
    try:
        if data[0] == _HARD_TAG:
            return Entry(Kind.HARD, link_id=_HARD.unpack(data)[1])
        tag, flags, mode, uid, gid, mtime, ctime, size = _HEAD.unpack_from(data)
        if mode > _MODE_MAX:
            raise IntegrityError("a directory entry has a mode that is none")
        kind = _KIND_OF[tag]
        if kind is _FILE and flags <= (_CHUNKS if size else 0) and len(data) == _HEAD.size + (32 if size else 0):
            content = ContentRef(_KINDS[flags], BlobId(data[_HEAD.size :]), size) if size else EMPTY
            return Entry(kind, mode, uid, gid, mtime, ctime, size, content)
        if kind is _DIRECTORY and flags == 0 and len(data) == _DIR_SIZE:
            root, files, subdirs, links = _DIR.unpack_from(data, _HEAD.size)
            totals = Totals(files, size, subdirs, links)
            return Entry(kind, mode, uid, gid, mtime, ctime, size, EMPTY, BlobId(root), totals)
        if flags == _LIVE and len(data) == _LIVE_SIZE and (kind is _FILE or kind is _DIRECTORY):
            live = _U64.unpack_from(data, _HEAD.size)[0]
            if live:
                return Entry(kind, mode, uid, gid, mtime, ctime, size, live=live)
        found = _decode_rest(data, Entry(kind, mode, uid, gid, mtime, ctime, size), flags)
    except (LookupError, struct.error, ValueError) as error:
        raise IntegrityError("a directory entry is damaged") from error
    if encode(found) != data:
        raise IntegrityError("a directory entry is not in its one form")
    return found


# Python 3.11 looks up members of an enumeration in Python code; a listing decodes an entry for every name.
_KIND_OF = {kind.value: kind for kind in Kind}
_FILE = Kind.FILE
_DIRECTORY = Kind.DIRECTORY
_LIVE_SIZE = _HEAD.size + _U64.size
_DIR_SIZE = _HEAD.size + _DIR.size
_HARD_TAG = Kind.HARD.value
_KINDS = {0: ContentKind.BLOB, _CHUNKS: ContentKind.CHUNKS}


def _decode_rest(data: bytes, head: Entry, flags: int) -> Entry:
    reader = Reader(data, _HEAD.size)
    changes: dict[str, object] = {}
    if flags & _LIVE:
        changes["live"] = _U64.unpack(reader.take(8))[0]
    elif head.kind is Kind.FILE:
        changes["content"] = ContentRef(_KINDS[flags & _CHUNKS], BlobId(reader.take(32)), head.size) if head.size else EMPTY
    elif head.kind is Kind.DIRECTORY:
        root, files, subdirs, links = _DIR.unpack(reader.take(_DIR.size))
        changes["root"] = BlobId(root)
        changes["totals"] = Totals(files, head.size, subdirs, links)
    elif head.kind is Kind.SYMLINK:
        changes["target"] = reader.field(4095)
    elif head.kind in (Kind.CHARACTER, Kind.BLOCK):
        changes["rdev"] = reader.uint()
    elif head.kind is Kind.LINK:
        changes["link"] = Link(MimeiId(reader.take(32)), View(reader.uint()), reader.text(255))
    if flags & _ATIME:
        changes["atime_ns"] = _I64.unpack(reader.take(8))[0]
    if flags & _XATTR_BLOB:
        changes["xattr_blob"] = BlobId(reader.take(32))
    elif flags & _XATTRS:
        changes["xattrs"] = _xattrs(reader)
    reader.done()
    return msgspec.structs.replace(head, **changes)


class LinkedInode(msgspec.Struct, frozen=True, gc=False):
    """An inode with several names: how many, and what it is."""

    nlink: int
    entry: Entry


def encode_linked(inode: LinkedInode) -> bytes:
    """Row of a link map."""
    return _NLINK.pack(inode.nlink) + encode(inode.entry)


def decode_linked(data: bytes) -> LinkedInode:
    """Inverse of :func:`encode_linked`."""
    if len(data) < _NLINK.size:
        raise IntegrityError("a linked inode is damaged")
    return LinkedInode(_NLINK.unpack_from(data)[0], decode(data[_NLINK.size :]))


class TreeRoot(msgspec.Struct, frozen=True):
    """What a version's root digest names: the root directory, the link map, and the totals of the linked inodes."""

    entry: Entry
    links: BlobId
    linked_files: int = 0
    linked_bytes: int = 0

    @property
    def files(self) -> int:
        """Files in the tree, each hard-linked one counted once."""
        return self.entry.totals.files + self.linked_files

    @property
    def size(self) -> int:
        """Bytes in the files of the tree."""
        return self.entry.totals.size + self.linked_bytes


_TREE_FORMAT = 1


def encode_tree(tree: TreeRoot) -> bytes:
    """The blob that a version's root digest names."""
    out = bytearray([_TREE_FORMAT])
    put_bytes(out, encode(tree.entry))
    out += tree.links
    put_uint(out, tree.linked_files)
    put_uint(out, tree.linked_bytes)
    return bytes(out)


def decode_tree(data: bytes) -> TreeRoot:
    """Inverse of :func:`encode_tree`."""
    if data[:1] != bytes([_TREE_FORMAT]):
        raise IntegrityError("a version's root is damaged, or of a format this program does not know")
    reader = Reader(data, 1)
    found = TreeRoot(decode(reader.field()), BlobId(reader.take(32)), reader.uint(), reader.uint())
    reader.done()
    return found
