"""What the floors above ask of any place that keeps blobs, and the signal that bytes are not in memory.

Always true: what a :class:`BlobSource` returns for an ID hashes to that ID; a :class:`BlobSink` never loses what it accepted
before its owner has synced or refused it; raising :class:`Cold` changed nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mimeifs.errors import MissingError
from mimeifs.ids import BlobId, blob_id, show_blob

Buffer = bytes | bytearray | memoryview
Part = tuple[BlobId, int, int]
"""A piece of a blob: its ID, where the piece starts in it, and how long it is."""


class Cold(Exception):
    """These blobs are stored, but not in memory: fetch and pin them off the loop, then call again."""

    def __init__(self, ids: tuple[BlobId, ...]) -> None:
        super().__init__(ids)
        self.ids = ids


class BlobSource(Protocol):
    """Where blobs are read."""

    def get(self, blob: BlobId) -> bytes:
        """The plain bytes of ``blob``, verified.

        Raises ``MissingError`` (absent), ``IntegrityError`` (damaged) or :class:`Cold` (a source that must not block).
        """
        ...


class ViewSource(BlobSource, Protocol):
    """A source for whoever serves reads: it gives pieces without copying them twice, and can be told what comes next."""

    def view(self, parts: Sequence[Part]) -> Buffer:
        """The pieces one behind the other, verified; good until the next call, which may use the same memory.

        Raises as :meth:`get` does; :class:`Cold` names all that is missing.
        """
        ...

    def ahead(self, ids: Iterable[BlobId]) -> None:
        """Begin to bring these into memory; never waits, and damage or absence is for the reading to tell."""
        ...


class BlobSink(Protocol):
    """Where blobs are stored."""

    def put(self, data: bytes) -> BlobId:
        """Store ``data`` unless it is there already, and name it; raises ``CapacityError`` when there is no room."""
        ...


@dataclass(slots=True)
class MemoryBlobs:
    """Blobs in a dictionary: a source and a sink for tests and for maps that never leave memory."""

    blobs: dict[BlobId, bytes] = field(default_factory=dict)

    def get(self, blob: BlobId) -> bytes:
        """See :class:`BlobSource`."""
        try:
            return self.blobs[blob]
        except KeyError:
            raise MissingError(f"no blob {show_blob(blob)}") from None

    def put(self, data: bytes) -> BlobId:
        """See :class:`BlobSink`."""
        name = blob_id(data)
        self.blobs.setdefault(name, bytes(data))
        return name
