"""Recording versions: the signed record of a fold, its place among the versions of its MiMei, and its label.

Part of the keeper's transaction. Always true: a version's number is above those of all its parents, its time behind
theirs; a MiMei's heads are exactly the versions that are nobody's parent.
"""

from dataclasses import dataclass

from mimeifs.ids import BlobId, MimeiId, RecordId
from mimeifs.model import records, state
from mimeifs.model.entry import TreeRoot
from mimeifs.model.identity import SigningKey
from mimeifs.model.orders import CutRequest
from mimeifs.store.database import U64, Table
from mimeifs.store.overlay import Overlay
from mimeifs.store.packwriter import PackWriter


@dataclass(frozen=True, slots=True)
class Recorder:
    """Makes records in one transaction."""

    overlay: Overlay
    packs: PackWriter
    device: SigningKey

    def record_version(self, request: CutRequest, root: BlobId, tree: TreeRoot) -> tuple[int, RecordId]:
        """A signed version of that root, as the child of all heads; its number and record."""
        mimei = request.mimei
        heads = {RecordId(key[32:]): U64.unpack(value)[0] for key, value in self.overlay.scan(Table.HEADS, mimei)}
        parents = tuple(sorted(heads))
        rows = [version_row(self.overlay, mimei, number, record) for record, number in heads.items()]
        number = 1 + max(heads.values(), default=0)
        time_ns = records.next_time(request.time_ns, (row.time_ns for row in rows))
        sequence = 1 + self._last_sequence(mimei)
        version = records.Version(mimei, sequence, number, parents, root, tree.files, tree.size, time_ns, request.memo)
        signed = records.sign(version, self.device)
        self.packs.put_record(signed.data)
        put_version(self.overlay, signed)
        return number, signed.id

    def _last_sequence(self, mimei: MimeiId) -> int:
        for _, value in self.overlay.scan_back(Table.VERSIONS, mimei):
            row = state.decode_version(value)
            if row.writer == self.device.key_id:
                return row.sequence
        return 0

    def record_label(self, request: CutRequest, record: RecordId) -> None:
        """The request's label, signed, for that version."""
        key = request.mimei + request.label.encode()
        old = self.overlay.get(Table.LABELS, key)
        sequence = 1 + (state.decode_label(old).sequence if old else 0)
        label = records.Label(request.mimei, request.label, record, sequence, request.time_ns)
        self.packs.put_record(records.sign(label, self.device).data)
        self.overlay.put(Table.LABELS, key, state.encode(state.LabelRow(record, sequence, request.time_ns)))


def mimei_row(signed: records.Signed[records.Info], tree: int) -> state.MimeiRow:
    """What a node notes of a MiMei, whose present has that number."""
    info = signed.record
    origin = info.origin or (None, None)
    return state.MimeiRow(signed.id, info.kind, tree, info.name_hint, info.author, origin[0], origin[1], info.created_ns)


def row_of(signed: records.Signed[records.Version]) -> state.VersionRow:
    """What a node notes of a version."""
    said = signed.record
    return state.VersionRow(
        said.root, signed.signer, said.sequence, said.parents, said.files, said.bytes, said.time_ns, said.memo
    )


def put_version(overlay: Overlay, signed: records.Signed[records.Version]) -> None:
    """Index a version whose record is stored, and make it a head in place of its parents."""
    mimei, number = signed.record.mimei, signed.record.number
    overlay.put(Table.VERSIONS, state.version_key(mimei, number, signed.id), state.encode(row_of(signed)))
    for parent in signed.record.parents:
        overlay.delete(Table.HEADS, mimei + parent)
    overlay.put(Table.HEADS, mimei + signed.id, U64.pack(number))


def newest_version(overlay: Overlay, mimei: MimeiId) -> tuple[int, RecordId, state.VersionRow] | None:
    """The version that is ``last``: highest number, then lowest digest."""
    found: tuple[int, RecordId, state.VersionRow] | None = None
    for key, value in overlay.scan_back(Table.VERSIONS, mimei):
        number, record = state.split_version(key)
        if found is not None and number != found[0]:
            break
        found = number, record, state.decode_version(value)
    return found


def preceding(overlay: Overlay, mimei: MimeiId) -> state.VersionRow | None:
    """The version behind which a new one takes its place: the last by number and record."""
    return next((state.decode_version(value) for _, value in overlay.scan_back(Table.VERSIONS, mimei)), None)


def version_row(overlay: Overlay, mimei: MimeiId, number: int, record: RecordId) -> state.VersionRow:
    """The row of one version."""
    return state.decode_version(overlay.get(Table.VERSIONS, state.version_key(mimei, number, record)) or b"")
