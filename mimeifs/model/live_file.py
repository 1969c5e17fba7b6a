"""A live regular file: base content under extents in the journal.

``number`` is its number in the overlay, 0 while its content is exactly a sealed one. A fold gives the number back:
rows of files that nobody touched since the cut fall (see :mod:`mimeifs.model.fold`), so a file loaded before the last
fold refreshes itself before it is written to, and takes a new number if its old one was folded away.

Always true: bytes written are in the journal before ``write`` returns; reading merges extents over the base; a hole
reads as zeros.
"""

import msgspec

from mimeifs.errors import TooLargeError
from mimeifs.ids import BlobId
from mimeifs.model.entry import Entry, Kind, decode
from mimeifs.model.inode import WHOLE, Inode
from mimeifs.model.live import LiveTree
from mimeifs.model.node import Change
from mimeifs.store import content, operations, prolly
from mimeifs.store.content import EMPTY, ContentRef
from mimeifs.store.database import U64, Table, damage
from mimeifs.store.extents import ZEROS, ExtentMap
from mimeifs.store.interfaces import Buffer
from mimeifs.store.journal import FRAME_SIZE
from mimeifs.store.overlay import FileRow, read_extents, read_file

SIZE_MAX = 1 << 44


class LiveFile(Inode):
    """A regular file of the present, and its own handle."""

    __slots__ = ("_reader", "_resting", "base", "extents", "generation", "number", "size", "whole")

    def __init__(self, tree: LiveTree, ino: int, entry: Entry) -> None:
        super().__init__(tree, ino, entry)
        self.number = entry.live
        self.base = entry.content
        self.size = entry.content.size
        self.extents: ExtentMap | None = ExtentMap() if not entry.live else None
        self.generation = tree.live.generation
        self._reader: content.Reader | None = None
        self._resting: BlobId | None = None
        """The map that says under its name what it holds, where it lost its place before anybody asked."""
        self.whole = b""
        """The digest of all its bytes where somebody gave them in one piece, until the first write in place."""
        if entry.live:
            row = read_file(tree.live.database, entry.live)
            if row is not None:
                self._take_row(row)

    def _take_row(self, row: FileRow) -> None:
        self.base, self.size, self.mtime_ns, self.ctime_ns = row.base, row.size, row.mtime_ns, row.ctime_ns
        if row.folded:
            self.number, self.extents = 0, ExtentMap()

    @property
    def length(self) -> int:
        """st_size."""
        return self.size

    def entry(self) -> Entry:
        """See ``Inode``."""
        return Entry(
            self.kind,
            self.mode,
            self.uid,
            self.gid,
            self.mtime_ns,
            self.ctime_ns,
            self.size,
            EMPTY if self.number else self.base,
            live=self.number,
            atime_ns=self.atime_ns,
            xattrs=self.xattrs,
            xattr_blob=self.xattr_blob,
        )

    def file_row(self) -> FileRow:
        """The row of its own that a newly numbered file gets."""
        return FileRow(self.base, self.size, self.mtime_ns, self.ctime_ns)

    # Generations

    def refresh(self) -> None:
        """Follow seals and folds: afterwards base, extents and number are those of the reader's moment plus what came
        later."""
        live = self.tree.live
        if self.generation == live.generation and self.extents is not None:
            return
        if self.number:
            row = read_file(live.database, self.number)
            newer = self.extents.since(live.position) if self.extents and self.touched >= live.position else ExtentMap()
            if row is None and self.touched >= live.position:
                return  # Its row is still to come, and may then say something else than memory.
            if row is None:
                self.base, self.number, self.extents = self._sealed(), 0, ExtentMap()
            elif row is not None and row.folded and self.touched < row.folded:
                self.base, self.number, self.extents = row.base, 0, ExtentMap()
            elif row is not None:
                extents = read_extents(live.database, self.number)
                if extents:
                    extents.cut(self.size, 1 << 63)  # What a later truncate cut off must not come back.
                if newer:
                    extents.overlay(newer)
                self.base, self.extents = row.base, extents
        elif self._resting is not None:
            self.base, self.extents, self._resting = self._sealed(), ExtentMap(), None
        self.generation = live.generation

    def anchor(self) -> None:
        """See ``Inode``; bytes are looked at when somebody reads them."""
        live = self.tree.live
        if self.number and self.generation != live.generation and self.touched < live.position:
            row = read_file(live.database, self.number)
            if row is None or row.folded:
                self.refresh()

    def part(self) -> None:
        """Follow seals and folds as far as its place is needed for that, because it is about to lose it."""
        live, parent = self.tree.live, self.parent
        if not self.number or self.generation == live.generation:
            return
        folded = self.touched < live.position and read_file(live.database, self.number) is None
        resting = parent.resting(self.name) if folded and parent is not None and not self.link_id else None
        if resting is None:
            self.refresh()
        else:
            self._resting, self.number, self.extents = resting, 0, None

    def _sealed(self) -> ContentRef:
        """The content that the newest version's tree has for this file."""
        if self._resting is not None:
            return decode(prolly.get(self.tree.live.blobs, self._resting, self.name) or b"").content
        if self.link_id:
            return self.tree.linked_entry(self.link_id).entry.content
        if self.parent is None:
            raise RuntimeError("a live file without a directory")
        return self.parent.stored_entry(self.name).content

    def sealed(self) -> ContentRef | None:
        """The content that is all of its bytes, where there is one; it must be refreshed."""
        return None if self.extents or self.size != self.base.size else self.base

    # Bytes

    def read(self, offset: int, size: int) -> Buffer:
        """See ``Handle``; may raise ``Cold``."""
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        self.refresh()
        if self.extents or offset + size > self.base.size:
            return self._pieces(offset, size)
        return self._from_base(offset, size)

    def _from_base(self, offset: int, size: int) -> Buffer:
        if self._reader is None:
            self._reader = content.Reader()
        return self._reader.view(self.tree.live.blobs, self.base, offset, size)

    def _pieces(self, offset: int, size: int) -> bytes:
        live, extents = self.tree.live, self.extents
        pieces: list[bytes] = []
        for start, length, address in (extents or ExtentMap()).ranges(offset, offset + size):
            if address is None:
                if start + length > self.base.size:
                    raise damage(f"a file of {self.size} bytes has nothing from {self.base.size} on")
                pieces.append(bytes(self._from_base(start, length)))
            elif address & ZEROS:
                pieces.append(bytes(length))
            else:
                pieces.append(live.reader.read(address, length))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: Buffer) -> int:
        """See ``Handle``."""
        length = len(data)
        if not length:
            return 0
        if offset + length > SIZE_MAX:
            raise TooLargeError("a file has at most 16 TiB")
        live = self.tree.live
        self.refresh()
        self._forget_whole()
        live.reserve(length)
        now = live.now_ns()
        ops, number = self._numbered()
        head = b"".join([*ops, operations.write(number, offset, length, now)])
        at = live.append(head, data, grows=True)
        self.number = number
        extents = self.extents
        if extents is None:
            raise RuntimeError("a refreshed file has extents")
        address = at + FRAME_SIZE + len(head)
        if offset > self.size:
            extents.put(self.size, offset - self.size, address | ZEROS)
        extents.put(offset, length, address)
        self.size = max(self.size, offset + length)
        self.mtime_ns = self.ctime_ns = now
        self.stamp(at)
        return length

    def _forget_whole(self) -> None:
        """The bytes are about to be others than those that came in one piece."""
        self.whole = b""
        if self.xattrs or self.xattr_blob is not None:
            xattrs = self.all_xattrs()
            others = tuple(pair for pair in xattrs if pair[0] != WHOLE)
            if len(others) < len(xattrs):
                self.replace_xattrs(others, self.mode)

    def _numbered(self) -> tuple[list[bytes], int]:
        """Operations that give the file a number where it has none and mark it; the number. Nothing is changed yet."""
        if self.number:
            return self.mark(), self.number
        live = self.tree.live
        number = live.new_file()
        ops = [operations.put(Table.FILES, U64.pack(number), self.file_row().encode())]
        if not self.nlink:
            return [*ops, operations.put(Table.ORPHANS, U64.pack(number), b"")], number
        self.number = number
        try:
            return [*ops, *self.row()], number
        finally:
            self.number = 0

    def resize(self, size: int) -> None:
        """truncate(2): cut off, or extend by zeros."""
        if size > SIZE_MAX:
            raise TooLargeError("a file has at most 16 TiB")
        self.refresh()
        self._forget_whole()
        live = self.tree.live
        now = live.now_ns()
        ops, number = self._numbered()
        at = live.append(b"".join([*ops, operations.resize(number, size, now)]))
        self.number = number
        if self.extents is not None:
            if size < self.size:
                self.extents.cut(size, 1 << 63)
            else:
                self.extents.put(self.size, size - self.size, (at + FRAME_SIZE) | ZEROS)
        self.size = size
        self.mtime_ns = self.ctime_ns = now
        self.stamp(at)

    # Attributes

    def set(self, change: Change) -> None:
        """See ``Node``; a size comes first. What changes nothing, as chown(2) to nobody, sets the ctime."""
        if change.size is not None:
            if change.size != self.size:
                self.resize(change.size)
            elif change.mtime_ns is None:
                change = msgspec.structs.replace(change, mtime_ns=self.tree.live.now_ns())
        rest = (change.mode, change.uid, change.gid, change.atime_ns, change.mtime_ns)
        if change.size is None or any(field is not None for field in rest):
            self.refresh()
            super().set(change)

    def touch(self) -> list[bytes]:
        """See ``Inode``."""
        return [operations.touch_file(self.number, self.mtime_ns, self.ctime_ns)] if self.number else []

    # Opening and leaving

    def open(self, *, writing: bool) -> "LiveFile":
        """See ``Node``."""
        self.handles += 1
        return self

    def close(self) -> None:
        """See ``Handle``."""
        self.handles -= 1
        if not self.handles:
            self._reader = None
        if not (self.handles or self.lookups or self.nlink):
            self.closed()

    def unlinked(self) -> list[bytes]:
        """See ``Inode``."""
        if not self.number:
            return []
        if self.handles or self.lookups:  # Who has looked it up may open it yet: a rename onto it must not show it empty.
            return [operations.put(Table.ORPHANS, U64.pack(self.number), b""), *self.touch()]
        self.tree.live.prepare(done=self.dropped)
        return [operations.drop_file(self.number)]

    def dropped(self, at: int) -> None:
        """Memory of an unlinked file once its rows went with the frame at ``at``."""
        self.number, self.base, self.extents, self.size = 0, EMPTY, ExtentMap(), 0
        self.touched = at

    def closed(self) -> None:
        """See ``Node``."""
        live = self.tree.live
        live.nodes.pop(self.ino, None)
        if self.number:
            live.drop(self.number)
            self.number = 0


def new_file(tree: LiveTree, ino: int, entry: Entry) -> LiveFile:
    """A file that did not exist before, under a number of its own."""
    node = LiveFile(tree, ino, msgspec.structs.replace(entry, kind=Kind.FILE, live=0))
    node.number = tree.live.new_file()
    return node
