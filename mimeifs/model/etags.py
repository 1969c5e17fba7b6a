"""Entity tags: what a resource is at this moment, in a few characters (RFC 9110, section 8.8.3).

Strong where the bytes have a digest, so the same content has the same tag wherever and whenever it is seen; weak, ``W/`` and a
count, for what is still changing: for a file, where in the journal its newest bytes lie, so that times and modes do not count.
Nothing is hashed here. A directory's tag is the digest of its map where that says all; else the journal position behind the
last change below it, which this process notes from the first time somebody asks: of two states no two have the same, and a
restart may change a tag though nothing else did.
"""

import zlib
from base64 import urlsafe_b64encode

from mimeifs.ids import BlobId
from mimeifs.model import state
from mimeifs.model.entry import Kind, TreeRoot
from mimeifs.model.live import LiveTree
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.node import Node
from mimeifs.model.past import PastDir, PastLeaf
from mimeifs.model.properties import kept_with, whole_in
from mimeifs.model.views import MimeiDir
from mimeifs.model.virtual import VirtualDir
from mimeifs.store.content import EMPTY, ContentRef
from mimeifs.store.database import Table

_DIGEST_BYTES = 18
"""A multiple of 3, so that base64 needs no padding, and of 2."""
NOTHING = "empty"
"""The tag of a file without bytes."""


def etag_of(node: Node) -> str:
    """The tag of any node; may raise ``Cold``."""
    if isinstance(node, LiveFile):
        return _live_file(node)
    if isinstance(node, PastLeaf) and node.entry.kind is Kind.FILE:
        return _content(node, node.entry.content)
    if isinstance(node, LiveDir):
        return _live_directory(node)
    if isinstance(node, PastDir):
        return _directory(node.entry.root, node.entry.totals.links, node.origin.tree)
    if isinstance(node, VirtualDir):
        return _virtual(node)
    return f"W/{node.stat().ctime_ns:x}"


def strong(*digests: bytes) -> str:
    """A tag of digests."""
    size = _DIGEST_BYTES // len(digests)
    return urlsafe_b64encode(b"".join([digest[:size] for digest in digests])).decode()


def _content(node: Node, content: ContentRef) -> str:
    whole = whole_in(kept_with(node))
    if content == EMPTY:
        return NOTHING
    return strong(whole or content.digest)


def _live_file(file: LiveFile) -> str:
    file.refresh()
    whole = file.whole or (whole_in(file.all_xattrs()) if file.xattrs or file.xattr_blob is not None else b"")
    if not file.size:
        return NOTHING
    if whole:
        return strong(whole)
    content = file.sealed()
    if content is not None:
        return strong(content.digest)
    written = file.extents.newest() if file.extents else -1
    return f"W/{written:x}-{file.size:x}" if written >= 0 else f"W/{strong(file.base.digest)}-{file.size:x}"


def _live_directory(directory: LiveDir) -> str:
    tree, live = directory.tree, directory.tree.live
    if not tree.nests:
        directory.refresh()
        settled = not tree.dirty and tree.cut_at < live.position
        if settled and directory.totals.links:
            return strong(directory.base, _links(tree))
        if settled or not (directory.number or directory.totals.links):
            return strong(directory.base)
    live.watched = True
    if not directory.stirred:
        directory.stirred = live.journal.position
    last = max(directory.stirred, tree.linked_stirred)
    return f"W/{max(last, live.loose_stirred) if tree.nests else last:x}"


def _links(tree: LiveTree) -> BlobId:
    row = tree.live.small_row(Table.TREES, state.tree_key(tree.number))
    return state.decode_tree(row or b"").links


def _directory(root: BlobId, links: int, tree: TreeRoot) -> str:
    return strong(root, tree.links) if links else strong(root)


def _virtual(node: VirtualDir) -> str:
    """Versions, labels and blanks come and go without a change of any inode: any change of the node may be one of theirs."""
    live = node.views.live
    blanks = [name for mimei, name in node.views.blanks if isinstance(node, MimeiDir) and mimei == node.mimei]
    return f"W/{live.journal.position:x}-{live.position:x}-{zlib.crc32(b'/'.join(sorted(blanks))):x}"
