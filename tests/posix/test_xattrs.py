"""Extended attributes: user., trusted. and security., on everything, by everybody."""

import os
from functools import partial
from itertools import product

import pytest

from tests.posix.calls import rows_named, with_open
from tests.posix.conftest import Agree
from tests.posix.stage import ANN, AS_ROOT, BOB, row

pytestmark = [pytest.mark.mount, pytest.mark.skipif(not AS_ROOT, reason="only root sets what is not user.")]

KINDS = ("f", "d", "s", "broken", "p", "sock", "null", "missing")
SPACES = ("user.a", "trusted.a", "security.a", "system.a", "nonsense.a", "nodot", "user.", "")
PERSONS = (("root", None), ("Ann", ANN), ("Bob", BOB))


def setting(path: str, name: str, value: bytes = b"value", flags: int = 0, *, follow: bool = False):
    return lambda: os.setxattr(path, name, value, flags, follow_symlinks=follow)


def getting(path: str, name: str):
    return lambda: os.getxattr(path, name, follow_symlinks=False)


def listing(path: str):
    return lambda: sorted(os.listxattr(path, follow_symlinks=False))


TABLE = [
    *(
        row(
            f"{name or 'no name'} on {kind}",
            getting(kind, name),
            setting(kind, name),
            getting(kind, name),
            listing(kind),
            lambda kind=kind, name=name: os.removexattr(kind, name, follow_symlinks=False),
            listing(kind),
        )
        for kind, name in product(KINDS, SPACES[:3])
    ),
    *(
        row(
            f"{name or 'no name'} on a file",
            getting("f", name),
            setting("f", name),
            partial(os.removexattr, "f", name),
            listing("f"),
        )
        for name in SPACES[3:]
    ),
    row(
        "through a symbolic link",
        setting("s", "user.a", follow=True),
        setting("broken", "user.a", follow=True),
        setting("loop", "user.a", follow=True),
        getting("f", "user.a"),
        getting("hard", "user.a"),
    ),
    row(
        "create and replace",
        setting("f", "user.a", b"1", os.XATTR_REPLACE),
        setting("f", "user.a", b"1", os.XATTR_CREATE),
        setting("f", "user.a", b"2", os.XATTR_CREATE),
        setting("f", "user.a", b"3", os.XATTR_REPLACE),
        setting("f", "user.a", b"3", 3),
        setting("f", "user.a", b"3", 4),
        getting("f", "user.a"),
    ),
    row(
        "values are bytes, also none",
        setting("f", "user.empty", b""),
        setting("f", "user.zero", b"\0\0"),
        setting("f", "user.all", bytes(range(256))),
    ),
    row("set to what it is", setting("f", "user.a", b"1"), before=setting("f", "user.a", b"1")),
    row(
        "remove",
        partial(os.removexattr, "f", "user.a"),
        partial(os.removexattr, "f", "user.a"),
        partial(os.removexattr, "f", "user.b"),
        before=setting("f", "user.a"),
    ),
    row(
        "names have 255 bytes",
        setting("f", "user." + "n" * 250),
        setting("f", "user." + "n" * 251),
        getting("f", "user." + "n" * 251),
        partial(os.removexattr, "f", "user." + "n" * 251),
    ),
    row("values have 64 KiB at most", setting("f", "user.a", b"x" * 65537), getting("f", "user.a")),
    row(
        "of descriptors",
        with_open(
            "f",
            os.O_RDONLY,
            lambda one: os.setxattr(one, "user.a", b"1"),
            lambda one: os.getxattr(one, "user.a"),
            os.listxattr,
            lambda one: os.removexattr(one, "user.a"),
        ),
    ),
    *(
        row(
            f"{who} uses another's attributes in {space}",
            getting("mine", space),
            listing("mine"),
            setting("mine", space, b"new"),
            setting("mine", space + "2"),
            lambda space=space: os.removexattr("mine", space),
            before=setting("mine", space),
            who=person,
        )
        for (who, person), space in product(PERSONS, SPACES[:3])
    ),
    *(
        row(
            f"{who} uses user. of a file with mode {mode:o}",
            getting("mine", "user.a"),
            listing("mine"),
            setting("mine", "user.b"),
            before=lambda mode=mode: (os.setxattr("mine", "user.a", b"1"), os.chmod("mine", mode)),
            who=person,
        )
        for (who, person), mode in product(PERSONS, (0o000, 0o444, 0o222))
    ),
    *(
        row(
            f"{who} sets user. on a sticky directory",
            setting("d", "user.a"),
            before=lambda: (os.chown("d", 1000, 1000), os.chmod("d", 0o1777)),
            who=person,
        )
        for who, person in PERSONS
    ),
    row(
        "a directory's attributes stay through a rename",
        partial(os.rename, "d", "x"),
        listing("x"),
        before=setting("d", "user.a"),
    ),
    row(
        "a link's attributes stay when another name goes",
        partial(os.unlink, "f"),
        listing("hard"),
        before=setting("f", "user.a"),
    ),
]


@pytest.mark.parametrize(**rows_named(TABLE))
def test_attributes_are_kept_as_on_the_disk(played, agree: Agree) -> None:
    agree(played)


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(TABLE))
def test_so_they_are_after_a_version(played, agree_after_a_version: Agree) -> None:
    agree_after_a_version(played)
