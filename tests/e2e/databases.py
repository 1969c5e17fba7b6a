"""Programs that fill a database and note outside of it what was committed; run as a subprocess, to be killed at any moment.

``python databases.py KIND DIRECTORY NOTES``: each transaction replaces a row, adds ten more and changes the sum of all, so that
one that is half there shows. It goes on from what it finds, and ends when the file system fails. :func:`found` reads back.
"""

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb

ROWS = 10
TEXT = 700


def _rows(number: int) -> list[tuple[int, bytes]]:
    """What transaction ``number`` adds."""
    return [(number * ROWS + step, b"%d " % number * (TEXT // (step + 1))) for step in range(ROWS)]


def fill_sqlite(directory: Path, promise: Callable[[int], None]) -> None:
    """In rollback-journal mode, each transaction synced."""
    database = sqlite3.connect(directory / "work.db", timeout=30, isolation_level=None)
    database.execute("pragma journal_mode=delete")
    database.execute("pragma synchronous=full")
    database.execute("create table if not exists rows (key integer primary key, value blob)")
    database.execute("create index if not exists by_value on rows (value)")
    database.execute("create table if not exists total (one integer primary key, transactions integer)")
    (number,) = database.execute("select coalesce(max(transactions), 0) from total").fetchone()
    while True:
        database.execute("begin immediate")
        database.executemany("insert into rows values (?, ?)", _rows(number))
        database.execute(
            "update rows set value = ? where key = ?", (b"changed by %d" % number, number * 7 % (number + 1) * ROWS)
        )
        number += 1
        database.execute("insert or replace into total values (1, ?)", (number,))
        database.execute("commit")
        promise(number)


def found_sqlite(directory: Path) -> int:
    """How many transactions are there, in a database that is sound."""
    database = sqlite3.connect(directory / "work.db", timeout=30)
    try:
        (said,) = database.execute("pragma integrity_check").fetchone()
        assert said == "ok", said
        (number,) = database.execute("select coalesce(max(transactions), 0) from total").fetchone()
        keys = [key for (key,) in database.execute("select key from rows order by key")]
        assert keys == list(range(number * ROWS)), (number, len(keys))
        return int(number)
    finally:
        database.close()


def _open_lmdb(directory: Path, *, writemap: bool) -> lmdb.Environment:
    return lmdb.open(str(directory / "work.lmdb"), map_size=64 << 20, writemap=writemap)


def fill_lmdb(directory: Path, promise: Callable[[int], None], *, writemap: bool) -> None:
    """Each transaction synced; with ``writemap`` written through a shared map."""
    with _open_lmdb(directory, writemap=writemap) as environment:
        with environment.begin() as reading:
            number = int(reading.get(b"total", b"0"))
        while True:
            with environment.begin(write=True) as writing:
                for key, value in _rows(number):
                    writing.put(b"%012d" % key, value)
                writing.put(b"%012d" % (number * 7 % (number + 1) * ROWS), b"changed by %d" % number)
                number += 1
                writing.put(b"total", b"%d" % number)
            promise(number)


def found_lmdb(directory: Path, *, writemap: bool) -> int:
    """How many transactions are there, in an environment whose rows can all be read."""
    with _open_lmdb(directory, writemap=writemap) as environment, environment.begin() as reading:
        rows = dict(reading.cursor())
        number = int(rows.pop(b"total", b"0"))
        assert sorted(rows) == [b"%012d" % key for key in range(number * ROWS)], (number, len(rows))
        for transaction in range(number):
            for key, value in _rows(transaction):
                there = rows[b"%012d" % key]
                assert there == value or there.startswith(b"changed by "), (key, there[:40])
        return number


KINDS: dict[str, tuple[Callable[[Path, Callable[[int], None]], None], Callable[[Path], int]]] = {
    "sqlite": (fill_sqlite, found_sqlite),
    "lmdb": (lambda at, promise: fill_lmdb(at, promise, writemap=False), lambda at: found_lmdb(at, writemap=False)),
    "lmdb-writemap": (lambda at, promise: fill_lmdb(at, promise, writemap=True), lambda at: found_lmdb(at, writemap=True)),
}
"""How each kind is filled, and read back."""


def run(kind: str, directory: Path, notes: Path) -> None:
    """Fill it, noting each transaction once it is committed."""
    done = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    KINDS[kind][0](directory, lambda number: (os.write(done, b"%d\n" % number), None)[1])


if __name__ == "__main__":
    try:
        run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except (OSError, sqlite3.Error, lmdb.Error) as error:
        print(repr(error))
