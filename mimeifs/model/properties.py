"""What surfaces other than FUSE keep with an inode: attributes in a namespace of their own, which no mount shows.

They are extended attributes like any others, so versions, copies, restores and comparisons have them. ``PROPERTIES`` holds the
dead properties of WebDAV, ``BIRTH`` a creation time that somebody set, ``WHOLE`` the digest of all the bytes of a file that
came in one piece and is too long to be one blob: it is dropped with the first write in place. Format page:
``docs/format/tree.md``.
"""

import struct
from collections.abc import Mapping

from mimeifs.codec import Reader, put_bytes, put_text, put_uint
from mimeifs.errors import InvalidError, TooLargeError
from mimeifs.model.acl import Xattrs
from mimeifs.model.inode import WHOLE, XATTR_MAX, Inode
from mimeifs.model.node import Node
from mimeifs.model.past import PastDir, PastLeaf, xattrs_of

RESERVED = b"mimei."
"""No mount lists or takes names that begin like this."""
PROPERTIES = b"mimei.properties"
BIRTH = b"mimei.birth"
NAME_MAX = 4096
_I64 = struct.Struct(">q")


def encode_properties(properties: Mapping[str, bytes]) -> bytes:
    """A count, then names and values, by name."""
    out = bytearray()
    put_uint(out, len(properties))
    for name, value in sorted(properties.items()):
        put_text(out, name)
        put_bytes(out, value)
    return bytes(out)


def decode_properties(data: bytes) -> dict[str, bytes]:
    """Inverse of :func:`encode_properties`; raises ``IntegrityError``."""
    reader = Reader(data)
    found = {reader.text(NAME_MAX): reader.field(XATTR_MAX) for _ in range(reader.uint())}
    reader.done()
    return found


def kept_with(node: Node) -> Xattrs:
    """Every attribute of a node, reserved ones too; may raise ``Cold``."""
    if isinstance(node, Inode):
        return node.all_xattrs()
    if isinstance(node, PastDir):
        return xattrs_of(node.past.blobs, node.entry)
    if isinstance(node, PastLeaf):
        return xattrs_of(node.holder.past.blobs, node.entry)
    return ()


def properties_in(xattrs: Xattrs) -> dict[str, bytes]:
    """The dead properties among attributes."""
    return next((decode_properties(value) for name, value in xattrs if name == PROPERTIES), {})


def birth_in(xattrs: Xattrs) -> int | None:
    """The time of creation that was set, if one was."""
    return next((_I64.unpack(value)[0] for name, value in xattrs if name == BIRTH and len(value) == _I64.size), None)


def whole_in(xattrs: Xattrs) -> bytes:
    """The digest of all bytes of a file, or nothing."""
    return next((value for name, value in xattrs if name == WHOLE), b"")


def with_whole(xattrs: Xattrs, digest: bytes) -> Xattrs:
    """The attributes with another digest of all bytes, or none."""
    others = tuple(pair for pair in xattrs if pair[0] != WHOLE)
    return tuple(sorted((*others, (WHOLE, digest)))) if digest else others


def patched(xattrs: Xattrs, properties: Mapping[str, bytes | None], birth_ns: int | None) -> Xattrs:
    """The attributes after dead properties were set or (None) removed, and a time of creation set where one is given."""
    known = properties_in(xattrs)
    for name, value in properties.items():
        if not 0 < len(name.encode(errors="surrogatepass")) <= NAME_MAX or not _is_text(name):
            raise InvalidError(f"the name of a property is text of 1 to {NAME_MAX} bytes")
        if value is None:
            known.pop(name, None)
        else:
            known[name] = value
    changed = dict(xattrs)
    changed.pop(PROPERTIES, None)
    if known:
        changed[PROPERTIES] = encode_properties(known)
    if birth_ns is not None:
        changed[BIRTH] = _I64.pack(max(-(1 << 63), min(birth_ns, (1 << 63) - 1)))
    if len(changed.get(PROPERTIES, b"")) > XATTR_MAX:
        raise TooLargeError(f"the properties of one resource have at most {XATTR_MAX} bytes together")
    return tuple(sorted(changed.items()))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def patch(inode: Inode, properties: Mapping[str, bytes | None], mtime_ns: int | None, birth_ns: int | None) -> None:
    """Change properties and times in one step."""
    xattrs = patched(inode.all_xattrs(), properties, birth_ns) if properties or birth_ns is not None else None
    inode.replace_xattrs(inode.all_xattrs() if xattrs is None else xattrs, inode.mode, mtime_ns)
