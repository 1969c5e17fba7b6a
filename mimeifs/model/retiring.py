"""What happens to a live directory whose place is taken by something else, with all that is below it.

Only hard links, rows and what memory has are visited; the keeper prunes the rows. Files that somebody has open, mapped or
found stay as unlinked inodes with what they hold; a directory that the kernel still knows becomes an empty deleted one. Not
here: what takes the place (``grafting``, ``transplant``).

Always true: collecting may raise (``Cold``) and changes nothing; from :meth:`Retiring.ops` to the append nothing raises.
"""

from collections.abc import Iterable, Iterator

from mimeifs.errors import MimeiError
from mimeifs.model import state
from mimeifs.model.entry import Entry, Kind, decode
from mimeifs.model.inode import Inode
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.live_moves import lose_name
from mimeifs.model.orders import CallKind, PruneRequest
from mimeifs.store import operations, prolly
from mimeifs.store.database import U64, Table
from mimeifs.store.interfaces import BlobSource


def known_below(directory: LiveDir) -> dict[Inode, None]:
    """Inodes in memory below a directory, each once, those above first."""
    known: dict[Inode, None] = {}
    waiting = [directory]
    while waiting:
        children = [inode for inode in waiting.pop().children.values() if inode is not None]
        known.update(dict.fromkeys(children))
        waiting += [inode for inode in children if isinstance(inode, LiveDir)]
    return known


class Retiring:
    """A live directory about to go, with inodes that go with it, collected before anything changes.

    What costs a look at each inode in memory is kept to a few steps here, because the kernel may know a million of them.
    """

    def __init__(self, directory: LiveDir, others: Iterable[Inode]) -> None:
        self.directory = directory
        self._known = known_below(directory)
        self._known.update(dict.fromkeys(others))
        files = [inode for inode in self._known if isinstance(inode, LiveFile) and (inode.number or inode.handles)]
        self._busy = files
        """Files with rows of their own, or open; all others hold what is sealed, and no row says anything of them."""
        self._held = {inode for inode in files if _is_had(inode)}

    @property
    def open_files(self) -> int:
        """How many files below are open."""
        return sum(1 for inode in self._held if inode.handles)

    def ops(self, tree: int) -> list[bytes]:
        """Operations that spare files somebody has and drop all rows below, with those of hard links of ``tree`` if not 0."""
        number, live = self.directory.number, self.directory.tree.live
        ops: list[bytes] = []
        for inode in (self.directory, *self._known) if live.held else ():
            if inode.ino in live.held and (tree or not inode.link_id):
                ops += live.leaving(inode.ino)
        keep = []
        for file in self._busy:
            if file in self._held and file.number and (tree or not file.link_id):
                keep.append(file.number)
                ops += file.unlinked()
        if number:
            ops.append(operations.call(CallKind.PRUNE, state.encode(PruneRequest(number, tree, tuple(keep)))))
        return ops

    def done(self, at: int, tree: int) -> None:
        """Memory, once the frame of :meth:`ops` is at ``at``; hard-linked inodes go only with their ``tree``."""
        for file in self._busy:
            if file.number and file not in self._held and (tree or not file.link_id):
                file.dropped(at)
        for inode in self._known:
            if tree or not inode.link_id:
                detach(inode, at)
        detach(self.directory, at)


def _is_had(file: LiveFile) -> bool:
    """Whether somebody has a file open, mapped or found, and what it holds will be known. Damage hinders a restore only
    where the file is open."""
    try:
        if file.handles:
            file.refresh()
        elif file.lookups:
            file.part()
        else:
            return False
    except MimeiError:
        if file.handles:
            raise
        return False
    return True


def detach(inode: Inode, at: int) -> None:
    """Memory of an inode that lost its last name with the frame at ``at``."""
    live = inode.tree.live
    inode.nlink, inode.touched, inode.surface = 0, at, None
    if inode.handles:
        live.outdate(inode)
    if isinstance(inode, LiveDir):
        inode.empty_out()
    if not inode.lookups and not inode.handles and live.nodes.get(inode.ino) is inode:
        del live.nodes[inode.ino]


class LinkLosses:
    """The names of hard links below a live directory that goes: each costs its inode one name."""

    def __init__(self, directory: LiveDir) -> None:
        self._directory = directory
        self._names = list(_hard_names(directory))
        self.inodes = [directory.adopt_linked(name, link_id) for name, link_id in self._names]
        for inode in self.inodes:
            inode.refresh()

    def ops(self, now: int) -> list[bytes]:
        """Operations on the inodes."""
        ops: list[bytes] = []
        for (name, _), inode in zip(self._names, self.inodes, strict=True):
            ops += lose_name(self._directory, name, inode, now)
        return ops

    def done(self, at: int) -> None:
        """Memory, once the frame is at ``at``."""
        for inode in self.inodes:
            inode.tree.live.outdate(inode)
            if inode.nlink:
                inode.touched, inode.surface = at, None
            else:
                inode.tree.linked.pop(inode.link_id, None)
                detach(inode, at)


class Leaving:
    """What stands at a name, about to lose it to something else or for good, a directory with all that is below."""

    def __init__(self, parent: LiveDir, name: bytes, inode: Inode) -> None:
        self.inode = inode
        self._parent = parent
        self._name = name
        self.retiring = Retiring(inode, ()) if isinstance(inode, LiveDir) else None
        self._losses = LinkLosses(inode) if isinstance(inode, LiveDir) else None
        inode.refresh()

    @property
    def subdirs(self) -> int:
        """How many subdirectories fewer the parent has."""
        return int(self.retiring is not None)

    def ops(self, now: int) -> list[bytes]:
        """Operations on all but the name itself."""
        if self.retiring is None or self._losses is None:
            return lose_name(self._parent, self._name, self.inode, now)
        number = self._parent.tree.live.move_ino(self.inode.ino, (self._parent.seed, self._name), None)
        return [*self._losses.ops(now), *self.retiring.ops(0), *number]

    def done(self, at: int) -> None:
        """Memory, once the frame is at ``at``."""
        if self.retiring is not None and self._losses is not None:
            self._losses.done(at)
            self.retiring.done(at, 0)
            return
        inode = self.inode
        if inode.nlink:
            inode.touched, inode.surface = at, None
            inode.tree.live.outdate(inode)
            return
        if inode.link_id:
            inode.tree.linked.pop(inode.link_id, None)
        detach(inode, at)


def _hard_names(directory: LiveDir) -> Iterator[tuple[bytes, int]]:
    """Every name of a hard link below a live directory, with its link number; enters only what may hold one."""
    waiting: list[tuple[LiveDir | None, Entry]] = [(directory, directory.entry())]
    blobs = directory.tree.live.blobs
    while waiting:
        at, entry = waiting.pop()
        if at is None or not at.number:
            yield from _resting_names(blobs, entry, waiting)
            continue
        for name, inode, child in _changed_entries(at):
            if child.kind is Kind.HARD:
                yield name, child.link_id
            elif child.kind is Kind.DIRECTORY:
                below = at.made(name, child) if inode is None else inode
                waiting.append((below if isinstance(below, LiveDir) else None, child))


def _changed_entries(directory: LiveDir) -> Iterator[tuple[bytes, Inode | None, Entry]]:
    """Names of a directory with rows, without those of its base where that holds no hard link."""
    directory.refresh()
    if directory.totals.links:
        yield from directory.entries()
        return
    for name, inode in list(directory.children.items()):
        if inode is not None:
            yield name, inode, inode.named_entry()
    if not directory.complete:
        rows = directory.tree.live.database.scan(Table.ENTRIES, U64.pack(directory.number))
        for key, value in rows:
            if value and key[U64.size :] not in directory.children:
                yield key[U64.size :], None, decode(value)


def _resting_names(blobs: BlobSource, entry: Entry, waiting: list[tuple[LiveDir | None, Entry]]) -> Iterator[tuple[bytes, int]]:
    if not entry.totals.links:
        return
    for name, value in prolly.scan(blobs, entry.root):
        child = decode(value)
        if child.kind is Kind.HARD:
            yield name, child.link_id
        elif child.kind is Kind.DIRECTORY:
            waiting.append((None, child))
