"""Trees that change their place: restoring from versions, forking a MiMei, splitting one off.

Each moves digests, never bytes, and is one frame of the journal; only names of hard links are visited one by one. What
would be lost is kept first: restoring and splitting begin with a version when the present has changes, and wait until it
is durable. Who asks meets :class:`Later` then; changes that come in meanwhile go into one more version, unless they are
elsewhere than the path concerned.
"""

from collections.abc import Callable
from typing import TypeVar

from mimeifs.errors import (
    ConflictError,
    ExistsError,
    InvalidError,
    NotADirError,
    NotFoundError,
    TooLargeError,
)
from mimeifs.ids import BlobId, MimeiId
from mimeifs.model import live_moves, records, resting, state
from mimeifs.model.comparing import entry_at, split_path
from mimeifs.model.entry import Entry, Kind, Link, LinkedInode, TreeRoot, View, encode_linked
from mimeifs.model.grafting import Graft, linked_rows, plan_of
from mimeifs.model.inode import Inode
from mimeifs.model.live import Live, LiveTree
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.mimeis import Mimeis
from mimeifs.model.node import Who
from mimeifs.model.orders import CallKind, Taken
from mimeifs.model.recording import row_of
from mimeifs.model.retiring import Retiring
from mimeifs.model.versions import Later, VersionInfo, Versions
from mimeifs.store import operations, prolly
from mimeifs.store.database import U64, Table

T = TypeVar("T")
ROUNDS = 3
"""How often changes may come in while their version is being taken before the caller is told to try again."""


class Transplant:
    """Restoring, forking and splitting the MiMeis of one node."""

    def __init__(self, live: Live, mimeis: Mimeis, versions: Versions) -> None:
        self._live = live
        self._mimeis = mimeis
        self._versions = versions

    # Restore

    def restore(self, mimei: MimeiId, version: VersionInfo, path: bytes = b"") -> int:
        """The present becomes what ``version`` holds, all of it or at one path; the position where that is durable.

        Raises :class:`Later` first when the present has changes, ``NotFoundError`` when the version has no such path,
        ``ConflictError`` when the present does not stop changing. Open files keep what they hold, without a name.
        """
        names = split_path(path)
        self._find(version, names)
        if self._mimeis.tree(mimei).as_version:
            return self._restore(mimei, version, names)
        return self._settled(mimei, names, lambda: self._restore(mimei, version, names))

    def _restore(self, mimei: MimeiId, version: VersionInfo, names: list[bytes]) -> int:
        tree = self._mimeis.tree(mimei)
        return self._restore_path(tree, version, names) if names else self._restore_all(tree, version)

    def _find(self, version: VersionInfo, names: list[bytes]) -> Entry:
        entry = entry_at(self._live.blobs, self._versions.tree_root(version), names)
        if entry is None:
            raise NotFoundError(f"version @{version.number} has no {b'/'.join(names).decode(errors='replace')}")
        return entry

    def _restore_all(self, tree: LiveTree, version: VersionInfo) -> int:
        live, old = self._live, tree.root
        content = self._versions.tree_root(version)
        last = self._versions.last(tree.mimei)
        if not tree.as_version and last is not None and last.root == version.root:
            return live.journal.position
        retiring = Retiring(old, tree.linked.values())
        number = live.new_dir()
        ops = retiring.ops(tree.number)
        ops += [
            operations.delete(Table.ENTRIES, state.entry_key(0, U64.pack(old.number))),
            operations.clear(Table.CHANGED, state.tree_key(tree.number)),
            tree.mark(number, b""),
        ]
        at = live.append(b"".join([*ops, *self._mimeis.root_ops(tree.number, tree.mimei, number, content)]))
        names = list(old.children)
        tree.linked.clear()
        root = self._mimeis.reseat(tree, content.entry, number)
        root.stamp(at)
        retiring.done(at, tree.number)
        for name in names:
            live.invalidate(root.ino, name)
        live.outdate(root)
        tree.as_version = True
        return at

    def _restore_path(self, tree: LiveTree, version: VersionInfo, names: list[bytes]) -> int:
        live = self._live
        content = self._versions.tree_root(version)
        entry = self._find(version, names)
        parent, depth = _deepest(tree.root, names[:-1])
        missing = [(names[index], self._find(version, names[: index + 1])) for index in range(depth, len(names) - 1)]
        graft = Graft(parent, missing, names[-1], entry)
        graft.give_links(content.links)
        now = live.now_ns()
        at = _whole(lambda: live.append(b"".join(graft.ops(now))))
        graft.done(at, now)
        return at

    def _settled(self, mimei: MimeiId, names: list[bytes], act: Callable[[], T], rounds: int = ROUNDS) -> T:
        """Carry out ``act`` when every change of the present at that path is in a version. It comes after the version is
        durable, not in one go with asking for it: a version that finds no room must not take the changes with it."""
        tree = self._mimeis.tree(mimei)
        if not rounds and tree.dirty:
            raise ConflictError("files in it are being written without a pause: stop the program that does, and try again")
        tree.release()
        there = _listened_to(tree, names)
        try:
            self._versions.backup(mimei)
        except Later as later:
            proceed, at = later.proceed, later.at

            def again(taken: Taken | None) -> T:
                proceed(taken)
                quiet = names and _is_quiet(tree, names, there, at)
                return act() if quiet else self._settled(mimei, names, act, max(rounds - 1, 0))

            raise Later(at, again) from None
        return act()

    # Fork

    def fork(self, mimei: MimeiId, version: VersionInfo | None = None, name: str = "") -> MimeiId:
        """A new MiMei whose present and first version are a version of this one, ``last`` if none is given.

        Changes of the present that are in no version are not included. Raises ``NotFoundError`` when there is no version.
        """
        row, version = self._mimeis.row(mimei), version or self._versions.last(mimei)
        if version is None:
            raise NotFoundError("there is no version to fork from; `mimei backup` takes one")
        content = self._versions.tree_root(version)
        old = records.decode_as(records.Info, self._live.blobs.get(BlobId(row.info))).record
        info = self._mimeis.info(
            name or row.name,
            "file" if old.kind == "file" else "tree",
            app_type=old.app_type,
            extension=old.extension,
            origin=(mimei, version.record),
        )
        first = self._first_version(info.record.mimei_id, version, content)
        self._mimeis.create(info, Who(0, 0), content, lambda _tree: first())
        return info.record.mimei_id

    def _first_version(self, mimei: MimeiId, version: VersionInfo, content: TreeRoot) -> Callable[[], list[bytes]]:
        """What gives the operations that record version 1 of a fork."""
        device, live = self._mimeis.signer.device, self._live
        time_ns = records.next_time(live.now_ns(), (version.row.time_ns,))
        parents = (version.record,)
        record = records.Version(mimei, 1, 1, parents, version.root, content.files, content.size, time_ns, version.row.memo)
        signed = records.sign(record, device)
        row = row_of(signed)
        return lambda: [
            operations.call(CallKind.RECORD, signed.data),
            live.set_small(Table.VERSIONS, state.version_key(mimei, 1, signed.id), state.encode(row)),
            live.set_small(Table.HEADS, mimei + signed.id, U64.pack(1)),
        ]

    # Split

    def split(self, mimei: MimeiId, path: bytes, name: str = "") -> MimeiId:
        """A directory becomes a MiMei of its own; a link that shows its present stays in its place.

        Raises :class:`Later` for the version before it and for the new MiMei's first, ``ConflictError`` when a file below
        is open or the present does not stop changing.
        """
        names = split_path(path)
        if not names:
            raise InvalidError("a MiMei cannot be split off from itself; name a directory in it")
        self._directory(mimei, names)
        return self._settled(mimei, names, lambda: self._with_version(self._split(mimei, names, name)))

    def _directory(self, mimei: MimeiId, names: list[bytes]) -> LiveDir:
        """The parent of the directory that ``names`` lead to."""
        parent, depth = _deepest(self._mimeis.tree(mimei).root, names[:-1])
        found = live_moves.existing(parent, names[-1]) if depth == len(names) - 1 else None
        where = b"/".join(names).decode(errors="replace")
        if found is None:
            raise NotFoundError(f"there is no {where} in it now")
        if found.kind is Kind.LINK:
            raise ExistsError(f"{where} is a MiMei of its own already")
        if not isinstance(found, LiveDir):
            raise NotADirError(f"{where} is no directory, and only a directory can be split off")
        return parent

    def _split(self, mimei: MimeiId, names: list[bytes], name: str) -> MimeiId:
        live, last = self._live, self._versions.last(mimei)
        if last is None:
            raise ConflictError("its versions changed meanwhile: try again")
        parent, entry = self._directory(mimei, names), self._find(last, names)
        hint = name or names[-1].decode(errors="replace")
        info = self._mimeis.info(hint, "tree", origin=(mimei, last.record))
        new, now = info.record.mimei_id, live.now_ns()
        graft = Graft(parent, [], names[-1], _link_to(new, entry, now))
        retiring = graft.leaving and graft.leaving.retiring
        if retiring and retiring.open_files:
            raise ConflictError(f"{retiring.open_files} files in it are open: close them, and try again")
        linked = linked_rows(live.blobs, self._versions.tree_root(last).links, plan_of(live.blobs, entry))

        def more(present: LiveTree) -> list[bytes]:
            return [*graft.ops(now), *linked_ops(present, linked)]

        tree = _whole(lambda: self._mimeis.create(info, Who(0, 0), TreeRoot(entry, prolly.EMPTY_ROOT), more))
        graft.done(tree.root.touched, now)
        return new

    def _with_version(self, mimei: MimeiId) -> MimeiId:
        """The MiMei, once it has a version."""
        try:
            self._versions.backup(mimei)
        except Later as later:
            proceed = later.proceed
            raise Later(later.at, lambda taken: (proceed(taken), mimei)[1]) from None
        return mimei


def _there(tree: LiveTree, names: list[bytes]) -> Inode | None:
    """What is at a path now; may raise ``Cold``."""
    parent, depth = _deepest(tree.root, names[:-1])
    return live_moves.existing(parent, names[-1]) if depth == len(names) - 1 else None


def _listened_to(tree: LiveTree, names: list[bytes]) -> Inode | None:
    """What is at a path; a directory hears from now on of changes below it."""
    there = _there(tree, names) if names else None
    if isinstance(there, LiveDir):
        tree.live.watched = True
        there.stirred = there.stirred or tree.live.journal.position
    return there


def _is_quiet(tree: LiveTree, names: list[bytes], before: Inode | None, at: int) -> bool:
    """Whether what was at a path before a cut at ``at`` is still there, unchanged. What has left memory meanwhile comes back as
    another, and counts as changed; so does what the kernel may hold something of."""
    there, unwritten = _there(tree, names), tree.live.unwritten(tree)
    if there is not before:
        return False
    if isinstance(there, LiveDir):
        there.refresh()
        return not unwritten and resting.quiet_since(there, at)
    return there is None or (there.touched <= at and there.ino not in unwritten)


def _deepest(root: LiveDir, names: list[bytes]) -> tuple[LiveDir, int]:
    """The last directory on a path that exists in the present, and how many of the names lead to it."""
    at = root
    for depth, name in enumerate(names):
        child = live_moves.existing(at, name)
        if child is None:
            return at, depth
        if not isinstance(child, LiveDir):
            where = b"/".join(names[: depth + 1]).decode(errors="replace")
            raise NotADirError(f"{where} is no directory of this MiMei now: move it away first")
        at = child
    return at, len(names)


def _link_to(mimei: MimeiId, old: Entry, now: int) -> Entry:
    return Entry(Kind.LINK, 0o755, old.uid, old.gid, now, now, link=Link(mimei, View.CUR))


def linked_ops(tree: LiveTree, linked: dict[int, LinkedInode]) -> list[bytes]:
    """Operations that give a new present the hard-linked inodes its base names."""
    ops = []
    for link_id, inode in linked.items():
        ops.append(tree.live.set_small(Table.LINKS, state.link_key(tree.number, link_id), encode_linked(inode)))
        ops.append(tree.mark(state.LINKS_DIR, U64.pack(link_id)))
    return ops


def _whole(append: Callable[[], T]) -> T:
    """Append a frame that may be too large for one."""
    try:
        return append()
    except ValueError:
        raise TooLargeError("it holds too many names of hard links for one step: take its directories one by one") from None


__all__ = ["Transplant"]
