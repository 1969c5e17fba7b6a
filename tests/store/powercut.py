"""A disk that can be turned back: every change that the store makes is recorded, and what was not synced can be forgotten.

What is on the disk after a power cut is up to the disk: of the bytes written since a file's last sync any part may be there,
the last write torn; names and sizes changed since the last sync of their directory or file are there up to some point. So an
image is made with a policy. LMDB keeps its own promise and writes through its own code: its file is what the last commit left.

Not recorded: what was there at the beginning. That counts as durable.
"""

import itertools
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest

from mimeifs.store import disk
from mimeifs.store.database import Database, Transaction


class Policy(Enum):
    """What the disk had done of what it had not promised."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    SOMETHING = "something"


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at a place in a file. Files have numbers of the recording's own, since the system gives inode numbers again."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Shape:
    """A file has this size: cut off, or allocated at least so far."""

    file: int
    size: int
    cut: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A name leads to a file, or to nothing any more."""

    path: Path
    file: int | None


@dataclass(frozen=True, slots=True)
class Synced:
    """Everything of one file, or every name in one directory, is on the disk."""

    file: int | None = None
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """LMDB's file is this."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Promised:
    """The store has said that everything up to here is durable; ``state`` is the test's own number for it."""

    state: int


Event = Write | Shape | Name | Synced | Committed | Promised


@dataclass(slots=True)
class Recording:
    """What happened to a store below ``root``, in order."""

    root: Path
    first: dict[int, Path]
    """Where each file was at the beginning."""
    events: list[Event] = field(default_factory=list)

    def promise(self, state: int) -> None:
        """From here on ``state`` or a later one must be found."""
        self.events.append(Promised(state))

    def promised(self, upto: int) -> int:
        """The state promised last before event ``upto``."""
        return next((each.state for each in reversed(self.events[:upto]) if isinstance(each, Promised)), 0)


@contextmanager
def recording(root: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    """Record what the store does below ``root``, whose LMDB environment is ``index``."""
    numbers: dict[int, int] = {}
    made = Recording(root, {})
    for number, path in enumerate(sorted(path for path in root.rglob("*") if path.is_file())):
        numbers[path.stat().st_ino] = number
        made.first[number] = path.relative_to(root)
    fresh = itertools.count(len(numbers))
    add = made.events.append

    def number_of(fd: int) -> int:
        return numbers[os.fstat(fd).st_ino]

    def create(path: Path) -> int:
        new = not path.exists()
        fd = real["create"](path)
        if new:
            numbers[os.fstat(fd).st_ino] = next(fresh)
            add(Name(path.relative_to(root), number_of(fd)))
        return fd

    def write(fd: int, data: bytes, offset: int) -> int:
        done = real["write"](fd, data, offset)
        add(Write(number_of(fd), offset, bytes(data[:done])))
        return done

    def write_pieces(fd: int, pieces: Sequence[bytes], offset: int) -> int:
        done = real["write_pieces"](fd, pieces, offset)
        add(Write(number_of(fd), offset, b"".join(pieces)[:done]))
        return done

    def allocate(fd: int, size: int) -> None:
        real["allocate"](fd, size)
        add(Shape(number_of(fd), size, cut=False))

    def cut(fd: int, size: int) -> None:
        real["cut"](fd, size)
        add(Shape(number_of(fd), size, cut=True))

    def sync(fd: int) -> None:
        real["sync"](fd)
        add(Synced(file=number_of(fd)))

    def sync_directory(path: Path) -> None:
        real["sync_directory"](path)
        add(Synced(directory=path.relative_to(root)))

    def move(path: Path, new: Path) -> None:
        file = numbers[path.stat().st_ino]
        real["move"](path, new)
        add(Name(path.relative_to(root), None))
        add(Name(new.relative_to(root), file))

    def remove(path: Path) -> None:
        present = path.exists()
        real["remove"](path)
        if present:
            add(Name(path.relative_to(root), None))

    @contextmanager
    def commit(self: Database) -> Iterator[Transaction]:
        with begin(self) as transaction:
            yield transaction
        add(Committed((index / "data.mdb").read_bytes()))

    patches = (create, write, write_pieces, allocate, cut, sync, sync_directory, move, remove)
    real = {patch.__name__: getattr(disk, patch.__name__) for patch in patches}
    begin = Database.write
    with monkeypatch.context() as patched:
        for patch in patches:
            patched.setattr(disk, patch.__name__, patch)
        patched.setattr(Database, "write", commit)
        yield made


@dataclass(slots=True)
class _File:
    """What is durable of a file's changes, and what is not yet."""

    sure: list[Write | Shape] = field(default_factory=list)
    unsure: list[Write | Shape] = field(default_factory=list)


def image(made: Recording, base: Path, upto: int, policy: Policy, draw: random.Random, target: Path) -> None:
    """What is on the disk in ``target`` when the power goes after event ``upto``; ``base`` is what was there at first."""
    files: dict[int, _File] = {}
    names: list[Name] = []
    unsure_names: list[Name] = []
    index: bytes | None = None
    for event in made.events[:upto]:
        match event:
            case Write() | Shape():
                files.setdefault(event.file, _File()).unsure.append(event)
            case Name():
                unsure_names.append(event)
            case Synced(file=int() as number):
                file = files.setdefault(number, _File())
                file.sure += file.unsure
                file.unsure.clear()
            case Synced(directory=Path() as directory):
                names += [each for each in unsure_names if each.path.parent == directory]
                unsure_names = [each for each in unsure_names if each.path.parent != directory]
            case Committed():
                index = event.data
    names += _kept_names(unsure_names, policy, draw)
    subprocess.run(["cp", "-a", "--sparse=always", str(base), str(target)], check=True)
    contents = _opened(made, target, files)
    _apply_names(target, contents, names)
    for number, file in files.items():
        for change in [*file.sure, *_kept_changes(file.unsure, policy, draw)]:
            _apply(contents[number], change)
    if index is not None:
        (target / "index" / "data.mdb").write_bytes(index)
    shutil.rmtree(target / "inodes")


def _kept_names(unsure: list[Name], policy: Policy, draw: random.Random) -> list[Name]:
    """A journalling file system keeps changes of names in order, up to some point."""
    kept = {Policy.NOTHING: 0, Policy.EVERYTHING: len(unsure)}.get(policy)
    return unsure[: draw.randint(0, len(unsure)) if kept is None else kept]


def _kept_changes(unsure: list[Write | Shape], policy: Policy, draw: random.Random) -> list[Write | Shape]:
    """Any of the writes, the last of them torn; sizes up to some point."""
    if policy is Policy.NOTHING:
        return []
    if policy is Policy.EVERYTHING:
        return unsure
    point = draw.randint(0, len(unsure))
    kept: list[Write | Shape] = []
    for number, change in enumerate(unsure):
        if isinstance(change, Shape):
            kept += [change] if number < point else []
        elif draw.random() < 0.6:
            torn = draw.random() < 0.3
            kept.append(
                Write(change.file, change.offset, change.data[: draw.randint(0, len(change.data))] if torn else change.data)
            )
    return kept


def _opened(made: Recording, target: Path, files: dict[int, _File]) -> dict[int, Path]:
    """Where the bytes of each file are to be put, whether it has a name in the end or not."""
    (target / "inodes").mkdir()
    named = {event.file for event in made.events if isinstance(event, Name) and event.file is not None}
    places = {number: target / "inodes" / str(number) for number in {*made.first, *named, *files}}
    for number, place in places.items():
        if number in made.first:
            os.link(target / made.first[number], place)
        else:
            place.touch()
    return places


def _apply_names(target: Path, contents: dict[int, Path], names: list[Name]) -> None:
    for name in names:
        (target / name.path).unlink(missing_ok=True)
        if name.file is not None:
            os.link(contents[name.file], target / name.path)


def _apply(path: Path, change: Write | Shape) -> None:
    with path.open("r+b") as file:
        if isinstance(change, Write):
            file.seek(change.offset)
            file.write(change.data)
        elif change.cut or os.fstat(file.fileno()).st_size < change.size:
            file.truncate(change.size)
