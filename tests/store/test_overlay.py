"""The overlay: rows after operations are what a plain program makes of the same operations."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId, blob_id
from mimeifs.store import overlay as overlays
from mimeifs.store.content import EMPTY, ContentKind, ContentRef
from mimeifs.store.database import U64, Table, create_database, open_database
from mimeifs.store.extents import ZEROS
from mimeifs.store.journal import SEGMENT_SIZE
from mimeifs.store.operations import Call, Clear, Delete, DropFile, Put, Resize, TouchDir, TouchFile, Write
from mimeifs.store.overlay import DirRow, FileRow, Overlay, Totals, decode_dir, decode_file, read_dir, read_extents, read_file

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "overlay" / "vectors.json").read_text())
BASE = ContentRef(ContentKind.BLOB, blob_id(b"base"), 40)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("overlay") / "index"
    create_database(path)
    found = open_database(path)
    yield found
    found.close()


class Undone(Exception):
    pass


def within(database, work):
    """Do ``work`` with an overlay in a transaction that is undone."""

    def body():
        with database.write() as transaction:
            overlay = Overlay(database, transaction)
            work(overlay)
            overlay.flush()
            raise Undone

    with pytest.raises(Undone):
        body()


def start(overlay, number=7, row=None):
    overlay.apply(Put(Table.FILES, U64.pack(number), (row or FileRow(BASE, 40, 1, 2)).encode()))


acts = st.lists(
    st.tuples(st.sampled_from(["write", "write", "resize", "touch"]), st.integers(0, 90), st.integers(0, 40)), max_size=12
)


def played(overlay, script):
    """Carry ``script`` out on file 7; what each byte comes from, and the times."""
    plain = [("base", index) for index in range(40)]
    times = (1, 2)
    for index, (act, offset, size) in enumerate(script):
        at = (index + 1) * SEGMENT_SIZE + 100
        if act == "touch":
            times = (offset, size)
            overlay.apply(TouchFile(7, offset, size))
            continue
        times = (index, index)
        if act == "write":
            plain += ["zero"] * (offset - len(plain))
            plain[offset : offset + size] = [("journal", at + step) for step in range(size)]
            overlay.apply(Write(7, offset, size, at, index))
        else:
            plain = plain[:offset] + ["zero"] * (offset - len(plain))
            overlay.apply(Resize(7, offset, index, at))
    return plain, times


def source(start, step, address):
    if address is None:
        return ("base", start + step)
    return "zero" if address & ZEROS else ("journal", address + step)


@settings(max_examples=150, deadline=None)
@given(acts)
def test_a_file_holds_what_was_written_last(database, script):
    script = [(act, offset, size or 1) for act, offset, size in script]

    def work(overlay):
        start(overlay, 6)
        start(overlay)
        start(overlay, 8)
        overlay.apply(Write(6, 0, 30, 5, 1))
        overlay.apply(Write(8, 0, 30, 5, 1))
        plain, times = played(overlay, script)
        row = overlay.file(7)
        assert (row.size, row.mtime_ns, row.ctime_ns, row.base) == (len(plain), *times, BASE)
        ranges = overlay.extents(7).ranges(0, row.size) if row.size else ()
        found = [source(first, step, address) for first, length, address in ranges for step in range(length)]
        assert [where if where[0] != "base" or where[1] < 40 else "zero" for where in found] == plain
        assert all(start + length <= row.size for start, length, _ in overlay.extents(7))
        assert [list(overlay.extents(number)) for number in (6, 8)] == [[(0, 30, 5)]] * 2
        check_counts(overlay)

    within(database, work)


def check_counts(overlay):
    overlay.flush()
    counts = {}
    for number in (6, 7, 8):
        for _, _, address in overlay.extents(number):
            if not address & ZEROS:
                counts[address // SEGMENT_SIZE] = counts.get(address // SEGMENT_SIZE, 0) + 1
    stored = {U64.unpack(key)[0]: U64.unpack(value)[0] for key, value in overlay.scan(Table.SEGMENTS, b"")}
    assert {key: value for key, value in stored.items() if value} == counts


@pytest.mark.parametrize("end", ["rebase", "drop"])
def test_a_file_that_is_sealed_or_dropped_has_no_extents(database, end):
    def work(overlay):
        start(overlay)
        for index in range(20):
            overlay.apply(Write(7, random.Random(index).randrange(200), 9, index * SEGMENT_SIZE, 1))
        if end == "drop":
            overlay.apply(DropFile(7))
            assert overlay.file(7) is None
        else:
            row = overlay.file(7)
            overlay.rebase(7, row, EMPTY, 99)
            assert overlay.file(7) == FileRow(EMPTY, row.size, 1, 1, 99)
        assert list(overlay.extents(7)) == []
        check_counts(overlay)

    within(database, work)


@pytest.mark.parametrize("change", [Write(7, 0, 1, 5, 9), Resize(7, 3, 9, 5), TouchFile(7, 9, 9)])
def test_any_change_of_a_folded_file_takes_the_mark_off(database, change):
    def work(overlay):
        start(overlay, row=FileRow(BASE, 40, 1, 2, folded=77))
        overlay.apply(change)
        assert overlay.file(7).folded == 0

    within(database, work)


@pytest.mark.parametrize("operation", [Write(1, 0, 1, 5, 9), Resize(1, 3, 9, 5), TouchFile(1, 9, 9), TouchDir(1, 2, 3, 4)])
def test_an_operation_on_what_is_not_there_is_damage(database, operation):
    def body():
        with database.write() as transaction:
            Overlay(database, transaction).apply(operation)

    with pytest.raises(IntegrityError):
        body()


def test_rows_are_put_deleted_and_cleared(database):
    def work(overlay):
        for key in (b"a", b"ab", b"abc", b"b"):
            overlay.apply(Put(Table.ENTRIES, key, b"v"))
        overlay.apply(Delete(Table.ENTRIES, b"absent"))
        overlay.apply(Clear(Table.ENTRIES, b"ab"))
        assert [key for key, _ in overlay.scan(Table.ENTRIES, b"")] == [b"a", b"b"]
        assert [key for key, _ in overlay.scan_back(Table.ENTRIES, b"")] == [b"b", b"a"]
        overlay.apply(Delete(Table.ENTRIES, b"b"))
        overlay.apply(Clear(Table.ENTRIES, b""))
        assert overlay.get(Table.ENTRIES, b"a") is None

    within(database, work)


def test_a_directory_gets_new_times_and_keeps_its_base(database):
    row = DirRow(blob_id(b"map"), Totals(1, 2, 3, 4), 5, 6, 7)

    def work(overlay):
        overlay.apply(Put(Table.DIRS, U64.pack(3), row.encode()))
        overlay.apply(TouchDir(3, 10, 11, 12))
        expected = DirRow(row.base, row.totals, 10, 11, 12)
        assert overlay.directory(3) == expected
        overlay.flush()
        assert overlay.directory(3) == expected
        assert decode_dir(overlay.get(Table.DIRS, U64.pack(3))) == expected
        overlay.apply(Delete(Table.DIRS, U64.pack(3)))
        assert overlay.directory(3) is None
        overlay.flush()
        assert overlay.directory(3) is None

    within(database, work)


def test_a_call_is_not_for_the_overlay(database):
    with pytest.raises(TypeError), database.write() as transaction:
        Overlay(database, transaction).apply(Call(1, b"", 5))


def test_every_operation_has_its_place():
    kinds = {Put, Delete, Clear, Write, Resize, TouchFile, DropFile, TouchDir, Call}
    assert set(overlays._APPLY) == kinds


@given(st.integers(0, 2**63), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63))
def test_a_file_row_comes_back(size, time_ns, folded):
    for base in (EMPTY, BASE, ContentRef(ContentKind.CHUNKS, blob_id(b"map"), 1 << 40)):
        row = FileRow(base, size, time_ns, -1, folded)
        assert decode_file(row.encode()) == row
        assert len(row.encode()) == 73


def test_readers_see_what_was_committed(tmp_path):
    create_database(tmp_path / "index")
    database = open_database(tmp_path / "index")
    with database.write() as transaction:
        overlay = Overlay(database, transaction)
        start(overlay)
        overlay.apply(Write(7, 50, 5, SEGMENT_SIZE, 9))
        overlay.apply(Put(Table.DIRS, U64.pack(3), DirRow(blob_id(b""), Totals(), 1, 2, 3).encode()))
        overlay.flush()
    assert read_file(database, 7) is None
    database.renew()
    assert read_file(database, 7).size == 55
    assert list(read_extents(database, 7)) == [(40, 10, SEGMENT_SIZE | ZEROS), (50, 5, SEGMENT_SIZE)]
    assert read_dir(database, 3).subdirs == 3
    assert read_dir(database, 4) is None
    database.close()


def test_a_count_below_none_is_damage(database):
    def body():
        with database.write() as transaction:
            overlay = Overlay(database, transaction)
            overlay._count(5 * SEGMENT_SIZE, -1)
            overlay.flush()

    with pytest.raises(IntegrityError):
        body()


@pytest.mark.parametrize("vector", VECTORS["files"])
def test_file_rows_are_as_the_independent_encoder_writes_them(vector):
    fields = vector["fields"]
    base = ContentRef(ContentKind(fields["kind"]), BlobId(bytes.fromhex(fields["digest"])), fields["base"])
    row = FileRow(base, fields["size"], fields["mtime"], fields["ctime"], fields["folded"])
    assert row.encode().hex() == vector["bytes"]
    assert decode_file(bytes.fromhex(vector["bytes"])) == row


@pytest.mark.parametrize("vector", VECTORS["directories"])
def test_directory_rows_are_as_the_independent_encoder_writes_them(vector):
    fields = vector["fields"]
    totals = Totals(fields["files"], fields["size"], fields["subdirs"], fields["links"])
    row = DirRow(BlobId(bytes.fromhex(fields["base"])), totals, fields["mtime"], fields["ctime"], fields["now"])
    assert row.encode().hex() == vector["bytes"]
    assert decode_dir(bytes.fromhex(vector["bytes"])) == row


def test_changed_rows_are_seen_within_the_transaction_and_written_at_its_end(database):
    row = FileRow(BASE, 5, 1, 2)
    with database.write() as transaction:
        overlay = Overlay(database, transaction)
        overlay.apply(Put(Table.FILES, U64.pack(4242), row.encode()))
        overlay.apply(Write(4242, 5, 3, SEGMENT_SIZE + 100, 7))
        assert overlay.file(4242) == FileRow(BASE, 8, 7, 7)
        assert list(overlay.extents(4242)) == [(5, 3, SEGMENT_SIZE + 100)]
        overlay.flush()
    database.renew()
    assert read_file(database, 4242) == FileRow(BASE, 8, 7, 7)
    assert list(read_extents(database, 4242)) == [(5, 3, SEGMENT_SIZE + 100)]
    assert database.get(Table.SEGMENTS, U64.pack(1)) == U64.pack(1)
    with database.write() as transaction:
        overlay = Overlay(database, transaction)
        overlay.apply(DropFile(4242))
        assert overlay.file(4242) is None
        overlay.flush()
    database.renew()
    assert read_file(database, 4242) is None
    assert database.get(Table.SEGMENTS, U64.pack(1)) == U64.pack(0)
