"""The LMDB environment: one moment for each reader, whole transactions, room that grows, and formats it refuses."""

import os
import random
import subprocess
import sys

import lmdb
import pytest

from mimeifs.errors import CapacityError, IntegrityError, UnknownFormatError
from mimeifs.store import database as databases
from mimeifs.store.database import U32, Database, MapGrown, Table, create_database, open_database, scan
from mimeifs.store.salvage import Salvaged, salvage


@pytest.fixture
def path(tmp_path):
    create_database(tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def database(path):
    found = open_database(path)
    yield found
    found.close()


def put(database, *keys, table=Table.ENTRIES, value=b"v"):
    with database.write() as transaction:
        for key in keys:
            transaction.put(key, value, db=database.tables[table])


def keys(rows):
    return [key for key, _ in rows]


def test_a_reader_stays_at_its_moment_until_it_renews(database):
    put(database, b"k")
    assert database.get(Table.ENTRIES, b"k") is None
    database.renew()
    assert database.get(Table.ENTRIES, b"k") == b"v"


def test_tables_are_apart(database):
    put(database, b"k")
    database.renew()
    assert [table for table in Table if database.get(table, b"k")] == [Table.ENTRIES]


def test_an_exception_undoes_the_transaction(database):
    class Stop(Exception):
        pass

    def body():
        with database.write() as transaction:
            transaction.put(b"k", b"v", db=database.tables[Table.ENTRIES])
            raise Stop

    with pytest.raises(Stop):
        body()
    database.renew()
    assert database.get(Table.ENTRIES, b"k") is None
    put(database, b"k")


ROWS = sorted({bytes(random.Random(index).choices(b"\0\1a\xff", k=index % 7)) for index in range(200)} - {b""})


@pytest.mark.parametrize("prefix", [b"", b"\0", b"a", b"\xff", b"\xff\xff", b"absent"])
def test_scans_give_the_rows_under_a_prefix(database, prefix):
    put(database, *ROWS)
    database.renew()
    expected = [key for key in ROWS if key.startswith(prefix)]
    assert keys(database.scan(Table.ENTRIES, prefix)) == expected
    assert keys(database.scan_back(Table.ENTRIES, prefix)) == expected[::-1]
    for after in [*expected, prefix + b"\0", prefix + b"b"]:
        assert keys(database.scan(Table.ENTRIES, prefix, after)) == [key for key in expected if key > after]


def test_the_map_grows_before_it_is_full(path, monkeypatch):
    monkeypatch.setattr(databases, "START_BYTES", 1 << 20)
    monkeypatch.setattr(databases, "_SPARE", 1 << 19)
    database = open_database(path)
    for index in range(60):
        put(database, U32.pack(index), value=bytes(60_000))
    database.renew()
    assert len(keys(database.scan(Table.ENTRIES, b""))) == 60
    database.close()


def test_a_transaction_larger_than_the_map_is_undone_and_fits_in_the_end(path, monkeypatch):
    monkeypatch.setattr(databases, "START_BYTES", 1 << 20)
    monkeypatch.setattr(databases, "_SPARE", 0)
    database = open_database(path)
    names = [U32.pack(index) for index in range(100)]
    grown = 0
    while True:
        try:
            put(database, *names, value=bytes(60_000))
            break
        except MapGrown:
            grown += 1
            assert database.get(Table.ENTRIES, names[0]) is None
    assert grown
    database.renew()
    assert keys(database.scan(Table.ENTRIES, b"")) == names
    database.close()


class Refusing:
    """A transaction that meets a full disk when it commits."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def commit(self):
        raise lmdb.DiskError("No space left on device")


class FullDisk:
    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def begin(self, **options):
        found = self._inner.begin(**options)
        return Refusing(found) if options.get("write") else found


def test_a_full_disk_leaves_the_last_commit(path):
    database = open_database(path)
    put(database, b"before")
    env = database._env
    database._env = FullDisk(env)
    with pytest.raises(CapacityError):
        put(database, b"during")
    database._env = env
    put(database, b"after")
    database.renew()
    assert keys(database.scan(Table.ENTRIES, b"")) == [b"after", b"before"]
    database.close()


def test_another_process_sees_what_was_committed_even_in_a_grown_map(path):
    program = (
        "import sys; from pathlib import Path; from mimeifs.store import database as d\n"
        "d.START_BYTES = 1 << 20; d._SPARE = 1 << 19; db = d.open_database(Path(sys.argv[1]))\n"
        "for i in range(60):\n"
        "    with db.write() as t: t.put(b'%03d' % i, bytes(60000), db=db.tables[d.Table.ENTRIES])\n"
    )
    before = databases.START_BYTES, databases._SPARE
    databases.START_BYTES, databases._SPARE = 1 << 20, 1 << 19
    try:
        reader = open_database(path)
    finally:
        databases.START_BYTES, databases._SPARE = before
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert keys(reader.scan(Table.ENTRIES, b"")) == []
    reader.renew()
    assert len(keys(reader.scan(Table.ENTRIES, b""))) == 60
    reader.close()


def test_another_format_is_refused_with_both_numbers(path, database):
    with database.write() as transaction:
        transaction.put(b"format", U32.pack(9), db=database.tables[Table.META])
    database.close()
    with pytest.raises(UnknownFormatError, match=r"9.*1"):
        open_database(path)
    with lmdb.open(str(path), max_dbs=40) as env, env.begin(write=True) as transaction:
        transaction.delete(b"format", db=env.open_db(b"meta", txn=transaction))
    with pytest.raises(UnknownFormatError):
        open_database(path)


def test_an_environment_that_is_not_one_is_damage(path, tmp_path):
    (path / "data.mdb").write_bytes(b"x" * 8192)
    with pytest.raises(IntegrityError):
        open_database(path)
    with pytest.raises(IntegrityError):
        open_database(tmp_path / "absent")


def test_an_index_that_was_cut_off_is_damage_and_stays_as_it_was(path, database):
    put(database, *(b"%05d" % number for number in range(20_000)))
    database.close()
    file = path / "data.mdb"
    os.truncate(file, file.stat().st_size // 2)
    for _ in range(2):
        before = file.read_bytes()
        with pytest.raises(IntegrityError, match=r"cut off .* `mimei rebuild"):
            open_database(path)
        assert file.read_bytes() == before


@pytest.fixture
def spoiled(path, database):
    """An index of 20,000 rows of which a page in the middle is noise."""
    put(database, *(b"%05d" % number for number in range(20_000)), value=bytes(100))
    database.close()
    with (path / "data.mdb").open("r+b") as file:
        leaf = file.read().index(b"10000") // 4096
        file.seek(leaf * 4096)
        file.write(os.urandom(4096))
    return path


def test_a_damaged_page_is_told_and_the_others_can_still_be_read(spoiled):
    database = open_database(spoiled)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"index is damaged .* `mimei rebuild`"):
            database.get(Table.ENTRIES, b"10000")
        assert database.get(Table.ENTRIES, b"00000") == database.get(Table.ENTRIES, b"19999") == bytes(100)
        for read in (database.scan, database.scan_back, database.views):
            with pytest.raises(IntegrityError, match="index is damaged"):
                list(read(Table.ENTRIES, b""))
            assert next(iter(read(Table.ENTRIES, b"0000"))) is not None
    database.close()


def test_a_damaged_page_is_told_by_who_writes(spoiled):
    database = open_database(spoiled)
    with pytest.raises(IntegrityError, match="index is damaged"):
        put(database, b"10000")
    put(database, b"00000")
    database.close()


def test_a_key_that_became_another_is_told_by_who_lists(path, database):
    put(database, *(b"%05d" % number for number in range(20_000)), value=bytes(100))
    database.close()
    with (path / "data.mdb").open("r+b") as file:
        file.seek(file.read().rindex(b"10007"))
        file.write(b"90007")
    database = open_database(path)
    with pytest.raises(IntegrityError, match=r"not in order.* `mimei rebuild`"):
        list(database.scan(Table.ENTRIES, b""))
    with pytest.raises(IntegrityError, match="not in order"), database.write() as transaction:
        list(scan(transaction, database.tables[Table.ENTRIES], b""))
    database.close()


@pytest.mark.parametrize("error", ["CorruptedError", "PageFullError", "CursorFullError", "ProblemError", "BadTxnError"])
def test_whatever_lmdb_calls_its_own_fault_is_damage(database, error):
    with pytest.raises(IntegrityError, match=r"index is damaged .* `mimei rebuild`"), database.write():
        raise getattr(lmdb, error)("what LMDB says")
    put(database, b"key")
    database.renew()
    assert database.get(Table.ENTRIES, b"key") == b"v"


def test_what_is_left_of_an_index_is_read_without_touching_it(path, spoiled):
    before = (path / "data.mdb").read_bytes()
    found = salvage(path)
    assert found.meta == {b"format": U32.pack(1)}
    assert not found.whole
    assert (path / "data.mdb").read_bytes() == before


@pytest.mark.parametrize("spoil", ["absent", "noise", "empty", "cut"])
def test_nothing_is_read_of_an_index_that_is_none(path, database, spoil):
    put(database, *(b"%05d" % number for number in range(20_000)))
    database.close()
    file = path / "data.mdb"
    if spoil == "absent":
        file.unlink()
    elif spoil == "noise":
        file.write_bytes(os.urandom(1 << 20))
    else:
        os.truncate(file, 0 if spoil == "empty" else 9000)
    assert salvage(path) == Salvaged({}, whole=False)


def test_a_sound_index_is_read_to_its_end(path, database):
    put(database, *(b"%05d" % number for number in range(20_000)))
    database.close()
    assert salvage(path).whole


def test_pages_that_nothing_refers_to_may_be_missing(path, database):
    put(database, b"k")
    put(database, *(b"%05d" % number for number in range(20_000)), table=Table.REFS)
    with database.write() as transaction:
        transaction.drop(database.tables[Table.REFS], delete=False)
    database.renew()
    for _ in range(6):
        put(database, b"k", value=b"w")
        database.renew()
    database.close()
    file = path / "data.mdb"
    os.truncate(file, file.stat().st_size - 40_000)
    again = open_database(path)
    assert keys(again.scan(Table.ENTRIES, b"")) == [b"k"]
    again.close()


def test_an_environment_is_one_of_a_kind(path, database):
    assert isinstance(database, Database)
    with pytest.raises(FileExistsError):
        create_database(path)
