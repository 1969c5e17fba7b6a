"""Staged files: bytes that come in one piece and take their place at the end, whole or not at all.

A staged file is a live file without a name, as an open file is whose last name went: its bytes are in the journal, its row in
ORPHANS, so it goes with the process. Taking its place is one frame: the entry of the name becomes this file, and what was there
goes, or stays without a name for who has it open. What replaces a file takes over its owner, mode, access lists and
attributes, as if it had been written to; one name of a hard link is parted from the others.

Always true: ``write`` only appends; a staged file is part of no version before it has its place.
"""

from collections.abc import Callable, Sequence

from blake3 import blake3

from mimeifs.errors import InvalidError, IsADirError, NotPermittedError, TooLargeError
from mimeifs.model.entry import Entry, Kind
from mimeifs.model.grafting import Graft
from mimeifs.model.inode import Inode, kept_time
from mimeifs.model.live import LiveTree
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import SIZE_MAX, LiveFile
from mimeifs.model.live_moves import existing
from mimeifs.model.node import Who
from mimeifs.model.properties import with_whole
from mimeifs.model.saving import kept_of
from mimeifs.store import operations
from mimeifs.store.content import SINGLE_LIMIT
from mimeifs.store.database import U64, Table
from mimeifs.store.interfaces import Buffer

FILE_MODE = 0o666


class StagedFile:
    """A file without a name that is being written from front to back. ``tree`` is any of the node's."""

    def __init__(self, tree: LiveTree, size: int | None) -> None:
        if size is not None and not 0 <= size <= SIZE_MAX:
            raise TooLargeError("a file has at most 16 TiB") if size > 0 else InvalidError("a file has no negative size")
        tree.live.reserve(size or 0)
        self.file = LiveFile(tree, 0, Entry(Kind.FILE))
        self.file.nlink = 0
        self.file.handles = 1
        self._hasher = blake3()

    @property
    def is_empty(self) -> bool:
        """Whether no bytes came."""
        return not self.file.size

    def write(self, offset: int, data: Buffer) -> None:
        """Append ``data``, which must begin where the file ends."""
        if offset != self.file.size:
            raise InvalidError(f"the next bytes of a staged file are those at {self.file.size}, not at {offset}")
        self.file.write(offset, data)
        self._hasher.update(data)

    def place(
        self, parent: LiveDir, name: bytes, who: Who, mtime_ns: int | None, more: Callable[[int], Sequence[bytes]]
    ) -> LiveFile:
        """Take the place of ``name`` in ``parent``, with ``more`` operations in the same frame; it is no longer staged."""
        file, before, live = self.file, self.file.tree, parent.tree.live
        live.reserve(1024)
        old = existing(parent, name)
        self._take_after(parent, name, old, who)
        digest = self._hasher.digest() if file.size else b""
        file.xattrs = with_whole(file.xattrs, digest if file.size > SINGLE_LIMIT else b"")
        now = live.now_ns()
        file.ctime_ns, file.mtime_ns = now, now if mtime_ns is None else kept_time(mtime_ns)
        graft = Graft(parent, [], name, file.entry(), file)
        file.tree, file.nlink, file.whole = parent.tree, 1, digest
        try:
            named = [*file.touch(), operations.delete(Table.ORPHANS, U64.pack(file.number))] if file.number else []
            ops = [*graft.ops(now), *named]
            at = live.append(b"".join([*ops, *more(file.ino)]), grows=True)
        except BaseException:
            file.tree, file.nlink = before, 0
            raise
        graft.done(at, now)
        file.close()
        return file

    def _take_after(self, parent: LiveDir, name: bytes, old: Inode | None, who: Who) -> None:
        """Owner, mode and attributes: those of what is there, as a write leaves them, else those of a new file."""
        file = self.file
        file.refresh()
        if old is None:
            parent.check_new(name, Kind.FILE)
            entry = parent.new_entry(Kind.FILE, FILE_MODE, who)
            file.mode, file.uid, file.gid, file.xattrs = entry.mode, entry.uid, entry.gid, entry.xattrs
            return
        if old.kind in (Kind.DIRECTORY, Kind.LINK):
            raise IsADirError("is a directory")
        if not isinstance(old, LiveFile):
            raise NotPermittedError("what is there is no regular file: remove it first")
        kept = kept_of(old)
        file.mode, file.uid, file.gid, file.xattrs = kept.mode, kept.uid, kept.gid, kept.xattrs

    def discard(self) -> None:
        """It is wanted no more."""
        self.file.close()
