"""The pack format: how blobs and records lie one behind the other in a file. Bytes in, values out; no file is opened here.

A pack is a header and self-describing frames, so that the index of all packs can be made again from nothing else. What this is
not: the index, or any choice of where a blob goes (``blobs``). Always true: a frame header that is accepted carries its own
checksum and keeps every length within its limit; bytes that are handed out match their digest. Format page:
``docs/format/pack.md``.
"""

import re
import struct
from collections.abc import Iterator
from enum import IntEnum

import msgspec
import zstandard
from blake3 import blake3

from mimeifs.errors import IntegrityError, UnknownFormatError
from mimeifs.ids import BlobId, show_blob
from mimeifs.store.interfaces import Buffer
from mimeifs.store.slices import SHORT, digests_of, length_of

FORMAT = 1
MAGIC = b"MIMEIPAK"
MAX_PLAIN = 16 << 20
"""The largest blob or record, in bytes; a hostile length is refused before memory is set aside for it."""

_HEADER = struct.Struct(">8sII")
_FIELDS = struct.Struct(">BBII32s")
MAX_OFFSET = 1 << 62
"""No file is longer."""
_ROW = struct.Struct(">IQIIB")
_END = struct.Struct(">IQ")
CHECK_SIZE = 8
HEADER_SIZE = _HEADER.size
FRAME_SIZE = _FIELDS.size + CHECK_SIZE

ZSTD = 1
"""Flag: the stored bytes are one zstd frame of the plain bytes. In frames and index rows."""
RECORD = 2
"""Flag in index rows only: the frame is a record's."""

CANDIDATE_SIZE = 7
_CANDIDATE = re.compile(rb"[\x01\x02][\x00\x01](?:\x00...\x00|\x01\x00\x00\x00[\x00\x01])", re.DOTALL)


class Kind(IntEnum):
    """What a frame holds."""

    BLOB = 1
    RECORD = 2


class PackEnd(msgspec.Struct, frozen=True):
    """How far the packs are committed: everything before this place is synced and in the index. Offset 0: no such file yet."""

    number: int
    offset: int

    def encode(self) -> bytes:
        """The form kept in the index beside the rows it covers."""
        return _END.pack(self.number, self.offset)

    @classmethod
    def decode(cls, raw: bytes) -> "PackEnd":
        """Inverse of :meth:`encode`; raises ``IntegrityError``."""
        if len(raw) != _END.size:
            raise IntegrityError("the committed end of the packs is damaged: `mimei rebuild` makes the index again")
        return cls(*_END.unpack(raw))


START = PackEnd(1, 0)
"""The end of a store that holds nothing yet."""


class IndexRow(msgspec.Struct, frozen=True):
    """Where the stored bytes of one digest lie. ``offset`` is that of the stored bytes, behind the frame's header; ``slices``
    are the digests of their slices, b"" where there are none."""

    pack: int
    offset: int
    stored: int
    plain: int
    flags: int
    slices: bytes = b""

    def encode(self) -> bytes:
        """The value of the digest's row in the index."""
        return _ROW.pack(self.pack, self.offset, self.stored, self.plain, self.flags) + self.slices

    @classmethod
    def decode(cls, raw: bytes) -> "IndexRow":
        """Inverse of :meth:`encode`; raises ``IntegrityError``."""
        if len(raw) < _ROW.size:
            raise IntegrityError("a row of the blob index is damaged: `mimei rebuild` makes it again")
        pack, offset, stored, plain, flags = _ROW.unpack_from(raw)
        row = cls(pack, offset, stored, plain, flags, raw[_ROW.size :])
        fits = not row.slices or (not row.flags and len(row.slices) == length_of(row.plain))
        if row.plain > MAX_PLAIN or row.stored > row.plain or row.offset > MAX_OFFSET or not fits:
            raise IntegrityError("a row of the blob index is damaged: `mimei rebuild` makes it again")
        return row

    def sliced(self, plain: Buffer) -> "IndexRow":
        """The same with the digests of its slices, where it is of a long blob that is stored as it is."""
        return self if self.flags or self.plain <= SHORT else msgspec.structs.replace(self, slices=digests_of(plain))

    @property
    def is_record(self) -> bool:
        """Whether the bytes were stored as a record."""
        return bool(self.flags & RECORD)


class Frame(msgspec.Struct, frozen=True):
    """One frame as its header describes it; ``row`` says where its stored bytes are."""

    kind: Kind
    digest: bytes
    row: IndexRow

    @property
    def stop(self) -> int:
        """The offset just behind the frame."""
        return self.row.offset + self.row.stored


def pack_name(number: int) -> str:
    """The file name of a pack."""
    return f"{number:08x}.pack"


def encode_header(number: int) -> bytes:
    """The first bytes of pack ``number``."""
    return _HEADER.pack(MAGIC, FORMAT, number)


def check_header(data: Buffer, number: int) -> None:
    """Raise ``IntegrityError`` or ``UnknownFormatError`` unless ``data`` starts pack ``number`` in a known format."""
    if len(data) < HEADER_SIZE or data[: len(MAGIC)] != MAGIC:
        raise IntegrityError(f"{pack_name(number)} does not start like a pack")
    _, version, found = _HEADER.unpack_from(data)
    if version != FORMAT:
        raise UnknownFormatError(f"{pack_name(number)} has pack format {version}, this program knows {FORMAT}")
    if found != number:
        raise IntegrityError(f"{pack_name(number)} says that it is {pack_name(found)}")


def encode_frame(kind: Kind, flags: int, digest: bytes, plain: int, stored: int) -> bytes:
    """The header of a frame; the stored bytes follow it."""
    fields = _FIELDS.pack(kind, flags, plain, stored, digest)
    return fields + blake3(fields).digest(CHECK_SIZE)


def parse_header(head: Buffer, offset: int, number: int) -> Frame | None:
    """The frame that ``head``, the bytes from ``offset`` of a pack on, begins with; None when there is none. Whether its stored
    bytes are all there is not looked at."""
    if len(head) < FRAME_SIZE:
        return None
    fields = head[: _FIELDS.size]
    if blake3(fields).digest(CHECK_SIZE) != head[_FIELDS.size : FRAME_SIZE]:
        return None
    kind, flags, plain, stored, digest = _FIELDS.unpack(fields)
    if kind not in (Kind.BLOB, Kind.RECORD) or flags & ~ZSTD or plain > MAX_PLAIN or stored > plain:
        return None
    flags |= RECORD if kind == Kind.RECORD else 0
    return Frame(Kind(kind), digest, IndexRow(number, offset + FRAME_SIZE, stored, plain, flags))


def candidates(data: Buffer) -> Iterator[int]:
    """Where in ``data`` a frame may begin: the way past damage in the middle of a pack. One that begins in the last
    ``CANDIDATE_SIZE - 1`` bytes is not found.

    May name a frame that lies inside another one's stored bytes; such a frame is no less true, since its digest names it.
    """
    offset = 0
    while (found := _CANDIDATE.search(data, offset)) is not None:
        yield found.start()
        offset = found.start() + 1


def unpack(row: IndexRow, stored: Buffer, digest: bytes, decompressor: zstandard.ZstdDecompressor) -> bytes:
    """The plain bytes of ``digest``, verified; raises ``IntegrityError``.

    ``decompressor`` must belong to the calling thread: two threads in one of them read corruption.
    """
    plain: Buffer = stored
    if len(stored) == row.stored and row.flags & ZSTD:
        plain = _decompress(row, stored, decompressor)
    if len(plain) != row.plain or blake3(plain).digest() != digest:
        raise damaged(row, digest)
    return plain if isinstance(plain, bytes) else bytes(plain)


def damaged(row: IndexRow, digest: bytes) -> IntegrityError:
    """What to raise for stored bytes that are not those of ``digest``."""
    place = f"{pack_name(row.pack)} at offset {row.offset}"
    return IntegrityError(f"{show_blob(BlobId(digest))} is damaged in {place}; storing the same content again mends it")


def _decompress(row: IndexRow, stored: Buffer, decompressor: zstandard.ZstdDecompressor) -> bytes:
    """The plain bytes, or nothing when they cannot be had; the size is checked first, since memory is taken for it."""
    try:
        if zstandard.frame_content_size(stored) != row.plain:
            return b""
        return decompressor.decompress(stored)
    except zstandard.ZstdError:
        return b""
