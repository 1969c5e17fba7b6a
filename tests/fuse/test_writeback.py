"""Mounts with `-o writeback`: the kernel hands over later what programs write, and versions have it all the same."""

import mmap
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from tests.fuse.test_requests import asked
from tests.serving import Served, serving

pytestmark = pytest.mark.mount
_numbers = count(1)
OPTIONS = ("-o", "writeback")


@pytest.fixture(scope="module")
def lazy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("lazy"), options=OPTIONS) as served:
        yield served
        assert served.end() == 0
        assert "unforeseen" not in served.tail()


@pytest.fixture
def work(lazy: Served) -> Path:
    return lazy.mimei(f"w{next(_numbers)}")


def test_the_kernel_gathers_small_writes(tmp_path: Path) -> None:
    with serving(tmp_path / "s", options=("-o", "writeback,noxattr")) as served:
        with (served.mimei("work") / "f").open("wb", buffering=0) as file:
            before = asked(served)
            for _ in range(1000):
                file.write(b"x" * 100)
            os.fsync(file.fileno())
            assert asked(served) - before < 500
        assert served.end() == 0


def test_a_version_by_command_has_what_write_returned_for(lazy: Served, work: Path) -> None:
    with (work / "a").open("wb", buffering=0) as first, (work / "b").open("wb", buffering=0) as second:
        for number in range(5):
            first.write(b"%d" % number * 50_000)
            second.write(b"%d" % number * 7)
            lazy.command("backup", work.name)
            past = work / ".mimei" / f"@{number + 1}"
            assert (past / "a").read_bytes() == b"".join(b"%d" % each * 50_000 for each in range(number + 1))
            assert (past / "b").read_bytes() == b"".join(b"%d" % each * 7 for each in range(number + 1))


def test_a_version_by_mkdir_has_what_write_returned_for(work: Path) -> None:
    with (work / "f").open("wb", buffering=0) as file:
        for number in range(20):
            file.write(b"%4d" % number * 3000)
            (work / ".mimei" / f"@v{number}").mkdir()
            assert (work / ".mimei" / f"@v{number}" / "f").stat().st_size == 12_000 * (number + 1)
        (work / ".mimei" / "blank").mkdir()
        file.write(b"end")
        (work / ".mimei" / "blank").rename(work / ".mimei" / "@renamed")
        assert (work / ".mimei" / "@renamed" / "f").read_bytes()[-3:] == b"end"


def test_a_version_has_what_a_shared_map_holds_without_msync(work: Path) -> None:
    (work / "f").write_bytes(bytes(1 << 20))
    with (work / "f").open("r+b") as file:
        written = mmap.mmap(file.fileno(), 0)
    for number in range(3):
        written[number * 300_000 : number * 300_000 + 5] = b"dirty"
        (work / ".mimei" / f"@v{number}").mkdir()
        held = (work / ".mimei" / f"@v{number}" / "f").read_bytes()
        assert held.count(b"dirty") == number + 1
        assert written[:] == held
    written.close()


def test_appends_of_several_go_behind_each_other(lazy: Served, work: Path) -> None:
    appender = "import os,sys\nf=os.open(sys.argv[1], os.O_WRONLY|os.O_APPEND|os.O_CREAT)\n"
    appender += "for n in range(500): os.write(f, b'%s %03d\\n' % (sys.argv[2].encode(), n))"
    each = [subprocess.Popen(["python3", "-c", appender, str(work / "log"), name]) for name in "abc"]
    for _ in range(4):
        lazy.command("backup", work.name)
    assert [process.wait(60) for process in each] == [0, 0, 0]
    lines = (work / "log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{name} {number:03}" for name in "abc" for number in range(500))
    assert [line for line in lines if line[0] == "a"] == [f"a {number:03}" for number in range(500)]


def test_cut_off_and_extended_while_pages_are_dirty(lazy: Served, work: Path) -> None:
    with (work / "f").open("w+b", buffering=0) as file:
        file.write(b"x" * 10_000)
        file.truncate(5_000)
        file.seek(20_000)
        file.write(b"y" * 10)
        lazy.command("backup", work.name)
        expected = b"x" * 5_000 + bytes(15_000) + b"y" * 10
        assert (work / ".mimei" / "@1" / "f").read_bytes() == expected
        file.truncate(3)
        file.truncate(8)
        lazy.command("backup", work.name)
        assert (work / ".mimei" / "@2" / "f").read_bytes() == b"xxx" + bytes(5)
        file.seek(0)
        assert file.read() == b"xxx" + bytes(5)


def test_copies_keep_their_times(lazy: Served, work: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / f"f{number}").write_bytes(b"z" * number * 3000)
        os.utime(source / f"f{number}", ns=(10**18 + number, 10**18 + 7 * number))
    subprocess.run(["cp", "-rp", source, work / "copy"], check=True)
    lazy.command("backup", work.name)
    for number in range(20):
        for place in (work / "copy", work / ".mimei" / "@1" / "copy"):
            assert (place / f"f{number}").stat().st_mtime_ns == 10**18 + 7 * number, place
            assert (place / f"f{number}").read_bytes() == b"z" * number * 3000


def test_what_is_synced_survives_the_death_of_everything(tmp_path: Path) -> None:
    with serving(tmp_path / "s", options=OPTIONS) as served:
        present = served.mimei("work")
        file = os.open(present / "f", os.O_WRONLY | os.O_CREAT)
        os.write(file, b"x" * 300_000)
        os.fsync(file)
        os.write(file, b"never synced")
        served.kill_everything()
        with suppress(OSError):
            os.close(file)
        served.start()
        assert (present / "f").read_bytes()[:300_000] == b"x" * 300_000
        served.command("check")
        assert served.end() == 0


def test_a_restore_leaves_dirty_pages_with_the_replaced_file(lazy: Served, work: Path) -> None:
    (work / "f").write_bytes(b"old" * 1000)
    lazy.command("backup", work.name)
    with (work / "f").open("r+b", buffering=0) as file:
        file.write(b"new" * 500)
        lazy.command("restore", work.name, "1")
        file.write(b"later")
        assert (work / "f").read_bytes() == b"old" * 1000
        assert os.pread(file.fileno(), 1505, 0) == b"new" * 500 + b"later"
    assert (work / "f").read_bytes() == b"old" * 1000
    assert (work / ".mimei" / "@2" / "f").read_bytes() == b"new" * 500 + b"old" * 500


def test_versions_while_many_write(lazy: Served, work: Path) -> None:
    """Neither the version nor the writers wait for ever for each other."""
    writer = "import sys\nwith open(sys.argv[1], 'wb', buffering=0) as f:\n for n in range(400): f.write(b'%08d' % n * 512)"
    each = [subprocess.Popen(["python3", "-c", writer, str(work / f"f{number}")]) for number in range(4)]
    taken = 0
    while any(process.poll() is None for process in each) or not taken:
        (work / ".mimei" / f"@during{taken}").mkdir()
        taken += 1
    assert [process.wait(60) for process in each] == [0] * 4
    whole = b"".join(b"%08d" % number * 512 for number in range(400))
    for number in range(taken):
        for file in (work / ".mimei" / f"@during{number}").iterdir():
            held = file.read_bytes()
            assert whole.startswith(held.rstrip(b"\0"))
    assert all((work / f"f{number}").read_bytes() == whole for number in range(4))
