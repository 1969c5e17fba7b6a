"""Names that come, go and move: hard links, removal and renames of live inodes.

Each is one journal frame, so it is there whole or not at all after a crash. Checks come first; memory changes last.
"""

from typing import TYPE_CHECKING

from mimeifs.errors import ExistsError, InvalidError, IsADirError, NotADirError, NotEmptyError, NotFoundError
from mimeifs.model import state
from mimeifs.model.entry import Entry, Kind, encode
from mimeifs.model.inode import Inode
from mimeifs.model.node import RENAME_EXCHANGE, RENAME_NOREPLACE
from mimeifs.store import operations
from mimeifs.store.database import U64, Table

if TYPE_CHECKING:
    from mimeifs.model.live_dir import LiveDir


def link(directory: "LiveDir", name: bytes, inode: Inode) -> Inode:
    """Give ``inode`` one more name; its second moves it into the tree's link map."""
    tree, live = directory.tree, directory.tree.live
    if not inode.nlink:
        raise NotFoundError("the file was deleted")
    inode.refresh()
    now = live.now_ns()
    ops, number = directory.materialise()
    first: list[bytes] = []
    if not inode.link_id:
        home_ops, home = inode.home()
        old = inode.parent
        if old is None:
            raise RuntimeError("an inode without a directory")
        link_id = inode.ino
        key = state.entry_key(home, inode.name)
        first = [
            *home_ops,
            operations.put(Table.ENTRIES, key, encode(Entry(Kind.HARD, link_id=link_id))),
            tree.mark(home, inode.name),
            *live.move_ino(inode.ino, (old.seed, inode.name), (tree.seed, b"\0" + U64.pack(link_id))),
        ]
    before = inode.nlink, inode.ctime_ns, inode.link_id, inode.marked
    inode.nlink += 1
    inode.ctime_ns = now
    if not inode.link_id:
        inode.link_id, inode.marked = inode.ino, -1
    new = operations.put(Table.ENTRIES, state.entry_key(number, name), encode(Entry(Kind.HARD, link_id=inode.link_id)))
    try:
        frame = [*ops, *first, new, tree.mark(number, name), *inode.row(), *inode.touch(), directory.touch_at(now)]
        at = live.append(b"".join(frame))
    except BaseException:
        inode.nlink, inode.ctime_ns, inode.link_id, inode.marked = before
        raise
    inode.stamp(at)
    tree.linked[inode.link_id] = inode
    directory.keep(name, inode)
    directory.note(name, at)
    directory.changed(at, now)
    return inode


def remove(directory: "LiveDir", name: bytes, inode: Inode) -> None:
    """Take a name away; the inode goes with its last one, or with its last handle."""
    live = directory.tree.live
    inode.anchor()
    now = live.now_ns()
    ops, number = directory.materialise()
    subdirs = -1 if inode.kind is Kind.DIRECTORY else 0
    ops = [*ops, directory.gone(name), directory.tree.mark(number, name), directory.touch_at(now, subdirs)]
    ops += lose_name(directory, name, inode, now)
    at = live.append(b"".join(ops))
    lost(directory, name, inode, at)
    directory.changed(at, now, subdirs)


def lose_name(directory: "LiveDir", name: bytes, inode: Inode, now: int) -> list[bytes]:
    """Operations on the inode itself, refreshed, when it loses a name. It is as it was if the append fails."""
    live, tree = directory.tree.live, directory.tree
    before = inode.nlink, inode.ctime_ns
    last = inode.kind is Kind.DIRECTORY or inode.nlink == 1
    inode.nlink = 0 if last else inode.nlink - 1
    inode.ctime_ns = now
    live.prepare(undo=lambda: _restore(inode, before))
    if not last:
        return [*inode.row(), *inode.touch()]
    if inode.link_id:
        key = state.link_key(tree.number, inode.link_id)
        gone = [operations.put(Table.LINKS, key, b""), tree.mark(state.LINKS_DIR, U64.pack(inode.link_id))]
        gone += live.move_ino(inode.ino, (tree.seed, b"\0" + U64.pack(inode.link_id)), None)
    else:
        gone = live.move_ino(inode.ino, (directory.seed, name), None)
    return [*gone, *inode.unlinked(), *(live.leaving(inode.ino) if inode.ino in live.held else ())]


def _restore(inode: Inode, before: tuple[int, int]) -> None:
    inode.nlink, inode.ctime_ns = before


def lost(directory: "LiveDir", name: bytes, inode: Inode, at: int) -> None:
    """Memory, once the frame with the operations of :func:`lose_name` is at ``at``."""
    live = directory.tree.live
    directory.drop(name, at)
    inode.touched = at
    inode.surface = None
    if inode.nlink:
        return
    if inode.link_id:
        directory.tree.linked.pop(inode.link_id, None)
    if not inode.lookups and not inode.handles:
        live.nodes.pop(inode.ino, None)


def rename(source: "LiveDir", name: bytes, target: "LiveDir", new_name: bytes, flags: int) -> None:
    """rename(2): atomic, also over an existing target; see renameat2(2) for the flags."""
    inode = source.child(name)
    old = existing(target, new_name)
    if flags == RENAME_EXCHANGE:
        if old is None:
            raise NotFoundError("no such file or directory")
        _exchange(source, name, inode, target, new_name, old)
        return
    if old is not None and flags == RENAME_NOREPLACE:
        raise ExistsError("the name exists already")
    if old is inode:
        return
    if not target.nlink:
        raise NotFoundError("the directory was deleted")
    _check_not_below(inode, target)
    if old is None:
        if source is not target:
            target.allow(inode.kind)
    else:
        _check_replaceable(inode, old)
    _move(source, name, inode, target, new_name, old)


def existing(directory: "LiveDir", name: bytes) -> Inode | None:
    """The inode of that name, or None; may raise ``Cold``."""
    try:
        return directory.child(name)
    except NotFoundError:
        return None


def _check_not_below(inode: Inode, target: "LiveDir") -> None:
    at: Inode | None = target
    while at is not None:
        if at is inode:
            raise InvalidError("a directory cannot move into itself")
        at = at.parent


def _check_replaceable(inode: Inode, old: Inode) -> None:
    if old.kind in _DIRECTORIES:
        if inode.kind not in _DIRECTORIES:
            raise IsADirError("is a directory")
        shown = old.tree.live.resolve_link(old) if old.kind is Kind.LINK else old
        if next(shown.scan(b""), None) is not None:
            raise NotEmptyError("the directory is not empty")
    elif inode.kind in _DIRECTORIES:
        raise NotADirError("not a directory")


_DIRECTORIES = (Kind.DIRECTORY, Kind.LINK)


def _move(source: "LiveDir", name: bytes, inode: Inode, target: "LiveDir", new_name: bytes, old: Inode | None) -> None:
    live, tree = source.tree.live, source.tree
    inode.anchor()
    if old is not None:
        old.anchor()
    now = live.now_ns()
    ops, from_number = source.materialise()
    more, to_number = target.materialise()
    moving = int(inode.kind is Kind.DIRECTORY)
    fewer = int(old is not None and old.kind is Kind.DIRECTORY)
    losing = [] if old is None else lose_name(target, new_name, old, now)
    ops = [*ops, *more, *losing, source.gone(name), tree.mark(from_number, name), tree.mark(to_number, new_name)]
    ops += [*live.free_place((source.seed, name)), *settle(inode, target, new_name, now)]
    if source is target:
        ops.append(source.touch_at(now, -fewer))
    else:
        ops += [source.touch_at(now, -moving), target.touch_at(now, moving - fewer)]
    at = live.append(b"".join(ops))
    if old is not None:
        lost(target, new_name, old, at)
    source.drop(name, at)
    arrived(inode, target, new_name, at)
    if source is target:
        source.changed(at, now, -fewer)
    else:
        source.changed(at, now, -moving)
        target.changed(at, now, moving - fewer)


def settle(inode: Inode, target: "LiveDir", new_name: bytes, now: int) -> list[bytes]:
    """Operations that write the inode's row and number at its new name; its old one is the caller's."""
    live = target.tree.live
    number = target.home_number()
    before = inode.ctime_ns
    inode.ctime_ns = now
    live.prepare(undo=lambda: setattr(inode, "ctime_ns", before))
    key = state.entry_key(number, new_name)
    if inode.link_id:
        row = operations.put(Table.ENTRIES, key, encode(Entry(Kind.HARD, link_id=inode.link_id)))
        return [row, *inode.row(), *inode.touch()]
    ops = [operations.put(Table.ENTRIES, key, encode(inode.entry())), *inode.touch()]
    ops += live.move_ino(inode.ino, None, (target.seed, new_name))
    if inode.kind is Kind.DIRECTORY and inode.entry().live:
        ops.append(operations.put(Table.PARENTS, U64.pack(inode.entry().live), state.parent_row(number, new_name)))
    return ops


def arrived(inode: Inode, target: "LiveDir", name: bytes, at: int) -> None:
    """Memory, once the frame with the operations of :func:`settle` is at ``at``."""
    target.keep(name, inode)
    inode.parent, inode.name = target, name
    inode.stamp(at)


def _exchange(source: "LiveDir", name: bytes, inode: Inode, target: "LiveDir", new_name: bytes, old: Inode) -> None:
    if old is inode:
        return
    _check_not_below(inode, target)
    _check_not_below(old, source)
    live, tree = source.tree.live, source.tree
    inode.anchor()
    old.anchor()
    now = live.now_ns()
    ops, from_number = source.materialise()
    more, to_number = target.materialise()
    ops = [*ops, *more, tree.mark(from_number, name), tree.mark(to_number, new_name)]
    # Both places are given up before either is taken: the operations of one must not undo the other's.
    ops += [*live.free_place((source.seed, name)), *live.free_place((target.seed, new_name))]
    ops += [*settle(inode, target, new_name, now), *settle(old, source, name, now)]
    gain = int(inode.kind is Kind.DIRECTORY) - int(old.kind is Kind.DIRECTORY)
    if source is target:
        ops.append(source.touch_at(now))
    else:
        ops += [source.touch_at(now, -gain), target.touch_at(now, gain)]
    at = live.append(b"".join(ops))
    arrived(inode, target, new_name, at)
    arrived(old, source, name, at)
    if source is target:
        source.changed(at, now)
    else:
        source.changed(at, now, -gain)
        target.changed(at, now, gain)


__all__ = ["link", "remove", "rename"]
