"""What differs from the disk on purpose, and is in no other table; and that every such row exists and says why."""

import fcntl
import os
from functools import partial
from pathlib import Path

import pytest

from tests.fuse.system_calls import RENAME_WHITEOUT
from tests.posix import test_attributes, test_data, test_directories, test_names, test_open, test_rename, test_xattrs
from tests.posix.calls import born, opening, renaming, rows_named
from tests.posix.conftest import Agree
from tests.posix.differing import DIFFERENT
from tests.posix.stage import row

FS_IOC_GETFLAGS = 0x80086601


def read_after_old_times() -> list[bool]:
    """Whether reading a file and listing a directory set their access times."""
    for name in ("f", "d"):
        os.utime(name, ns=(5, 10**18))
    Path("f").read_bytes()
    os.listdir("d")
    return [os.stat(name).st_atime_ns != 5 for name in ("f", "d")]


def holes() -> list[int]:
    with open("x", "wb", buffering=0) as file:
        os.pwrite(file.fileno(), b"far", 1 << 20)
    descriptor = os.open("x", os.O_RDONLY)
    ends = [os.lseek(descriptor, 0, os.SEEK_DATA), os.lseek(descriptor, 0, os.SEEK_HOLE), os.lseek(descriptor, 0, os.SEEK_END)]
    os.close(descriptor)
    return ends


def sparse_blocks() -> int:
    os.truncate("f", 1 << 20)
    return os.stat("f").st_blocks


def flags() -> None:
    with open("f", "rb") as file:
        fcntl.ioctl(file, FS_IOC_GETFLAGS, bytearray(8))


TABLE = [
    row(
        "a file without a name",
        *(opening(".", os.O_TMPFILE | more) for more in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_EXCL)),
    ),
    row("a rename that leaves a whiteout", renaming("f", "x", RENAME_WHITEOUT)),
    row("reading sets the access time", read_after_old_times),
    row("holes of a sparse file", holes),
    row("blocks of a sparse file", sparse_blocks),
    row("the size of a directory", lambda: os.stat("d").st_size, lambda: os.stat("full").st_size),
    row("flags of chattr", flags),
    row("a time of birth", partial(born, "f")),
]
TABLES = (test_rename, test_names, test_open, test_attributes, test_data, test_xattrs, test_directories)
"""Where all rows are, for those who play them in another way."""


def every_row() -> list:
    return [*TABLE, *(one for module in TABLES for one in module.TABLE)]


@pytest.mark.mount
@pytest.mark.parametrize(**rows_named(TABLE))
def test_it_is_as_the_page_says(played, agree: Agree) -> None:
    assert played.name in DIFFERENT
    agree(played)


def test_every_difference_is_of_a_row_and_has_a_reason() -> None:
    assert DIFFERENT.keys() <= {one.name for one in every_row()}
    assert all(different.why and different.results for different in DIFFERENT.values())
