"""The mount and the drive change the same few files by turns, in any order, against an oracle of plain Python.

After every act both sides must show what the oracle says, open and mapped files what they held, and entity tags must have
changed where the content did and nowhere else. Versions and histories must have what was there when they were taken.
"""

import mmap
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from tests.dav.desks import Desk, Folder, driven

pytestmark = pytest.mark.mount

PATHS = ("a", "b", "d", "d/a", "d/b", "e", "e/a")
DATAS = (b"", b"x", b"0123456789" * 50, bytes(range(256)) * 300)
MEMBERS = b"""<propfind xmlns="DAV:"><prop><getcontentlength/><getlastmodified/><getetag/></prop></propfind>"""
LONG_SECONDS = 1200
WHEN = "Sun, 06 Nov 1994 08:49:37 GMT"


@dataclass(eq=False)
class Object:
    """A file as one thing, whatever names it has; ``turn`` is when its bytes were last written."""

    data: bytes
    turn: int
    mappings: int = 0


@dataclass(eq=False)
class Seen:
    """What was found at a path."""

    thing: Object
    turn: int
    data: bytes
    tag: str


Tree = dict[str, Object | None]


def above(path: str) -> str:
    return path.rpartition("/")[0]


def within(tree: Tree, path: str) -> Tree:
    return {key: value for key, value in tree.items() if key == path or key.startswith(path + "/")}


@dataclass
class Turns:
    """Both sides of one folder, and what must be there. Acts return whether they could be carried out."""

    folder: Folder
    desk: Desk
    draw: random.Random
    tree: Tree = field(default_factory=dict)
    opened: list[tuple[int, Object]] = field(default_factory=list)
    mapped: list[tuple[mmap.mmap, Object]] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    versions: list[dict[str, bytes | None]] = field(default_factory=list)
    turn: int = 0

    # The oracle

    def data(self) -> bytes:
        return self.draw.choice(DATAS) + b"%d" % self.turn

    def can_be(self, path: str) -> bool:
        """Whether the directory of a path is there."""
        return not above(path) or self.tree.get(above(path), self) is None

    def file(self, path: str) -> Object | None:
        return self.tree.get(path)

    def is_dir(self, path: str) -> bool:
        return path in self.tree and self.tree[path] is None

    def drop(self, path: str) -> None:
        for key in within(self.tree, path):
            del self.tree[key]

    def expected(self) -> dict[str, bytes | None]:
        return {path: None if thing is None else thing.data for path, thing in self.tree.items()}

    def here(self, path: str) -> str:
        return str(self.folder.present / path)

    # The mount

    def write_whole(self, path: str, _: str) -> bool:
        thing = self.file(path)
        if not self.can_be(path) or self.is_dir(path) or (thing is not None and thing.mappings):
            return False
        data = self.data()
        (self.folder.present / path).write_bytes(data)
        if thing is None:
            thing = self.tree[path] = Object(data, self.turn)
        thing.data, thing.turn = data, self.turn
        return True

    def write_some(self, path: str, _: str) -> bool:
        thing = self.file(path)
        if thing is None:
            return False
        fd = os.open(self.here(path), os.O_WRONLY)
        self.pwrite(fd, thing)
        os.close(fd)
        return True

    def pwrite(self, fd: int, thing: Object) -> None:
        at, data = self.draw.randrange(len(thing.data) + 5), b"<%d>" % self.turn
        os.pwrite(fd, data, at)
        thing.data = thing.data[:at].ljust(at, b"\0") + data + thing.data[at + len(data) :]
        thing.turn = self.turn

    def write_opened(self, *_: str) -> bool:
        if not self.opened:
            return False
        self.pwrite(*self.draw.choice(self.opened))
        return True

    def write_mapped(self, *_: str) -> bool:
        if not self.mapped:
            return False
        memory, thing = self.draw.choice(self.mapped)
        memory[0:1] = b"M"
        memory.flush()
        thing.data, thing.turn = b"M" + thing.data[1:], self.turn
        return True

    def open(self, path: str, _: str) -> bool:
        thing = self.file(path)
        if thing is None or len(self.opened) > 5:
            return False
        self.opened.append((os.open(self.here(path), os.O_RDWR), thing))
        return True

    def map(self, path: str, _: str) -> bool:
        thing = self.file(path)
        if thing is None or not thing.data or len(self.mapped) > 3:
            return False
        with open(self.here(path), "r+b") as file:
            self.mapped.append((mmap.mmap(file.fileno(), len(thing.data)), thing))
        thing.mappings += 1
        return True

    def close(self, *_: str) -> bool:
        if self.opened:
            os.close(self.opened.pop(0)[0])
        if self.mapped:
            memory, thing = self.mapped.pop(0)
            memory.close()
            thing.mappings -= 1
        return True

    def truncate(self, path: str, _: str) -> bool:
        thing = self.file(path)
        if thing is None or thing.mappings:
            return False
        size = self.draw.randrange(len(thing.data) + 10)
        os.truncate(self.here(path), size)
        if size != len(thing.data):
            thing.data, thing.turn = thing.data[:size].ljust(size, b"\0"), self.turn
        return True

    def change_mode(self, path: str, _: str) -> bool:
        if path not in self.tree:
            return False
        os.chmod(self.here(path), self.draw.choice((0o700, 0o755)))
        return True

    def rename(self, path: str, other: str) -> bool:
        thing, there = self.file(path), self.file(other)
        if thing is None or not self.can_be(other) or self.is_dir(other) or thing is there:
            return False
        os.rename(self.here(path), self.here(other))
        del self.tree[path]
        self.tree[other] = thing
        return True

    def link(self, path: str, other: str) -> bool:
        thing = self.file(path)
        if thing is None or not self.can_be(other) or other in self.tree:
            return False
        os.link(self.here(path), self.here(other))
        self.tree[other] = thing
        return True

    def unlink(self, path: str, _: str) -> bool:
        if self.file(path) is None:
            return False
        os.unlink(self.here(path))
        del self.tree[path]
        return True

    def mkdir(self, path: str, _: str) -> bool:
        if path in self.tree or not self.can_be(path):
            return False
        os.mkdir(self.here(path))
        self.tree[path] = None
        return True

    def rmdir(self, path: str, _: str) -> bool:
        if not self.is_dir(path) or len(within(self.tree, path)) > 1:
            return False
        os.rmdir(self.here(path))
        del self.tree[path]
        return True

    # The drive

    def asks(self, line: str, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        reply = self.desk.ask(line, headers, body)
        assert reply.status == status, (line, reply.status, reply.body)

    def put(self, path: str, _: str) -> bool:
        data = self.data() if self.draw.random() < 0.9 else b""
        status = 405 if self.is_dir(path) else 409 if not self.can_be(path) else 204 if path in self.tree else 201
        self.asks(f"PUT {path}", status, body=data)
        if status < 300:
            self.tree[path] = Object(data, self.turn)
        return True

    def delete(self, path: str, _: str) -> bool:
        self.asks(f"DELETE {path}", 204 if path in self.tree else 404)
        self.drop(path)
        return True

    def mkcol(self, path: str, _: str) -> bool:
        status = 405 if path in self.tree else 201 if self.can_be(path) else 409
        self.asks(f"MKCOL {path}", status)
        if status == 201:
            self.tree[path] = None
        return True

    def relocates(self, method: str, path: str, other: str) -> bool:
        apart = not f"{path}/".startswith(f"{other}/") and not f"{other}/".startswith(f"{path}/")
        same = path in self.tree and self.tree[path] is not None and self.tree[path] is self.tree.get(other)
        if not apart or path not in self.tree or (same and method == "MOVE"):
            return False
        status = 409 if not self.can_be(other) else 204 if other in self.tree else 201
        self.asks(f"{method} {path}", status, {"Destination": self.desk.destination(other)})
        if status < 300:
            coming = {other + key[len(path) :]: value for key, value in within(self.tree, path).items()}
            self.drop(other)
            if method == "MOVE":
                self.drop(path)
            self.tree |= coming if method == "MOVE" else copied(coming)
        return True

    def move(self, path: str, other: str) -> bool:
        return self.relocates("MOVE", path, other)

    def copy(self, path: str, other: str) -> bool:
        return self.relocates("COPY", path, other)

    def patch(self, path: str, _: str) -> bool:
        if path not in self.tree:
            return False
        inside = f"<getlastmodified>{WHEN}</getlastmodified><mine xmlns='urn:m'>{self.turn}</mine>"
        body = f'<propertyupdate xmlns="DAV:"><set><prop>{inside}</prop></set></propertyupdate>'.encode()
        self.asks(f"PROPPATCH {path}", 207, body=body)
        assert os.stat(self.here(path)).st_mtime == 784111777
        return True

    # Both

    def version(self, *_: str) -> bool:
        self.versions.append(self.expected())
        assert self.folder.version() == self.versions[-1]
        return True

    def step(self) -> None:
        self.turn += 1
        path, other = self.draw.choice(PATHS), self.draw.choice(PATHS)
        if self.draw.choice(ACTS)(self, path, other):
            self.check()

    def check(self) -> None:
        expected = self.expected()
        assert self.folder.files == expected
        for path in PATHS:
            reply = self.desk.ask(f"GET {path}") if not self.is_dir(path) else self.desk.ask(f"HEAD {path}")
            assert reply.status == (200 if path in self.tree else 404), path
            thing = self.tree.get(path)
            if thing is None:
                self.seen.pop(path, None)
                continue
            assert reply.body == thing.data, path
            assert os.stat(self.here(path)).st_size == len(thing.data)
            self.compare(path, Seen(thing, thing.turn, thing.data, reply["ETag"]))
        for path in ("", *filter(self.is_dir, PATHS)):
            self.check_listing(path)
        for fd, thing in self.opened:
            assert os.pread(fd, len(thing.data) + 1, 0) == thing.data
        for memory, thing in self.mapped:
            assert memory[:] == thing.data[: len(memory)]

    def check_listing(self, path: str) -> None:
        """A listing says of each member what is there; the second time, it is one that was kept."""
        for _ in range(2):
            reply = self.desk.ask(f"PROPFIND {path}/" if path else "PROPFIND ", {"Depth": "1"}, MEMBERS)
            rows = [[part.text for part in row.iter() if not len(part)] for row in fromstring(reply.body)][1:]
            found = {row[0].removeprefix(self.folder.place).rstrip("/"): row[1:4] for row in rows}
            assert found.keys() == {key for key in self.tree if above(key) == path}
            for key, (size, changed, tag) in found.items():
                thing, now = self.tree[key], self.desk.ask(f"HEAD {key}")
                if thing is not None:
                    assert (size, changed) == (str(len(thing.data)), now["Last-Modified"]), key
                    assert tag == now["ETag"] or (tag.startswith("W/") and not now["ETag"].startswith("W/")), key

    def compare(self, path: str, now: Seen) -> None:
        """Tags: another content has another one; what nobody wrote to has the same, or that of the sealed bytes."""
        before = self.seen.get(path)
        self.seen[path] = now
        if before is None:
            return
        if before.data != now.data:
            assert before.tag != now.tag, path
        elif before.thing is now.thing and before.turn == now.turn and before.tag != now.tag:
            assert before.tag.startswith("W/"), path
            assert not now.tag.startswith("W/"), path

    def finish(self) -> None:
        """Versions are still what they were, and histories have what they had."""
        while self.opened or self.mapped:
            self.close()
        for number, expected in enumerate(self.versions, 1):
            label = self.folder.present / ".mimei" / f"@v{number}"
            found = {str(path.relative_to(label)): None if path.is_dir() else path.read_bytes() for path in label.rglob("*")}
            assert found == expected
        for path in PATHS:
            had = [version[path] for version in self.versions if version.get(path) is not None]
            if had:
                assert [data for data, _ in groupby(self.folder.states(path))] == [data for data, _ in groupby(had)]


def copied(tree: Tree) -> Tree:
    """Other files with the same bytes; names of one file become files of their own, unless a directory holds both."""
    things = {id(thing): Object(thing.data, thing.turn) for thing in tree.values() if thing is not None}
    return {path: None if thing is None else things[id(thing)] for path, thing in tree.items()}


Act = Callable[[Turns, str, str], bool]
WRITING: tuple[Act, ...] = (Turns.write_whole, Turns.write_some, Turns.write_opened, Turns.write_mapped, Turns.truncate)
NAMING: tuple[Act, ...] = (Turns.rename, Turns.link, Turns.unlink, Turns.mkdir, Turns.rmdir)
HANDLING: tuple[Act, ...] = (Turns.open, Turns.map, Turns.close, Turns.change_mode)
ASKING: tuple[Act, ...] = (Turns.put, Turns.put, Turns.delete, Turns.mkcol, Turns.move, Turns.copy, Turns.patch)
ACTS: tuple[Act, ...] = (*WRITING, *NAMING, *HANDLING, *ASKING, *ASKING, Turns.version)


def play(folder: Folder, seed: int, steps: int) -> Turns:
    desk = Desk(folder)
    turns = Turns(folder, desk, random.Random(seed))
    try:
        for _ in range(steps):
            turns.step()
        turns.version()
        turns.finish()
    finally:
        desk.close()
    return turns


@pytest.mark.parametrize("seed", range(3))
def test_both_sides_show_the_same_whatever_changes_by_turns(folder: Folder, seed: int) -> None:
    assert play(folder, seed, 150).versions


@pytest.mark.slow
@pytest.mark.timeout(LONG_SECONDS)
@pytest.mark.parametrize("seed", range(100, 103))
def test_both_sides_show_the_same_for_long(tmp_path: Path, seed: int) -> None:
    with driven(tmp_path, life=LONG_SECONDS) as (served, url):
        assert play(Folder(served, url, "long"), seed, 1500).versions
        assert served.end() == 0
        served.command("check")
