"""The keeper: carries the journal over into LMDB and packs, and takes versions on the way.

The only writer of both. It works strictly in the order of the journal: a CUT is folded when everything before it, and
nothing after, is in the overlay, so a version is exactly the tree at that position. Recovery after a crash is this
same replay from the position that the last transaction holds.

Always true: a transaction that holds position P holds everything before P and nothing behind; journal bytes and blobs
are synced before a transaction that points to them commits; a segment is freed only when nothing in LMDB points
into it and the node has heard so. Failure: a commit that finds no room raises ``CapacityError`` and leaves the last
one, as does a disk that fails with ``IntegrityError``; a version that cannot be taken is reported and its changes stay for
the next. After a sync of the journal that failed, nothing is committed any more.
"""

import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from mimeifs.errors import CapacityError, IntegrityError, MimeiError
from mimeifs.ids import MimeiId
from mimeifs.model import path_index, state
from mimeifs.model.entry import TreeRoot, decode_tree
from mimeifs.model.fold import Fold, reap
from mimeifs.model.identity import SigningKey
from mimeifs.model.orders import (
    CallKind,
    CutRequest,
    FoldRequest,
    News,
    Taken,
    decode_clone,
    decode_cut,
    decode_fold,
    decode_prune,
    is_cut,
    outcome_key,
)
from mimeifs.model.pruning import prune
from mimeifs.model.recording import Recorder, newest_version, preceding
from mimeifs.model.reindexing import Gap, fill, gaps
from mimeifs.store import disk
from mimeifs.store.content import ContentRef
from mimeifs.store.database import U64, Database, MapGrown, Table, insist
from mimeifs.store.extents import ExtentMap
from mimeifs.store.journal import HEADER_SIZE, SEGMENT_SIZE, begun, copy_segment, doubt, frame_key, lost, retire, segments
from mimeifs.store.journalreader import JournalReader
from mimeifs.store.operations import Call, Clear, Resize, Write
from mimeifs.store.operations import decode as decode_operations
from mimeifs.store.overlay import FileRow, Overlay
from mimeifs.store.packs import START, IndexRow, PackEnd
from mimeifs.store.packwriter import PackWriter
from mimeifs.store.recent import RecentNodes
from mimeifs.store.seal import seal
from mimeifs.store.storage import Storage, set_aside

log = logging.getLogger(__name__)

_POSITION = b"position"
_PACK_END = b"pack end"
BATCH_BYTES = 8 << 20
MAPS_BYTES = 16 << 20
_EDITS = (Write, Resize)
START_POSITION = SEGMENT_SIZE + HEADER_SIZE


@dataclass(slots=True)
class _Batch:
    """What one transaction has gathered for the announcement."""

    moved: bool = False
    cutting: bool = False
    taken: list[Taken] = field(default_factory=list)
    folded: list[int] = field(default_factory=list)


class Keeper:
    """The keeper's work, synchronous; who calls it decides when. Used by one thread of one process."""

    def __init__(self, storage: Storage, database: Database, device: SigningKey) -> None:
        self._storage = storage
        self._database = database
        self._device = device
        secret = database.meta(b"inode key")
        self._journal = JournalReader(storage.journal, frame_key(secret))
        stored = database.get(Table.META, _POSITION)
        self.position = U64.unpack(stored)[0] if stored else START_POSITION
        end = database.get(Table.META, _PACK_END)
        self._overlay: Overlay | None = None
        self._packs = PackWriter(storage.packs, PackEnd.decode(end) if end else START, self._lookup)
        self._maps = RecentNodes(self._packs, room=MAPS_BYTES)
        self._freed: dict[int, int] = {}
        self._collected = -1
        self._acknowledged = -1
        self._first = True
        self._named: set[int] = set()
        self._gaps: list[Gap] | None = None
        self.edited: dict[int, int] = {}
        self.broken = ""
        """Why nothing may be committed any more: a sync of the journal has failed, and a second one would succeed without what
        the first one lost."""
        self._helpers = ThreadPoolExecutor(2)

    def _lookup(self, digest: bytes) -> IndexRow | None:
        row = self._database.get(Table.BLOBS, digest) if self._overlay is None else self._overlay.get(Table.BLOBS, digest)
        return None if row is None else IndexRow.decode(row)

    # Replay

    def recover(self) -> int:
        """Replay all the journal holds, then drop what only a dead node needed; returns the first free segment number.

        Raises ``CapacityError`` when there is no room even for that.
        """
        for number in segments(self._storage.journal):
            if number >= self.position // SEGMENT_SIZE:
                doubt(self._storage.journal, number)
        before = -1
        while before != self.position:
            before = self.position
            self.advance(None)
        self._doubt_end()
        for (number,) in {U64.unpack_from(key) for key, _ in self._database.scan(Table.EXTENTS, b"")}:
            self.edited[number] = self.position
        present = segments(self._storage.journal)
        # A number that may have been in use never is again: what a crash left in the segment must not look new.
        first = 1 + max([self.position // SEGMENT_SIZE, *present])
        insist(partial(self._bury, first * SEGMENT_SIZE + HEADER_SIZE))
        self.acknowledged(self.position)
        return first

    def _doubt_end(self) -> None:
        """Keep the segments, and say so, where frames stand behind the end of the journal, or stood before its file was cut
        off: what was damaged before them keeps them from being replayed, unless a power cut came before the disk had it."""
        number = self.position // SEGMENT_SIZE
        if number not in segments(self._storage.journal) or not begun(self._storage.journal, number):
            return
        try:
            found = self._journal.behind(self.position)
            cut_off = found is None and self._journal.is_cut_off(self.position)
        except IntegrityError as error:
            log.error("whether anything is lost behind position %d of the journal cannot be seen: %s", self.position, error)
            return
        if found is None and not cut_off:
            return
        try:
            aside = set_aside(self._storage)
            for each in segments(self._storage.journal):
                if each >= number:
                    copy_segment(self._storage.journal, each, aside)
            kept = f"the segments are kept in {aside}"
        except (MimeiError, OSError) as error:
            kept = f"the segments could not be kept ({error})"
        log.error(
            "changes that were written to the journal behind position %d (%s) are lost: after a power cut that may be"
            " what no fsync had returned for, otherwise the disk has damaged what lies there; %s",
            self.position,
            "the file is cut off there" if cut_off else f"at {found}",
            kept,
        )

    def _bury(self, position: int) -> None:
        """Drop what only a dead node needed, and go on at ``position``."""
        with self._transaction(position) as overlay:
            for key, _ in list(overlay.scan(Table.ORPHANS, b"")):
                overlay.drop_file(U64.unpack(key)[0])
                overlay.delete(Table.ORPHANS, key)
            for cut in sorted({key[:8] for key, _ in overlay.scan(Table.DOOMED, b"")}):
                reap(overlay, U64.unpack(cut)[0])

    def advance(self, upto: int | None) -> News:
        """Replay frames before ``upto`` (``None``: all there are), at most one transaction's worth; the news say how far.

        Raises ``CapacityError`` or ``IntegrityError`` with everything as it was.
        """
        start = self.position
        batch = insist(partial(self._advance, start, upto))
        return self._news(batch.moved, batch.taken, batch.folded)

    def _advance(self, start: int, upto: int | None) -> _Batch:
        batch = _Batch()
        if self._cut_waits(start, upto):
            self._take_alone(start, batch)
            return batch
        try:
            with self._transaction(None) as overlay:
                self.position = self._replay(overlay, start, upto, batch)
                if self._cut_waits(self.position, upto):
                    batch.cutting = True
                    self.position = self._take(overlay, self.position, batch)
            return batch
        except (MapGrown, OSError):
            raise
        except Exception:
            if not batch.cutting:
                raise
        # What came before a version that cannot be taken stands by itself; the version is tried again alone.
        batch = _Batch()
        with self._transaction(None) as overlay:
            self.position = self._replay(overlay, start, upto, batch)
        return batch

    def _frame(self, at: int, upto: int | None) -> tuple[bytes, int] | None:
        """The frame at ``at`` if it lies before ``upto``."""
        if upto is not None and at >= upto:
            return None
        if upto is None and at % SEGMENT_SIZE == HEADER_SIZE and not begun(self._storage.journal, at // SEGMENT_SIZE):
            return None
        frame = self._journal.frame(at)
        if frame is None and upto is not None:
            raise IntegrityError(f"the journal is damaged at position {at}, before its end at {upto}")
        return frame

    def _cut_waits(self, at: int, upto: int | None) -> bool:
        frame = self._frame(at, upto)
        return frame is not None and is_cut(frame[0])

    def _replay(self, overlay: Overlay, at: int, upto: int | None, batch: _Batch) -> int:
        """Apply frames up to the next CUT or the end of the batch; where it stopped."""
        end, apply = at + BATCH_BYTES, overlay.apply
        while at < end:
            frame = self._frame(at, upto)
            if frame is None or is_cut(frame[0]):
                break
            payload, following = frame
            for operation in decode_operations(payload, following - len(payload)):
                if isinstance(operation, Call):
                    self._call(overlay, operation)
                    continue
                if isinstance(operation, _EDITS):
                    self.edited[operation.file] = at
                elif isinstance(operation, Clear) and operation.table == Table.HISTORY:
                    self._gaps = None
                apply(operation)
            at = following
        return at

    @contextmanager
    def _transaction(self, position: int | None) -> Iterator[Overlay]:
        """One LMDB transaction; at its end everything it points to is durable, then it is. Undone by an exception."""
        if self.broken:
            raise IntegrityError(self.broken)
        start = self.position
        try:
            with self._database.write() as transaction:
                overlay = self._overlay = Overlay(self._database, transaction)
                yield overlay
                unsynced = self._journal_since(start)
                if position is not None:
                    self.position = position
                with self._beside(partial(self._sync_journal, unsynced), self._packs.sync):
                    overlay.flush()
                for digest, row in self._packs.take_rows():
                    overlay.put(Table.BLOBS, digest, row)
                overlay.put(Table.META, _PACK_END, self._packs.end.encode())
                overlay.put(Table.META, _POSITION, U64.pack(self.position))
        except BaseException:
            self.position = start
            self._packs.abandon()
            raise
        finally:
            self._overlay = None
            self._database.renew()

    def _journal_since(self, start: int) -> list[int]:
        """Descriptors of what was replayed since ``start``, to be synced; their names are durable. Whole frames, so a segment
        of which there is only a header does not count."""
        numbers = range(start // SEGMENT_SIZE, (self.position - HEADER_SIZE - 1) // SEGMENT_SIZE + 1)
        for number in numbers:
            if number not in self._named:
                with self._or_broken():
                    disk.sync_directory(self._storage.journal)
                self._named.add(number)
        return [self._journal.fd(number) for number in numbers]

    def _sync_journal(self, fds: list[int]) -> None:
        with self._or_broken():
            for fd in fds:
                disk.sync(fd)

    @contextmanager
    def _or_broken(self) -> Iterator[None]:
        """A sync that fails ends all commits of this keeper: nothing that rests on it may be made durable."""
        try:
            yield
        except OSError as error:
            self.broken = lost(error.errno or errno.EIO)
            raise IntegrityError(self.broken) from error

    @contextmanager
    def _beside(self, *works: Callable[[], None]) -> Iterator[None]:
        """Have ``works``, which mostly wait for the disk, done meanwhile; the first's error is raised at the end."""
        working = [self._helpers.submit(work) for work in works]
        try:
            yield
        finally:
            wait(working)
        for each in working:
            each.result()

    def _collect(self, heard: int) -> None:
        """Note which segments nothing points into any more; the node knows when it has heard of position ``heard``."""
        for number in segments(self._storage.journal):
            if number >= self.position // SEGMENT_SIZE:
                break
            if number not in self._freed and not any(self._database.get(Table.SEGMENTS, U64.pack(number)) or b""):
                self._freed[number] = heard
        self._collected = self.position

    def acknowledged(self, position: int) -> None:
        """The node has heard of everything up to ``position`` and reads no extent that was dropped before."""
        if self._collected != self.position:
            self._collect(self.position)
        self._acknowledged = position

    @property
    def has_superfluous(self) -> bool:
        """Whether there are segments for :meth:`free_one`."""
        return any(at <= self._acknowledged for at in self._freed.values())

    def free_one(self) -> bool:
        """Free a segment that nobody needs, if there is one; whether there was. To unlink one takes up to 70 ms, so they go one
        by one, when nobody waits."""
        number = next((number for number, at in self._freed.items() if at <= self._acknowledged), None)
        if number is None:
            return False
        self._journal.forget(number)
        self._named.discard(number)
        try:
            retire(self._storage.journal, number)
        except OSError:  # It is superfluous, not wrong, and tried again.
            self._freed[number] = self._acknowledged + 1
        else:
            del self._freed[number]
        return True

    def free_all(self) -> None:
        """Free every segment that nobody needs."""
        while self.free_one():
            pass

    # Calls

    def _call(self, overlay: Overlay, call: Call) -> None:
        if call.kind == CallKind.RECORD:
            self._packs.put_record(call.payload)
        elif call.kind == CallKind.REAP:
            reap(overlay, U64.unpack(call.payload)[0])
        elif call.kind == CallKind.PRUNE:
            request = decode_prune(call.payload)
            prune(overlay, request)
        elif call.kind == CallKind.CLONE:
            clone = decode_clone(call.payload)
            overlay.clone(clone.source, clone.number)
            self.edited[clone.number] = self.position
        else:
            raise ValueError(f"unknown call {call.kind} in the journal")

    def _request(self, at: int) -> tuple[CutRequest | FoldRequest, int]:
        """What the CUT or FOLD at ``at`` asks for, and where the next frame begins."""
        payload, following = self._journal.frame(at) or (b"", at)
        call = next(each for each in decode_operations(payload, at) if isinstance(each, Call))
        return (decode_cut if call.kind == CallKind.CUT else decode_fold)(call.payload), following

    def _take(self, overlay: Overlay, at: int, batch: _Batch) -> int:
        """Take the version that the frame at ``at`` asks for; where the next frame begins."""
        request, following = self._request(at)
        if isinstance(request, FoldRequest):
            Fold(overlay, self._maps, self._seal, request.tree, at).run_below(request.directory)
        else:
            batch.taken.append(_kept(overlay, self._cut(overlay, request, at)))
        batch.moved = True
        batch.folded.append(at)
        return following

    def _take_alone(self, at: int, batch: _Batch) -> None:
        """Take a version in a transaction of its own; a failure is news, not an exception."""
        request, following = self._request(at)
        try:
            with self._transaction(following) as overlay:
                self._take(overlay, at, batch)
        except (MapGrown, OSError):
            raise
        except Exception as error:
            if not isinstance(error, MimeiError):  # Who asks for it again must not end every keeper, at each start.
                log.exception("unforeseen error in taking a version")
            batch.taken, batch.folded, batch.moved = [], [], False
            reason = str(error) if isinstance(error, MimeiError) else f"something unforeseen, which the log has: {error!r}"
            failed = Taken(at, request.mimei, 0, None, False, reason, not isinstance(error, CapacityError))
            with self._transaction(following) as overlay:
                batch.taken.append(failed if isinstance(request, FoldRequest) else _kept(overlay, failed))

    def _cut(self, overlay: Overlay, request: CutRequest, at: int) -> Taken:
        fold = Fold(overlay, self._maps, self._seal, request.tree, at, request.time_ns)
        root, tree = fold.run()
        recorder = Recorder(overlay, self._packs, self._device)
        newest = newest_version(overlay, request.mimei)
        if newest is not None and newest[2].root == root:
            number, record, _ = newest
        else:
            changed = fold.changed_since(self._preceding(overlay, request.mimei))
            number, record = recorder.record_version(request, root, tree)
            path_index.prepare(overlay)
            path_index.note(overlay, request.mimei, number, changed)
        if request.label:
            recorder.record_label(request, record)
        return Taken(at, request.mimei, number, record, fresh=newest is None or newest[2].root != root)

    def _preceding(self, overlay: Overlay, mimei: MimeiId) -> TreeRoot | None:
        """The tree of the version that a new one follows; None also for a damaged one, which must not keep a new one away."""
        row = preceding(overlay, mimei)
        try:
            return None if row is None else decode_tree(self._maps.get(row.root))
        except MimeiError:
            return None

    def _seal(self, row: FileRow, extents: ExtentMap) -> ContentRef:
        return seal(row, extents, self._journal, self._packs)

    # Idle work

    def seal_idle(self, before: int, budget: int) -> News:
        """Seal files last written before position ``before``, until ``budget`` bytes were read."""
        idle = [number for number, at in self.edited.items() if at < before]
        moved = bool(idle) and insist(partial(self._seal_some, idle, budget))
        # The node may have heard of this position before the seal: only a later one says that it knows.
        self._collect(self.position + 1)
        return self._news(moved)

    @property
    def knows_gaps(self) -> bool:
        """Whether nothing is left for :meth:`index_some`."""
        return self._gaps == []

    def index_some(self) -> None:
        """Note of a few versions that the index of histories does not know what they changed."""
        if self._gaps is None:
            self._gaps = gaps(self._database)
        if self._gaps:
            self._gaps[:1] = insist(partial(self._fill, self._gaps[0]))

    def _fill(self, gap: Gap) -> list[Gap]:
        with self._transaction(None) as overlay:
            path_index.prepare(overlay)
            rest = fill(overlay, self._maps, gap)
        return [] if rest is None else [rest]

    def _news(self, moved: bool, taken: Sequence[Taken] = (), folded: Sequence[int] = ()) -> News:
        """What to say. The first always says that bases moved: a keeper that died may have moved some and not said it."""
        first, self._first = self._first, False
        return News(self.position, moved or first, tuple(taken), tuple(folded), tuple(sorted(self._journal.damaged)))

    def _seal_some(self, numbers: list[int], budget: int) -> bool:
        done: list[int] = []
        moved = False
        with self._transaction(None) as overlay:
            for number in numbers:
                done.append(number)
                row = overlay.file(number)
                if row is not None:
                    try:
                        overlay.rebase(number, row, self._seal(row, overlay.extents(number)), row.folded)
                        moved = True
                    except IntegrityError as error:  # A damaged file stays as it is, and holds up no other.
                        log.error("a file of a present cannot be kept as it is: %s; `mimei check` says which", error)
                    budget -= row.size
                if budget <= 0:
                    break
        for number in done:
            self.edited.pop(number, None)
        return moved

    def close(self) -> None:
        """Close files; what was not replayed is replayed by the next keeper."""
        self._helpers.shutdown()
        self._packs.close()
        self._journal.close()


def _kept(overlay: Overlay, taken: Taken) -> Taken:
    """``taken``, kept for a node that does not hear of it."""
    overlay.put(Table.META, outcome_key(taken.mimei), state.encode(taken))
    return taken
