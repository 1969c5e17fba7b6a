"""rename(2) and renameat2(2): every kind of source over every kind of target."""

import os
from pathlib import Path

import pytest

from tests.fuse.system_calls import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.posix.calls import renaming, rows_named
from tests.posix.conftest import Agree
from tests.posix.stage import ANN, Row, row

pytestmark = pytest.mark.mount

KINDS = ("f", "hard", "g", "s", "sd", "broken", "p", "d", "full", "missing")
SOME = ("f", "hard", "g", "s", "p", "d", "full", "missing")
FEW = ("f", "hard", "s", "d", "missing")


def product_of(how: str, flags: int, kinds: tuple[str, ...]) -> list[Row]:
    return [row(f"{how} {source} to {target}", renaming(source, target, flags)) for source in kinds for target in kinds]


def open_and_replaced() -> list[object]:
    """Who has the old file open keeps it; who opens the name gets the new one."""
    with open("g", "r+b", buffering=0) as old:
        os.rename("f", "g")
        old.write(b"CON")
        return [os.pread(old.fileno(), 99, 0), os.fstat(old.fileno()).st_nlink, Path("g").read_bytes()]


def never_missing() -> list[int]:
    """A name that is replaced again and again is there at every moment, with one whole content or another."""
    child = os.fork()
    if child == 0:
        for turn in range(100):
            Path("new").write_bytes(b"%03d" % turn * 1000)
            os.rename("new", "g")
        os._exit(0)
    bad = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        found = Path("g").read_bytes()
        bad += found != found[:3] * 1000 and found != b"content of g"
    return [bad]


SPECIAL = [
    row(
        "rename into its own subtree",
        *(
            renaming("full", target, flags)
            for target in ("full/x", "full/full", "full/.", "full/..")
            for flags in (0, RENAME_EXCHANGE)
        ),
    ),
    row(
        "rename to what is above",
        renaming("full/f", "full"),
        renaming("d", "."),
        renaming("d", "d/.."),
        renaming("full/f", "full", RENAME_EXCHANGE),
    ),
    row(
        "rename a directory to another parent",
        renaming("full", "d/moved"),
        lambda: os.stat("d").st_nlink,
        renaming("d/moved", "full"),
    ),
    row("rename a directory over an empty one elsewhere", renaming("full", "d/empty"), before=lambda: os.mkdir("d/empty")),
    row("rename a directory over a full one elsewhere", renaming("d", "full/sub"), before=lambda: os.makedirs("full/sub/x")),
    row(
        "exchange across directories",
        renaming("f", "full/f", RENAME_EXCHANGE),
        renaming("d", "full/f", RENAME_EXCHANGE),
        renaming("full/f", "g", RENAME_EXCHANGE),
    ),
    row(
        "exchange a directory with one in itself",
        renaming("full", "full/sub", RENAME_EXCHANGE),
        renaming("full/sub", "full", RENAME_EXCHANGE),
        before=lambda: os.mkdir("full/sub"),
    ),
    row(
        "rename with a slash behind",
        renaming("d/", "x/"),
        renaming("x", "y/"),
        renaming("f", "z/"),
        renaming("f/", "z"),
        renaming("s/", "z"),
        renaming("sd/", "z"),
    ),
    row("rename with nonsense for flags", renaming("f", "x", 3), renaming("f", "x", 8), renaming("f", "x", 6)),
    row(
        "rename through what is no directory",
        renaming("f/x", "y"),
        renaming("f", "g/x"),
        renaming("missing/x", "y"),
        renaming("f", "missing/x"),
        renaming("f", "loop/x"),
    ),
    row("a replaced file lives on while it is open", open_and_replaced),
    row("a replaced name is never missing", never_missing),
    row(
        "without write permission on a directory it keeps its parent",
        renaming("mine", "d/x"),
        renaming("own", "d/x"),
        before=lambda: (
            os.mkdir("own"),
            os.chown("own", 1000, 1000),
            os.chmod(".", 0o777),
            os.chmod("d", 0o777),
            os.chmod("own", 0o555),
        ),
        who=ANN,
    ),
]
TABLE = [
    *product_of("rename", 0, SOME),
    *product_of("rename without replacing", RENAME_NOREPLACE, FEW),
    *product_of("exchange", RENAME_EXCHANGE, FEW),
    *SPECIAL,
]


@pytest.mark.parametrize(**rows_named(TABLE))
def test_every_kind_over_every_kind(played, agree: Agree) -> None:
    agree(played)


REST = [
    one
    for how, flags in (("rename", 0), ("rename without replacing", RENAME_NOREPLACE), ("exchange", RENAME_EXCHANGE))
    for one in product_of(how, flags, KINDS)
    if one.name not in {known.name for known in TABLE}
]


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(REST))
def test_every_other_kind_over_every_other(played, agree: Agree) -> None:
    agree(played)


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(TABLE))
def test_so_it_is_after_a_version(played, agree_after_a_version: Agree) -> None:
    agree_after_a_version(played)
