"""Requests of the tree: places named by paths, looked at and changed whole; and their replies.

Paths are tuples of names from the node's root. ``uid`` and ``gid`` are whom what is made belongs to, None whoever the directory
belongs to. Staged files and readings belong to a session, which ends, with all it holds, with the connection that began it; any
connection may use it.
"""

import msgspec

from mimeifs.api.requesting import Request
from mimeifs.model.resource import NO_GUARD, Facts, Guard, Lock, Path

SLICE = 512 << 10
"""The most bytes of a file in one request or reply."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It is done."""


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """A session."""

    session: int


class Begin(Request[Begun], frozen=True, tag="begin"):
    """Begin a session that lasts as long as this connection."""


# Looking


class Looked(msgspec.Struct, frozen=True, tag="looked"):
    """What there is to say of a resource."""

    facts: Facts


class Look(Request[Looked], frozen=True, tag="look"):
    """What a path leads to."""

    path: Path
    properties: bool = False


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """A page of a directory; see ``mimeifs.model.resource.Page``."""

    entries: tuple[Facts, ...]
    next: bytes
    mark: str = ""
    loose: tuple[bytes, ...] = ()
    gone: tuple[bytes, ...] = ()


class Entries(Request[Listed], frozen=True, tag="entries"):
    """What is in a directory; the node may answer with fewer than ``limit``."""

    path: Path
    after: bytes = b""
    limit: int = 500
    properties: bool = False


class Again(Request[Listed], frozen=True, tag="again"):
    """What was loose on the pages of a directory, and what has changed since it had that mark; nothing and no mark where that
    is not known."""

    path: Path
    mark: str
    names: tuple[bytes, ...] = ()
    properties: bool = False


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """A file as it is now: sealed, ``facts.content`` names its bytes; else short, they are in ``data``; else ``reading`` is to
    be read and closed."""

    facts: Facts
    reading: int
    data: bytes


class OpenFile(Request[Opened], frozen=True, tag="open-file"):
    """Read a file."""

    session: int
    path: Path


class ReadBytes(msgspec.Struct, frozen=True, tag="bytes"):
    """Bytes; fewer than asked for only at the end."""

    data: bytes


class ReadPart(Request[ReadBytes], frozen=True, tag="read"):
    """A range of an opened file."""

    session: int
    reading: int
    offset: int
    size: int


class CloseReading(Request[Done], frozen=True, tag="close"):
    """An opened file is wanted no more."""

    session: int
    reading: int


class SpaceFound(msgspec.Struct, frozen=True, tag="space-found"):
    """Bytes that the store takes, and that could still be written."""

    used: int
    available: int


class Space(Request[SpaceFound], frozen=True, tag="space"):
    """How much room there is."""


# Versions


class VersionLine(msgspec.Struct, frozen=True):
    """A version in a list. ``fork`` is what tells it from others of its number, else ""; ``labels`` includes ``last``
    and ``release``."""

    number: int
    fork: str
    record: str
    time_ns: int
    writer: str
    files: int
    size: int
    memo: str
    labels: tuple[str, ...]
    parents: tuple[str, ...]

    @property
    def name(self) -> str:
        """How it is named behind an ``@``."""
        return version_name(self.number, self.fork)


def version_name(number: int, fork: str) -> str:
    """How a version is named behind an ``@``."""
    return f"{number}~{fork}" if fork else str(number)


class VersionsAt(msgspec.Struct, frozen=True, tag="versions-at"):
    """A page of the versions of a MiMei, newest first. Version 5 of what was asked about is at ``base``, ``@5``, ``inside``, if
    it was there then."""

    mimei: str
    base: Path
    inside: Path
    versions: tuple[VersionLine, ...]
    next: bytes


class VersionsOf(Request[VersionsAt], frozen=True, tag="versions-of"):
    """The versions of the MiMei that a place is in."""

    path: Path
    after: bytes = b""


class State(msgspec.Struct, frozen=True):
    """A state of a place, and the version that has it first."""

    version: VersionLine
    facts: Facts


class StatesAt(msgspec.Struct, frozen=True, tag="states-at"):
    """A page of the distinct states of a place, oldest first; where they are is said as in ``VersionsAt``."""

    base: Path
    inside: Path
    states: tuple[State, ...]
    next: bytes


class StatesOf(Request[StatesAt], frozen=True, tag="states-of"):
    """What a place was, from version to version."""

    path: Path
    after: bytes = b""
    properties: bool = False


class Standing(msgspec.Struct, frozen=True, tag="standing"):
    """How a place stands among its states. ``here`` is the version that first has the state which is shown, or on which the
    present rests; None where no version has the place. ``before`` and ``after`` name those that first have the states around
    it, "" for none. ``past``: a version is shown; ``same``: the present is known to be still what ``here`` has. ``tracked``: it
    is a directory of whose changes can be asked."""

    base: Path
    inside: Path
    here: VersionLine | None
    before: str
    after: str
    past: bool
    same: bool
    tracked: bool


class StandingOf(Request[Standing], frozen=True, tag="standing-of"):
    """How a place stands among its states."""

    path: Path


# Changes


class SyncTokenIs(msgspec.Struct, frozen=True, tag="sync-token-is"):
    """What names what a directory holds now."""

    token: str


class SyncTokenOf(Request[SyncTokenIs], frozen=True, tag="sync-token-of"):
    """What a directory holds now, to be asked later what has changed."""

    path: Path


class ChangedLine(msgspec.Struct, frozen=True, array_like=True):
    """A path below a directory: what is there now, None where it went; ``closed`` where it is another MiMei."""

    path: Path
    facts: Facts | None
    closed: bool


class ChangesFound(msgspec.Struct, frozen=True, tag="changes-found"):
    """A page of changes, the token to go on from, and whether there is more to tell. Not ``known``: that was no token of this
    directory, or what it names is not in the store any more."""

    changes: tuple[ChangedLine, ...]
    token: str
    more: bool
    known: bool = True


class ChangesSince(Request[ChangesFound], frozen=True, tag="changes-since"):
    """What changed in a directory since a token ("": everything that is there), in it alone unless ``deep``."""

    path: Path
    token: str
    deep: bool
    limit: int
    properties: bool = False


# Uploads


class StagedAs(msgspec.Struct, frozen=True, tag="staged"):
    """A file without a name."""

    staged: int


class Stage(Request[StagedAs], frozen=True, tag="stage"):
    """Begin a file without a name, of ``size`` bytes where that is known."""

    session: int
    size: int | None = None


class WriteStaged(Request[Done], frozen=True, tag="write-staged"):
    """Append ``data``, which begins at ``offset``. It is where it was received: good until the reply goes."""

    session: int
    staged: int
    offset: int
    data: memoryview


class Discard(Request[Done], frozen=True, tag="discard"):
    """A staged file is wanted no more."""

    session: int
    staged: int


class Commit(Request[Looked], frozen=True, tag="commit"):
    """A staged file takes its place, over the file that is there. Where it is empty, bytes are awaited for ``hold_s``."""

    session: int
    staged: int
    path: Path
    guard: Guard = NO_GUARD
    mtime_ns: int | None = None
    uid: int | None = None
    gid: int | None = None
    hold_s: int = 0


# Changes


class MakeDirectory(Request[Looked], frozen=True, tag="make-directory"):
    """Make a directory; in the root a MiMei; ``@label`` among versions takes one."""

    path: Path
    guard: Guard = NO_GUARD
    uid: int | None = None
    gid: int | None = None


class RemoveTree(Request[Done], frozen=True, tag="remove-tree"):
    """Remove a resource with all that is below. A document that a newer file beside it will replace is in versions for
    ``hold_s``."""

    path: Path
    guard: Guard = NO_GUARD
    hold_s: int = 0


class Replaced(msgspec.Struct, frozen=True, tag="replaced"):
    """It is where it was to be; whether something was there before."""

    replaced: bool


class Move(Request[Replaced], frozen=True, tag="move"):
    """Move a resource. A document that a newer file beside it will replace is in versions for ``hold_s``."""

    source: Path
    target: Path
    overwrite: bool
    guard: Guard = NO_GUARD
    hold_s: int = 0


class Copy(Request[Replaced], frozen=True, tag="copy"):
    """Copy a resource, a directory with all that is below unless ``shallow``."""

    source: Path
    target: Path
    overwrite: bool
    shallow: bool = False
    guard: Guard = NO_GUARD
    uid: int | None = None
    gid: int | None = None


class Patch(Request[Looked], frozen=True, tag="patch"):
    """Set dead properties, or (None) remove them, and times."""

    path: Path
    guard: Guard = NO_GUARD
    properties: dict[str, bytes | None] = msgspec.field(default_factory=dict)
    mtime_ns: int | None = None
    birth_ns: int | None = None


# Locks


class LockOf(msgspec.Struct, frozen=True, tag="lock-of"):
    """A lock; ``made`` where it is on a name that was not there."""

    lock: Lock
    made: bool = False


class TakeLock(Request[LockOf], frozen=True, tag="take-lock"):
    """Take a write lock for the guard's user."""

    path: Path
    owner: str
    exclusive: bool
    infinite: bool
    timeout_s: int
    guard: Guard = NO_GUARD


class RefreshLock(Request[LockOf], frozen=True, tag="refresh-lock"):
    """Have a lock that covers the path last longer."""

    path: Path
    token: str
    timeout_s: int


class ReturnLock(Request[Done], frozen=True, tag="return-lock"):
    """Give a lock back that covers the path."""

    path: Path
    token: str
    user: str


class LocksFound(msgspec.Struct, frozen=True, tag="locks-found"):
    """Locks."""

    locks: tuple[Lock, ...]


class FindLocks(Request[LocksFound], frozen=True, tag="locks"):
    """The locks that cover a path."""

    path: Path
