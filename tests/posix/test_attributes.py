"""chmod, chown, utimensat, and what clears set-id bits and capabilities."""

import ctypes
import mmap
import os
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from tests.posix.calls import UTIME_NOW, UTIME_OMIT, facts_of, opening, rows_named, utimensat, utimensat_null, with_open
from tests.posix.conftest import Agree
from tests.posix.stage import ANN, AS_ROOT, BOB, Step, row

pytestmark = [pytest.mark.mount, pytest.mark.skipif(not AS_ROOT, reason="owners are root's to change")]

PERSONS = (("root", None), ("Ann", ANN), ("Bob", BOB))
MODES = (0o000, 0o1777, 0o2755, 0o7777, 0o2644)
KINDS = ("f", "s", "broken", "loop", "d", "p", "sock", "null", "missing", "f/x")
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
ACCESS = bytes.fromhex("02000000 01000700ffffffff 04000700ffffffff 10000700ffffffff 20000500ffffffff")
"""user::rwx, group::rwx, mask::rwx, other::r-x (acl(5))."""
PLAIN = bytes.fromhex("02000000 01000600ffffffff 04000400ffffffff 20000400ffffffff")
"""What the mode 0644 says."""
NAMED = bytes.fromhex("02000000 01000600ffffffff 0200060007000000 04000400ffffffff 10000600ffffffff 20000400ffffffff")
"""With user 7 in it."""
CLONE_NEWUSER = 0x10000000

MODE = [
    *(row(f"chmod {kind}", partial(os.chmod, kind, 0o640)) for kind in KINDS),
    *(
        row(
            f"chmod {mode:o} as {who}",
            partial(os.chmod, "mine", mode),
            lambda: facts_of("mine"),
            partial(os.chmod, "d", mode),
            lambda: facts_of("d"),
            before=lambda: os.chown("d", 1000, 2000),
            who=person,
        )
        for mode, (who, person) in product(MODES, PERSONS)
    ),
    row(
        "fchmod",
        with_open("f", os.O_RDONLY, lambda one: os.fchmod(one, 0o2600)),
        with_open("d", os.O_RDONLY, lambda one: os.fchmod(one, 0o1700)),
    ),
    row(
        "a chmod by a stranger to the group loses set-gid",
        partial(os.chmod, "mine", 0o2755),
        before=lambda: os.chown("mine", 1000, 2000),
        who=ANN,
    ),
    row(
        "a chmod by a member keeps set-gid",
        partial(os.chmod, "mine", 0o2755),
        before=lambda: os.chown("mine", 1000, 1500),
        who=ANN,
    ),
    row("a chmod to what it is", partial(os.chmod, "f", 0o644)),
]
OWNERS = [
    *(row(f"chown {kind}", partial(os.chown, kind, 1234, 4_000_000_000), partial(os.lchown, kind, -1, 77)) for kind in KINDS),
    *(
        row(
            f"chown {mode:o} as {who}",
            partial(os.chown, "mine", uid, gid),
            lambda: facts_of("mine"),
            before=lambda mode=mode: os.chmod("mine", mode),
            who=person,
        )
        for mode in (0o6777, 0o6767)
        for who, person in PERSONS
        for uid, gid in ((1000, 1500),)
    ),
    *(
        row(
            f"chown to {uid}:{gid} as {who}",
            partial(os.chown, "mine", uid, gid),
            partial(os.chown, "d", uid, gid),
            before=lambda: (os.chmod("mine", 0o6755), os.chown("d", 1000, 1000), os.chmod("d", 0o6755)),
            who=person,
        )
        for uid, gid in ((-1, -1), (1000, -1), (-1, 1500), (-1, 2000), (2000, -1), (0, 0))
        for who, person in PERSONS
    ),
    *(
        row(
            f"chown to what it is of {mode:o}, by a {who} who does not own it",
            partial(os.chown, "f", -1, -1),
            before=lambda mode=mode: (os.chown("f", 0, 1500), os.chmod("f", mode)),
            who=person,
        )
        for mode in (0o644, 0o2644, 0o2654, 0o4644)
        for who, person in (("member", ANN), ("stranger", BOB))
    ),
    row("fchown", with_open("f", os.O_RDONLY, lambda one: os.fchown(one, 5, 6))),
    row(
        "chown drops a capability",
        partial(os.chown, "f", 5, 6),
        before=lambda: os.setxattr("f", "security.capability", CAPABILITY),
    ),
]


def mapped() -> None:
    with open("mine", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:1] = b"X"


CHANGING = {
    "a write": with_open("mine", os.O_WRONLY, lambda one: os.write(one, b"x")),
    "writing nothing": with_open("mine", os.O_WRONLY, lambda one: os.write(one, b"")),
    "truncate": partial(os.truncate, "mine", 3),
    "truncate to the same size": partial(os.truncate, "mine", 15),
    "ftruncate": with_open("mine", os.O_WRONLY, lambda one: os.ftruncate(one, 3)),
    "opening to empty": opening("mine", os.O_WRONLY | os.O_TRUNC),
    "fallocate": with_open("mine", os.O_WRONLY, lambda one: os.posix_fallocate(one, 0, 100)),
    "a shared map": mapped,
}
SET_IDS = [
    row(
        f"{what} by {who} of mode {mode:o}",
        step,
        lambda: facts_of("mine"),
        before=lambda mode=mode: os.chmod("mine", mode),
        who=person,
    )
    for (what, step), (who, person), mode in product(CHANGING.items(), PERSONS, (0o6777, 0o2767))
]
CAPABILITIES = [
    row(
        f"{what} by {who} of a file with capabilities and mode {mode:o}",
        step,
        before=lambda mode=mode: (os.chmod("mine", mode), os.setxattr("mine", "security.capability", CAPABILITY)),
        who=person,
    )
    for (what, step), (who, person), mode in product(CHANGING.items(), PERSONS, (0o777, 0o6777, 0o2767))
]


def in_a_namespace(step: Step) -> Step:
    """The step in a child with a user namespace of its own, in which it has every capability."""

    def run() -> int:
        child = os.fork()
        if not child:
            code = 1
            try:
                if ctypes.CDLL(None).unshare(CLONE_NEWUSER):
                    code = 2
                else:
                    step()
                    code = 0
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    return run


LISTS = [
    row(f"an access control list {what}", partial(os.setxattr, "f", "system.posix_acl_access", value), before=before)
    for what, value, before in (
        ("that says what the mode says", PLAIN, lambda: os.chmod("f", 0o644)),
        ("that says another mode", PLAIN, lambda: os.chmod("f", 0o600)),
        ("that is there already", NAMED, lambda: os.setxattr("f", "system.posix_acl_access", NAMED)),
        ("that takes one away", PLAIN, lambda: os.setxattr("f", "system.posix_acl_access", NAMED)),
        ("with a name", NAMED, lambda: os.chmod("f", 0o644)),
    )
]
NAMESPACES = [
    row(
        f"{what} by a stranger in a user namespace of mode {mode:o}",
        in_a_namespace(step),
        lambda: facts_of("mine"),
        before=lambda mode=mode: os.chmod("mine", mode),
        who=BOB,
    )
    for (what, step), mode in product(CHANGING.items(), (0o6777, 0o2767))
] + [
    row(
        "an access control list by the owner in a user namespace",
        in_a_namespace(partial(os.setxattr, "mine", "system.posix_acl_access", ACCESS)),
        lambda: facts_of("mine"),
        before=lambda: (os.chown("mine", ANN.uid, 4000), os.chmod("mine", 0o2775)),
        who=ANN,
    ),
]

VALUES = (
    (0, 0),
    (1, 999_999_999),
    (-1, 0),
    (-5, 500_000_000),
    (1 << 32, 1),
    ((1 << 33) + 5, 5),
    (1_700_000_000, 123_456_789),
    (1, 1_000_000_000),
    (1, -1),
)
FAR = ((1 << 34, 5), (1 << 40, 0), ((1 << 63) - 1, 0), (-(1 << 34), 5), (-(1 << 63), 0))
TIMES = [
    row(
        "times too far away become the farthest",
        *(lambda time=time: (utimensat("f", time, time), os.stat("f").st_mtime_ns)[1] for time in FAR),
    ),
    *(
        row(
            f"times {access} and {modification}",
            partial(utimensat, "f", access, modification),
            lambda: (os.stat("f").st_atime_ns, os.stat("f").st_mtime_ns),
        )
        for access, modification in zip(VALUES, reversed(VALUES), strict=True)
    ),
    *(
        row(f"times of {kind}", partial(utimensat, kind, (7, 7), (8, 8)), partial(utimensat, kind, (9, 9), (10, 10), 0x100))
        for kind in KINDS
    ),
    row(
        "one time is omitted, the other set",
        partial(utimensat, "f", UTIME_OMIT, (5, 5)),
        partial(utimensat, "g", (5, 5), UTIME_OMIT),
    ),
    row("both are omitted", partial(utimensat, "f", UTIME_OMIT, UTIME_OMIT)),
    row(
        "one time is now",
        partial(utimensat, "f", UTIME_NOW, UTIME_OMIT),
        partial(utimensat, "g", UTIME_OMIT, UTIME_NOW),
        partial(utimensat, "d", UTIME_NOW, (5, 5)),
    ),
    row(
        "both are now",
        partial(utimensat, "f", UTIME_NOW, UTIME_NOW),
        partial(utimensat_null, "g"),
        partial(utimensat_null, "d"),
        lambda: os.stat("f").st_atime_ns == os.stat("f").st_mtime_ns,
    ),
    *(
        row(
            f"{who} sets times of a file with mode {mode:o}",
            partial(utimensat_null, "mine"),
            partial(utimensat, "mine", UTIME_NOW, UTIME_NOW),
            partial(utimensat, "mine", UTIME_OMIT, UTIME_OMIT),
            partial(utimensat, "mine", UTIME_NOW, UTIME_OMIT),
            partial(utimensat, "mine", (5, 5), (6, 6)),
            partial(utimensat, "mine", UTIME_OMIT, (6, 6)),
            before=lambda mode=mode: os.chmod("mine", mode),
            who=person,
        )
        for (who, person), mode in product(PERSONS, (0o444, 0o666))
    ),
    row(
        "a write after times were set",
        with_open(
            "f",
            os.O_WRONLY,
            lambda one: os.write(one, b"x"),
            lambda one: os.utime(one, ns=(5, 6)),
            lambda one: os.fstat(one).st_mtime_ns,
        ),
        lambda: os.stat("f").st_mtime_ns,
    ),
    row("reading sets no time", lambda: Path("f").read_bytes(), partial(os.listdir, "full"), partial(os.readlink, "s")),
]
SIZES = [
    *(
        row(f"truncate {kind}", partial(os.truncate, kind, 3))
        for kind in ("f", "s", "broken", "d", "p", "sock", "null", "missing")
    ),
    *(
        row(
            f"truncate to {size}",
            partial(os.truncate, "f", size),
            with_open("f", os.O_RDWR, lambda one, size=size: os.ftruncate(one, size)),
            lambda: os.stat("f").st_size,
        )
        for size in (0, 12, 15, 13, 5000, -1, 1 << 33)
    ),
    row("a truncate to the size it has", partial(os.truncate, "f", 12)),
    row("an ftruncate to the size it has", with_open("f", os.O_RDWR, lambda one: os.ftruncate(one, 12))),
    row(
        "emptying what is empty",
        partial(os.truncate, "f", 0),
        opening("f", os.O_TRUNC | os.O_WRONLY),
        before=lambda: os.truncate("f", 0),
    ),
    row("truncating another's", partial(os.truncate, "f", 3), partial(os.truncate, "mine", 3), who=ANN),
    row("what was cut off is zeros when it comes back", partial(os.truncate, "f", 3), partial(os.truncate, "f", 12)),
]
TABLE = [*MODE, *OWNERS, *SET_IDS, *CAPABILITIES, *LISTS, *NAMESPACES, *TIMES, *SIZES]


@pytest.mark.parametrize(**rows_named(TABLE))
def test_attributes_change_as_on_the_disk(played, agree: Agree) -> None:
    agree(played)


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(TABLE))
def test_so_they_do_after_a_version(played, agree_after_a_version: Agree) -> None:
    agree_after_a_version(played)
