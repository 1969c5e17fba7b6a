"""Orders: what the node asks of the keeper through the journal, and what it hears back.

An order is the payload of a CALL operation, so it has its place in the order of all changes and survives a crash like
them. Local to one node, so encoded with msgpack; the journal's format number covers it. Format page:
``docs/format/journal.md``.
"""

from enum import IntEnum

import msgspec

from mimeifs.ids import MimeiId, RecordId
from mimeifs.store.operations import Op


class CallKind(IntEnum):
    """What a CALL asks of the keeper."""

    CUT = 1
    """Take a version: a :class:`CutRequest`."""
    RECORD = 2
    """Keep a signed record: its bytes."""
    REAP = 3
    """The node has caught up with the fold at this position: U64."""
    PRUNE = 4
    """Drop the overlay below a directory: a :class:`PruneRequest`."""
    CLONE = 5
    """A new file holds what another one does: a :class:`CloneRequest`."""
    FOLD = 6
    """Fold a part of a tree, without a version: a :class:`FoldRequest`."""


class CutRequest(msgspec.Struct, frozen=True, array_like=True):
    """Take a version of a tree as it is at the request's position; ``label`` "" is none."""

    tree: int
    mimei: MimeiId
    time_ns: int
    memo: str
    label: str


class PruneRequest(msgspec.Struct, frozen=True, array_like=True):
    """Forget everything under directory ``number``, and the link map's rows of ``tree`` unless it is 0, but the files in
    ``keep``, which are open."""

    number: int
    tree: int
    keep: tuple[int, ...]


class CloneRequest(msgspec.Struct, frozen=True, array_like=True):
    """File ``number``, which has never been, holds what file ``source`` holds at the request's position."""

    source: int
    number: int


class FoldRequest(msgspec.Struct, frozen=True, array_like=True):
    """Fold what is below ``directory`` (0: nothing but the link map) of a tree, as it is at the request's position."""

    tree: int
    mimei: MimeiId
    directory: int


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """What came of a CUT. ``error`` is "" unless it failed, for damage or lack of room; ``fresh`` is whether a new version was
    made."""

    at: int
    mimei: MimeiId
    number: int
    record: RecordId | None
    fresh: bool
    error: str = ""
    damaged: bool = False


def outcome_key(mimei: MimeiId) -> bytes:
    """Key in META of what came of a MiMei's newest CUT: kept in the same transaction, because an announcement can be lost."""
    return b"outcome " + mimei


class News(msgspec.Struct, frozen=True, array_like=True):
    """What the keeper has done. Everything before ``position`` is in LMDB; ``moved`` when a base changed; ``damaged`` are the
    segments of the journal in which it has found damage."""

    position: int
    moved: bool = False
    taken: tuple[Taken, ...] = ()
    folded: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()


decode_taken = msgspec.msgpack.Decoder(Taken).decode
decode_cut = msgspec.msgpack.Decoder(CutRequest).decode
decode_prune = msgspec.msgpack.Decoder(PruneRequest).decode
decode_clone = msgspec.msgpack.Decoder(CloneRequest).decode
decode_fold = msgspec.msgpack.Decoder(FoldRequest).decode
_CUT_HEADS = (bytes([Op.CALL, CallKind.CUT]), bytes([Op.CALL, CallKind.FOLD]))


def is_cut(payload: bytes) -> bool:
    """Whether a journal frame of this payload is a CUT or FOLD, each of which stands alone in its frame."""
    return payload[:2] in _CUT_HEADS
