"""Room on the store's disk: asked before anything grows, so that a full disk meets the writer and not the store.

What is written lies in the journal and, once sealed, in packs as well, so each byte is counted twice until then.
Deleting does not ask. Always true: while :meth:`Room.reserve` says yes there is room to commit what was said yes to,
other users of the disk aside; the ballast is for when they have taken all, and the keeper fills it again.
"""

import logging

from mimeifs.errors import CapacityError, MimeiError
from mimeifs.store.journal import SEGMENT_SIZE, segments, spares
from mimeifs.store.storage import Storage, available, drop_ballast

log = logging.getLogger(__name__)

_LOOK_AGAIN = 64 << 20


class Room:
    """The node's account of the disk; looks at it again when what it saw is used up."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._left = 0
        self.refusing: MimeiError | None = None
        """Why nothing may grow now, as the keeper said; None when it may."""

    def reserve(self, size: int) -> None:
        """Raise ``CapacityError`` unless ``size`` bytes more fit, ``IntegrityError`` while the disk fails."""
        if self.refusing is not None:
            raise type(self.refusing)(*self.refusing.args)
        self._left -= 2 * size
        if self._left < 0:
            spare = self.spare()
            self._left = min(spare, _LOOK_AGAIN) - 2 * size
            if spare < 2 * size:
                raise CapacityError("no space left for the store: delete something, or free space on its disk")

    def relieve(self) -> bool:
        """Give the ballast up, for what has not asked; whether there was any."""
        given = drop_ballast(self._storage)
        if given:
            log.warning("another has taken all room on the store's disk; the ballast is given up")
        return given

    def spare(self) -> int:
        """Bytes that could be written and sealed now, each counted as often as it will be stored."""
        directory = self._storage.journal
        present, kept = segments(directory), len(spares(directory))
        unsealed = max(0, len(present) - 1) * SEGMENT_SIZE
        next_segment = 0 if kept else SEGMENT_SIZE
        return max(0, available(self._storage.root) + kept * SEGMENT_SIZE - unsealed - next_segment)
