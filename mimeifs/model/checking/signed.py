"""MiMeis, versions, labels, heads, references and delegations: whether the rows say what the signed records say.

Not here: what the versions' trees hold (``trees``).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mimeifs.errors import MimeiError, MissingError
from mimeifs.ids import ID_SIZE, BlobId, MimeiId, RecordId, show_mimei, show_record
from mimeifs.model import records, state
from mimeifs.model.checking.findings import Fault, Finding, Progress, Report, Where
from mimeifs.model.checking.trees import Trees
from mimeifs.model.delegation import Right, check_authority
from mimeifs.model.entry import decode_tree
from mimeifs.model.recording import row_of
from mimeifs.store.database import U64, Database, Table
from mimeifs.store.interfaces import BlobSource


@dataclass(slots=True)
class SignedRows:
    """Checks what hangs on signed records."""

    database: Database
    blobs: BlobSource
    trees: Trees
    report: Report
    _mimeis: dict[bytes, state.MimeiRow] = field(default_factory=dict)
    _delegations: list[records.Signed[records.Delegation]] = field(default_factory=list)

    def run(self) -> Iterator[Finding]:
        """Everything, in the order in which it depends on each other."""
        yield from self._check_delegations()
        yield from self._check_mimeis()
        total = sum(1 for _ in self.database.scan(Table.VERSIONS, b""))
        done = 0
        for mimei in sorted({key[:ID_SIZE] for table in _OF_MIMEIS for key, _ in self.database.scan(table, b"")}):
            if mimei not in self._mimeis:
                where = Where(show_mimei(mimei), MimeiId(mimei))
                yield Finding(Fault.WRONG, where, "versions, labels or heads of a MiMei that is not known")
                continue
            for finding in self._check_versions(MimeiId(mimei)):
                if finding is None:
                    self.report(Progress("versions", done, total))
                    done += 1
                else:
                    yield finding
        yield from self._check_references()
        self.report(Progress("versions", total, total))

    def _check_delegations(self) -> Iterator[Finding]:
        for key, value in self.database.scan(Table.DELEGATIONS, b""):
            try:
                signed = records.decode_as(records.Delegation, value)
            except MimeiError as error:
                yield Finding(Fault.DAMAGED, "delegations", str(error))
                continue
            if key != signed.record.user + signed.record.device:
                yield Finding(Fault.WRONG, "delegations", "a delegation is filed under other keys than its own")
            self._delegations.append(signed)

    def _check_mimeis(self) -> Iterator[Finding]:
        for key, value in self.database.scan(Table.MIMEIS, b""):
            where = Where(f"MiMei {show_mimei(key)}", MimeiId(key))
            try:
                row = self._mimeis[key] = state.decode_mimei(value)
                signed = records.decode_as(records.Info, self.blobs.get(BlobId(row.info)))
            except MimeiError as error:
                yield _unreadable(error, where)
                continue
            info = signed.record
            said = info.mimei_id, info.kind, info.author, info.origin or (None, None), info.created_ns
            if said != (key, row.kind, row.author, (row.origin_mimei, row.origin_version), row.created_ns):
                yield Finding(Fault.WRONG, where, "its row does not say what its signed Info says")
            yield from self._authorised(signed, row, Right.CREATE, info.created_ns, where)

    def _authorised(
        self, signed: records.Signed[records.R], row: state.MimeiRow, right: Right, time_ns: int, where: str
    ) -> Iterator[Finding]:
        try:
            check_authority(signed.signer, row.author, self._delegations, right, time_ns)
        except MimeiError as error:
            yield Finding(Fault.WRONG, where, str(error))

    def _check_versions(self, mimei: MimeiId) -> Iterator[Finding | None]:
        """Findings, and None for each version that was looked at."""
        mimei_row = self._mimeis[mimei]
        numbers: dict[RecordId, int] = {}
        parents: set[RecordId] = set()
        for key, value in self.database.scan(Table.VERSIONS, mimei):
            number, record = state.split_version(key)
            where = Where(f"version {number} of {mimei_row.name!r}", mimei, number)
            numbers[record] = number
            yield None
            try:
                row = state.decode_version(value)
                signed = records.decode_as(records.Version, self.blobs.get(BlobId(record)))
            except MimeiError as error:
                yield _unreadable(error, where)
                continue
            parents.update(row.parents)
            yield from self._check_version(mimei, number, row, signed, where)
        yield from self._check_marks(mimei, numbers, parents)

    def _check_version(
        self, mimei: MimeiId, number: int, row: state.VersionRow, signed: records.Signed[records.Version], where: str
    ) -> Iterator[Finding]:
        said = signed.record
        if (said.mimei, said.number) != (mimei, number) or row_of(signed) != row:
            yield Finding(Fault.WRONG, where, "its row does not say what its signed record says")
        yield from self._authorised(signed, self._mimeis[mimei], Right.VERSIONS, said.time_ns, where)
        try:
            tree = decode_tree(self.blobs.get(row.root))
        except MimeiError as error:
            yield _unreadable(error, where, row.root)
            return
        if (tree.files, tree.size) != (row.files, row.size):
            yield Finding(Fault.WRONG, where, f"its tree counts {tree.files} files of {tree.size} bytes, the version others")
        yield from self.trees.tree(tree, where)

    def _check_marks(self, mimei: MimeiId, numbers: dict[RecordId, int], parents: set[RecordId]) -> Iterator[Finding]:
        """Parents, heads and labels of one MiMei."""
        mimei_row = self._mimeis[mimei]
        where = Where(f"MiMei {mimei_row.name!r}", mimei)
        for parent in parents - numbers.keys() - {mimei_row.origin_version}:
            yield Finding(Fault.MISSING, where, f"version {show_record(parent or b'')} is a parent and not here")
        heads = {RecordId(key[ID_SIZE:]): value for key, value in self.database.scan(Table.HEADS, mimei)}
        if heads.keys() != numbers.keys() - parents:
            yield Finding(Fault.WRONG, where, f"{len(heads)} heads are noted, {len(numbers.keys() - parents)} there are")
        for record, value in heads.items():
            if record in numbers and value != U64.pack(numbers[record]):
                yield Finding(Fault.WRONG, where, f"head {show_record(record)} is noted with another number than its own")
        for key, value in self.database.scan(Table.LABELS, mimei):
            try:
                target = state.decode_label(value).target
            except MimeiError as error:
                yield _unreadable(error, where)
                continue
            if target not in numbers:
                label = key[ID_SIZE:].decode(errors="backslashreplace")
                yield Finding(Fault.MISSING, where, f"the label @{label} names a version that is not here")

    def _check_references(self) -> Iterator[Finding]:
        for key, value in self.database.scan(Table.REFS, b""):
            try:
                row = state.decode_ref(value)
            except MimeiError as error:
                yield _unreadable(error, "references")
                continue
            if len(key) not in (2 * ID_SIZE, 3 * ID_SIZE) or row.count < 0 or row.sequence < 1:
                yield Finding(Fault.WRONG, "references", f"a count of {row.count} after {row.sequence} records")


_OF_MIMEIS = (Table.VERSIONS, Table.LABELS, Table.HEADS)


def _unreadable(error: Exception, where: str, blob: BlobId | None = None) -> Finding:
    return Finding(Fault.MISSING if isinstance(error, MissingError) else Fault.DAMAGED, where, str(error), blob)
