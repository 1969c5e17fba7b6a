"""The index of histories: which versions of a MiMei changed a path, without looking at their trees.

Rows of HISTORY are *runs*: what one version changed, or several that follow each other, as sorted pairs of a path's digest and
a version's number. A version adds one run; ``FAN`` of a kind become one, so a path is looked for in few of them and a backup
writes one row. Not here: which paths a version changed (``changed_paths``), and what they hold (``path_history``).

Always true: of two versions that follow each other, the later one in a run, every path that differs is found under one of the
digests of :func:`digests_of`, or under that of its link number. More may be found than differs: who asks compares. What no
run holds (versions from before the index, or that came with a fork) counts as changed everywhere. All of it can be dropped
and made again. Who files a version below others, where its successor's run does not know of it, drops the MiMei's runs.
Format page: ``docs/format/history.md``.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from mimeifs.ids import ID_SIZE, MimeiId
from mimeifs.store.database import U32, U64, Database, Table
from mimeifs.store.overlay import Overlay

FORMAT = 1
FORMAT_KEY = b"history format"
FAN = 16
MAX_RUN = 1 << 20
"""Bytes beyond which runs are left as they are: making one of them is part of taking a version."""
MAX_NUMBER = (1 << 64) - 1
_KEY = struct.Struct(">QQB")
_DIGEST = 8
_PAIR = _DIGEST + U64.size


def own(path: bytes) -> bytes:
    """Stands for a path: its entry is another, appeared or went."""
    return blake3(b"\0" + path).digest(length=_DIGEST)


def whole(path: bytes) -> bytes:
    """Stands for everything below a path: one tree took another's place."""
    return blake3(b"\1" + path).digest(length=_DIGEST)


def linked(link_id: int) -> bytes:
    """Stands for the inode behind a hard link."""
    return blake3(b"\2" + U64.pack(link_id)).digest(length=_DIGEST)


def digests_of(names: list[bytes]) -> list[bytes]:
    """Under what a change of a path may be noted: itself, or all below one of the directories on the way."""
    return [own(b"/".join(names)), *(whole(b"/".join(names[:depth])) for depth in range(len(names)))]


@dataclass(frozen=True, slots=True)
class Run:
    """The key of a run: the numbers of its first and last version, and how often runs became one in it."""

    mimei: MimeiId
    first: int
    last: int
    level: int

    @property
    def key(self) -> bytes:
        """Key in HISTORY."""
        return self.mimei + _KEY.pack(self.first, self.last, self.level)


def run_of(key: bytes) -> Run:
    """Inverse of ``Run.key``."""
    return Run(MimeiId(key[:ID_SIZE]), *_KEY.unpack_from(key, ID_SIZE))


# Writing


def prepare(overlay: Overlay) -> None:
    """Begin anew where the runs are of another format."""
    if overlay.get(Table.META, FORMAT_KEY) != U32.pack(FORMAT):
        overlay.clear(Table.HISTORY, b"")
        overlay.put(Table.META, FORMAT_KEY, U32.pack(FORMAT))


def note(overlay: Overlay, mimei: MimeiId, number: int, digests: Iterable[bytes]) -> None:
    """The newest version of a MiMei changed what ``digests`` stand for."""
    tail = U64.pack(number)
    run, rows = Run(mimei, number, number, 0), sorted(digest + tail for digest in digests)
    put(overlay, run, rows)
    while len(alike := _alike(overlay, run)) == FAN:
        stored = [overlay.get(Table.HISTORY, each.key) or b"" for each in alike]
        if sum(map(len, stored)) > MAX_RUN:
            return
        for each in alike:
            overlay.delete(Table.HISTORY, each.key)
        run = Run(mimei, alike[-1].first, run.last, run.level + 1)
        put(overlay, run, sorted(pair for data in reversed(stored) for pair in pairs(data)))


def put(overlay: Overlay, run: Run, rows: list[bytes]) -> None:
    """Store a run of sorted rows."""
    overlay.put(Table.HISTORY, run.key, b"".join(rows))


def drop(overlay: Overlay, mimei: MimeiId) -> None:
    """Forget all runs of a MiMei."""
    overlay.clear(Table.HISTORY, mimei)


def pairs(data: bytes) -> list[bytes]:
    """The rows of a run."""
    return [data[at : at + _PAIR] for at in range(0, len(data), _PAIR)]


def _alike(overlay: Overlay, newest: Run) -> list[Run]:
    """The newest runs of that one's level, without a gap, newest first, at most ``FAN``."""
    found: list[Run] = []
    for key in overlay.keys_back(Table.HISTORY, newest.mimei):
        run = run_of(key)
        if run.level != newest.level or (found and run.last + 1 != found[-1].first):
            break
        found.append(run)
        if len(found) == FAN:
            break
    return found


# Reading


@dataclass(frozen=True, slots=True)
class Found:
    """Numbers of versions that may have changed a path, and the ranges of numbers, both ends included, that no run holds."""

    numbers: set[int]
    gaps: list[tuple[int, int]]


def find(database: Database, mimei: MimeiId, digests: list[bytes]) -> Found:
    """Which versions changed what any of the digests stand for."""
    found, at = Found(set(), []), 0
    if database.get(Table.META, FORMAT_KEY) == U32.pack(FORMAT):
        for key, data in database.views(Table.HISTORY, mimei):
            run = run_of(key)
            if run.first > at:
                found.gaps.append((at, run.first - 1))
            at = run.last + 1
            for digest in digests:
                found.numbers.update(_numbers(data, digest))
    found.gaps.append((at, MAX_NUMBER))
    return found


def _numbers(data: memoryview, digest: bytes) -> Iterator[int]:
    count = len(data) // _PAIR

    def digest_at(index: int) -> bytes:
        return bytes(data[index * _PAIR : index * _PAIR + _DIGEST])

    index = bisect_left(range(count), digest, key=digest_at)
    while index < count and digest_at(index) == digest:
        yield U64.unpack_from(data, index * _PAIR + _DIGEST)[0]
        index += 1
