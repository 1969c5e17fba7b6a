"""Bytes of a file that are not sealed, held so that they stay what they were.

A reading is a file without a name, as a staged one is, which holds what the file held at one moment: the same ranges of the
journal over the same base. It costs a row for each range, and no bytes. Always true: whatever becomes of the file or its name,
the reading shows what was there.
"""

import msgspec

from mimeifs.model import state
from mimeifs.model.entry import Entry, Kind
from mimeifs.model.live import LiveTree
from mimeifs.model.live_file import LiveFile
from mimeifs.model.orders import CallKind, CloneRequest
from mimeifs.store import operations
from mimeifs.store.database import U64, Table
from mimeifs.store.extents import ExtentMap
from mimeifs.store.interfaces import Buffer


class Reading:
    """What a file that is not sealed holds now; its rows are in the store once everything up to ``at`` is."""

    def __init__(self, source: LiveFile) -> None:
        source.refresh()
        live = source.tree.live
        live.reserve(1024)
        self._file = file = copy_of(source, source.tree, Entry(Kind.FILE))
        file.nlink, file.handles = 0, 1
        ops = [*clone_ops(source, file), operations.put(Table.ORPHANS, U64.pack(file.number), b"")]
        self.at = live.append(b"".join(ops), grows=True)
        file.touched = self.at

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._file.size

    def read(self, offset: int, size: int) -> Buffer:
        """As ``Handle.read``; may raise ``Cold``."""
        return self._file.read(offset, size)

    def close(self) -> None:
        """It is wanted no more."""
        self._file.close()


def copy_of(source: LiveFile, tree: LiveTree, entry: Entry) -> LiveFile:
    """A new file in memory, with that entry, which holds what ``source``, refreshed and not sealed, does."""
    made = LiveFile(tree, 0, msgspec.structs.replace(entry, live=0))
    made.number = tree.live.new_file()
    made.base, made.size, made.extents, made.whole = source.base, source.size, ExtentMap(source.extents or ()), source.whole
    return made


def clone_ops(source: LiveFile, made: LiveFile) -> list[bytes]:
    """The operations that make it so in the store."""
    return [operations.call(CallKind.CLONE, state.encode(CloneRequest(source.number, made.number))), *made.touch()]
