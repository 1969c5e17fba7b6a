"""Resources: the node's tree for whoever names places by paths and changes them whole, as WebDAV does.

Every change takes a :class:`Guard`, which is checked in the same call as the change is made, so nothing comes between. What is
made belongs to the uid that the caller was configured with, else to whom the directory belongs. A locked empty name is a lock
and no entry: it shows as an empty file, and no version ever has it.

Always true: each change is one frame of the journal; what raises has changed nothing; the surfaces that cache names are told.
"""

from collections.abc import Mapping, Sequence

from mimeifs.errors import (
    ChangedError,
    ConflictError,
    ExistsError,
    ForbiddenError,
    IsADirError,
    MimeiError,
    NotADirError,
    NotFoundError,
    NotPermittedError,
    ReadOnlyError,
)
from mimeifs.ids import MimeiId
from mimeifs.model.describing import Describing, Spot, facts_of
from mimeifs.model.entry import Link, View
from mimeifs.model.etags import NOTHING, etag_of
from mimeifs.model.inode import Inode
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.live_moves import existing
from mimeifs.model.locking import LockRow, Locks
from mimeifs.model.mimeis import Mimeis
from mimeifs.model.node import RENAME_NOREPLACE, Node, Who
from mimeifs.model.past import PastLeaf
from mimeifs.model.properties import patch
from mimeifs.model.relocating import NOT_FOLDED, Folded, Origin, Place, Relocating
from mimeifs.model.resource import Facts, Guard, Lock, Page, Path
from mimeifs.model.retiring import Leaving
from mimeifs.model.saving import Saving
from mimeifs.model.staging import StagedFile
from mimeifs.model.versions import Later
from mimeifs.model.views import MimeiDir, PresentDir, Views

DIRECTORY_MODE = 0o777
UMASK = 0o022


class Resources:
    """The tree of one node."""

    def __init__(self, mimeis: Mimeis, views: Views) -> None:
        self._live = mimeis.live
        self._views = views
        self._relocating = Relocating(mimeis)
        self.locked = Locks(mimeis.live, mimeis.draw)
        self._saving = Saving(mimeis.live, self.locked)
        self._describing = Describing(mimeis.live, views, self.locked)
        self._woken = False

    # Looking

    def _walk(self, path: Path) -> Spot:
        if not self._woken:
            for place in self.locked.sleeping():
                try:
                    self._describing.walk(place)
                except MimeiError:
                    continue  # It was moved or removed while nobody listened; its lock times out.
            self._woken = True
        return self._describing.walk(path)

    def look(self, path: Path, *, properties: bool = False) -> Facts:
        """What there is to say of a resource; raises ``NotFoundError``."""
        return self._describing.facts(self._walk(path), properties=properties)

    def spot(self, path: Path) -> Spot:
        """What a path leads to, and what is on the way; raises ``NotFoundError`` where a directory on the way is missing."""
        return self._walk(path)

    def page(self, path: Path, after: bytes, limit: int, *, properties: bool) -> Page:
        """Facts of what is in a directory."""
        return self._describing.page(self._walk(path), after, limit, properties=properties)

    def again(self, path: Path, mark: str, names: Sequence[bytes], *, properties: bool) -> Page:
        """Facts of those names in a directory, and of those that have changed since it had that mark; none and no mark where
        that is not known."""
        return self._describing.again(self._walk(path), mark, names, properties=properties)

    def file(self, path: Path) -> tuple[Facts, LiveFile | PastLeaf | None]:
        """A file to be read, None for a locked empty name."""
        spot = self._walk(path)
        facts = self._describing.facts(spot, properties=False)
        if spot.node is None or (isinstance(spot.node, LiveFile | PastLeaf) and facts.kind == "file"):
            return facts, spot.node if isinstance(spot.node, LiveFile | PastLeaf) else None
        if facts.kind == "dir":
            raise IsADirError("is a directory")
        raise NotPermittedError("this is no regular file")

    def versions_at(self, path: Path) -> tuple[MimeiId, Path, Path]:
        """The MiMei that a place is in, the path behind which its versions are found as ``@`` names, and the rest of the path
        in each of them."""
        spot = self._walk(path)
        spot.found()
        base = max(depth for depth, step in enumerate(spot.steps) if isinstance(step.node, PresentDir | MimeiDir))
        holder = spot.steps[base].node
        below = base + 1
        if below < len(spot.steps) and not isinstance(spot.steps[below].node, Inode) and path[base][:1] == b"@":
            below += 1
        mimei = holder.mimei if isinstance(holder, MimeiDir) else None
        if isinstance(holder, PresentDir):
            mimei = holder.tree.mimei
        if mimei is None:
            raise NotFoundError("this is in no MiMei")
        return mimei, path[:base], path[below - 1 :]

    # Guards

    def _check_state(self, spot: Spot, guard: Guard) -> None:
        if guard.etag is None:
            return
        found = "" if spot.node is None else etag_of(spot.node)
        if spot.node is None and spot.locked:
            found = NOTHING
        if found != guard.etag:
            raise ChangedError("it was changed meanwhile: look again" if found else "it is not there any more")

    def _directory(self, spot: Spot) -> LiveDir:
        """The live directory that the place is in; raises what a change there ends in."""
        parent = spot.parent
        if parent is None:
            raise ForbiddenError("the root stays as it is")
        if isinstance(parent, LiveDir):
            return parent
        if isinstance(parent, Inode):
            raise NotADirError("not a directory")
        if parent.immutable:
            raise ReadOnlyError("versions are read-only; work in @cur")
        raise NotPermittedError("this directory holds versions only; work in @cur, or make `@label` to take a version")

    def _owner(self, parent: Node, who: Who | None) -> Who:
        if who is not None:
            return Who(who.uid, who.gid, UMASK)
        above = parent.stat()
        return Who(above.uid, above.gid, UMASK)

    # Making and removing

    def place(
        self, staged: StagedFile, path: Path, guard: Guard, who: Who | None, mtime_ns: int | None, hold_s: int = 0
    ) -> Facts:
        """A staged file takes its place; where it is empty, its bytes are awaited for ``hold_s``."""
        spot = self._walk(path)
        self._check_state(spot, guard)
        parent = self._directory(spot)
        if spot.node is None:
            self.locked.check_member(spot.steps, guard)
        else:
            self.locked.check(spot.steps, guard)
        who, is_new = self._owner(parent, who), spot.node is None
        may_wait = (hold_s or is_new or self._saving.withheld(spot.node)) and staged.is_empty
        may_wait = may_wait and self._saving.may_withhold(parent, spot.name)
        file = staged.place(parent, spot.name, who, mtime_ns, lambda ino: self._took(spot, parent, ino))
        self._saving.uploaded(file, spot.node)
        if may_wait:
            self._saving.withhold(file, self._saving.awaited_until(file, hold_s))
        return facts_of(spot.name, file, fixed=False, properties=False)

    def mkdir(self, path: Path, guard: Guard, who: Who | None) -> Facts:
        """Make a directory, in the root a MiMei; ``@label`` among versions takes one."""
        spot = self._walk(path)
        self._check_state(spot, guard)
        parent = spot.parent
        if parent is None or spot.node is not None or spot.locked:
            raise ExistsError("the name exists already")
        self.locked.check_member(spot.steps, guard)
        try:
            made = parent.mkdir(spot.name, DIRECTORY_MODE, self._owner(parent, who))
        except Later as later:
            proceed = later.proceed
            raise Later(later.at, lambda taken: (proceed(taken), self.look(path))[1]) from None
        self._tell(parent, spot.name)
        return facts_of(spot.name, made, fixed=False, properties=False)

    def _tell(self, parent: Node, name: bytes) -> None:
        self._live.invalidate(parent.ino, name)
        self._live.outdate(parent)

    def remove(self, path: Path, guard: Guard, *, hold_s: int = 0) -> None:
        """Take a resource away, a directory with all that is below; of a label only the name. See ``move``."""
        spot = self._walk(path)
        self._check_state(spot, guard)
        self.locked.check_member(spot.steps, guard)
        if spot.node is None and spot.locked and isinstance(spot.parent, LiveDir):
            rows = [self.locked.give_back(spot.steps, row.token, row.user) for row in spot.locked]
            self._live.append(b"".join(op for ops in rows for op in ops))
            return
        self.locked.check_below(spot.steps[-1], guard)
        if isinstance(spot.parent, MimeiDir):
            spot.found()
            spot.parent.rmdir(spot.name)
            self._tell(spot.parent, spot.name)
            return
        parent = self._directory(spot)
        spot.found()
        self._entry(parent, spot.name)
        self._saving.remove(parent, spot.name, hold_s, lambda _: self.locked.dropped_below(spot.steps[-1]))

    def _entry(self, parent: LiveDir, name: bytes) -> Inode:
        """The entry of a name that shows something; raises where it is only a view."""
        inode = existing(parent, name)
        if inode is None:
            raise NotPermittedError("this is only a view and no entry here: it cannot be moved or removed")
        return inode

    # Moving and copying

    def move(self, source: Path, target: Path, guard: Guard, *, overwrite: bool, hold_s: int = 0) -> bool:
        """Move a resource; whether something was replaced. A document that another will take the place of is in versions for
        ``hold_s``."""
        return self._move(source, target, guard, overwrite, hold_s, NOT_FOLDED)

    def _move(self, source: Path, target: Path, guard: Guard, overwrite: bool, hold_s: int, folded: Folded) -> bool:
        origin, spot = self._both(source, target, guard, overwrite)
        self.locked.check_member(origin.steps, guard)
        self.locked.check_below(origin.steps[-1], guard)
        if origin.node is None:
            self._directory(spot)
            self._live.append(b"".join(self.locked.renamed(origin.steps, spot.steps[-1])))
            return spot.node is not None
        node = origin.node
        if isinstance(origin.parent, MimeiDir) and isinstance(spot.parent, MimeiDir):
            return self._rename_label(origin, spot)
        above, parent = self._directory(origin), self._directory(spot)
        inode = self._entry(above, origin.name)
        old = existing(parent, spot.name)
        if above.tree is parent.tree:
            self._saving.rename(above, origin.name, parent, spot.name, hold_s)
        else:
            stock = self._relocating.stock(node, folded, lambda again: self._move(source, target, guard, overwrite, 0, again))
            leaving = Leaving(above, origin.name, inode)
            place = Place(parent, spot.name, None, _view(inode), Origin(above, origin.name, leaving))
            self._relocating.put(stock, place, lambda ino: self.locked.carried(node.ino, ino))
        return old is not None

    def _rename_label(self, origin: Spot, spot: Spot) -> bool:
        parent, target = origin.parent, spot.parent
        if parent is None or target is None:
            raise ForbiddenError("the root stays as it is")
        if spot.node is not None:
            raise ExistsError("that version or label is there already")
        try:
            parent.rename(origin.name, target, spot.name, RENAME_NOREPLACE)
        except Later as later:
            proceed = later.proceed
            raise Later(later.at, lambda taken: bool(proceed(taken)) and False) from None
        self._tell(parent, origin.name)
        self._tell(target, spot.name)
        return False

    def _took(self, spot: Spot, parent: LiveDir, ino: int) -> list[bytes]:
        """Operations on locks once something new stands at a place: those on the place stay there."""
        carried = [] if spot.node is None else self.locked.carried(spot.node.ino, ino)
        return [*carried, *self.locked.filled(parent.ino, spot.name, ino)]

    def copy(
        self, source: Path, target: Path, guard: Guard, who: Who | None, *, overwrite: bool, shallow: bool = False
    ) -> bool:
        """Copy a resource, a directory with all that is below unless ``shallow``; whether something was replaced."""
        return self._copy(source, target, guard, who, overwrite, shallow, NOT_FOLDED)

    def _copy(
        self, source: Path, target: Path, guard: Guard, who: Who | None, overwrite: bool, shallow: bool, folded: Folded
    ) -> bool:
        origin, spot = self._both(source, target, guard, overwrite)
        parent = self._directory(spot)
        node, old = origin.node, existing(parent, spot.name)
        if node is None:
            empty = StagedFile(parent.tree, 0)
            empty.place(parent, spot.name, self._owner(parent, who), None, lambda ino: self._took(spot, parent, ino))
            return old is not None

        def again(then: Folded) -> bool:
            return self._copy(source, target, guard, who, overwrite, shallow, then)

        stock = self._relocating.emptied(node) if shallow else self._relocating.stock(node, folded, again)
        link = existing(origin.parent, origin.name) if isinstance(origin.parent, LiveDir) else None
        place = Place(parent, spot.name, self._owner(parent, who), View.CUR if link is None else _view(link))
        self._relocating.put(stock, place, lambda ino: self._took(spot, parent, ino))
        return old is not None

    def _both(self, source: Path, target: Path, guard: Guard, overwrite: bool) -> tuple[Spot, Spot]:
        """Both ends of a copy or move, checked as far as both ask for it."""
        if source[: len(target)] == target or target[: len(source)] == source:
            raise ForbiddenError("source and target are the same, or one is inside the other")
        origin, spot = self._walk_both(source, target)
        self._check_state(origin, guard)
        if not origin.locked:
            origin.found()
        if spot.node is not None and not overwrite:
            raise ExistsError("the name exists already")
        if spot.node is None:
            self.locked.check_member(spot.steps, guard)
        else:
            self.locked.check(spot.steps, guard)
            self.locked.check_below(spot.steps[-1], guard)
        return origin, spot

    def _walk_both(self, source: Path, target: Path) -> tuple[Spot, Spot]:
        self._walk(())
        return self._describing.walk_more(source), self._describing.walk_more(target)

    # Properties

    def patch(
        self,
        path: Path,
        guard: Guard,
        properties: Mapping[str, bytes | None],
        mtime_ns: int | None,
        birth_ns: int | None,
    ) -> Facts:
        """Change dead properties (None removes one) and times."""
        spot = self._walk(path)
        self._check_state(spot, guard)
        self.locked.check(spot.steps, guard)
        if spot.node is None and spot.locked:
            raise ConflictError("a locked name has no properties until bytes came")
        node = spot.found()
        if not isinstance(node, Inode):
            if node.immutable:
                raise ReadOnlyError("versions are read-only; work in @cur")
            raise NotPermittedError("this directory is made of versions; it has no properties of its own")
        until_ns = self._saving.withheld(node)
        patch(node, properties, mtime_ns, birth_ns)
        if until_ns and isinstance(node, LiveFile):
            self._saving.withhold(node, until_ns)
        self._live.outdate(node)
        return facts_of(spot.name, node, fixed=False, properties=True)

    # Locks

    def lock(
        self, path: Path, guard: Guard, *, owner: str, exclusive: bool, infinite: bool, timeout_s: int
    ) -> tuple[Lock, bool]:
        """Take a lock; whether an empty name was locked that was not there before."""
        spot = self._walk(path)
        self._check_state(spot, guard)
        empty = spot.node is None
        if empty:
            self._directory(spot)
            if not spot.locked:
                self.locked.check_member(spot.steps, guard)
        elif not isinstance(spot.node, Inode):
            raise ForbiddenError("versions and views cannot be locked: nobody can change them")
        awaits = self._saving.awaits(spot.node)
        row, ops = self.locked.take(spot.steps, guard.user, owner, exclusive=exclusive, infinite=infinite, timeout_s=timeout_s)
        self._live.append(b"".join(ops))
        if awaits and isinstance(spot.node, LiveFile):
            self._saving.withhold(spot.node, row.expires_ns)
        return _lock(path, row), empty and not spot.locked

    def refresh(self, path: Path, token: str, timeout_s: int) -> Lock:
        """Have a lock last longer; raises ``NotFoundError``."""
        spot = self._walk(path)
        awaits = self._saving.withheld(spot.node)
        root, row, ops = self.locked.refresh(spot.steps, token, timeout_s)
        self._live.append(b"".join(ops))
        if awaits and isinstance(spot.node, LiveFile):
            self._saving.withhold(spot.node, row.expires_ns)
        return _lock(root, row)

    def unlock(self, path: Path, token: str, user: str) -> None:
        """Give a lock back; raises ``NotFoundError``, ``LockHeldError`` for another user's."""
        spot = self._walk(path)
        ops = self.locked.give_back(spot.steps, token, user)
        self._live.append(b"".join(ops))
        self._saving.unlocked(spot.node)

    def locks(self, path: Path) -> list[Lock]:
        """The locks that cover a resource."""
        spot = self._walk(path)
        return [_lock(root, row) for root, rows in self.locked.covering(spot.steps) for row in rows]


def _lock(path: Path, row: LockRow) -> Lock:
    return Lock(row.token, path, row.owner, row.user, row.exclusive, row.infinite, row.expires_ns)


def _view(inode: Inode) -> View:
    return inode.special.view if isinstance(inode.special, Link) and inode.special.view is not View.VERSION else View.CUR
