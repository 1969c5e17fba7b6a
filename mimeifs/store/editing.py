"""Storing an edited content for the price of the edit: cut again only from where it changed until the old cuts are met.

What this is not: reading or naming contents (``content``). Always true: the result equals storing the whole new content,
because a cut depends only on the offset and the bytes of its own chunk, so that a chunk that starts at the same offset and
has the same bytes ends at the same offset; only the last chunk, which the end of the file cuts, may change when the file
grows. Chunks that no change touches are neither read nor written; neither are whole chunks of ranges known to read as zeros,
which are all one blob, stored once.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.store import chunker, prolly
from mimeifs.store import content as contents
from mimeifs.store.content import EMPTY, Chunk, ContentKind, ContentRef, chunk_at, chunks_from, encode_chunk, read
from mimeifs.store.interfaces import BlobSink, BlobSource

Range = tuple[int, int]
"""Offsets ``(start, stop)``."""
ReadNew = Callable[[int, int], bytes]
"""Offset, size: exactly these bytes of the new content."""

_BATCH = 4096


def edit(
    source: BlobSource,
    sink: BlobSink,
    old: ContentRef,
    new_size: int,
    dirty: Sequence[Range],
    read_new: ReadNew,
    zeros: Sequence[Range] = (),
) -> ContentRef:
    """Store the content of ``new_size`` bytes that equals ``old`` except in the sorted, disjoint ranges ``dirty``.

    ``read_new`` is asked only for bytes inside ``dirty`` and for those behind the end of ``old``, which always count as dirty.
    ``zeros`` are sorted, disjoint ranges in which the new content is known to be zeros: they cost next to nothing, however
    long. ``source`` must see what ``sink`` has stored.
    """
    new = _NewContent(source, old, new_size, _fresh_ranges(old.size, new_size, dirty), read_new, zeros)
    if new_size == old.size and not new.fresh:
        return old
    if new_size == 0:
        return EMPTY
    if new_size <= contents.SINGLE_LIMIT:
        return ContentRef(ContentKind.BLOB, sink.put(new.read(0, new_size)), new_size)
    if old.kind is not ContentKind.CHUNKS:
        return ContentRef(ContentKind.CHUNKS, prolly.build(sink, map(encode_chunk, new.chunks(sink, 0))), new_size)
    return ContentRef(ContentKind.CHUNKS, _Rechunking(source, sink, old, new).run(), new_size)


def _fresh_ranges(old_size: int, new_size: int, dirty: Sequence[Range]) -> list[Range]:
    """The ranges of the new content that ``read_new`` answers for, with all growth in one last range."""
    last = 0
    fresh: list[Range] = []
    for start, stop in dirty:
        if not last <= start <= stop:
            raise ValueError(f"dirty ranges must be sorted and disjoint: {start}-{stop} after {last}")
        last = stop
        stop = min(stop, old_size, new_size)
        if start < stop:
            fresh.append((start, stop))
    if new_size > old_size:
        fresh.append((old_size, new_size))
    return fresh


class _NewContent:
    """The new bytes: ``read_new`` inside the fresh ranges, the old content elsewhere."""

    def __init__(
        self,
        source: BlobSource,
        old: ContentRef,
        size: int,
        fresh: list[Range],
        read_new: ReadNew,
        zeros: Sequence[Range],
    ) -> None:
        self.size = size
        self.fresh = fresh
        self._source = source
        self._old = old
        self._starts = [start for start, _ in fresh]
        self._read_new = read_new
        self._zeros = zeros
        self._zero_starts = [start for start, _ in zeros]
        self._zero_chunk: BlobId | None = None

    def fresh_until(self, offset: int) -> int:
        """The end of the fresh range that holds ``offset``; ``offset`` itself when none does."""
        index = bisect_right(self._starts, offset) - 1
        return max(offset, self.fresh[index][1]) if index >= 0 else offset

    def read(self, offset: int, stop: int) -> bytes:
        """The bytes from ``offset`` to ``stop``."""
        pieces = []
        while offset < stop:
            until = min(stop, self.fresh_until(offset))
            if until > offset:
                piece = self._read_new(offset, until - offset)
            else:
                index = bisect_right(self._starts, offset)
                until = min(stop, self._starts[index]) if index < len(self._starts) else stop
                piece = read(self._source, self._old, offset, until - offset)
            if len(piece) != until - offset:
                raise IntegrityError(f"a file has {len(piece)} bytes where it says {until - offset}, at {offset}")
            pieces.append(piece)
            offset = until
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def chunks(self, sink: BlobSink, start: int) -> Iterator[Chunk]:
        """The chunks from ``start`` on, where one starts, each stored when it is asked for."""
        window = bytearray()
        largest = chunker.SIZES.maximum
        while start < self.size:
            until = self._zero_chunks_until(start)
            if until > start:
                blob = self._stored_zeros(sink)
                del window[: until - start]
                for begin in range(start, until, largest):
                    yield Chunk(begin, begin + largest, blob)
                start = until
            else:
                data = self._next_chunk(window, start)
                yield Chunk(start, start + len(data), sink.put(data))
                start += len(data)

    def _zero_chunks_until(self, start: int) -> int:
        """Where the largest chunks of known zeros that follow one another from ``start`` on end; ``start`` if there is none."""
        if start % chunker.SIZES.maximum:
            return start
        index = bisect_right(self._zero_starts, start) - 1
        stop = min(self._zeros[index][1], self.size) if index >= 0 else start
        return max(start, stop - stop % chunker.SIZES.maximum)

    def _stored_zeros(self, sink: BlobSink) -> BlobId:
        if self._zero_chunk is None:
            self._zero_chunk = sink.put(bytes(chunker.SIZES.maximum))
        return self._zero_chunk

    def _next_chunk(self, window: bytearray, start: int) -> bytes:
        """The chunk that starts at ``start``; ``window`` holds what is read already from there on."""
        while (length := chunker.first_cut(window, start)) is None and start + len(window) < self.size:
            end = start + len(window)
            window += self.read(end, self._reach(start, end))
        return chunker.take(window, length)

    def _reach(self, start: int, end: int) -> int:
        """How far to read from ``end``: fresh bytes as far as a chunk may reach, old ones to the end of their chunk."""
        stop = min(self.fresh_until(end), start + chunker.SIZES.maximum)
        if end < self._old.size:
            chunked = self._old.kind is ContentKind.CHUNKS
            stop = max(stop, chunk_at(self._source, self._old, end).stop if chunked else self._old.size)
        return min(stop, self.size)


class _Rechunking:
    """One edit of a content kept as chunks that stays one."""

    def __init__(self, source: BlobSource, sink: BlobSink, old: ContentRef, new: _NewContent) -> None:
        self._source = source
        self._sink = sink
        self._old = old
        self._new = new
        self._stale = self._stale_ranges()
        self._passed = 0
        self._root: BlobId = old.digest
        self._changes: list[tuple[bytes, bytes | None]] = []

    def run(self) -> BlobId:
        """The root of the new chunk map."""
        position = 0
        while (begin := self._next_stale(position)) is not None:
            position = self._cut_again(chunk_at(self._source, self._old, begin).start)
        self._apply()
        return self._root

    def _stale_ranges(self) -> list[Range]:
        """Where old chunks do not hold: fresh bytes, what a shorter file loses, and the last chunk of a file that grows."""
        old_size, new_size = self._old.size, self._new.size
        if new_size > old_size:
            return [*self._new.fresh[:-1], (old_size - 1, new_size)]
        return [*self._new.fresh, (new_size, old_size)] if new_size < old_size else self._new.fresh

    def _next_stale(self, position: int) -> int | None:
        """The first stale offset from ``position`` on; positions only grow."""
        while self._passed < len(self._stale) and self._stale[self._passed][1] <= position:
            self._passed += 1
        return max(position, self._stale[self._passed][0]) if self._passed < len(self._stale) else None

    def _cut_again(self, start: int) -> int:
        """Cut from ``start``, where an old chunk starts, to the next old chunk that holds again; returns where that starts."""
        remaining = chunks_from(self._source, self._old, start)
        ahead = next(remaining, None)
        for chunk in self._new.chunks(self._sink, start):
            if ahead != chunk:
                self._change(*encode_chunk(chunk))
            if ahead is not None and ahead.start == chunk.start:
                ahead = next(remaining, None)
            while ahead is not None and ahead.start < chunk.stop:
                self._change(encode_chunk(ahead)[0], None)
                ahead = next(remaining, None)
            if ahead is not None and ahead.start == chunk.stop and not self._is_stale(ahead):
                return chunk.stop
        if ahead is not None:
            self._apply()
            self._root = prolly.cut_off(self._source, self._sink, self._root, encode_chunk(ahead)[0])
        return max(self._old.size, self._new.size)

    def _is_stale(self, chunk: Chunk) -> bool:
        begin = self._next_stale(chunk.start)
        return begin is not None and begin < chunk.stop

    def _change(self, key: bytes, value: bytes | None) -> None:
        self._changes.append((key, value))
        if len(self._changes) >= _BATCH:
            self._apply()

    def _apply(self) -> None:
        self._root = prolly.apply(self._source, self._sink, self._root, self._changes)
        self._changes = []
