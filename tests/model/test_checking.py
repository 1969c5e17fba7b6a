"""The checker finds nothing in a sound store, and what is wrong in others."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from mimeifs.ids import BlobId, RecordId, blob_id
from mimeifs.model import state
from mimeifs.model.checking import Depth, Fault, Progress, check, holders
from mimeifs.model.entry import Entry, Kind, decode, decode_linked, decode_tree, encode
from mimeifs.store import content, prolly
from mimeifs.store.blobs import BlobReader, index_of
from mimeifs.store.content import EMPTY
from mimeifs.store.database import U64, Table
from mimeifs.store.overlay import FileRow, decode_dir
from mimeifs.store.packs import IndexRow, pack_name
from tests.model.conftest import WHO, Local, open_local
from tests.store.packing import noise

BIG = bytes(range(256)) * 1200


def test_a_fresh_home_is_sound(local: Local) -> None:
    assert local.findings() == []


def test_a_used_store_is_sound_at_every_step(local: Local) -> None:
    photos = local.mimei()
    local.put(photos, b"a", b"hello")
    local.put(photos, b"sub/big", bytes(range(256)) * 2000)
    assert local.findings() == []
    local.backup(photos.tree.mimei, "one")
    assert local.findings() == []
    a = local.run(lambda: photos.child(b"a"))
    sub = local.run(lambda: photos.child(b"sub"))
    local.run(lambda: sub.link(b"b", a))
    local.run(lambda: photos.symlink(b"s", b"target", WHO))
    assert local.findings() == []
    local.backup(photos.tree.mimei)
    local.run(lambda: a.write(2, b"XX"))
    local.run(lambda: photos.rename(b"sub", photos, b"moved", 0))
    local.run(lambda: photos.unlink(b"a"))
    assert local.findings() == []
    local.backup(photos.tree.mimei)
    assert local.findings() == []


# Damage


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Local]:
    """A used home that the test may break: two versions, and changes since."""
    made = open_local(tmp_path)
    try:
        top = made.mimei()
        for path, data in ((b"a", b"hello"), (b"sub/b", b"there"), (b"sub/big", BIG), (b"sub/deep/c", b"c")):
            made.put(top, path, data)
        a = made.run(lambda: top.child(b"a"))
        sub = made.run(lambda: top.child(b"sub"))
        made.run(lambda: sub.link(b"a2", a))
        made.backup(top.tree.mimei, "one")
        made.put(top, b"sub/b", b"there it is")
        made.backup(top.tree.mimei)
        made.put(top, b"sub/b", b"there it was")
        made.put(top, b"new", b"new")
        assert made.findings() == []
        yield made
    finally:
        made.running.close()


def alter(local: Local, table: Table, key: bytes, value: bytes | None) -> None:
    database = local.running.database
    with database.write() as transaction:
        if value is None:
            assert transaction.delete(key, db=database.tables[table])
        else:
            transaction.put(key, value, db=database.tables[table])
    database.renew()


def first(
    local: Local, table: Table, wanted: Callable[[bytes, bytes], bool] = lambda _key, _value: True
) -> tuple[bytes, bytes]:
    return next((key, value) for key, value in local.running.database.scan(table, b"") if wanted(key, value))


def is_live_file(_key: bytes, value: bytes) -> bool:
    return bool(value) and decode(value).kind is Kind.FILE and decode(value).live > 0


def a_version(local: Local) -> state.VersionRow:
    return state.decode_version(first(local, Table.VERSIONS)[1])


LOSSES = {  # None: a lost version shows as a parent that is missing, or as a wrong head.
    Table.DIRS: Fault.MISSING,
    Table.PARENTS: Fault.WRONG,
    Table.CHANGED: Fault.WRONG,
    Table.FILES: Fault.MISSING,
    Table.EXTENTS: Fault.WRONG,
    Table.SEGMENTS: Fault.WRONG,
    Table.MIMEIS: Fault.WRONG,
    Table.VERSIONS: None,
    Table.HEADS: Fault.WRONG,
    Table.TREES: Fault.MISSING,
    Table.DELEGATIONS: Fault.WRONG,
}


@pytest.mark.parametrize("table", LOSSES)
def test_every_lost_row_is_found(broken: Local, table: Table) -> None:
    rows = [(key, value) for key, value in broken.running.database.scan(table, b"")]
    assert rows
    for key, value in rows:
        alter(broken, table, key, None)
        faults = {finding.fault for finding in broken.findings()}
        assert LOSSES[table] in faults or (faults and LOSSES[table] is None), key
        alter(broken, table, key, value)
    assert broken.findings() == []


def test_slices_that_are_not_those_of_their_blob_are_found(broken: Local) -> None:
    top = broken.mimei(b"large")
    broken.put(top, b"f", noise(200_000))
    broken.backup(top.tree.mimei)
    assert broken.findings() == []
    digest, row = first(broken, Table.BLOBS, lambda _digest, row: bool(IndexRow.decode(row).slices))
    alter(broken, Table.BLOBS, digest, row[:-1] + bytes([row[-1] ^ 1]))
    assert [(finding.fault, finding.blob) for finding in broken.findings()] == [(Fault.WRONG, digest)]


def test_every_lost_blob_and_record_of_a_version_is_found(broken: Local) -> None:
    database = broken.running.database
    rows = [(key, value) for key, value in database.scan(Table.BLOBS, b"")]
    unmissed = set()
    for key, value in rows:
        alter(broken, Table.BLOBS, key, None)
        if Fault.MISSING not in {finding.fault for finding in broken.findings()}:
            unmissed.add(key)
        alter(broken, Table.BLOBS, key, value)
    # A label's record and a delegation's are kept for other nodes; here their rows stand for them.
    assert len(unmissed) == sum(1 for table in (Table.LABELS, Table.DELEGATIONS) for _ in database.scan(table, b""))


def test_a_hole_whose_zeros_are_lost_is_one_finding(local: Local) -> None:
    photos = local.mimei()
    local.put(photos, b"hole", b"")
    hole = local.run(lambda: photos.child(b"hole"))
    local.run(lambda: hole.resize(200 << 20))
    local.backup(photos.tree.mimei)
    assert local.findings() == []
    zeros = blob_id(bytes(1 << 20))
    row = local.running.database.get(Table.BLOBS, zeros)
    alter(local, Table.BLOBS, zeros, None)
    assert [finding.fault for finding in local.findings()] == [Fault.MISSING]
    alter(local, Table.BLOBS, zeros, row)


def test_an_unnoted_change_is_found(broken: Local) -> None:
    key, _ = first(broken, Table.CHANGED)
    alter(broken, Table.CHANGED, key, None)
    assert any("next version would miss it" in finding.problem for finding in broken.findings())


def test_a_file_in_two_places_is_found(broken: Local) -> None:
    key, value = first(broken, Table.ENTRIES, is_live_file)
    alter(broken, Table.ENTRIES, key + b"2", value)
    assert any("another place" in finding.problem for finding in broken.findings())


def test_orphans_are_found(broken: Local) -> None:
    file = FileRow(EMPTY, 0, 0, 0)
    alter(broken, Table.FILES, U64.pack(999), file.encode())
    alter(broken, Table.ENTRIES, state.entry_key(777, b"x"), encode(Entry(Kind.FIFO)))
    alter(broken, Table.CHANGED, state.changed_key(55, 1, b"x"), b"")
    orphans = [finding.where for finding in broken.findings() if finding.fault is Fault.ORPHAN]
    assert sorted(orphans) == ["CHANGED", "ENTRIES", "FILES"]


def test_a_wrong_count_of_subdirectories_is_found(broken: Local) -> None:
    key, value = first(broken, Table.DIRS)
    row = decode_dir(value)
    alter(broken, Table.DIRS, key, replace(row, subdirs=row.subdirs + 1).encode())
    assert any("subdirectories" in finding.problem for finding in broken.findings())


def test_wrong_totals_are_found(broken: Local) -> None:
    key, value = first(broken, Table.DIRS, lambda _, value: decode_dir(value).totals.files > 0)
    row = decode_dir(value)
    alter(broken, Table.DIRS, key, replace(row, totals=replace(row.totals, size=1)).encode())
    assert any("its entry says" in finding.problem for finding in broken.findings())


def test_overlapping_extents_are_found(broken: Local) -> None:
    key, value = first(broken, Table.EXTENTS)
    alter(broken, Table.EXTENTS, key[:8] + U64.pack(1), value)
    assert any("overlap" in finding.problem for finding in broken.findings())


def test_a_label_that_leads_nowhere_is_found(broken: Local) -> None:
    key, _ = first(broken, Table.LABELS)
    alter(broken, Table.LABELS, key, state.encode(state.LabelRow(RecordId(bytes(32)), 1, 0)))
    assert any("@one" in finding.problem for finding in broken.findings())


def test_a_row_that_says_other_than_its_record_is_found(broken: Local) -> None:
    key, value = first(broken, Table.VERSIONS)
    row = state.decode_version(value)
    alter(broken, Table.VERSIONS, key, state.encode(msgspec.structs.replace(row, memo="forged")))
    assert any("signed record" in finding.problem for finding in broken.findings())


def test_a_number_with_two_names_is_found(broken: Local) -> None:
    for name in (b"x", b"y"):
        alter(broken, Table.INODES, U64.pack(5) + name, U64.pack(99))
    problems = [finding.problem for finding in broken.findings()]
    assert any("two names" in problem for problem in problems)
    assert any("is taken" in problem for problem in problems)


def corrupt(local: Local, blob: bytes) -> None:
    """Turn a bit in the stored bytes of a blob."""
    row = IndexRow.decode(local.running.database.get(Table.BLOBS, blob) or b"")
    with (local.home.storage.packs / pack_name(row.pack)).open("r+b") as file:
        file.seek(row.offset)
        byte = file.read(1)[0]
        file.seek(row.offset)
        file.write(bytes([byte ^ 1]))


def reader(local: Local) -> BlobReader:
    return BlobReader(local.home.storage.packs, index_of(local.running.database), cache_bytes=0)


def test_every_damaged_blob_is_found_and_its_holders_named(broken: Local) -> None:
    one = a_version(broken)
    blobs = reader(broken)
    root = decode_tree(blobs.get(one.root))
    sub = decode(prolly.get(blobs, root.entry.root, b"sub") or b"")
    big = decode(prolly.get(blobs, sub.root, b"big") or b"").content
    chunk = next(content.chunks_from(blobs, big, 0)).blob
    small = decode(prolly.get(blobs, sub.root, b"b") or b"").content.digest
    linked = decode_linked(next(iter(prolly.scan(blobs, root.links)))[1]).entry.content.digest
    cases = {
        chunk: {(1, b"sub/big"), (2, b"sub/big")},
        big.digest: {(1, b"sub/big"), (2, b"sub/big")},
        small: {(1, b"sub/b")},
        linked: {(1, b"a"), (1, b"sub/a2"), (2, b"a"), (2, b"sub/a2")},
        sub.root: {(1, b"sub")},
        one.root: {(1, None)},
    }
    blobs.close()
    for blob, expected in cases.items():
        corrupt(broken, blob)
        assert blob in {finding.blob for finding in broken.findings() if finding.fault is Fault.DAMAGED}
        blobs = reader(broken)
        found = list(holders(broken.running.database, blobs, BlobId(blob)))
        blobs.close()
        assert {(holder.number, holder.path) for holder in found} == expected
        assert len(found) == len(expected)
        corrupt(broken, blob)
    assert broken.findings() == []


def test_a_quick_check_leaves_contents_unread(broken: Local) -> None:
    blobs = reader(broken)
    entry = decode_tree(blobs.get(a_version(broken).root)).entry
    sub = decode(prolly.get(blobs, entry.root, b"sub") or b"")
    corrupt(broken, decode(prolly.get(blobs, sub.root, b"b") or b"").content.digest)
    storage, database = broken.home.storage, broken.running.database
    assert list(check(database, blobs, storage, Depth.QUICK)) == []
    assert len(list(check(database, blobs, storage, Depth.FULL))) > 0
    blobs.close()


def test_a_damaged_frame_header_is_found(broken: Local) -> None:
    _, value = first(broken, Table.BLOBS)
    row = IndexRow.decode(value)
    with (broken.home.storage.packs / pack_name(row.pack)).open("r+b") as file:
        file.seek(row.offset - 4)
        file.write(b"\0\0\0\0")
    assert any("no frame can be read" in finding.problem for finding in broken.findings())


def test_a_pack_the_disk_cannot_read_everywhere_is_a_finding(broken: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    row = IndexRow.decode(broken.engine.database.get(Table.BLOBS, blob_id(b"there")) or b"")
    real = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        if offset <= row.offset < offset + size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert any("the disk cannot read" in finding.problem for finding in broken.findings())


def test_progress_reaches_its_end(broken: Local) -> None:
    blobs, seen = reader(broken), list[Progress]()
    assert list(check(broken.running.database, blobs, broken.home.storage, report=seen.append)) == []
    blobs.close()
    ends = {progress.stage: progress for progress in seen}
    assert all(end.done == end.total for end in ends.values())
    assert list(ends) == ["packs", "versions", "histories", "presents"]
