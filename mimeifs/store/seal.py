"""Sealing: what a file being edited holds now becomes content, named by its digest.

Reads journal ranges and the base, writes blobs; changes no row (the caller rebases the file in its transaction). Small
files become one blob straight from the journal; large ones are re-chunked only around what was written, and a hole costs no
reading, so that a file of any size that holds little is sealed for little.
"""

from collections.abc import Iterable

from mimeifs.errors import IntegrityError
from mimeifs.store import content, editing
from mimeifs.store.content import ContentRef
from mimeifs.store.database import damage
from mimeifs.store.extents import ZEROS, Extent, ExtentMap
from mimeifs.store.journalreader import JournalReader
from mimeifs.store.overlay import FileRow
from mimeifs.store.packwriter import PackWriter


def seal(row: FileRow, extents: ExtentMap, journal: JournalReader, blobs: PackWriter) -> ContentRef:
    """The content of the file that ``row`` and ``extents`` describe, stored. Raises ``IntegrityError`` when what was written to
    it is damaged: no digest is made of what nobody wrote."""
    if not len(extents) and row.size == row.base.size:
        return row.base
    try:
        return _sealed(row, extents, journal, blobs)
    except IntegrityError as error:
        raise IntegrityError(unreadable(extents, journal) or str(error)) from error


def _sealed(row: FileRow, extents: ExtentMap, journal: JournalReader, blobs: PackWriter) -> ContentRef:
    whole = _one_piece(row, extents)
    if whole is not None:
        return content.ContentRef(content.ContentKind.BLOB, blobs.put(journal.read(whole, row.size)), row.size)

    def read_new(offset: int, size: int) -> bytes:
        return b"".join(_pieces(row, extents, journal, blobs, offset, size))

    holes = _joined((extent for extent in extents if extent[2] & ZEROS), row.size)
    return editing.edit(blobs, blobs, row.base, row.size, _joined(extents, row.size), read_new, holes)


def _one_piece(row: FileRow, extents: ExtentMap) -> int | None:
    """Where the journal has all of a small file in one piece, as most files are written; ``None`` where it has not."""
    if len(extents) != 1 or not 0 < row.size <= content.SINGLE_LIMIT:
        return None
    start, length, address = next(iter(extents))
    return None if start or length != row.size or address & ZEROS else address


def _pieces(row: FileRow, extents: ExtentMap, journal: JournalReader, blobs: PackWriter, offset: int, size: int) -> list[bytes]:
    pieces = []
    for start, length, address in extents.ranges(offset, min(offset + size, row.size)):
        if address is None:
            pieces.append(content.read(blobs, row.base, start, length))
        elif address & ZEROS:
            pieces.append(bytes(length))
        else:
            pieces.append(journal.read(address, length))
    return pieces


def unreadable(extents: ExtentMap, journal: JournalReader) -> str:
    """Which bytes that were written to a file cannot be read from the journal, in a person's words; "" where all can."""
    lost = []
    for extent in extents:
        try:
            if not extent[2] & ZEROS:
                journal.read(extent[2], extent[1])
        except IntegrityError:
            lost.append(extent)
    if not lost:
        return ""
    start = stop = lost[0][0]
    for first, length, _ in lost:
        stop += length if first == stop else 0
    more = ", and others," if stop < lost[-1][0] + lost[-1][1] else ""
    return (
        f"bytes {start:,} to {stop - 1:,}{more} of what was written to it lately are damaged:"
        " write it anew, or remove it and restore an older one"
    )


def _joined(extents: Iterable[Extent], size: int) -> list[tuple[int, int]]:
    """Extents as sorted, disjoint ranges, neighbours joined. Raises ``IntegrityError`` where they overlap or reach beyond
    ``size``: rows that are not as they were written."""
    ranges: list[tuple[int, int]] = []
    last = 0
    for start, length, _ in extents:
        if start < last or start + length > size:
            raise damage(f"a range of a file of {size} bytes goes from {start} to {start + length}, behind {last}")
        last = start + length
        if ranges and ranges[-1][1] == start:
            ranges[-1] = ranges[-1][0], last
        elif length:
            ranges.append((start, last))
    return ranges
