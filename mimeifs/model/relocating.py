"""Removing, moving and copying whole trees, each in one step.

Within a MiMei a move hangs an entry elsewhere. A copy puts the digest of what is there in another place, whatever it holds; of
a directory that changed since its maps were made these are made first, by the keeper and without a version, which is
:class:`Later` for the caller. A move to another MiMei is a copy and a removal in one frame. A directory that comes to stand in
the root becomes a MiMei, as one made there does.

Always true: each is one frame of the journal, whole or not there after a crash; what raises, ``Later`` too, has changed nothing
that anybody sees; open files keep what they hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from mimeifs.errors import ConflictError, ForbiddenError, TooLargeError
from mimeifs.ids import BlobId
from mimeifs.model import resting
from mimeifs.model.entry import Entry, Kind, Link, TreeRoot, View
from mimeifs.model.grafting import Graft, linked_rows, plan_of
from mimeifs.model.inode import Inode
from mimeifs.model.live import LiveTree
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.live_moves import arrived, existing, settle
from mimeifs.model.mimeis import Mimeis
from mimeifs.model.node import Node, Who
from mimeifs.model.past import PastDir, PastLeaf
from mimeifs.model.readings import clone_ops, copy_of
from mimeifs.model.retiring import Leaving
from mimeifs.model.transplant import linked_ops
from mimeifs.model.views import MimeiDir, RootDir
from mimeifs.store import prolly
from mimeifs.store.overlay import Totals

T = TypeVar("T")
ROUNDS = 8
"""How often a directory may change while its maps are being made before the caller is told to try again."""

_SET_IDS = 0o6000
More = Callable[[int], Sequence[bytes]]
"""Operations for the same frame, from the number of the inode that then stands there; 0 where it is gone."""


def nothing_more(_ino: int) -> Sequence[bytes]:
    """No other operations."""
    return ()


def remove(parent: LiveDir, name: bytes, more: More = nothing_more) -> None:
    """Take a name away, with all that is below."""
    live, inode = parent.tree.live, parent.child(name)
    leaving = Leaving(parent, name, inode)
    now = live.now_ns()
    ops = [*_removal(parent, name, leaving, now), *more(0)]
    at = _whole(lambda: live.append(b"".join(ops)))
    _removed(parent, name, leaving, at, now)


def _removal(parent: LiveDir, name: bytes, leaving: Leaving, now: int) -> list[bytes]:
    ops, number = parent.materialise()
    gone = [parent.gone(name), parent.tree.mark(number, name), parent.touch_at(now, -leaving.subdirs)]
    return [*ops, *gone, *leaving.ops(now)]


def _removed(parent: LiveDir, name: bytes, leaving: Leaving, at: int, now: int) -> None:
    live = parent.tree.live
    parent.drop(name, at)
    leaving.done(at)
    parent.changed(at, now, -leaving.subdirs)
    live.invalidate(parent.ino, name)
    live.outdate(parent)
    if leaving.inode.nlink:
        live.outdate(leaving.inode)


def rehang(
    source: LiveDir,
    name: bytes,
    target: LiveDir,
    new_name: bytes,
    more: More = nothing_more,
    altered: Callable[[], None] | None = None,
) -> None:
    """Move an entry within its MiMei, over whatever is at the new name; ``altered`` gives its inode what else is to change."""
    live, inode, old = source.tree.live, source.child(name), existing(target, new_name)
    _check_apart(inode, old, target)
    if old is inode:
        raise ForbiddenError("both names are one file: remove one of them")
    if source is not target and old is None:
        target.allow(inode.kind)
    leaving = None if old is None else Leaving(target, new_name, old)
    inode.refresh()
    now = live.now_ns()
    moving, fewer = int(inode.kind is Kind.DIRECTORY), leaving.subdirs if leaving else 0
    ops, from_number = source.materialise()
    above, to_number = target.materialise()
    marks = [source.tree.mark(from_number, name), source.tree.mark(to_number, new_name)]
    ops += [*above, *(leaving.ops(now) if leaving else ()), source.gone(name), *marks]
    if altered is not None:
        altered()
    ops += [*live.free_place((source.seed, name)), *settle(inode, target, new_name, now)]
    change = [(source, -fewer)] if source is target else [(source, -moving), (target, moving - fewer)]
    ops += [directory.touch_at(now, subdirs) for directory, subdirs in change]
    at = _whole(lambda: live.append(b"".join([*ops, *more(inode.ino)])))
    if leaving is not None:
        leaving.done(at)
    source.drop(name, at)
    arrived(inode, target, new_name, at)
    for directory, subdirs in change:
        directory.changed(at, now, subdirs)
        live.outdate(directory)
    live.outdate(inode)
    live.invalidate(source.ino, name)
    live.invalidate(target.ino, new_name)


def _check_apart(inode: Inode, old: Inode | None, target: LiveDir) -> None:
    """Raise where one of the two places is inside the other."""
    at: Inode | None = target
    while at is not None:
        if at is inode:
            raise ForbiddenError("a directory cannot go into itself")
        at = at.parent
    at = inode
    while at is not None:
        if at is old and old is not inode:
            raise ForbiddenError("what would be replaced holds what would replace it")
        at = at.parent


@dataclass(frozen=True, slots=True)
class Stock:
    """What is to be put in another place: an entry, the map that its hard links are in, and where it is from; ``live`` is a
    file that the entry cannot name because it is not sealed."""

    entry: Entry
    links: BlobId
    nests: bool
    live: LiveFile | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a move begins."""

    parent: LiveDir
    name: bytes
    leaving: Leaving


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is to stand. ``who`` owns it, None as before; ``view`` is how the root shows what becomes a MiMei;
    ``origin`` is what a move takes away in the same frame."""

    parent: LiveDir
    name: bytes
    who: Who | None
    view: View = View.CUR
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """A directory whose maps were made with the frame at ``at``, and how often that may be done again."""

    directory: LiveDir | None
    at: int
    rounds: int


NOT_FOLDED = Folded(None, -1, ROUNDS)


class Relocating:
    """Copies between the places of one node, and moves from one of its MiMeis to another."""

    def __init__(self, mimeis: Mimeis) -> None:
        self._mimeis = mimeis
        self._live = mimeis.live

    # What is to be copied

    def stock(self, node: Node, folded: Folded, again: Callable[[Folded], T]) -> Stock:
        """What ``node`` is and holds. Where its maps have to be made first, :class:`Later`, which ends with ``again``."""
        if isinstance(node, PastDir | PastLeaf):
            return Stock(node.entry, node.origin.tree.links, self._mimeis.nests(node.origin.mimei))
        if isinstance(node, MimeiDir):
            node = self._mimeis.tree(node.mimei).root
        if not isinstance(node, Inode):
            raise ForbiddenError("this is only a view and cannot be copied")
        if isinstance(node, LiveDir):
            return self._directory(node, folded, again)
        node.refresh()
        entry = node.entry()
        if not isinstance(node, LiveFile):
            return Stock(entry, prolly.EMPTY_ROOT, node.tree.nests)
        content = node.sealed()
        if content is None:
            return Stock(entry, prolly.EMPTY_ROOT, nests=False, live=node)
        return Stock(msgspec.structs.replace(entry, content=content, size=content.size, live=0), prolly.EMPTY_ROOT, nests=False)

    def emptied(self, node: Node) -> Stock:
        """What ``node`` is, without what it holds if it is a directory."""
        if isinstance(node, MimeiDir):
            node = self._mimeis.tree(node.mimei).root
        entry = node.entry() if isinstance(node, LiveDir) else node.entry if isinstance(node, PastDir) else None
        if entry is None:
            return self.stock(node, NOT_FOLDED, _never)
        bare = msgspec.structs.replace(entry, live=0, root=prolly.EMPTY_ROOT, totals=Totals(), size=0)
        return Stock(bare, prolly.EMPTY_ROOT, nests=False)

    def _directory(self, directory: LiveDir, folded: Folded, again: Callable[[Folded], T]) -> Stock:
        tree = directory.tree
        if resting.settled(directory) or (folded.directory is directory and resting.quiet_since(directory, folded.at)):
            return Stock(_resting(directory), resting.links_of(tree), tree.nests)
        if not folded.rounds:
            raise ConflictError("files in it are being written without a pause: stop the program that does, and try again")
        raise resting.fold(directory, lambda at: again(Folded(directory, at, folded.rounds - 1)))

    # Putting it in its place

    def put(self, stock: Stock, place: Place, more: More = nothing_more) -> None:
        """Put it in its place, over what is there."""
        entry, who, live = stock.entry, place.who, self._live
        now = live.now_ns()
        entry = msgspec.structs.replace(entry, ctime_ns=now)
        if who is not None:
            mode = entry.mode if entry.kind is Kind.DIRECTORY else entry.mode & ~_SET_IDS
            entry = msgspec.structs.replace(entry, uid=who.uid, gid=who.gid, mode=mode)
        root = place.parent
        if entry.kind is Kind.DIRECTORY and isinstance(root, RootDir) and not root.is_plain(place.name):
            self._put_mimei(replace(stock, entry=entry), place, now, more)
            return
        ready = None if stock.live is None else copy_of(stock.live, place.parent.tree, entry)
        graft = Graft(place.parent, [], place.name, entry if ready is None else ready.entry(), ready)
        graft.give_links(stock.links)
        nests = self._mimeis.nest_ops(place.parent.tree) if stock.nests else []
        cloned = [] if stock.live is None or ready is None else clone_ops(stock.live, ready)
        live.reserve(1024)
        ops = [*graft.ops(now), *nests, *cloned]
        ops += [*_departure_ops(place, now), *more(graft.arriving.ino)]
        at = _whole(lambda: live.append(b"".join(ops), grows=True))
        graft.done(at, now)
        _departed(place, at, now)

    def _put_mimei(self, stock: Stock, place: Place, now: int, more: More) -> None:
        """A directory becomes a new MiMei, linked in the root."""
        live, entry, mimeis = self._live, stock.entry, self._mimeis
        info = mimeis.info(place.name.decode(errors="replace"), "tree")
        mimei = info.record.mimei_id
        link = Entry(Kind.LINK, 0o755, entry.uid, entry.gid, now, now, link=Link(mimei, place.view))
        graft = Graft(place.parent, [], place.name, link)
        linked = linked_rows(live.blobs, stock.links, plan_of(live.blobs, entry))

        def rest(present: LiveTree) -> list[bytes]:
            nests = mimeis.nest_ops(present) if stock.nests else []
            ops = [*graft.ops(now), *linked_ops(present, linked), *nests]
            return [*ops, *_departure_ops(place, now), *more(mimeis.root_ino(mimei))]

        tree = _whole(lambda: mimeis.create(info, Who(entry.uid, entry.gid), TreeRoot(entry, prolly.EMPTY_ROOT), rest))
        tree.nests = tree.nests or stock.nests
        at = tree.root.touched
        graft.done(at, now)
        _departed(place, at, now)


def _never(_folded: Folded) -> None:
    """What is no directory is never folded."""


def _resting(directory: LiveDir) -> Entry:
    """The entry of a directory whose map says all that it holds."""
    known = directory.totals
    totals = Totals(known.files, known.size, directory.subdirs, known.links)
    return msgspec.structs.replace(directory.entry(), live=0, root=directory.base, totals=totals, size=totals.size)


def _departure_ops(place: Place, now: int) -> list[bytes]:
    origin = place.origin
    return [] if origin is None else _removal(origin.parent, origin.name, origin.leaving, now)


def _departed(place: Place, at: int, now: int) -> None:
    if place.origin is not None:
        _removed(place.origin.parent, place.origin.name, place.origin.leaving, at, now)


def _whole(append: Callable[[], T]) -> T:
    """Append a frame that may be too large for one."""
    try:
        return append()
    except ValueError:
        raise TooLargeError("it holds too many names of hard links for one step: take its directories one by one") from None
