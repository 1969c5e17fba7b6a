"""Files on a real mount: opening, reading, writing, mapping, holes, and files without a name."""

import errno
import mmap
import os
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from mimeifs.model.live_file import SIZE_MAX
from tests.fuse.system_calls import refused
from tests.serving import Served

pytestmark = pytest.mark.mount

APPENDER = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for number in range(int(sys.argv[3])):
    os.write(fd, b"%s %06d\\n" % (sys.argv[2].encode(), number))
"""


# Opening


def test_append_writes_at_the_end_wherever_the_position_is(present: Path) -> None:
    (present / "f").write_bytes(b"one")
    fd = os.open(present / "f", os.O_RDWR | os.O_APPEND)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"two")
    os.close(fd)
    assert (present / "f").read_bytes() == b"onetwo"


def test_two_processes_append_without_losing_a_line(present: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", APPENDER, str(present / "log"), name, "400"]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    lines = (present / "log").read_text().splitlines()
    for name in "ab":
        assert [line for line in lines if line[0] == name] == [f"{name} {number:06d}" for number in range(400)]
    assert len(lines) == 800


def test_open_with_truncate_empties_the_file(present: Path) -> None:
    (present / "f").write_bytes(b"x" * 200_000)
    os.close(os.open(present / "f", os.O_WRONLY | os.O_TRUNC))
    assert (present / "f").stat().st_size == 0
    assert (present / "f").read_bytes() == b""


def test_open_with_truncate_empties_the_file_even_if_only_for_reading(present: Path) -> None:
    (present / "f").write_bytes(b"x")
    os.close(os.open(present / "f", os.O_RDONLY | os.O_TRUNC))
    assert (present / "f").read_bytes() == b""


def test_exclusive_creation_fails_where_a_name_is(present: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    os.close(os.open(present / "f", flags))
    with refused(errno.EEXIST):
        os.open(present / "f", flags)
    (present / "broken").symlink_to("nowhere")
    with refused(errno.EEXIST):
        os.open(present / "broken", flags)


def test_opening_what_is_not_there_or_of_the_wrong_kind_fails(present: Path) -> None:
    (present / "d").mkdir()
    (present / "f").touch()
    for path, flags, number in (
        ("none", os.O_RDONLY, errno.ENOENT),
        ("d", os.O_WRONLY, errno.EISDIR),
        ("f", os.O_RDONLY | os.O_DIRECTORY, errno.ENOTDIR),
        ("f/x", os.O_RDONLY, errno.ENOTDIR),
        ("none/x", os.O_WRONLY | os.O_CREAT, errno.ENOENT),
        ("n" * 256, os.O_WRONLY | os.O_CREAT, errno.ENAMETOOLONG),
        ("n" * 256, os.O_RDONLY, errno.ENAMETOOLONG),
    ):
        with refused(number):
            os.open(present / path, flags)


def test_creation_mode_and_umask_are_kept(present: Path) -> None:
    before = os.umask(0o027)
    try:
        os.close(os.open(present / "f", os.O_WRONLY | os.O_CREAT, 0o666))
        (present / "d").mkdir(0o777)
    finally:
        os.umask(before)
    assert (present / "f").stat().st_mode == 0o100640
    assert (present / "d").stat().st_mode == 0o040750


def test_a_file_opened_twice_shows_writes_at_once(present: Path) -> None:
    with (present / "f").open("wb", buffering=0) as writer, (present / "f").open("rb", buffering=0) as reader:
        assert reader.read(10) == b""
        writer.write(b"now")
        assert reader.read(10) == b"now"


# Without a name


def test_an_unlinked_open_file_goes_on(present: Path) -> None:
    with (present / "f").open("w+b", buffering=0) as file:
        file.write(b"before ")
        (present / "f").unlink()
        assert os.fstat(file.fileno()).st_nlink == 0
        file.write(b"after")
        file.truncate(100_000)
        file.seek(0)
        assert file.read(12) == b"before after"
        assert os.fstat(file.fileno()).st_size == 100_000
        with refused(errno.ENOENT):
            (present / "f").stat()
        (present / "f").write_bytes(b"another")
        assert os.fstat(file.fileno()).st_ino != (present / "f").stat().st_ino
    assert (present / "f").read_bytes() == b"another"


def test_a_file_replaced_by_a_rename_goes_on_for_those_who_have_it_open(present: Path) -> None:
    (present / "old").write_bytes(b"old")
    with (present / "old").open("rb", buffering=0) as file:
        (present / "new").write_bytes(b"new")
        (present / "new").rename(present / "old")
        assert file.read() == b"old"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert (present / "old").read_bytes() == b"new"


def test_an_unlinked_open_file_goes_on_across_versions(present: Path) -> None:
    with (present / "f").open("w+b", buffering=0) as file:
        file.write(b"x" * 100_000)
        (present / "f").unlink()
        (present / ".mimei" / "@without").mkdir()
        file.write(b"y")
        file.seek(99_999)
        assert file.read() == b"xy"
    assert os.listdir(present / ".mimei" / "@without") == []


# Reading and writing


def test_reads_and_writes_at_places_give_what_posix_says(present: Path) -> None:
    fd = os.open(present / "f", os.O_RDWR | os.O_CREAT)
    assert os.pwrite(fd, b"abc", 5) == 3
    assert os.pread(fd, 100, 0) == b"\0\0\0\0\0abc"
    assert os.pread(fd, 100, 8) == b""
    assert os.pread(fd, 100, 1 << 40) == b""
    assert os.pwrite(fd, b"", 3) == 0
    os.ftruncate(fd, 6)
    os.ftruncate(fd, 9)
    assert os.pread(fd, 100, 0) == b"\0\0\0\0\0a\0\0\0"
    os.close(fd)


def test_overlapping_writes_over_a_sealed_file_read_back(present: Path) -> None:
    expected = bytearray(os.urandom(700_000))
    (present / "f").write_bytes(expected)
    (present / ".mimei" / "@sealed").mkdir()
    with (present / "f").open("r+b", buffering=0) as file:
        for at, size in ((0, 1), (65_535, 2), (300_000, 100_000), (350_000, 5), (699_999, 4_000)):
            data = os.urandom(size)
            expected[at : at + size] = data
            os.pwrite(file.fileno(), data, at)
        os.ftruncate(file.fileno(), 600_000)
        del expected[600_000:]
    assert (present / "f").read_bytes() == expected
    assert (present / ".mimei" / "@sealed" / "f").stat().st_size == 700_000


@pytest.mark.parametrize("size", [1, 4095, 4096, 65_536, 65_537, 131_073, 3_000_001])
def test_files_of_every_size_read_back_live_and_sealed(size: int, present: Path) -> None:
    content = os.urandom(size)
    (present / "f").write_bytes(content)
    assert (present / "f").read_bytes() == content
    (present / ".mimei" / "@v").mkdir()
    assert (present / "f").read_bytes() == content
    assert (present / ".mimei" / "@v" / "f").read_bytes() == content


def test_vectored_and_copied_ranges_work(present: Path) -> None:
    fd = os.open(present / "f", os.O_RDWR | os.O_CREAT)
    assert os.writev(fd, [b"a" * 5000, b"b" * 5000]) == 10_000
    assert os.copy_file_range(fd, fd, 5000, 0, 10_000) == 5000
    assert os.pread(fd, 20_000, 9_999) == b"b" + b"a" * 5000
    os.close(fd)


def test_allocating_ahead_extends_by_zeros(present: Path) -> None:
    fd = os.open(present / "f", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 10_000)
    assert os.fstat(fd).st_size == 10_000
    assert os.pread(fd, 20_000, 0) == bytes(10_000)
    os.close(fd)


def test_a_file_has_a_largest_size(present: Path) -> None:
    path = present / "f"
    path.write_bytes(b"begin")
    fd = os.open(path, os.O_RDWR)
    try:
        with refused(errno.EFBIG):
            os.pwrite(fd, b"x", SIZE_MAX)
        with refused(errno.EFBIG):
            os.ftruncate(fd, SIZE_MAX + 1)
        assert path.read_bytes() == b"begin"
        assert os.pwrite(fd, b"end", SIZE_MAX - 3) == 3
        assert (os.fstat(fd).st_size, os.pread(fd, 10, SIZE_MAX - 4)) == (SIZE_MAX, b"\0end")
        os.ftruncate(fd, 5)
    finally:
        os.close(fd)
    assert path.read_bytes() == b"begin"


def test_a_read_only_descriptor_cannot_write(present: Path) -> None:
    (present / "f").touch()
    fd = os.open(present / "f", os.O_RDONLY)
    with refused(errno.EBADF):
        os.write(fd, b"x")
    with refused(errno.EINVAL):
        os.ftruncate(fd, 0)
    os.close(fd)


# Holes


def test_a_sparse_file_beyond_4_gib_costs_only_what_was_written(present: Path, served: Served) -> None:
    fd = os.open(present / "f", os.O_RDWR | os.O_CREAT)
    far = 5 << 30
    os.pwrite(fd, b"begin", 0)
    os.pwrite(fd, b"end", far)
    assert os.fstat(fd).st_size == far + 3
    assert os.pread(fd, 10, far - 4) == b"\0\0\0\0end"
    assert os.pread(fd, 100_000, 1 << 32) == bytes(100_000)
    os.ftruncate(fd, 6 << 30)
    assert os.fstat(fd).st_size == 6 << 30
    os.close(fd)
    journal = sum(path.stat().st_size for path in (served.home / "store" / "journal").iterdir())
    assert journal < 1 << 30


def test_a_sparse_file_keeps_its_holes_in_a_version(present: Path) -> None:
    fd = os.open(present / "f", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"middle", 20 << 20)
    os.ftruncate(fd, 40 << 20)
    os.close(fd)
    (present / ".mimei" / "@v").mkdir()
    for path in (present / "f", present / ".mimei" / "@v" / "f"):
        assert path.stat().st_size == 40 << 20
        with path.open("rb") as file:
            file.seek((20 << 20) - 3)
            assert file.read(12) == b"\0\0\0middle\0\0\0"
            file.seek((40 << 20) - 5)
            assert file.read() == bytes(5)


def test_cutting_off_and_growing_again_gives_zeros_not_old_bytes(present: Path) -> None:
    with (present / "f").open("w+b", buffering=0) as file:
        file.write(b"x" * 200_000)
        (present / ".mimei" / "@full").mkdir()
        file.truncate(1000)
        file.truncate(150_000)
        assert os.pread(file.fileno(), 200_000, 0) == b"x" * 1000 + bytes(149_000)
        (present / ".mimei" / "@cut").mkdir()
    assert (present / ".mimei" / "@cut" / "f").read_bytes() == b"x" * 1000 + bytes(149_000)
    assert (present / ".mimei" / "@full" / "f").read_bytes() == b"x" * 200_000


# Mapping


def test_a_private_and_a_shared_mapping_read_the_file(present: Path) -> None:
    content = os.urandom(300_000)
    (present / "f").write_bytes(content)
    with (present / "f").open("rb") as file:
        for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            with mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as mapped:
                assert mapped[:] == content


def test_what_a_shared_mapping_writes_is_in_the_file_and_in_a_version_after_msync(present: Path) -> None:
    (present / "f").write_bytes(bytes(300_000))
    with (present / "f").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5:10] = b"hello"
        mapped[299_990:299_995] = b"there"
        mapped.flush()
        (present / ".mimei" / "@mapped").mkdir()
        mapped[5:10] = b"later"
    expected = b"hello", b"there"
    content = (present / ".mimei" / "@mapped" / "f").read_bytes()
    assert (content[5:10], content[299_990:299_995]) == expected
    assert (present / "f").read_bytes()[5:10] == b"later"


def test_writes_show_in_a_mapping_made_before(present: Path) -> None:
    (present / "f").write_bytes(b"before")
    with (present / "f").open("r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == b"before"
        file.write(b"after!")
        assert mapped[:] == b"after!"


# Fifos and devices


def test_a_fifo_joins_two_processes(present: Path) -> None:
    os.mkfifo(present / "pipe", 0o600)
    assert (present / "pipe").stat().st_mode == 0o010600
    sender = subprocess.Popen([sys.executable, "-c", f"open({str(present / 'pipe')!r}, 'w').write('through')"])
    try:
        assert (present / "pipe").read_text() == "through"
        assert sender.wait(20) == 0
    finally:
        with suppress(ProcessLookupError):
            sender.kill()
        sender.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_device_nodes_keep_their_numbers(present: Path) -> None:
    os.mknod(present / "null", 0o020666, os.makedev(1, 3))
    os.mknod(present / "big", 0o060600, os.makedev(259, 70_000))
    assert (present / "null").stat().st_rdev == os.makedev(1, 3)
    assert (present / "null").stat().st_mode & 0o170000 == 0o020000
    (present / ".mimei" / "@v").mkdir()
    for directory in (present, present / ".mimei" / "@v"):
        assert (directory / "big").stat().st_rdev == os.makedev(259, 70_000)


def test_a_regular_file_and_a_socket_by_mknod(present: Path) -> None:
    os.mknod(present / "f", 0o100640)
    assert (present / "f").stat().st_mode == 0o100640
    (present / "f").write_bytes(b"usable")
    os.mknod(present / "socket", 0o140600)
    assert (present / "socket").stat().st_mode == 0o140600


# Numbers


def test_inode_numbers_stay_and_differ(present: Path) -> None:
    for name in "abc":
        (present / name).touch()
    numbers = {name: (present / name).stat().st_ino for name in "abc"}
    assert len(set(numbers.values())) == 3
    (present / "a").rename(present / "moved")
    assert (present / "moved").stat().st_ino == numbers["a"]
    (present / "a").touch()
    assert (present / "a").stat().st_ino != numbers["a"]
    listed = {entry.name: entry.inode() for entry in os.scandir(present)}
    assert listed == {path.name: path.stat().st_ino for path in present.iterdir()}
    assert all(one != two for one, two in pairwise(sorted(listed.values())))
