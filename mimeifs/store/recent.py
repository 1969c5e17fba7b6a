"""Nodes of maps used a moment ago, kept in memory in front of the packs: for maps that are edited again and again.

An edit stores the nodes that it writes as they are: to shrink them would be an eighth of a version's work, for a quarter of a
MiB in a version of a hundred files. What is made at once is shrunk, to 62 %: most nodes come from that.

What this is not: the packs themselves; whatever is put goes there too, so nothing is lost with this. Always true: a name fixes
its bytes, so what is remembered can never be wrong, not even when the writer has taken a ``put`` back; memory stays within
``room`` bytes, and what was used longest ago goes first.
"""

from collections import OrderedDict

from mimeifs.ids import BlobId
from mimeifs.store.packwriter import PackWriter

ENTRY_OVERHEAD = 160


class RecentNodes:
    """A ``BlobSource`` and ``BlobSink`` for maps in front of a ``PackWriter``; ``whole`` is the sink for one made at once."""

    def __init__(self, packs: PackWriter, *, room: int) -> None:
        self.whole = _Whole(self, packs)
        self._packs = packs
        self._room = room
        self._recent: OrderedDict[BlobId, bytes] = OrderedDict()

    def get(self, blob: BlobId) -> bytes:
        """See ``BlobSource``."""
        data = self._recent.get(blob)
        if data is None:
            data = self._packs.get(blob)
            self.remember(blob, data)
        else:
            self._recent.move_to_end(blob)
        return data

    def put(self, data: bytes) -> BlobId:
        """See ``BlobSink``."""
        blob = self._packs.put_plain(data)
        self.remember(blob, data)
        return blob

    def remember(self, blob: BlobId, data: bytes) -> None:
        """Keep what was put or read."""
        recent = self._recent
        if blob in recent:
            return
        recent[blob] = data
        self._room -= len(data) + ENTRY_OVERHEAD
        while self._room < 0 and recent:
            self._room += len(recent.popitem(last=False)[1]) + ENTRY_OVERHEAD


class _Whole:
    """The sink for maps made at once."""

    def __init__(self, nodes: RecentNodes, packs: PackWriter) -> None:
        self._nodes = nodes
        self._packs = packs

    def put(self, data: bytes) -> BlobId:
        """See ``BlobSink``."""
        blob = self._packs.put_node(data)
        self._nodes.remember(blob, data)
        return blob
