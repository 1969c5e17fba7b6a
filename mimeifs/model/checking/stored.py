"""Packs and journal segments: whether what the index says is stored is there, and verifies.

Not here: what blobs mean. Packs are read front to back, as disks like it; only where frames are missing is the index
gone through as well.
"""

from collections.abc import Iterator

from mimeifs.errors import IntegrityError, MimeiError
from mimeifs.ids import BlobId
from mimeifs.model.checking.findings import Fault, Finding, Progress, Report
from mimeifs.store.database import Database, Table
from mimeifs.store.interfaces import BlobSource
from mimeifs.store.packfiles import pack_numbers, scan_pack
from mimeifs.store.packs import START, IndexRow, PackEnd, pack_name
from mimeifs.store.slices import digests_of
from mimeifs.store.storage import Storage


def committed_end(database: Database) -> PackEnd:
    """How far the packs belong to the store."""
    data = database.get(Table.META, b"pack end")
    return PackEnd.decode(data) if data else START


def check_packs(
    database: Database, blobs: BlobSource, storage: Storage, damaged: set[bytes], report: Report
) -> Iterator[Finding]:
    """Read every frame the index points to; what does not verify is added to ``damaged``."""
    end = committed_end(database)
    verified = 0
    numbers = [number for number in pack_numbers(storage.packs) if (number, 0) < (end.number, end.offset)]
    for done, number in enumerate(numbers):
        report(Progress("packs", done, len(numbers)))
        path = storage.packs / pack_name(number)
        stop = end.offset if number == end.number else path.stat().st_size
        reached = 0
        try:
            for frame in scan_pack(path):
                if frame.stop > stop:
                    break
                reached = frame.stop
                row = database.get(Table.BLOBS, frame.digest)
                if row is not None and row.startswith(frame.row.encode()):
                    verified += 1
                    yield from _verify(blobs, frame.digest, row, pack_name(number), damaged)
        except MimeiError as error:
            yield Finding(Fault.DAMAGED, pack_name(number), str(error))
            continue
        if reached and reached != stop:
            yield Finding(Fault.DAMAGED, pack_name(number), f"no frame can be read at offset {reached} of {stop}")
    if verified != sum(1 for _ in database.scan(Table.BLOBS, b"")):
        yield from _check_index(database, blobs, damaged)
    report(Progress("packs", len(numbers), len(numbers)))


def _check_index(database: Database, blobs: BlobSource, damaged: set[bytes]) -> Iterator[Finding]:
    """Go through the index, for what no frame was found of."""
    for digest, row in database.scan(Table.BLOBS, b""):
        if digest not in damaged:
            try:
                pack = IndexRow.decode(row).pack
            except IntegrityError as error:
                yield Finding(Fault.DAMAGED, "blob index", str(error), BlobId(digest))
                continue
            yield from _verify(blobs, digest, row, pack_name(pack), damaged)


def _verify(blobs: BlobSource, digest: bytes, row: bytes, where: str, damaged: set[bytes]) -> Iterator[Finding]:
    try:
        data = blobs.get(BlobId(digest))
        slices = IndexRow.decode(row).slices
    except MimeiError as error:
        damaged.add(digest)
        yield Finding(Fault.DAMAGED, where, str(error), BlobId(digest))
        return
    if slices and slices != digests_of(data):
        yield Finding(Fault.WRONG, "blob index", "the digests of its slices are others; reading it is slow", BlobId(digest))
