"""What the bytes of a file are when they are at rest: nothing, one blob, or chunks under a map from offset to chunk.

What this is not: the bytes of a file being edited (``extents``), or where blobs are kept. Always true: the same bytes give the
same :class:`ContentRef` whatever their history, so that two files are equal exactly when their references are; a reference, a
map and a chunk that do not fit together raise ``IntegrityError``. Format page: ``docs/format/content.md``.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import chain
from operator import attrgetter

import msgspec

from mimeifs.errors import IntegrityError, InvalidError, MimeiError
from mimeifs.ids import ID_SIZE, BlobId
from mimeifs.store import prolly
from mimeifs.store.chunker import chunks
from mimeifs.store.interfaces import BlobSink, BlobSource, Buffer, Cold, Part, ViewSource
from mimeifs.store.parts import joined

SINGLE_LIMIT = 64 << 10
"""The largest content in bytes that is one blob; part of the format."""

READ_AHEAD = 4 << 20
"""How far ahead of a reader from front to back the disk is asked, in bytes."""

MAX_MET = 1024
"""How many chunks a reader here and there remembers the places of: those of 256 MiB."""

_KEY = struct.Struct(">Q")
_VALUE = struct.Struct(">32sI")


class ContentKind(IntEnum):
    """How content is kept; part of the format."""

    EMPTY = 0
    BLOB = 1
    CHUNKS = 2


class ContentRef(msgspec.Struct, frozen=True, gc=False):
    """The name of a content of ``size`` bytes: its blob's digest, the root of its chunk map, or no bytes for nothing."""

    kind: ContentKind
    digest: BlobId
    size: int

    def __post_init__(self) -> None:
        if self.size > SINGLE_LIMIT:
            natural = ContentKind.CHUNKS
        else:
            natural = ContentKind.BLOB if self.size > 0 else ContentKind.EMPTY
        if self.kind is not natural or self.size < 0 or len(self.digest) != (ID_SIZE if self.size else 0):
            raise IntegrityError(
                f"no content of {self.size} bytes is kept as {self.kind!r} with {len(self.digest)} bytes of digest"
            )


EMPTY = ContentRef(ContentKind.EMPTY, BlobId(b""), 0)


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One row of a chunk map; ``start`` and ``stop`` are offsets in the content."""

    start: int
    stop: int
    blob: BlobId


_START = attrgetter("start")


def encode_chunk(chunk: Chunk) -> tuple[bytes, bytes]:
    """The row of ``chunk`` in its map."""
    return _KEY.pack(chunk.start), _VALUE.pack(chunk.blob, chunk.stop - chunk.start)


def _decode_chunk(row: tuple[bytes, bytes], size: int) -> Chunk:
    if len(row[0]) != _KEY.size or len(row[1]) != _VALUE.size:
        raise IntegrityError("a row of a chunk map has the wrong length")
    (start,) = _KEY.unpack(row[0])
    blob, length = _VALUE.unpack(row[1])
    if not length or start + length > size:
        raise IntegrityError(f"a chunk of {length} bytes at {start} does not fit a content of {size} bytes")
    return Chunk(start, start + length, BlobId(blob))


def chunk_at(source: BlobSource, ref: ContentRef, offset: int) -> Chunk:
    """The chunk that holds the byte at ``offset`` of a content kept as chunks."""
    row = prolly.floor(source, ref.digest, _KEY.pack(offset))
    chunk = None if row is None else _decode_chunk(row, ref.size)
    if chunk is None or chunk.stop <= offset:
        raise IntegrityError(f"a chunk map has no chunk for offset {offset} of {ref.size}")
    return chunk


def chunks_from(source: BlobSource, ref: ContentRef, offset: int) -> Iterator[Chunk]:
    """The chunks of a content kept as chunks, from the one that holds ``offset`` to the last, without gaps."""
    chunk = chunk_at(source, ref, offset)
    yield chunk
    if chunk.stop == ref.size:
        return
    for row in prolly.scan(source, ref.digest, after=_KEY.pack(chunk.start)):
        following = _decode_chunk(row, ref.size)
        if following.start != chunk.stop:
            break
        chunk = following
        yield chunk
    if chunk.stop != ref.size:
        raise IntegrityError(f"a chunk map has a gap at {chunk.stop} of {ref.size}")


def plan(source: BlobSource, ref: ContentRef, offset: int, size: int) -> list[Part]:
    """Which pieces of which blobs make up ``size`` bytes from ``offset``, clipped at the end of the content.

    Reads map nodes only, no chunk: for callers that fetch ahead. Raises as ``BlobSource.get`` does.
    """
    if offset < 0 or size < 0:
        raise InvalidError(f"cannot read {size} bytes at {offset}")
    stop = min(offset + size, ref.size)
    if offset >= stop:
        return []
    if ref.kind is ContentKind.BLOB:
        return [(ref.digest, offset, stop - offset)]
    return _clipped(_chunks_up_to(chunks_from(source, ref, offset), stop), offset, stop)


def _chunks_up_to(chunks: Iterator[Chunk], stop: int) -> list[Chunk]:
    """Chunks until one reaches ``stop``."""
    taken: list[Chunk] = []
    for chunk in chunks:
        taken.append(chunk)
        if chunk.stop >= stop:
            break
    return taken


def _clipped(chunks: Iterable[Chunk], offset: int, stop: int) -> list[Part]:
    """The pieces of ``chunks``, which are in order, that lie in ``[offset, stop)``."""
    parts: list[Part] = []
    for chunk in chunks:
        if chunk.start >= stop:
            break
        if chunk.stop > offset:
            begin = max(offset, chunk.start)
            parts.append((chunk.blob, begin - chunk.start, min(chunk.stop, stop) - begin))
    return parts


def read(source: BlobSource, ref: ContentRef, offset: int, size: int) -> bytes:
    """``size`` bytes from ``offset``, fewer at the end of the content.

    Raises as ``BlobSource.get`` does; ``Cold`` then names every blob that is missing, so that one fetch is enough.
    """
    data = joined(source, plan(source, ref, offset, size))
    return data if isinstance(data, bytes) else bytes(data)


class Reader:
    """One reader's place in one content after another.

    Notices reading from front to back, looks the chunks that follow up in one go, and has the disk bring them into memory in
    time; one who reads here and there looks each chunk up once. Always true: ``_chunks`` are neighbours in the content
    ``_ref``, and ``_following`` goes on behind the last of them; ``_met`` are chunks of it in the order of their places.
    """

    __slots__ = ("_chunks", "_expected", "_following", "_met", "_ref")

    def __init__(self) -> None:
        self._ref = EMPTY
        self._expected = 0
        self._met: list[Chunk] = []
        self._chunks: list[Chunk] = []
        self._following: Iterator[Chunk] = iter(())

    def whole(self, ref: ContentRef, offset: int, size: int) -> int:
        """How many of ``size`` bytes from ``offset`` to ask for so that the last chunk is read once and whole, as far as the
        chunks that follow are known."""
        stop = 0
        for chunk in self._chunks if ref is self._ref else ():
            if chunk.stop > offset + size:
                break
            stop = chunk.stop
        return stop - offset if stop > offset else size

    def view(self, source: ViewSource, ref: ContentRef, offset: int, size: int) -> Buffer:
        """As :func:`read`, without the copy: good until the next call of the same ``source``."""
        parts = self.parts(source, ref, offset, size)
        view = source.view(parts)
        stop = min(offset + size, ref.size)
        if len(view) != max(stop - offset, 0):
            raise IntegrityError(f"{len(view)} bytes stand where {stop - offset} are needed")
        return view

    def parts(self, source: ViewSource, ref: ContentRef, offset: int, size: int) -> list[Part]:
        """As :func:`plan`, by what is known of the chunks around."""
        stop = min(offset + size, ref.size)
        if ref.kind is not ContentKind.CHUNKS or offset >= stop:
            return plan(source, ref, offset, size)
        if ref is not self._ref:
            self._met = []
        elif offset != self._expected and (index := bisect_right(self._met, offset, key=_START)):
            met = self._met[index - 1]
            if stop <= met.stop:
                self._expected = stop
                return [(met.blob, offset - met.start, stop - offset)]
        chunks, following = self._chunks, self._following
        self._chunks = []  # Whatever is raised below: the next call looks its place up.
        if ref is not self._ref or not chunks or offset < chunks[0].start or stop > chunks[-1].stop:
            following = chunks_from(source, ref, offset)
            chunks = _chunks_up_to(following, stop)
            self._meet(chunks[0])
        if offset == self._expected and ref is self._ref:
            following = self._follow(source, ref, stop, chunks, following)
        self._ref, self._expected, self._chunks, self._following = ref, stop, chunks, following
        return _clipped(chunks, offset, stop)

    def _meet(self, chunk: Chunk) -> None:
        """Remember where a chunk is."""
        if len(self._met) >= MAX_MET:
            self._met.clear()
        index = bisect_right(self._met, chunk.start, key=_START)
        if not index or self._met[index - 1].start != chunk.start:
            self._met.insert(index, chunk)

    def _follow(
        self, source: ViewSource, ref: ContentRef, stop: int, chunks: list[Chunk], following: Iterator[Chunk]
    ) -> Iterator[Chunk]:
        """Look further ahead once half of it is used up, and say what follows then; where the chunk map itself is not in
        memory, next time."""
        end = chunks[-1].stop
        if end - stop >= READ_AHEAD // 2 or end == ref.size:
            return following
        try:
            more = _chunks_up_to(following, stop + READ_AHEAD)
            source.ahead([chunk.blob for chunk in more])
            chunks += more
        except (Cold, MimeiError):
            following = chunks_from(source, ref, end)
        while chunks[0].stop < stop - READ_AHEAD:
            del chunks[0]
        return following


def write_all(sink: BlobSink, pieces: Iterable[bytes]) -> ContentRef:
    """Store a whole content that comes in pieces of any size, holding little more than one chunk and one piece of it."""
    head = bytearray()
    remaining = iter(pieces)
    for piece in remaining:
        head += piece
        if len(head) > SINGLE_LIMIT:
            break
    else:
        return ContentRef(ContentKind.BLOB, sink.put(bytes(head)), len(head)) if head else EMPTY
    size = 0

    def rows() -> Iterator[tuple[bytes, bytes]]:
        nonlocal size
        for data in chunks(chain((bytes(head),), remaining)):
            start, size = size, size + len(data)
            yield encode_chunk(Chunk(start, size, sink.put(data)))

    root = prolly.build(sink, rows())
    return ContentRef(ContentKind.CHUNKS, root, size)
