"""Witnesses: what is said to be in memory as it was verified is, and nothing else is."""

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimeifs.store import witness
from mimeifs.store.packs import IndexRow
from mimeifs.store.witness import PAGE, Witness, Witnesses

PAGES = 64


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    file = os.open(tmp_path / "pack", os.O_RDWR | os.O_CREAT)
    os.write(file, os.urandom(PAGES * PAGE))
    os.fsync(file)  # What is dirty stays, whatever the kernel is asked.
    yield file
    os.close(file)


@pytest.fixture
def witnesses() -> Iterator[Witnesses]:
    made = Witnesses(most=PAGES)
    yield made
    made.close()


def row(first: int, count: int) -> IndexRow:
    """Whole pages but for a byte at either end."""
    return IndexRow(1, first * PAGE + 1, count * PAGE - 2, count * PAGE - 2, 0)


def kept(witnesses: Witnesses, fd: int, blob: bytes, where: IndexRow) -> Witness:
    found = witnesses.call(fd, where)
    assert found is not None
    witnesses.keep(blob, found, fd)
    return found


def leave(found: Witness, page: int = 0) -> None:
    """Take a page out of the mapping (madvise(2), MADV_DONTNEED), as the kernel does before it frees it."""
    assert witness._libc.madvise(found._address + page * PAGE, PAGE, mmap.MADV_DONTNEED) == 0


def test_one_stands_as_long_as_nothing_happens(fd: int, witnesses: Witnesses) -> None:
    kept(witnesses, fd, b"a", row(3, 9))
    for _ in range(3):
        assert os.pread(fd, 100, 3 * PAGE)
        assert witnesses.stands(b"a", fd)
    assert (witnesses.row(b"a"), witnesses.row(b"b")) == (row(3, 9), None)
    assert not witnesses.stands(b"b", fd)


@pytest.mark.parametrize("page", [0, 4, 8])
def test_it_falls_with_any_of_its_pages(fd: int, witnesses: Witnesses, page: int) -> None:
    leave(kept(witnesses, fd, b"a", row(3, 9)), page)
    assert os.pread(fd, PAGES * PAGE, 0)  # Which has the page in memory again, and proves nothing.
    assert not witnesses.stands(b"a", fd)
    assert witnesses.row(b"a") is None


def test_it_falls_when_the_kernel_needs_the_memory(fd: int, witnesses: Witnesses) -> None:
    found = kept(witnesses, fd, b"a", row(0, PAGES))
    assert witness._libc.madvise(found._address, PAGES * PAGE, 21) == 0  # MADV_PAGEOUT, Linux 5.4
    if _in_memory(fd):
        pytest.skip("this file system keeps what it has in memory")
    assert os.pread(fd, PAGES * PAGE, 0)
    assert not witnesses.stands(b"a", fd)


def _in_memory(fd: int) -> bool:
    """Whether the tenth page is (preadv2(2))."""
    try:
        return os.preadv(fd, [bytearray(PAGE)], 9 * PAGE, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False


def test_it_falls_when_the_file_is_written_to(fd: int, witnesses: Witnesses) -> None:
    kept(witnesses, fd, b"a", row(3, 9))
    os.pwrite(fd, b"damage", 5 * PAGE)
    assert not witnesses.stands(b"a", fd)


def test_what_left_before_it_was_kept_was_never_seen(fd: int, witnesses: Witnesses) -> None:
    found = witnesses.call(fd, row(3, 9))
    assert found is not None
    leave(found, 5)
    witnesses.keep(b"a", found, fd)
    assert witnesses.row(b"a") is None


def test_pages_that_are_fetched_for_one_come_back_into_no_other(fd: int, witnesses: Witnesses) -> None:
    """The kernel puts pages around the one that is touched into the same mapping, and makes mappings that touch one."""
    for first in reversed(range(PAGES)):
        leave(kept(witnesses, fd, bytes((first,)), row(first, 1)))
    assert [first for first in range(PAGES) if witnesses.stands(bytes((first,)), fd)] == []


def test_there_are_not_more_than_was_said(fd: int) -> None:
    few = Witnesses(most=3)
    for first in range(9):
        kept(few, fd, bytes((first,)), row(first, 1))
    assert [first for first in range(9) if few.row(bytes((first,)))] == [6, 7, 8]
    few.close()


def test_where_the_kernel_says_nothing_there_are_none(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = Witnesses()
    monkeypatch.setattr(witness, "_POPULATE_READ", 9999)
    assert blind.call(fd, row(3, 9)) is None
    assert ctypes.get_errno()
    blind.close()
