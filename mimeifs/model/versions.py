"""Versions of MiMeis: taking, naming, finding and listing them.

Taking is asynchronous by nature: the request is one frame of the journal, and the version exists when the keeper has
carried it out. So what needs it raises :class:`Later`, with what to do then; one helper at the rim waits. Labels and
``release`` are signed records that may move; versions never change, and dropping a label never drops a version.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mimeifs.errors import CapacityError, ConflictError, ExistsError, IntegrityError, NotFoundError
from mimeifs.ids import BlobId, MimeiId, RecordId
from mimeifs.model import records, state
from mimeifs.model.entry import TreeRoot, decode_tree
from mimeifs.model.live import LiveTree
from mimeifs.model.mimeis import Mimeis
from mimeifs.model.names import (
    RELEASE,
    Label,
    Last,
    LocalToNs,
    Moment,
    Number,
    NumberFork,
    Release,
    check_label,
    parse_version_name,
)
from mimeifs.model.orders import CallKind, CutRequest, Taken, decode_taken, outcome_key
from mimeifs.model.past import Origin
from mimeifs.store import operations
from mimeifs.store.database import U64, Table

MAX_NUMBERS = 20_000
"""How many versions' numbers are remembered by their records."""


class Later(Exception):
    """The answer exists once the keeper has passed journal position ``at``: then ``proceed`` gives it or raises.

    Not an error; the frame is appended already.
    """

    def __init__(self, at: int, proceed: Callable[[Taken | None], Any]) -> None:
        super().__init__(at)
        self.at = at
        self.proceed = proceed


class Unwritten(Exception):
    """The surface holds bytes of these inodes that a version must have. Nothing was changed: have them written, say so in
    ``Live.written``, and call again.

    Not an error; only a surface whose kernel writes later (``-o writeback``) ever holds any.
    """

    def __init__(self, inos: frozenset[int]) -> None:
        super().__init__(inos)
        self.inos = inos


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A version, as listings show it."""

    mimei: MimeiId
    number: int
    record: RecordId
    row: state.VersionRow

    @property
    def root(self) -> BlobId:
        """Digest of its tree."""
        return self.row.root


class Versions:
    """The versions of every MiMei of a node."""

    def __init__(self, mimeis: Mimeis, local_to_ns: LocalToNs) -> None:
        self._mimeis = mimeis
        self._live = mimeis.live
        self._local_to_ns = local_to_ns
        self._numbers: dict[RecordId, int] = {}

    # Finding

    def newest_first(self, mimei: MimeiId) -> Iterator[VersionInfo]:
        """Every version, highest number first; nothing may change meanwhile."""
        for key, value in self._live.small_scan_back(Table.VERSIONS, mimei):
            number, record = state.split_version(key)
            yield VersionInfo(mimei, number, record, state.decode_version(value))

    def between(self, mimei: MimeiId, first: int, last: int) -> Iterator[VersionInfo]:
        """Versions whose numbers lie between two, both included, lowest first; nothing may change meanwhile."""
        for key, value in self._live.small_scan(Table.VERSIONS, mimei, state.version_key(mimei, first, RecordId(b""))):
            number, record = state.split_version(key)
            if number > last:
                break
            yield VersionInfo(mimei, number, record, state.decode_version(value))

    def last(self, mimei: MimeiId) -> VersionInfo | None:
        """The newest version: highest number, then lowest record."""
        found = None
        for info in self.newest_first(mimei):
            if found is not None and info.number != found.number:
                break
            found = info
        return found

    def by_number(self, mimei: MimeiId, number: int, prefix: str = "") -> VersionInfo:
        """The version of that number, the one whose record begins with ``prefix`` (hex); raises ``NotFoundError``."""
        start = state.version_key(mimei, number, RecordId(b""))
        for key, value in self._live.small_scan(Table.VERSIONS, start):
            record = state.split_version(key)[1]
            if record.hex().startswith(prefix):
                return VersionInfo(mimei, number, record, state.decode_version(value))
        raise NotFoundError(f"no version @{number}{'~' + prefix if prefix else ''}; `mimei log` lists them")

    def by_record(self, mimei: MimeiId, record: RecordId) -> VersionInfo:
        """The version of that record; raises ``NotFoundError``."""
        number = self._numbers.get(record) or self._number_of(mimei, record)
        row = self._live.small_row(Table.VERSIONS, state.version_key(mimei, number, record))
        if row is None:
            raise NotFoundError("that version is not on this node")
        return VersionInfo(mimei, number, record, state.decode_version(row))

    def _number_of(self, mimei: MimeiId, record: RecordId) -> int:
        """The number of a version by its record, 0 for none; those on the way to it, which never change, are remembered."""
        if len(self._numbers) > MAX_NUMBERS:
            self._numbers.clear()
        for key, _ in self._live.small_scan_back(Table.VERSIONS, mimei):
            number, found = state.split_version(key)
            self._numbers[found] = number
            if found == record:
                return number
        return 0

    def at_time(self, mimei: MimeiId, time_ns: int) -> VersionInfo:
        """The version that was newest at that moment; raises ``NotFoundError``."""
        for info in self.newest_first(mimei):
            if info.row.time_ns <= time_ns:
                return info
        raise NotFoundError("no version is that old")

    def labels(self, mimei: MimeiId) -> dict[str, RecordId]:
        """Labels and, where published, ``release``."""
        rows = self._live.small_scan(Table.LABELS, mimei)
        return {key[32:].decode(): state.decode_label(value).target for key, value in rows}

    def labelled(self, mimei: MimeiId, label: str) -> VersionInfo:
        """The version of that label; raises ``NotFoundError``."""
        row = self._live.small_row(Table.LABELS, mimei + label.encode())
        if row is None:
            raise NotFoundError(f"no label @{label}; `mimei log` lists versions and labels")
        return self.by_record(mimei, state.decode_label(row).target)

    def find(self, mimei: MimeiId, text: str) -> VersionInfo:
        """The version named as after an ``@`` (number, label, ``last``, ``release``, a time); raises ``NotFoundError``."""
        match parse_version_name(text, self._local_to_ns):
            case Last():
                found = self.last(mimei)
                if found is None:
                    raise NotFoundError("there is no version yet; `mimei backup` takes one")
                return found
            case Release():
                return self.labelled(mimei, RELEASE)
            case Number(number):
                return self.by_number(mimei, number)
            case NumberFork(number, prefix):
                return self.by_number(mimei, number, prefix)
            case Moment(time_ns):
                return self.at_time(mimei, time_ns)
            case Label(label):
                return self.labelled(mimei, label)
        raise NotFoundError(f"@{text} names no version")

    def tree_root(self, info: VersionInfo) -> TreeRoot:
        """What a version's root says; may raise ``Cold``."""
        return decode_tree(self._live.blobs.get(info.root))

    def origin(self, info: VersionInfo) -> Origin:
        """The version as the origin of past nodes; may raise ``Cold``."""
        return Origin(info.mimei, info.number, info.record, info.row.time_ns, info.row.writer, self.tree_root(info))

    # Taking

    def backup(self, mimei: MimeiId, memo: str = "", label: str = "") -> VersionInfo:
        """A version of the present. Returns ``last`` when nothing changed, else raises :class:`Later` for the new one;
        :class:`Unwritten` before anything else."""
        tree = self._mimeis.tree(mimei)
        unwritten = self._live.unwritten(tree) - self._live.written
        if unwritten:
            raise Unwritten(unwritten)
        if label:
            self._check_free(mimei, label)
        newest = self.last(mimei)
        if newest is not None and not tree.dirty and tree.cut_at < self._live.position:
            if label:
                self.set_label(mimei, label, newest)
            return newest
        request = CutRequest(tree.number, mimei, self._live.now_ns(), memo, label)
        at = self._live.append(operations.call(CallKind.CUT, state.encode(request)))
        tree.cut_at, tree.dirty = at, tree.withholds(request.time_ns)
        raise Later(at, lambda taken: self._taken(tree, at, taken))

    def _taken(self, tree: LiveTree, at: int, taken: Taken | None) -> VersionInfo:
        taken = taken or self._unheard(tree.mimei, at)
        if taken is None or taken.record is None:
            tree.dirty = True
            if taken is None:
                raise ConflictError("the keeper ended before it could tell; `mimei log` shows whether there is a new version")
            kind = IntegrityError if taken.damaged else CapacityError
            raise kind(f"the version could not be taken: {taken.error}")
        row = self._live.database.get(Table.VERSIONS, state.version_key(taken.mimei, taken.number, taken.record))
        return VersionInfo(taken.mimei, taken.number, taken.record, state.decode_version(row or b""))

    def _unheard(self, mimei: MimeiId, at: int) -> Taken | None:
        """What came of the CUT at ``at``, or of a later one, where a keeper died before it could tell; its fold is over."""
        row = self._live.database.get(Table.META, outcome_key(mimei))
        taken = None if row is None else decode_taken(row)
        if taken is None or taken.at < at:
            return None
        if taken.record is not None:
            self._live.append(operations.call(CallKind.REAP, U64.pack(taken.at)))
        return taken

    # Labels

    def _check_free(self, mimei: MimeiId, label: str) -> None:
        check_label(label)
        if self._live.small_row(Table.LABELS, mimei + label.encode()) is not None:
            raise ExistsError(
                f"the label @{label} is taken; `mimei label --move` moves it, `mimei label --drop` or rmdir drops it"
            )

    def label_ops(self, mimei: MimeiId, label: str, target: RecordId | None) -> list[bytes]:
        """Operations that set, move or (``None``) drop a label or ``release``."""
        key = mimei + label.encode()
        old = self._live.small_row(Table.LABELS, key)
        now = self._live.now_ns()
        sequence = 1 + (state.decode_label(old).sequence if old else 0)
        signed = records.sign(records.Label(mimei, label, target, sequence, now), self._mimeis.signer.device)
        row = None if target is None else state.encode(state.LabelRow(target, sequence, now))
        return [operations.call(CallKind.RECORD, signed.data), self._live.set_small(Table.LABELS, key, row)]

    def set_label(self, mimei: MimeiId, label: str, version: VersionInfo) -> int:
        """Give a version a label that is not in use; the position at which that is durable."""
        self._check_free(mimei, label)
        return self._live.append(b"".join(self.label_ops(mimei, label, version.record)))

    def move_label(self, mimei: MimeiId, old: str, new: str) -> int:
        """Rename a label."""
        target = self.labelled(mimei, old)
        self._check_free(mimei, new)
        ops = [*self.label_ops(mimei, old, None), *self.label_ops(mimei, new, target.record)]
        return self._live.append(b"".join(ops))

    def drop_label(self, mimei: MimeiId, label: str) -> int:
        """Drop a label or ``release``; its version stays."""
        self.labelled(mimei, label)
        return self._live.append(b"".join(self.label_ops(mimei, label, None)))

    def release(self, mimei: MimeiId, version: VersionInfo) -> int:
        """Publish a version: ``@release`` shows it from now on."""
        return self._live.append(b"".join(self.label_ops(mimei, RELEASE, version.record)))


__all__ = ["Later", "Unwritten", "VersionInfo", "Versions"]
