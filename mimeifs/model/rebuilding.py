"""MiMeis, versions, labels and references made again from nothing but their signed records, for a store without its index.

Always true: a record counts only where its signature holds and its signer had the right to it; of a label's records the last
counts (sequences begin anew when one was dropped), and those of a reference add up. What this is not: reading packs
(``store/packfiles``), or presents, of which no record tells (``Mimeis.check_out``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mimeifs.errors import ForbiddenError, MimeiError
from mimeifs.ids import KeyId, MimeiId, RecordId, show_key
from mimeifs.model import records, state
from mimeifs.model.delegation import Right, check_authority
from mimeifs.model.recording import mimei_row, put_version
from mimeifs.model.records import Delegation, Info, Label, Ref, Signed, Version
from mimeifs.store.database import Table
from mimeifs.store.overlay import Overlay


@dataclass(slots=True)
class Facts:
    """What records say. ``refused`` counts those that do not verify, that nobody may have signed, or that are of a MiMei whose
    own record is not there."""

    infos: dict[MimeiId, Signed[Info]] = field(default_factory=dict)
    versions: list[Signed[Version]] = field(default_factory=list)
    labels: dict[bytes, Signed[Label]] = field(default_factory=dict)
    refs: list[Signed[Ref]] = field(default_factory=list)
    delegations: list[Signed[Delegation]] = field(default_factory=list)
    refused: int = 0

    def author(self, device: KeyId) -> KeyId:
        """The user in whose name a device signs here; raises ``ForbiddenError`` where no delegation says so."""
        for signed in self.delegations:
            if signed.record.device == device:
                return signed.record.user
        raise ForbiddenError(
            f"the packs hold no delegation to the key of this device ({show_key(device)}): put the key file back that"
            " belongs to this store"
        )


def gather(found: Iterable[bytes]) -> Facts:
    """What the records ``found``, in the order in which they were made, say together."""
    facts, others = Facts(), list[Signed[records.Record]]()
    for data in found:
        try:
            signed = records.decode(data)
        except MimeiError:
            facts.refused += 1
            continue
        match signed.record:
            case Delegation() as record:
                facts.delegations.append(Signed(record, signed.signer, signed.id, signed.data))
            case Info() as record:
                known = facts.infos.get(record.mimei_id)
                if known is None or record.created_ns < known.record.created_ns:
                    facts.infos[record.mimei_id] = Signed(record, signed.signer, signed.id, signed.data)
            case _:
                others.append(signed)
    for mimei, info in list(facts.infos.items()):
        if not _may(facts, info, info.record.author, Right.CREATE, info.record.created_ns):
            del facts.infos[mimei]
    for signed in others:
        _take(facts, signed)
    facts.versions.sort(key=lambda each: (each.record.mimei, each.record.number, each.id))
    return facts


def _may(facts: Facts, signed: Signed[records.Record], author: KeyId, right: Right, time_ns: int) -> bool:
    try:
        check_authority(signed.signer, author, facts.delegations, right, time_ns)
    except MimeiError:
        facts.refused += 1
        return False
    return True


def _take(facts: Facts, signed: Signed[records.Record]) -> None:
    record = signed.record
    if isinstance(record, Delegation | Info):
        return
    info = facts.infos.get(record.holder if isinstance(record, Ref) else record.mimei)
    right = Right.VERSIONS if isinstance(record, Version) else Right.LABELS
    if info is None:
        facts.refused += 1
    elif not _may(facts, signed, info.record.author, right, record.time_ns):
        return
    elif isinstance(record, Version):
        facts.versions.append(Signed(record, signed.signer, signed.id, signed.data))
    elif isinstance(record, Ref):
        facts.refs.append(Signed(record, signed.signer, signed.id, signed.data))
    else:
        facts.labels[record.mimei + record.label.encode()] = Signed(record, signed.signer, signed.id, signed.data)


def put_rows(overlay: Overlay, facts: Facts) -> None:
    """Write the rows that the facts make; no MiMei has a present then."""
    for delegation in facts.delegations:
        overlay.put(Table.DELEGATIONS, delegation.record.user + delegation.record.device, delegation.data)
    for mimei, signed in facts.infos.items():
        overlay.put(Table.MIMEIS, mimei, state.encode(mimei_row(signed, 0)))
    known: set[RecordId] = set()
    for version in facts.versions:
        known.add(version.id)
        put_version(overlay, version)
    for key, label in facts.labels.items():
        target = label.record.target
        if target in known:
            row_of_it = state.LabelRow(RecordId(target or b""), label.record.sequence, label.record.time_ns)
            overlay.put(Table.LABELS, key, state.encode(row_of_it))
    for key, counted in _counts(facts.refs).items():
        overlay.put(Table.REFS, key, state.encode(counted))


def _counts(refs: Iterable[Signed[Ref]]) -> dict[bytes, state.RefRow]:
    rows: dict[bytes, state.RefRow] = {}
    for signed in refs:
        ref = signed.record
        key = ref.target + ref.holder + (ref.version or b"")
        old = rows.get(key, state.RefRow(0, 0))
        rows[key] = state.RefRow(old.count + ref.count_delta, max(old.sequence, ref.sequence))
    return {key: row for key, row in rows.items() if row.count >= 0}
