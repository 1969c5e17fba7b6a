"""Every request a node answers, and its reply: frozen values, told apart on the wire by a tag.

IDs are in their printed form, names and paths are bytes, times nanoseconds, sizes bytes; versions are named as after an
``@``. ``name`` is an entry of the root, a path through presents to a link, or the ID of a MiMei. Lists come in pages:
``next`` of one reply is ``after`` of the request for the next, and empty on the last.

What this is not: heavy reading. Who wants differences, a path's history or a check has the node settle and reads the store
in a process of its own. Always true: each request class states its reply class; ``REQUESTS`` and ``REPLIES`` hold all.
"""

import struct
from typing import Literal, get_args

import msgspec

from mimeifs.api.requesting import R
from mimeifs.api.requesting import Request as Request
from mimeifs.api.tree_requests import (
    Again,
    Begin,
    Begun,
    ChangesFound,
    ChangesSince,
    CloseReading,
    Commit,
    Copy,
    Discard,
    Done,
    Entries,
    FindLocks,
    Listed,
    LockOf,
    LocksFound,
    Look,
    Looked,
    MakeDirectory,
    Move,
    Opened,
    OpenFile,
    Patch,
    ReadBytes,
    ReadPart,
    RefreshLock,
    RemoveTree,
    Replaced,
    ReturnLock,
    Space,
    SpaceFound,
    Stage,
    StagedAs,
    Standing,
    StandingOf,
    StatesAt,
    StatesOf,
    SyncTokenIs,
    SyncTokenOf,
    TakeLock,
    VersionsAt,
    VersionsOf,
    WriteStaged,
)
from mimeifs.api.tree_requests import (
    VersionLine as VersionLine,
)
from mimeifs.store.interfaces import Buffer

# What replies are made of


class MimeiLine(msgspec.Struct, frozen=True):
    """A MiMei in a list. ``view`` is "" where no link in the root shows it, "root" for the root itself; ``number`` is 0
    before the first version.

    ``files`` and ``size`` are those of the newest version; ``changed`` says whether the present has changed since.
    """

    name: bytes
    mimei: str
    kind: str
    view: str
    number: int
    time_ns: int
    files: int
    size: int
    changed: bool


class RefLine(msgspec.Struct, frozen=True):
    """How often one MiMei refers to another; ``record`` is the version referred to, "" for the newest, and ``version`` its
    number as people type it, "" where this node does not know it."""

    holder: str
    holder_name: bytes
    target: str
    target_name: bytes
    record: str
    count: int
    version: str = ""


# Requests, each with its reply


class Created(msgspec.Struct, frozen=True, tag="created"):
    """A MiMei that is there now."""

    name: bytes
    mimei: str
    kind: str
    view: str


class Create(Request[Created], frozen=True, tag="create"):
    """Make a MiMei and link it in the root. ``mark`` None draws one."""

    name: bytes
    kind: Literal["tree", "file"] = "tree"
    view: Literal["all", "cur"] = "all"
    extension: str = ""
    app_type: str = "mimeifs"
    mark: bytes | None = None


class Mimeis(msgspec.Struct, frozen=True, tag="mimeis"):
    """A page of MiMeis."""

    mimeis: tuple[MimeiLine, ...]
    next: bytes


class List(Request[Mimeis], frozen=True, tag="ls"):
    """The MiMeis linked in the root, by name."""

    after: bytes = b""


class ListAll(Request[Mimeis], frozen=True, tag="ls-all"):
    """Every MiMei on the node, by ID, under the name it was made with and without a view; ``List`` knows the links."""

    after: bytes = b""


class MimeiFacts(MimeiLine, frozen=True, tag="mimei-facts"):
    """All there is to say of a MiMei. ``mark`` is in hexadecimal; ``origin_mimei`` and ``origin_record`` are "" where it
    was not forked or split."""

    author: str
    app_type: str
    extension: str
    mark: str
    hint: str
    created_ns: int
    origin_mimei: str
    origin_record: str
    last: VersionLine | None
    release: VersionLine | None
    heads: tuple[str, ...]


class Info(Request[MimeiFacts], frozen=True, tag="info"):
    """What a MiMei is."""

    name: bytes


class BackedUp(msgspec.Struct, frozen=True, tag="backed-up"):
    """The newest version; ``fresh`` unless it was there before."""

    version: VersionLine
    fresh: bool


class Backup(Request[BackedUp], frozen=True, tag="backup"):
    """Take a version, if the present has changed."""

    name: bytes
    memo: str = ""
    label: str = ""


class Versioned(msgspec.Struct, frozen=True, tag="versioned"):
    """The version that was meant."""

    version: VersionLine


class Release(Request[Versioned], frozen=True, tag="release"):
    """Publish a version."""

    name: bytes
    version: str = "last"


class Label(Request[Versioned], frozen=True, tag="label"):
    """Give a version a label that is free."""

    name: bytes
    label: str
    version: str = "last"


class MoveLabel(Request[Versioned], frozen=True, tag="move-label"):
    """Give a version a label, taking it from whichever has it."""

    name: bytes
    label: str
    version: str = "last"


class DropLabel(Request[Versioned], frozen=True, tag="drop-label"):
    """Drop a label, or ``release``; the version stays and is the reply."""

    name: bytes
    label: str


class Versions(msgspec.Struct, frozen=True, tag="versions"):
    """A page of versions, newest first."""

    versions: tuple[VersionLine, ...]
    next: bytes


class Log(Request[Versions], frozen=True, tag="log"):
    """The versions of a MiMei."""

    name: bytes
    after: bytes = b""


class Restored(msgspec.Struct, frozen=True, tag="restored"):
    """What the present now shows; ``saved`` is the version that keeps what it showed before."""

    version: VersionLine
    saved: VersionLine | None


class Restore(Request[Restored], frozen=True, tag="restore"):
    """Bring the present, or a path in it (b"" is all), to what a version holds."""

    name: bytes
    version: str
    path: bytes = b""


class Fork(Request[Created], frozen=True, tag="fork"):
    """A new MiMei that starts from a version of another; "cur" is the present, of which a version is taken if need be."""

    name: bytes
    new: bytes
    version: str = "cur"


class Split(Request[Created], frozen=True, tag="split"):
    """Make a directory a MiMei of its own, called ``new`` or as the directory; a link stays, and is the reply's name."""

    name: bytes
    path: bytes
    new: str = ""


class Removed(msgspec.Struct, frozen=True, tag="removed"):
    """The MiMei whose link went."""

    name: bytes
    mimei: str


class Remove(Request[Removed], frozen=True, tag="rm"):
    """Drop a link, an entry of the root or a path to one in a MiMei; the MiMei it leads to stays."""

    name: bytes


class LinkMimei(Request[Created], frozen=True, tag="link"):
    """Link a MiMei that is there, named by its ID or by another link to it, in the root."""

    mimei: bytes
    name: bytes
    view: Literal["all", "cur"] = "all"


class Refs(msgspec.Struct, frozen=True, tag="refs"):
    """A page of counted references."""

    refs: tuple[RefLine, ...]
    next: bytes


class ChangeRef(Request[Refs], frozen=True, tag="change-ref"):
    """``holder`` refers to ``target`` ``count`` times more (below zero: fewer); ``version`` "" is the newest."""

    holder: bytes
    target: bytes
    version: str = ""
    count: int = 1


class ListRefs(Request[Refs], frozen=True, tag="refs"):
    """The references to a MiMei."""

    name: bytes
    after: bytes = b""


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """The store holds everything."""


class Settle(Request[Settled], frozen=True, tag="settle"):
    """Wait until the store holds all that was done so far, for a process that is about to read it."""


class Reindex(Request[Settled], frozen=True, tag="reindex"):
    """Forget what the index of histories says of a MiMei; the keeper makes it anew when it has nothing else to do."""

    name: bytes


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """Instead of a reply: the error's name in :mod:`mimeifs.api.errors`, its message, and the path of what is locked."""

    error: str
    message: str
    path: tuple[bytes, ...] = ()


AnyRequest = (
    Create
    | List
    | ListAll
    | Info
    | Backup
    | Release
    | Label
    | MoveLabel
    | DropLabel
    | Log
    | Restore
    | Fork
    | Split
    | Remove
    | LinkMimei
    | ChangeRef
    | ListRefs
    | Settle
    | Reindex
    | Begin
    | Look
    | Entries
    | Again
    | OpenFile
    | ReadPart
    | CloseReading
    | Stage
    | WriteStaged
    | Discard
    | Commit
    | MakeDirectory
    | RemoveTree
    | Move
    | Copy
    | Patch
    | TakeLock
    | RefreshLock
    | ReturnLock
    | FindLocks
    | Space
    | VersionsOf
    | StatesOf
    | StandingOf
    | SyncTokenOf
    | ChangesSince
)
AnyReply = (
    Created
    | Mimeis
    | MimeiFacts
    | BackedUp
    | Versioned
    | Versions
    | Restored
    | Removed
    | Refs
    | Settled
    | Begun
    | Looked
    | Listed
    | Opened
    | ReadBytes
    | StagedAs
    | Done
    | Replaced
    | LockOf
    | LocksFound
    | SpaceFound
    | VersionsAt
    | StatesAt
    | Standing
    | SyncTokenIs
    | ChangesFound
    | Failure
)

REQUESTS: tuple[type[Request[msgspec.Struct]], ...] = get_args(AnyRequest)
READING = (List, ListAll, Info, Log, ListRefs, Settle, Look, Entries, Again, FindLocks, Space, VersionsOf, StatesOf, StandingOf)
"""Requests that change nothing."""
PASSING = (*READING, SyncTokenOf, ChangesSince, Begin, OpenFile, ReadPart, CloseReading, Stage, WriteStaged, Discard)
"""Requests that leave nothing behind which a crash must spare."""
REPLIES: tuple[type[msgspec.Struct], ...] = get_args(AnyReply)

encode = msgspec.msgpack.encode
decode_request = msgspec.msgpack.Decoder(AnyRequest).decode
decode_reply = msgspec.msgpack.Decoder(AnyReply).decode
_NO_BYTES, _BIN32 = b"\xc4\x00", struct.Struct(">BI")


def in_parts(request: Request[R]) -> tuple[bytes, Buffer]:
    """A request's payload, and what follows it: the bytes of a file, which end the map, so that nobody has to copy them."""
    if not isinstance(request, WriteStaged):
        return encode(request), b""
    head = encode(msgspec.structs.replace(request, data=memoryview(b"")))
    return head.removesuffix(_NO_BYTES) + _BIN32.pack(0xC6, len(request.data)), request.data
