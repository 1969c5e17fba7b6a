"""The check of a whole store, stage by stage."""

from collections.abc import Iterator
from contextlib import closing

from mimeifs.model.checking.findings import Depth, Finding, Progress, Report, silent
from mimeifs.model.checking.histories import Histories
from mimeifs.model.checking.presents import Presents
from mimeifs.model.checking.rows import check_extents, check_numbers
from mimeifs.model.checking.signed import SignedRows
from mimeifs.model.checking.stored import check_packs
from mimeifs.model.checking.trees import Trees
from mimeifs.store.database import Database
from mimeifs.store.interfaces import BlobSource
from mimeifs.store.journal import frame_key
from mimeifs.store.journalreader import JournalReader
from mimeifs.store.storage import Storage


def check(
    database: Database, blobs: BlobSource, storage: Storage, depth: Depth = Depth.FULL, report: Report = silent
) -> Iterator[Finding]:
    """Everything that does not fit in a store, as of the last replay. ``blobs`` must wait for its disk, not raise ``Cold``."""
    with closing(JournalReader(storage.journal, frame_key(database.meta(b"inode key")))) as journal:
        yield from _check(database, blobs, storage, journal if depth is Depth.FULL else None, report)


def _check(
    database: Database, blobs: BlobSource, storage: Storage, journal: JournalReader | None, report: Report
) -> Iterator[Finding]:
    damaged: set[bytes] = set()
    if journal is not None:
        yield from check_packs(database, blobs, storage, damaged, report)
    trees = Trees(database, blobs, frozenset(damaged))
    yield from SignedRows(database, blobs, trees, report).run()
    yield from Histories(database, blobs, report).run()
    report(Progress("presents", 0, 1))
    yield from Presents(database, blobs, trees, journal).run()
    yield from check_extents(database, storage)
    yield from check_numbers(database)
    report(Progress("presents", 1, 1))
