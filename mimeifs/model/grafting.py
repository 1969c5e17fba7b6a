"""Putting what a version holds at a path into the present, in place of what is there.

A directory comes by its digest, whatever it holds. Only where it holds hard links are the directories with such names
given rows, so that the linked inodes get numbers of their own: two trees that share a link number are two files.

Always true: making a :class:`Graft` may raise (``Cold``) and changes nothing; from :meth:`Graft.ops` to the append
nothing raises.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from mimeifs.ids import BlobId
from mimeifs.model import state
from mimeifs.model.entry import Entry, Kind, LinkedInode, decode, decode_linked, encode, encode_linked
from mimeifs.model.inode import Inode
from mimeifs.model.live import LiveTree
from mimeifs.model.live_dir import LiveDir, make_inode
from mimeifs.model.live_moves import existing
from mimeifs.model.retiring import Leaving
from mimeifs.store import operations, prolly
from mimeifs.store.database import U64, Table
from mimeifs.store.interfaces import BlobSource
from mimeifs.store.overlay import DirRow, Totals


@dataclass(slots=True)
class Plan:
    """A directory that needs rows: its entry, the names of hard links in it, and the directories in it that need rows."""

    entry: Entry
    hard: dict[bytes, int] = field(default_factory=dict)
    below: dict[bytes, "Plan"] = field(default_factory=dict)


def plan_of(blobs: BlobSource, entry: Entry) -> Plan | None:
    """What of a version's directory needs rows; None for anything without hard links."""
    if entry.kind is not Kind.DIRECTORY or not entry.totals.links:
        return None
    top = Plan(entry)
    waiting = [top]
    while waiting:
        plan = waiting.pop()
        for name, value in prolly.scan(blobs, plan.entry.root):
            child = decode(value)
            if child.kind is Kind.HARD:
                plan.hard[name] = child.link_id
            elif child.kind is Kind.DIRECTORY and child.totals.links:
                plan.below[name] = Plan(child)
                waiting.append(plan.below[name])
    return top


def names_of(plan: Plan | None) -> Iterator[int]:
    """The link number of each name of a hard link in a plan."""
    waiting = [] if plan is None else [plan]
    while waiting:
        at = waiting.pop()
        yield from at.hard.values()
        waiting.extend(at.below.values())


def linked_rows(blobs: BlobSource, links: BlobId, plan: Plan | None) -> dict[int, LinkedInode]:
    """The inodes behind a plan's hard links, each with as many names as the plan has."""
    counts: dict[int, int] = {}
    for link_id in names_of(plan):
        counts[link_id] = counts.get(link_id, 0) + 1
    rows = {}
    for link_id, count in counts.items():
        row = prolly.get(blobs, links, U64.pack(link_id))
        rows[link_id] = LinkedInode(count, decode_linked(row or b"").entry)
    return rows


class Graft:
    """An entry about to take its place in a live directory, over what is there or under a new name.

    ``missing`` are directories, from ``parent`` down, that have to be made on the way, with the entries they had. ``ready`` is
    the inode of the entry where there is one already, which gets its number and place here.
    """

    def __init__(
        self, parent: LiveDir, missing: list[tuple[bytes, Entry]], name: bytes, entry: Entry, ready: Inode | None = None
    ) -> None:
        self.parent = parent
        self.tree: LiveTree = parent.tree
        self.entry = entry
        self._missing = missing
        self._ready = ready
        self._name = name
        self.plan: Plan | None = None
        self.linked: dict[int, LinkedInode] = {}
        self.top = missing[0][0] if missing else name
        self.old = None if missing else existing(parent, name)
        self.leaving = None if self.old is None else Leaving(parent, name, self.old)
        if self.old is None:
            parent.allow((missing[0][1] if missing else entry).kind)
        self._made: list[tuple[LiveDir, bytes, Inode]] = []
        self._ids: dict[int, Inode] = {}
        self._subdirs = 0

    def give_links(self, links: BlobId) -> None:
        """Have the hard links of the entry, which is of the version with that link map, made anew."""
        blobs = self.tree.live.blobs
        self.plan = plan_of(blobs, self.entry)
        self.linked = linked_rows(blobs, links, self.plan)

    # Operations

    def ops(self, now: int) -> list[bytes]:
        """All operations of the frame."""
        tree = self.tree
        ops, number = self.parent.materialise()
        ops = [*ops, *(self.leaving.ops(now) if self.leaving else ()), *self._linked_ops()]
        entry = self._missing[0][1] if self._missing else self.entry
        ino, more = self._top_ino(entry)
        ops += more
        at, at_number = self.parent, number
        for index, (name, above) in enumerate(self._missing):
            child = self._missing[index + 1][1] if index + 1 < len(self._missing) else self.entry
            directory = LiveDir(tree, ino if index == 0 else tree.live.natural_ino(at.ino, name), above)
            bare = msgspec.structs.replace(above, root=prolly.EMPTY_ROOT, totals=Totals(), size=0)
            ops += self._directory_ops(directory, at_number, name, bare, int(child.kind is Kind.DIRECTORY))
            ops.append(tree.mark(at_number, name))
            directory.complete = True
            self._place(at, name, directory)
            at, at_number = directory, directory.number
        last = tree.live.natural_ino(at.ino, self._name) if self._missing else ino
        ops += self._entry_ops(at, at_number, self._name, self.entry, self.plan, last)
        ops.append(tree.mark(at_number, self._name))
        self._subdirs = int(entry.kind is Kind.DIRECTORY) - (self.leaving.subdirs if self.leaving else 0)
        return [*ops, self.parent.touch_at(now, self._subdirs)]

    def _top_ino(self, entry: Entry) -> tuple[int, list[bytes]]:
        """A number for what takes the place. A directory's is never used again, for those below are made from it."""
        live, seed = self.tree.live, self.parent.seed
        if entry.kind is not Kind.DIRECTORY:
            return live.fresh_ino(seed, self.top)
        ino = live.natural_ino(seed, self.top + b"\0" + U64.pack(live.journal.position))
        return ino, live.move_ino(ino, None, (seed, self.top))

    def _linked_ops(self) -> list[bytes]:
        tree, ops = self.tree, []
        unique = U64.pack(tree.live.journal.position)
        for link_id, linked in self.linked.items():
            new_id = tree.live.natural_ino(tree.seed, b"\0linked" + unique + U64.pack(link_id))
            inode = make_inode(tree, tree.live.natural_ino(tree.seed, b"\0" + U64.pack(new_id)), linked.entry)
            inode.link_id, inode.nlink = new_id, linked.nlink
            self._ids[link_id] = inode
            ops.append(operations.put(Table.LINKS, state.link_key(tree.number, new_id), encode_linked(linked)))
            ops.append(tree.mark(state.LINKS_DIR, U64.pack(new_id)))
        return ops

    def _entry_ops(
        self, parent: LiveDir, number: int, name: bytes, entry: Entry, plan: Plan | None, ino: int
    ) -> Iterator[bytes]:
        """Operations that put an entry under a directory's number, and its inode into what was made."""
        if plan is None:
            inode = self._ready or make_inode(self.tree, ino, entry)
            inode.ino = ino
            self._place(parent, name, inode)
            yield operations.put(Table.ENTRIES, state.entry_key(number, name), encode(entry))
            return
        waiting = [(parent, number, name, plan, ino)]
        while waiting:
            above, above_number, name, at, ino = waiting.pop()
            directory = LiveDir(self.tree, ino, at.entry)
            yield from self._directory_ops(directory, above_number, name, at.entry, at.entry.totals.subdirs)
            self._place(above, name, directory)
            for child, link_id in at.hard.items():
                inode = self._ids[link_id]
                hard = Entry(Kind.HARD, link_id=inode.link_id)
                yield operations.put(Table.ENTRIES, state.entry_key(directory.number, child), encode(hard))
                yield self.tree.mark(directory.number, child)
                self._place(directory, child, inode)
            for child, below in at.below.items():
                waiting.append((directory, directory.number, child, below, self.tree.live.natural_ino(ino, child)))

    def _directory_ops(self, made: LiveDir, parent: int, name: bytes, entry: Entry, subdirs: int) -> list[bytes]:
        """Operations that give a directory in the making rows of its own over the map in ``entry``."""
        made.number = self.tree.live.new_dir()
        made.base, made.totals, made.subdirs = entry.root, entry.totals, subdirs
        row = DirRow(entry.root, entry.totals, entry.mtime_ns, entry.ctime_ns, subdirs)
        return [
            operations.put(Table.DIRS, U64.pack(made.number), row.encode()),
            operations.put(Table.PARENTS, U64.pack(made.number), state.parent_row(parent, name)),
            operations.put(
                Table.ENTRIES, state.entry_key(parent, name), encode(msgspec.structs.replace(entry, live=made.number))
            ),
        ]

    def _place(self, parent: LiveDir, name: bytes, inode: Inode) -> None:
        self._made.append((parent, name, inode))

    # Memory

    @property
    def arriving(self) -> Inode:
        """The inode that will stand at the name in ``parent``, once its operations are made."""
        return next(inode for parent, name, inode in self._made if parent is self.parent and name == self.top)

    def done(self, at: int, now: int) -> None:
        """Memory, once the frame is at ``at``."""
        live = self.tree.live
        if self.leaving is not None:
            self.leaving.done(at)
        for parent, name, inode in self._made:
            inode.parent, inode.name = parent, name
            inode.stamp(at)
            parent.keep(name, inode)
            live.nodes[inode.ino] = inode
            if inode.link_id:
                self.tree.linked[inode.link_id] = inode
        self.parent.changed(at, now, self._subdirs)
        live.invalidate(self.parent.ino, self.top)
        live.outdate(self.parent)
