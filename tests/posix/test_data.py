"""Bytes: holes, large files, allocation, direct and mapped access, and copying between descriptors."""

import errno
import fcntl
import mmap
import os
import resource
from functools import partial
from pathlib import Path

import pytest

from tests.posix.calls import fallocate, rows_named, with_open
from tests.posix.conftest import Agree
from tests.posix.stage import row, tried

pytestmark = pytest.mark.mount

KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO = 1, 2, 8, 16
LARGE = {"4 GiB": 1 << 32, "1 TiB": 1 << 40, "4 TiB": 1 << 42}


def large(size: int) -> list[object]:
    """A sparse file: bytes at its end, their neighbours, its size before and after a truncate."""
    descriptor = os.open("x", os.O_CREAT | os.O_RDWR)
    said: list[object] = [os.pwrite(descriptor, b"end", size), os.fstat(descriptor).st_size, os.stat("x").st_size]
    said += [os.pread(descriptor, 9, size - 3), os.pread(descriptor, 9, size + 3), os.pread(descriptor, 4, size // 2)]
    said += [os.lseek(descriptor, -3, os.SEEK_END), os.read(descriptor, 9)]
    os.ftruncate(descriptor, size + 1)
    said += [os.pread(descriptor, 9, size), os.fstat(descriptor).st_size]
    os.ftruncate(descriptor, size // 2)
    os.ftruncate(descriptor, size + 3)
    said.append(os.pread(descriptor, 9, size))
    os.ftruncate(descriptor, 0)
    return said


def too_large() -> list[object]:
    with open("f", "r+b") as file:
        ends = [(1 << 63) - 1, (1 << 63) - 2, 1 << 62]
        return [tried(partial(os.pwrite, file.fileno(), b"xx", at)) for at in ends] + [
            tried(partial(os.ftruncate, file.fileno(), at)) for at in ends
        ]


def limited() -> list[object]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with open("f", "r+b", buffering=0) as file:
            said = [tried(partial(os.pwrite, file.fileno(), b"x" * 50, at)) for at in (0, 80, 100, 200)]
            return [*said, tried(partial(os.ftruncate, file.fileno(), 101)), tried(partial(os.ftruncate, file.fileno(), 10))]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def mapped_and_read() -> list[object]:
    """What a shared map writes a read sees, and the other way round."""
    with open("x", "w+b", buffering=0) as file:
        file.write(b"a" * 8192)
        with mmap.mmap(file.fileno(), 8192) as memory, open("x", "r+b", buffering=0) as other:
            memory[0:5] = b"first"
            said: list[object] = [os.pread(other.fileno(), 6, 0)]
            os.pwrite(other.fileno(), b"second", 4096)
            said.append(memory[4095:4103])
            memory[8000:8003] = b"end"
            memory.flush()
        said.append(Path("x").read_bytes()[7999:8004])
    return said


def mapped_after_closing() -> list[object]:
    with open("x", "w+b", buffering=0) as file:
        file.write(b"a" * 5000)
        memory = mmap.mmap(file.fileno(), 5000)
    os.unlink("x")
    memory[1:3] = b"bc"
    memory.flush()
    said: list[object] = [memory[0:4]]
    memory.close()
    return said


def private_map() -> list[object]:
    with open("f", "r+b") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as memory:
        memory[0:1] = b"X"
        return [memory[0:3], Path("f").read_bytes()]


def map_refused() -> list[object]:
    said = []
    for flags, protection in ((os.O_RDONLY, mmap.PROT_WRITE), (os.O_WRONLY, mmap.PROT_READ)):
        descriptor = os.open("f", flags)
        said.append(tried(lambda at=descriptor, how=protection: mmap.mmap(at, 4, prot=how) and None))
        os.close(descriptor)
    return said


def direct() -> list[object]:
    """O_DIRECT, aligned as a disk wants it."""
    memory = mmap.mmap(-1, 8192)
    memory[:] = b"d" * 8192
    descriptor = os.open("x", os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o666)
    said: list[object] = [os.pwritev(descriptor, [memory], 0), Path("x").stat().st_size]
    with open("x", "r+b", buffering=0) as other:
        other.write(b"cached")
    said += [os.preadv(descriptor, [memory], 0), memory[:8], os.preadv(descriptor, [memory], 8192)]
    memory[:4] = b"DISK"
    said += [os.pwritev(descriptor, [memory], 4096), Path("x").read_bytes()[4090:4104], os.fstat(descriptor).st_size]
    os.close(descriptor)
    return said


def holes() -> list[object]:
    descriptor = os.open("x", os.O_CREAT | os.O_RDWR, 0o666)
    os.pwrite(descriptor, b"far", 1 << 20)
    said: list[object] = [os.pread(descriptor, 4, 1000), len(Path("x").read_bytes()), os.read(descriptor, 3)]
    os.ftruncate(descriptor, 3 << 20)
    return [*said, os.pread(descriptor, 5, (1 << 20) + 1), os.fstat(descriptor).st_size]


def seeking_data() -> list[object]:
    """What must hold of any file system, whether it knows its holes or takes all for data (lseek(2))."""
    descriptor = os.open("f", os.O_RDONLY)
    said = [os.lseek(descriptor, 0, os.SEEK_DATA), os.lseek(descriptor, 3, os.SEEK_DATA), os.lseek(descriptor, 0, os.SEEK_HOLE)]
    return [*said, *(tried(partial(os.lseek, descriptor, 12, how)) for how in (os.SEEK_DATA, os.SEEK_HOLE))]


def copied() -> list[object]:
    source, target = os.open("f", os.O_RDONLY), os.open("x", os.O_CREAT | os.O_RDWR, 0o666)
    said: list[object] = [os.copy_file_range(source, target, 99), os.sendfile(target, source, 2, 5)]
    return [*said, os.pread(target, 99, 0), tried(partial(os.copy_file_range, target, target, 5, 0, 1))]


def locked() -> list[object]:
    """flock and record locks between two processes."""
    said = []
    for take, give in (
        (lambda one: fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB), lambda one: fcntl.flock(one, fcntl.LOCK_UN)),
        (lambda one: fcntl.lockf(one, fcntl.LOCK_EX | fcntl.LOCK_NB, 5), lambda one: fcntl.lockf(one, fcntl.LOCK_UN, 5)),
    ):
        with open("f", "r+b") as file:
            take(file)
            said.append(_in_another(take))
            give(file)
            said.append(_in_another(take))
    return said


def _in_another(take) -> object:
    child = os.fork()
    if child == 0:
        number = 0
        try:
            with open("f", "r+b") as file:
                take(file)
        except OSError as error:
            number = error.errno or 255
        os._exit(number)
    number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return errno.errorcode.get(number, number)


TABLE = [
    *(row(f"a sparse file of {name}", partial(large, size)) for name, size in LARGE.items()),
    row("a file has an end", too_large),
    row("a limit of the process on sizes", limited),
    row("shared maps and reads see each other", mapped_and_read),
    row("a map outlives descriptor and name", mapped_after_closing),
    row("a private map stays private", private_map),
    row("a map is no way around the open mode", map_refused),
    row("direct access", direct),
    row("holes read as zeros", holes),
    row("data and holes of a full file", seeking_data),
    row("copies between descriptors", copied),
    row("locks", locked),
    row(
        "allocate",
        with_open("f", os.O_RDWR, lambda one: os.posix_fallocate(one, 0, 100), lambda one: os.pread(one, 200, 0)),
        lambda: os.stat("f").st_size,
    ),
    row("allocate what is there", with_open("f", os.O_RDWR, lambda one: os.posix_fallocate(one, 2, 5))),
    row(
        "allocate nothing",
        with_open(
            "f",
            os.O_RDWR,
            lambda one: tried(partial(os.posix_fallocate, one, 0, 0)),
            lambda one: tried(partial(os.posix_fallocate, one, -1, 5)),
        ),
    ),
    row(
        "allocate what is open for reading",
        with_open("f", os.O_RDONLY, lambda one: tried(partial(os.posix_fallocate, one, 0, 100))),
    ),
    row("allocate in a directory", with_open("d", os.O_RDONLY, lambda one: tried(partial(os.posix_fallocate, one, 0, 100)))),
    *(
        row(
            f"fallocate of mode {mode}",
            with_open("f", os.O_RDWR, lambda one, mode=mode: tried(partial(fallocate, one, mode, 0, 4))),
        )
        for mode in (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO, COLLAPSE)
    ),
]


@pytest.mark.parametrize(**rows_named(TABLE))
def test_bytes_are_kept_as_on_the_disk(played, agree: Agree) -> None:
    agree(played)


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(TABLE))
def test_so_they_are_after_a_version(played, agree_after_a_version: Agree) -> None:
    agree_after_a_version(played)
