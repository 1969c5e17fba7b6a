"""Saving: how a desktop saves a document in several requests, and how that comes to one change of the present.

Three habits. An empty upload comes first, and the bytes under a lock later: until then versions leave the name as it was. A new
file is moved over the document: it becomes the document, with the owner, mode, attributes, properties and locks of that. Or the
document is moved aside first: then what takes its name a moment later does, and versions leave the name as it was meanwhile.

What this is not: anything that hides a change; all of it is there at once for everybody who looks at the present. What is
remembered here is in memory and bounded: with a restart a dance under way is a row of plain renames. What versions leave out is
in the journal (``LiveTree.withhold``).

Always true: a name is left out of versions only until something else happens to it, its lock ends, or the time is over.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from mimeifs.errors import IntegrityError
from mimeifs.model import relocating
from mimeifs.model.acl import ACCESS, Xattrs
from mimeifs.model.entry import Kind, decode, encode_xattrs
from mimeifs.model.inode import NO_TOUCH, WHOLE, XATTR_MAX, Inode
from mimeifs.model.live import Live
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.live_moves import existing
from mimeifs.model.locking import Locks
from mimeifs.model.node import Node
from mimeifs.model.properties import PROPERTIES, encode_properties, properties_in
from mimeifs.model.relocating import More
from mimeifs.store import prolly

SECOND = 10**9
FRESH_NS = 600 * SECOND
"""How long after its upload a new file may still become the document that it is moved over."""
BESIDE_NS = 60 * SECOND
"""How long after its upload a new file makes a rename beside it a part of saving."""
LEFT_NS = 15 * SECOND
"""How long a name that was left remembers what was there, as on NTFS."""
EMPTY_NS = 10 * SECOND
"""How soon after an empty upload its lock must come."""
REMEMBERED = 1024
MAX_WITHHELD = 256
_CAPABILITY = b"security.capability"
_SET_IDS = 0o6000


@dataclass(frozen=True, slots=True)
class Kept:
    """What a document keeps when its bytes are replaced. ``ino`` is the number of the inode that it was."""

    ino: int
    mode: int
    uid: int
    gid: int
    xattrs: Xattrs


def kept_of(file: LiveFile) -> Kept:
    """What stays of a file, as a write leaves it; may raise ``Cold``."""
    file.refresh()
    xattrs = tuple(pair for pair in file.all_xattrs() if pair[0] not in (_CAPABILITY, WHOLE))
    return Kept(file.ino, file.mode & ~_SET_IDS, file.uid, file.gid, xattrs)


def _leaving(file: LiveFile | None) -> Kept | None:
    """What a name is to remember of a file that leaves it; damage to its attributes must not keep it there."""
    with suppress(IntegrityError):
        return None if file is None else kept_of(file)
    return None


def inherited(kept: Kept, file: LiveFile) -> Xattrs:
    """Attributes of a file that becomes a document: those of the document, and over them those it has itself; the access
    control list is the document's."""
    own = file.all_xattrs()
    merged = dict(kept.xattrs) | {name: value for name, value in own if name != ACCESS}
    properties = properties_in(kept.xattrs) | properties_in(own)
    if properties:
        merged[PROPERTIES] = encode_properties(properties)
    xattrs = tuple(sorted(merged.items()))
    return xattrs if len(encode_xattrs(xattrs)) <= XATTR_MAX else own


class Saving:
    """What was uploaded and moved aside on one node a moment ago."""

    def __init__(self, live: Live, locks: Locks) -> None:
        self._live = live
        self._locks = locks
        self._fresh: OrderedDict[int, int] = OrderedDict()
        self._left: OrderedDict[tuple[int, bytes], tuple[Kept, int]] = OrderedDict()
        """What left a name, and when; oldest first."""

    # Names that versions leave as they were

    def withheld(self, node: Node | None) -> int:
        """Until when versions leave out what happened to the name of a file; 0 where they do not."""
        if not isinstance(node, LiveFile) or node.parent is None or not node.tree.withheld:
            return 0
        until_ns = node.tree.withheld.get((node.parent.number, node.name), 0)
        return until_ns if until_ns > self._live.now_ns() else 0

    def may_withhold(self, parent: Node | None, name: bytes) -> bool:
        """Whether versions could leave a name as it was: it was a file of one name there, or nothing. Hard links and
        directories are counted elsewhere in a version. May raise ``Cold``."""
        if not isinstance(parent, LiveDir):
            return False
        tree = parent.tree
        if tree.cut_at >= self._live.position or len(tree.withheld) >= MAX_WITHHELD:
            return (parent.number, name) in tree.withheld
        parent.refresh()
        row = None if parent.base == prolly.EMPTY_ROOT else prolly.get(self._live.blobs, parent.base, name)
        return row is None or decode(row).kind is Kind.FILE

    def withhold(self, file: LiveFile, until_ns: int) -> None:
        """Have versions leave the name of a file without bytes as it was until then, or until anything happens to it; see
        :meth:`may_withhold`."""
        tree, parent = file.tree, file.parent
        if file.size or file.link_id or parent is None or not until_ns:
            return
        file.stamp(self._live.append(tree.mark(parent.number, file.name) + tree.withhold(parent.number, file.name, until_ns)))
        file.marked = NO_TOUCH  # So that the next change, whoever makes it, is noted as one.

    def awaited_until(self, file: LiveFile, hold_s: int) -> int:
        """Until when bytes are awaited for a name to which none came: for as long as it is locked, and for ``hold_s``."""
        locked = max((row.expires_ns for row in self._locks.on(file)), default=0)
        return max(locked, self._live.now_ns() + hold_s * SECOND if hold_s else 0)

    def awaits(self, node: Node | None) -> bool:
        """Whether a lock on a file means that its bytes are still to come. May raise ``Cold``."""
        if not isinstance(node, LiveFile) or node.size:
            return False
        recent = self._age(node) < EMPTY_NS and self.may_withhold(node.parent, node.name)
        return recent or bool(self.withheld(node))

    def unlocked(self, node: Node | None) -> None:
        """A lock was given back: with the last one it is clear that no bytes come."""
        if isinstance(node, LiveFile) and node.parent is not None and self.withheld(node) and not self._locks.on(node):
            node.stamp(self._live.append(node.tree.mark(node.parent.number, node.name)))

    # New files, and documents that step aside

    def uploaded(self, file: LiveFile, old: Node | None) -> None:
        """A file came in place of another, or of nothing: then it is new, and so is what replaces it."""
        if old is not None and old.ino not in self._fresh:
            return
        self._fresh[file.ino] = self._live.now_ns() if old is None else self._fresh[old.ino]
        if len(self._fresh) > REMEMBERED:
            self._fresh.popitem(last=False)

    def _age(self, node: Node) -> int:
        made_ns = self._fresh.get(node.ino)
        return FRESH_NS if made_ns is None else self._live.now_ns() - made_ns

    def remove(self, parent: LiveDir, name: bytes, hold_s: int, more: More) -> None:
        """Take a name away, with all that is below; see :meth:`rename`."""
        inode = parent.child(name)
        file = inode if isinstance(inode, LiveFile) and not inode.link_id else None
        leaves, stepped = _leaving(file), self._stepped(file, parent, name, hold_s)
        relocating.remove(parent, name, lambda ino: [*more(ino), *stepped()])
        if leaves is not None:
            self._leave(parent, name, leaves)

    def rename(self, above: LiveDir, name: bytes, parent: LiveDir, new_name: bytes, hold_s: int) -> None:
        """Move an entry within its MiMei, over what is there; raises as ``relocating.rehang`` does. Versions show a document
        that is moved aside where it was for ``hold_s``."""
        inode, old = above.child(name), existing(parent, new_name)
        file = inode if isinstance(inode, LiveFile) and not inode.link_id else None
        kept = None if file is None else self._taken_after(file, parent, new_name, old)
        leaves = _leaving(file) if old is None else None
        become = partial(self._become, file, kept, inherited(kept, file)) if file is not None and kept is not None else None
        inherits_locks = kept is not None and not self._locks.on(inode)
        is_near = parent is above or parent.parent is above
        stepped = self._stepped(file, above, name, hold_s if is_near else 0)

        def more(ino: int) -> list[bytes]:
            locks = self._locks.carried(old.ino, ino) if old is not None and inherits_locks else []
            return [*locks, *self._locks.filled(parent.ino, new_name, ino), *stepped()]

        relocating.rehang(above, name, parent, new_name, more, become)
        if kept is not None:
            del self._fresh[inode.ino]  # From now on it is the document.
        elif leaves is not None:
            self._leave(above, name, leaves)

    def _leave(self, parent: LiveDir, name: bytes, leaves: Kept) -> None:
        self._left.pop((parent.ino, name), None)
        self._left[parent.ino, name] = leaves, self._live.now_ns()
        if len(self._left) > REMEMBERED:
            self._left.popitem(last=False)

    def _taken_after(self, file: LiveFile, parent: LiveDir, name: bytes, old: Inode | None) -> Kept | None:
        """The document that a new file becomes by moving to a name; None for a plain move. May raise ``Cold``."""
        if self._age(file) >= FRESH_NS:
            return None
        if old is not None:
            return kept_of(old) if isinstance(old, LiveFile) and old is not file else None
        kept, at_ns = self._left.get((parent.ino, name), (None, 0))
        return kept if at_ns + LEFT_NS > self._live.now_ns() else None

    def _become(self, file: LiveFile, kept: Kept, xattrs: Xattrs) -> None:
        """Give a file what the document has, with the next frame."""
        before = file.mode, file.uid, file.gid, file.xattrs, file.xattr_blob
        file.mode, file.uid, file.gid, file.xattrs, file.xattr_blob = kept.mode, kept.uid, kept.gid, xattrs, None

        def undo() -> None:
            file.mode, file.uid, file.gid, file.xattrs, file.xattr_blob = before

        self._live.prepare(undo=undo)

    def _stepped(self, file: LiveFile | None, parent: LiveDir, name: bytes, hold_s: int) -> Callable[[], list[bytes]]:
        """Operations at the end of the frame that takes a document away, after which versions still show it where it was: if
        what will take its name, the newer of the two, lies beside it. May raise ``Cold``."""
        newer_than_ns = BESIDE_NS if file is None else min(self._age(file), BESIDE_NS)
        if not hold_s or file is None or self._stepped_before(file):
            return list
        beside = any(self._is_beside(ino, parent, newer_than_ns) for ino in self._fresh)
        if not beside or not self.may_withhold(parent, name):
            return list
        return lambda: [parent.tree.withhold(parent.number, name, self._live.now_ns() + hold_s * SECOND)]

    def _stepped_before(self, file: LiveFile) -> bool:
        """Whether a file was moved aside itself a moment ago: then it is what is left of a document."""
        since_ns = self._live.now_ns() - LEFT_NS
        return any(at_ns > since_ns and kept.ino == file.ino for kept, at_ns in self._left.values())

    def _is_beside(self, ino: int, parent: LiveDir, newer_than_ns: int) -> bool:
        node = self._live.nodes.get(ino)
        if not isinstance(node, LiveFile) or not node.nlink or self._age(node) >= newer_than_ns:
            return False
        return node.parent is parent or (node.parent is not None and node.parent.parent is parent)
