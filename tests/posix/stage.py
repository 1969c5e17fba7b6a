"""One table of steps on two stages: a directory of the disk's own file system, and one in the present of a MiMei.

A :class:`Row` is one behaviour: steps that begin in a directory where the same objects lie each time. What came of it, an
:class:`Outcome`, is the value or errno of each step, which times of which objects changed, and all that lies there afterwards.
The disk's outcome is what the mount's must be; nothing here says what is right.

Steps run in a child, one :class:`Player` for each person, so that they have their own directory, user and signals. Before they
run every object has a modification time long gone and an access time to come: a file system then leaves access times alone, be
it mounted ``relatime`` or ``noatime``, unless it is told to set one.
"""

import errno
import os
import pickle
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Step = Callable[[], Any]
LONG_GONE_NS = 1_000_000_000 * 10**9
TO_COME_NS = 4_000_000_000 * 10**9
AS_ROOT = os.geteuid() == 0


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the steps run as."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def become(self) -> None:
        """Be this person for the rest of the process."""
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)


ANN = Person(1000, 1000, (1000, 1500))
BOB = Person(2000, 2000)


@dataclass(frozen=True, slots=True)
class Row:
    """One behaviour: its name, its steps, what is prepared for them, and who does them (None: whoever runs the tests)."""

    name: str
    steps: tuple[Step, ...]
    before: Step
    who: Person | None
    number: int


_rows: list[Row] = []
"""Every row, so that a player, who is a fork of whoever asks, knows each by its number."""


def row(name: str, *steps: Step, before: Step = lambda: None, who: Person | None = None) -> Row:
    """A row of a table."""
    made = Row(name, steps, before, who, len(_rows))
    _rows.append(made)
    return made


@dataclass(slots=True)
class Outcome:
    """What came of a row: of its steps, of the objects that were there before, and of the names that are there after."""

    results: list[Any]
    changes: dict[str, tuple[Any, ...]]
    after: dict[str, tuple[Any, ...]]


# The scene


def scene() -> None:
    """The objects that every row finds."""
    for name in ("f", "g", "mine"):
        Path(name).write_bytes(b"content of " + name.encode())
    os.link("f", "hard")
    os.mkdir("d")
    os.mkdir("full")
    Path("full/f").write_bytes(b"inside")
    for name, target in (("s", "f"), ("sd", "full"), ("broken", "nowhere"), ("loop", "loop")):
        os.symlink(target, name)
    os.mkfifo("p")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
    if AS_ROOT:
        os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.chown("mine", ANN.uid, ANN.gid)


def objects(where: str = ".") -> Iterator[str]:
    """Every path of a directory, itself first."""
    yield where
    with os.scandir(where) as entries:
        found = sorted((entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for path, is_directory in found:
        if is_directory:
            yield from objects(path)
        else:
            yield path


def facts(found: os.stat_result) -> tuple[Any, ...]:
    """What must agree between two file systems: not numbers, blocks, nor the size of a directory."""
    size = None if stat.S_ISDIR(found.st_mode) else found.st_size
    return stat.filemode(found.st_mode), found.st_nlink, found.st_uid, found.st_gid, size, found.st_rdev


def contents(path: str) -> tuple[Any, ...]:
    """Facts, content and attributes of a path."""
    found = os.lstat(path)
    inside: bytes | str | None = None
    if stat.S_ISLNK(found.st_mode):
        inside = os.readlink(path)
    elif stat.S_ISREG(found.st_mode) and found.st_size <= 1 << 20:
        inside = Path(path).read_bytes()
    names = os.listxattr(path, follow_symlinks=False)
    return *facts(found), inside, {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)}


TIMES = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")


class Held:
    """An object held open without reading it, so that it can be looked at when it has no name any more."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        self.before = os.fstat(self.descriptor)

    def end(self) -> tuple[Any, ...]:
        """Which times have changed, and its facts now."""
        now = os.fstat(self.descriptor)
        os.close(self.descriptor)
        return tuple(name for name in TIMES if getattr(self.before, name) != getattr(now, name)), *facts(now)


# Acting


class Player:
    """A child that plays rows as one person."""

    def __init__(self, who: Person | None) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._child = os.fork()
        if self._child == 0:
            try:
                self._ours.close()
                _play_on(theirs, who)
            finally:
                os._exit(1)
        theirs.close()

    def play(self, played: Row, stage: int) -> list[Any]:
        """The results of a row's steps in the directory open as ``stage``."""
        socket.send_fds(self._ours, [str(played.number).encode()], [stage])
        said = self._ours.recv(1 << 18)
        assert said, f"the player ended in {played.name}"
        return list(pickle.loads(said))

    def end(self) -> None:
        """Let the child go: an empty order."""
        self._ours.send(b"")
        self._ours.close()
        os.waitpid(self._child, 0)


def _play_on(orders: socket.socket, who: Person | None) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.umask(0o022)
    if who is not None:
        who.become()
    while True:
        number, stages, _, _ = socket.recv_fds(orders, 64, 1)
        if not number:
            os._exit(0)
        os.fchdir(stages[0])
        os.close(stages[0])
        played = _rows[int(number)]
        try:
            said = [tried(step) for step in played.steps]
        except BaseException as error:
            print(f"{played.name}: {error!r}", file=sys.stderr, flush=True)
            raise
        orders.send(pickle.dumps(said))
        os.chdir("/")


def lay(played: Row, stage: Path) -> None:
    """Lay out all that a row finds, in a new directory ``stage``."""
    stage.mkdir()
    mask = os.umask(0o022)
    try:
        with chdir(stage):
            scene()
            played.before()
            for path in objects():
                os.utime(path, ns=(TO_COME_NS, LONG_GONE_NS), follow_symlinks=False)
    finally:
        os.umask(mask)


def act(played: Row, stage: Path, player: Player) -> Outcome:
    """Play a row where everything lies ready."""
    with chdir(stage):
        held = [Held(path) for path in objects()]
        _tick(max(one.before.st_ctime_ns for one in held))
        results = player.play(played, held[0].descriptor)
        changes = {one.path: one.end() for one in held}
        return Outcome(results, changes, {path: contents(path) for path in objects()})


def _tick(newest: int) -> None:
    """Return when whatever changes now gets a later time than that: not every kernel's times are fine."""
    with tempfile.TemporaryFile() as ticking:
        while os.fstat(ticking.fileno()).st_ctime_ns <= newest:
            os.utime(ticking.fileno())


def tried(step: Step) -> Any:
    """What a step gives: its value, or the name of the errno it fails with."""
    try:
        given = step()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done" if given is None or isinstance(given, os.stat_result) else given
