"""open(2), creat(2), access(2), and what an open file is good for."""

import errno
import fcntl
import os
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from tests.posix.calls import faccessat, opening, rows_named, with_open
from tests.posix.conftest import Agree
from tests.posix.stage import ANN, BOB, row, tried

pytestmark = pytest.mark.mount

KINDS = ("f", "s", "sd", "broken", "loop", "d", "sock", "missing", "missing/x", "f/", "d/", "x/", ".")
ACCESS = {"reading": os.O_RDONLY, "writing": os.O_WRONLY, "both": os.O_RDWR, "nonsense": 3}
MORE = {
    "": 0,
    "creating": os.O_CREAT,
    "creating only": os.O_CREAT | os.O_EXCL,
    "emptying": os.O_TRUNC,
    "creating or emptying": os.O_CREAT | os.O_TRUNC,
    "appending": os.O_APPEND,
    "a directory": os.O_DIRECTORY,
    "making a directory": os.O_DIRECTORY | os.O_CREAT,
    "no link": os.O_NOFOLLOW,
    "creating no link": os.O_NOFOLLOW | os.O_CREAT,
    "only holding": os.O_PATH,
    "only holding no link": os.O_PATH | os.O_NOFOLLOW,
    "without a name": os.O_TMPFILE,
}
FLAGS = [
    row(f"open {kind} for {how}", *(opening(kind, flags | more) for more in MORE.values() if more is not os.O_TMPFILE))
    for (how, flags), kind in product(ACCESS.items(), KINDS)
]
EACH = [
    row(f"open {kind} for {how}, {what}", opening(kind, flags | more))
    for (how, flags), (what, more), kind in product(ACCESS.items(), MORE.items(), ("f", "s", "broken", "d", "missing"))
    if how != "nonsense" and what not in ("", "without a name")
]


def wrote(flags: int) -> list[object]:
    with open(os.open("f", flags), "r+b", buffering=0) as file:
        return [file.write(b"NEW"), file.tell(), os.pread(file.fileno(), 99, 0)]


def appended_by_two() -> bytes:
    """Two processes append in turn; nothing is lost."""
    descriptors = [os.open("f", os.O_WRONLY | os.O_APPEND) for _ in range(2)]
    for turn in range(8):
        child = os.fork()
        if child == 0:
            os.lseek(descriptors[turn % 2], 0, os.SEEK_SET)
            os.write(descriptors[turn % 2], b"%d," % turn)
            os._exit(0)
        os.waitpid(child, 0)
    return Path("f").read_bytes()


def appended_at_once() -> list[int]:
    """Four processes append at once; every record is whole and once there."""
    children = []
    for writer in range(4):
        child = os.fork()
        if child == 0:
            descriptor = os.open("x", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            for _ in range(50):
                os.write(descriptor, bytes([65 + writer]) * 100)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    written = Path("x").read_bytes()
    os.unlink("x")
    whole = [written[at : at + 100] for at in range(0, len(written), 100)]
    return [len(written), *(whole.count(bytes([65 + writer]) * 100) for writer in range(4))]


def executed(path: str) -> int:
    child = os.fork()
    if child == 0:
        try:
            os.execv(path, [path])
        except OSError as error:
            os._exit(error.errno or 1)
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def executed_while_written() -> list[object]:
    with open("program", "r+b"):
        busy = executed("./program")
    return [errno.errorcode.get(busy, busy), executed("./program")]


def written_while_executed() -> object:
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(done[0], 0)
        os.dup2(ready[1], 1)
        os.close(done[1])
        os.execv("./cat", ["cat"])
    os.close(ready[1])
    os.write(done[1], b"x")
    os.read(ready[0], 1)
    said = [tried(opening("cat", os.O_WRONLY)), tried(partial(os.truncate, "cat", 0)), tried(opening("cat", os.O_RDONLY))]
    os.close(done[1])
    os.waitpid(child, 0)
    return said


def _program() -> None:
    Path("program").write_bytes(b"#!/bin/true\n")
    Path("cat").write_bytes(Path("/bin/cat").read_bytes())
    os.chmod("program", 0o755)
    os.chmod("cat", 0o755)


def read_only_yet_written() -> list[object]:
    descriptor = os.open("x", os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o400)
    return [os.write(descriptor, b"all the same"), os.pread(descriptor, 99, 0)]


def kept_rights() -> list[object]:
    descriptor = os.open("f", os.O_RDWR)
    os.fchmod(descriptor, 0)
    return [os.read(descriptor, 4), os.pwrite(descriptor, b"more", 0)]


USE = [
    *(
        row(f"write through {flags:o}", partial(wrote, flags))
        for flags in (
            os.O_RDWR,
            os.O_RDWR | os.O_TRUNC,
            os.O_RDWR | os.O_SYNC,
            os.O_RDWR | os.O_DSYNC,
            os.O_RDWR | os.O_NOATIME,
        )
    ),
    row(
        "write to what is open for reading",
        with_open(
            "f", os.O_RDONLY, lambda one: tried(partial(os.write, one, b"x")), lambda one: tried(partial(os.ftruncate, one, 1))
        ),
    ),
    row("read what is open for writing", with_open("f", os.O_WRONLY, lambda one: tried(partial(os.read, one, 1)))),
    row(
        "read a directory",
        with_open(
            "d", os.O_RDONLY, lambda one: tried(partial(os.read, one, 1)), lambda one: tried(partial(os.pread, one, 1, 0))
        ),
    ),
    row(
        "use what is only held",
        with_open(
            "f",
            os.O_PATH,
            *(lambda one, call=call: tried(partial(call, one)) for call in (os.fsync, os.fstat)),
            lambda one: tried(partial(os.read, one, 1)),
            lambda one: tried(partial(os.fchmod, one, 0)),
            lambda one: tried(partial(os.ftruncate, one, 0)),
        ),
    ),
    row("write nothing", with_open("f", os.O_RDWR, lambda one: os.write(one, b""), lambda one: os.pwrite(one, b"", 100))),
    row(
        "write in pieces",
        with_open(
            "f", os.O_RDWR, lambda one: os.writev(one, [b"a", b"b" * 5000, b""]), lambda one: os.pwritev(one, [b"c"], 9000)
        ),
    ),
    row(
        "read past the end",
        with_open(
            "f",
            os.O_RDONLY,
            lambda one: os.pread(one, 9, 100),
            lambda one: os.pread(one, 9, 10),
            lambda one: tried(partial(os.pread, one, 1, -1)),
        ),
    ),
    row(
        "seek",
        with_open(
            "f",
            os.O_RDWR,
            lambda one: os.lseek(one, 5, 0),
            lambda one: os.lseek(one, -1, 2),
            lambda one: tried(partial(os.lseek, one, -99, 1)),
            lambda one: os.lseek(one, 1 << 40, 0),
            lambda one: os.read(one, 1),
        ),
    ),
    row(
        "append",
        with_open(
            "f",
            os.O_RDWR | os.O_APPEND,
            lambda one: os.pwrite(one, b"at the end", 0),
            lambda one: os.lseek(one, 0, 0),
            lambda one: os.write(one, b"too"),
            lambda one: os.lseek(one, 0, 1),
        ),
    ),
    row("two append in turn", appended_by_two),
    row("four append at once", appended_at_once),
    row(
        "begin to append",
        with_open("f", os.O_RDWR, lambda one: fcntl.fcntl(one, fcntl.F_SETFL, os.O_APPEND), lambda one: os.write(one, b"end")),
    ),
    row("a file open for writing is not executed", executed_while_written, before=_program),
    row("a program that runs is not written to", written_while_executed, before=_program),
    row(
        "what a directory or a file without the bit is, is not executed",
        lambda: executed("./f"),
        lambda: executed("./d"),
        lambda: executed("./missing"),
    ),
    row("a new read-only file is written by its maker", read_only_yet_written, before=lambda: os.chmod(".", 0o777), who=ANN),
    row("rights are those of opening", kept_rights, before=lambda: os.chown("f", 1000, 1000), who=ANN),
    row("fsync everything", *(with_open(name, os.O_RDONLY, os.fsync, os.fdatasync) for name in ("f", "d", "full", "."))),
    row(
        "duplicates share a place",
        with_open("f", os.O_RDONLY, lambda one: os.read(os.dup(one), 3), lambda one: os.read(one, 3)),
    ),
]
PERMISSION = [
    row(
        f"with mode {mode:03o} {who} may",
        *(
            opening("mine", flags)
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_CREAT | os.O_WRONLY)
        ),
        *(partial(faccessat, "mine", how) for how in range(8)),
        partial(os.listdir, "d"),
        opening("d/x", os.O_CREAT),
        before=lambda mode=mode: (os.chmod("mine", mode), os.chmod("d", mode), os.chown("d", 1000, 1000)),
        who=person,
    )
    for mode, (who, person) in product(
        (0o000, 0o400, 0o200, 0o600, 0o040, 0o004, 0o007, 0o111, 0o577), (("root", None), ("Ann", ANN), ("Bob", BOB))
    )
]
ACCESSES = [
    row(
        "access of everything",
        *(
            partial(faccessat, kind, how, flags)
            for kind in ("f", "s", "broken", "loop", "d", "missing", "f/x")
            for how in (0, 4, 2, 1)
            for flags in (0, 0x100, 0x200)
        ),
    ),
    row(
        "access as Ann",
        *(
            partial(faccessat, kind, how, flags)
            for kind in ("f", "s", "broken", "loop", "d", "p", "mine")
            for how in (0, 4, 2, 1)
            for flags in (0, 0x100, 0x200)
        ),
        who=ANN,
    ),
    row("access with nonsense", partial(faccessat, "f", 8), partial(faccessat, "f", 0, 0x8000)),
]
TABLE = [*FLAGS, *USE, *PERMISSION, *ACCESSES]


@pytest.mark.parametrize(**rows_named(TABLE))
def test_files_are_opened_and_used_as_on_the_disk(played, agree: Agree) -> None:
    agree(played)


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(EACH))
def test_each_flag_alone(played, agree: Agree) -> None:
    agree(played)


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(USE))
def test_so_they_are_after_a_version(played, agree_after_a_version: Agree) -> None:
    agree_after_a_version(played)
