"""Rows about bytes and numbers: extents, segments and exceptional inode numbers, each against what it counts."""

from collections import Counter
from collections.abc import Iterator

from mimeifs.model.checking.findings import Fault, Finding
from mimeifs.store import journal
from mimeifs.store.database import U64, Database, Table
from mimeifs.store.extents import ZEROS, position
from mimeifs.store.overlay import read_extents, read_file
from mimeifs.store.storage import Storage


def check_extents(database: Database, storage: Storage) -> Iterator[Finding]:
    """Extents are disjoint, inside their file and inside replayed segments that exist; SEGMENTS counts them."""
    counts: Counter[int] = Counter()
    end = U64.unpack(database.get(Table.META, b"position") or bytes(8))[0]
    for file in _first_fields(database, Table.EXTENTS):
        yield from _check_file(database, file, end, counts)
    stored = {U64.unpack(key)[0]: U64.unpack(value)[0] for key, value in database.scan(Table.SEGMENTS, b"")}
    for segment in sorted(counts.keys() | stored.keys()):
        if counts[segment] != stored.get(segment, 0):
            problem = f"{counts[segment]} extents point into it, its count says {stored.get(segment, 0)}"
            yield Finding(Fault.WRONG, f"journal segment {segment:x}", problem)
    present = set(journal.segments(storage.journal))
    for segment in sorted(counts.keys() - present):
        yield Finding(Fault.MISSING, f"journal segment {segment:x}", f"{counts[segment]} extents point into it")


def _check_file(database: Database, file: int, end: int, counts: Counter[int]) -> Iterator[Finding]:
    where, row, stop = f"file {file}", read_file(database, file), 0
    if row is None:
        yield Finding(Fault.ORPHAN, where, "it has extents and no row")
    for start, length, address in read_extents(database, file):
        if start < stop or not length:
            yield Finding(Fault.WRONG, where, f"extents overlap at {start}")
        stop = start + length
        at = position(address)
        if not address & ZEROS:
            counts[at // journal.SEGMENT_SIZE] += 1
            if at + length > end or at // journal.SEGMENT_SIZE != (at + length - 1) // journal.SEGMENT_SIZE:
                yield Finding(Fault.WRONG, where, f"its bytes at {start} lie outside the journal")
    if row is not None and stop > row.size:
        yield Finding(Fault.WRONG, where, f"extents reach to {stop}, its size is {row.size}")


def _first_fields(database: Database, table: Table) -> list[int]:
    return sorted({U64.unpack_from(key)[0] for key, _ in database.scan(table, b"")})


def check_numbers(database: Database) -> Iterator[Finding]:
    """Each exceptional inode number has one name, and is noted as taken."""
    named: set[bytes] = set()
    for _, value in database.scan(Table.INODES, b""):
        if value in named:
            yield Finding(Fault.WRONG, "inode numbers", f"{int.from_bytes(value, 'big')} has two names")
        named.add(value)
    taken = {key for key, _ in database.scan(Table.TAKEN, b"")}
    for value in sorted(named ^ taken):
        yield Finding(Fault.WRONG, "inode numbers", f"{int.from_bytes(value, 'big')} is taken and has no name, or the reverse")
