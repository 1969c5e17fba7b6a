"""Listings: getdents with seekdir and telldir while entries come and go, and one view for find, tar and rsync."""

import os
import random
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.fuse.system_calls import Listing
from tests.posix.calls import rows_named
from tests.posix.conftest import Agree
from tests.posix.stage import row

pytestmark = pytest.mark.mount

COUNT = 300
MANY = 4000
NAMES = [b"name-%04d-%s" % (number, b"x" * 40) for number in range(COUNT)]


def _filled() -> None:
    for name in NAMES:
        os.close(os.open(b"d/" + name, os.O_CREAT))


def _walked(stream: Listing, count: int) -> list[bytes]:
    return [name for name in (stream.next() for _ in range(count)) if name is not None]


def removed_while_listed() -> list[object]:
    """What stays is listed once; what was removed before it was reached may be listed or not."""
    stream = Listing(Path("d"))
    first = _walked(stream, 100)
    for name in NAMES[::3]:
        os.unlink(b"d/" + name)
    rest = stream.rest()
    stream.close()
    stay = set(NAMES) - set(NAMES[::3])
    return [len({*first, *rest}) == len(first) + len(rest), stay <= {*first, *rest} <= set(NAMES)]


def made_while_listed() -> list[object]:
    stream = Listing(Path("d"))
    first = _walked(stream, 100)
    made = {b"%04d-new" % number for number in range(50)} | {b"zz%d" % number for number in range(50)}
    for name in made:
        os.close(os.open(b"d/" + name, os.O_CREAT))
    rest = stream.rest()
    stream.close()
    return [len({*first, *rest}) == len(first) + len(rest), set(NAMES) <= {*first, *rest} <= set(NAMES) | made]


def renamed_while_listed() -> list[object]:
    stream = Listing(Path("d"))
    first = _walked(stream, 100)
    moved = set(NAMES[::5])
    for name in moved:
        os.rename(b"d/" + name, b"d/" + name + b"-moved")
    seen = [*first, *stream.rest()]
    stream.close()
    return [len(seen) == len(set(seen)), set(NAMES) - moved <= set(seen)]


def emptied_as_it_is_listed() -> list[object]:
    """What rm -r does: read a part, remove it, go on."""
    stream = Listing(Path("d"))
    gone = 0
    while part := _walked(stream, 37):
        for name in part:
            os.unlink(b"d/" + name)
        gone += len(part)
    stream.close()
    os.rmdir("d")
    return [gone]


def sought() -> list[object]:
    """A place that telldir gave leads back, in any order, and once entries before it went."""
    stream = Listing(Path("d"))
    places, names = [], []
    for _ in range(COUNT):
        places.append(stream.tell())
        names.append(stream.next())
    said: list[object] = [stream.next() is None, len(set(places)) == COUNT]
    for at in (250, 3, 150, 0, COUNT - 1, 151, 1):
        stream.seek(places[at])
        said.append(stream.next() == names[at])
    stream.seek(places[200])
    after = stream.rest()
    said.append(after == names[200:])
    stream.close()
    return said


def _many() -> None:
    for number in range(MANY):
        os.close(os.open(b"d/many-%05d" % number, os.O_CREAT))


def sought_far() -> list[object]:
    """As :func:`sought` in a directory that takes many requests to list, in any order of its places, names coming and going."""
    stream, draw = Listing(Path("d")), random.Random(1)
    places: list[tuple[int, bytes]] = []
    while True:
        at = stream.tell()
        name = stream.next()
        if name is None:
            break
        places.append((at, name))
    draw.shuffle(places)
    wrong = 0
    for number, (at, name) in enumerate(places):
        if number % 50 == 0:
            os.close(os.open(b"d/a-new-%d" % number, os.O_CREAT))
            os.unlink(b"d/many-%05d" % number)
        if int(name[-5:]) % 50:  # The others go by and by.
            stream.seek(at)
            found = stream.next()
            wrong += found != name and not (found is not None and found.startswith(b"a-new"))
    stream.seek(0)
    again = stream.rest()
    stream.close()
    return [len(places), wrong, len(again) == len(set(again)), set(again) == set(os.listdir(b"d"))]


def rewound() -> list[object]:
    stream = Listing(Path("d"))
    before = set(stream.rest())
    os.close(os.open("d/new", os.O_CREAT))
    stream.seek(0)
    after = set(stream.rest())
    stream.close()
    return [len(before), after - before]


def typed() -> list[tuple[str, bool, bool, bool]]:
    """What a listing says of each entry, without asking again."""
    with os.scandir(".") as entries:
        return sorted(
            (one.name, one.is_dir(follow_symlinks=False), one.is_file(follow_symlinks=False), one.is_symlink())
            for one in entries
        )


def numbered() -> list[bool]:
    with os.scandir(".") as entries:
        return [one.inode() == os.lstat(one.name).st_ino for one in entries]


def dotted() -> list[object]:
    """Of a full directory, an empty one and the one above: whether both dots are listed once, and with which numbers."""
    said: list[object] = []
    for where in ("full", "d", "."):
        stream = Listing(Path(where))
        entries = list(iter(stream.entry, None))
        stream.close()
        said.append(sorted(name for name, _ in entries if name[:1] == b"."))
        said.append(all(os.lstat(os.path.join(where, os.fsdecode(name))).st_ino == number for name, number in entries))
    return said


def past_the_dots() -> list[object]:
    """From each place in a listing on."""
    stream, places = Listing(Path("full")), []
    while stream.entry():
        places.append(stream.tell())
    said: list[object] = []
    for place in places:
        stream.seek(place)
        said.append(len(list(iter(stream.entry, None))))
    stream.close()
    return said


def _of(*command: str) -> object:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, sorted(done.stdout.splitlines()), done.stderr


TABLE = [
    row("removed while listed", removed_while_listed, before=_filled),
    row("made while listed", made_while_listed, before=_filled),
    row("renamed while listed", renamed_while_listed, before=_filled),
    row("emptied as it is listed", emptied_as_it_is_listed, before=_filled),
    row("seekdir and telldir", sought, before=_filled),
    row("seekdir in a large directory", sought_far, before=_many),
    row("rewinddir sees what is new", rewound, before=_filled),
    row("types in listings", typed),
    row("numbers in listings", numbered),
    row("the dots in listings", dotted, partial(_of, "ls", "-a", "full"), partial(_of, "ls", "-a", "d")),
    row("a listing from each place on", past_the_dots),
    row("an empty directory", partial(os.listdir, "d"), lambda: len(list(os.scandir("d")))),
    row(
        "dot and dot-dot",
        lambda: os.stat("d/..").st_ino == os.stat(".").st_ino,
        lambda: os.stat("d/.").st_ino == os.stat("d").st_ino,
    ),
    row("dot-dot after a move", partial(os.rename, "full", "d/x"), lambda: os.stat("d/x/..").st_ino == os.stat("d").st_ino),
    row(
        "one device",
        lambda: len({os.lstat(where).st_dev for where in (".", "f", "d", "full/f", "s", "p")}),
        lambda: _of("find", ".", "-xdev", "-type", "f"),
    ),
    row(
        "hard links agree",
        lambda: [os.path.samefile("f", "hard"), os.path.samefile("f", "g")],
        lambda: _of("find", ".", "-samefile", "f"),
    ),
    row(
        "find with links counts the leaves",
        lambda: _of("find", ".", "-type", "d", "-links", "2"),
        lambda: _of("find", ".", "-empty"),
    ),
    row(
        "tar and back",
        lambda: _of("tar", "--one-file-system", "-cf", "full/all.tar", "f", "hard", "g", "d", "s", "broken", "p"),
        lambda: os.mkdir("back"),
        lambda: _of("tar", "-C", "back", "-xpf", "full/all.tar"),
        lambda: os.unlink("full/all.tar"),
        lambda: os.path.samefile("back/f", "back/hard"),
    ),
    row(
        "rsync on one file system",
        lambda: _of("rsync", "-aHAXx", "--out-format=%n", "f", "hard", "full", "s", "p", "copy/"),
        lambda: _of("rsync", "-aHXxi", "f", "hard", "full", "s", "p", "copy/"),
    ),
    row("cp -a", lambda: _of("cp", "-a", "f", "hard", "full", "s", "p", "d"), lambda: os.path.samefile("d/f", "d/hard")),
]


@pytest.mark.parametrize(**rows_named(TABLE))
def test_listings_are_as_on_the_disk(played, agree: Agree) -> None:
    agree(played)


@pytest.mark.slow
@pytest.mark.parametrize(**rows_named(TABLE))
def test_so_they_are_after_a_version(played, agree_after_a_version: Agree) -> None:
    agree_after_a_version(played)
