"""MiMeis, versions, labels and references made again from nothing but their signed records, for a store without its index.

Always true: a record counts only where its signature holds and its signer had the right to it; of a label's records the last
counts (sequences begin anew when one was dropped), and those of a reference add up. What this is not: reading packs
(``store/packfiles``), or presents, of which no record tells (``Mimeis.check_out``).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mimeifs.errors import ForbiddenError, MimeiError
from mimeifs.ids import KeyId, MimeiId, RecordId, show_key
from mimeifs.model import records, state
from mimeifs.model.delegation import Right, check_authority
from mimeifs.model.recording import mimei_row, put_version
from mimeifs.model.records import Delegation, Info, Label, R, Ref, Signed, Version
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

    def may(self, signed: Signed[records.Record], author: KeyId, right: Right, time_ns: int) -> bool:
        """Whether a record's signer had that right over the author's MiMeis; counts those that had not."""
        try:
            check_authority(signed.signer, author, self.delegations, right, time_ns)
        except MimeiError:
            self.refused += 1
            return False
        return True

    def may_of(self, signed: Signed[records.Record], mimei: MimeiId, right: Right, time_ns: int) -> bool:
        """The same for a MiMei, of which the Infos are known; also not where there is none."""
        info = self.infos.get(mimei)
        if info is None:
            self.refused += 1
        return info is not None and self.may(signed, info.record.author, right, time_ns)


def gather(found: Iterable[bytes]) -> Facts:
    """What the records ``found``, in the order in which they were made, say together."""
    facts, signed = Facts(), list[Signed[records.Record]]()
    for data in found:
        try:
            signed.append(records.decode(data))
        except MimeiError:
            facts.refused += 1
    facts.delegations = list(_of(Delegation, signed))
    for info in _of(Info, signed):
        if facts.may(info, info.record.author, Right.CREATE, info.record.created_ns):
            known = facts.infos.setdefault(info.record.mimei_id, info)
            if info.record.created_ns < known.record.created_ns:
                facts.infos[info.record.mimei_id] = info
    for version in _of(Version, signed):
        if facts.may_of(version, version.record.mimei, Right.VERSIONS, version.record.time_ns):
            facts.versions.append(version)
    for label in _of(Label, signed):
        if facts.may_of(label, label.record.mimei, Right.LABELS, label.record.time_ns):
            facts.labels[label.record.mimei + label.record.label.encode()] = label
    for ref in _of(Ref, signed):
        if facts.may_of(ref, ref.record.holder, Right.LABELS, ref.record.time_ns):
            facts.refs.append(ref)
    facts.versions.sort(key=lambda each: (each.record.mimei, each.record.number, each.id))
    return facts


def _of(kind: type[R], signed: Iterable[Signed[records.Record]]) -> Iterator[Signed[R]]:
    return (found for each in signed if (found := records.narrowed(kind, each)) is not None)


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
        said = label.record
        if said.target is not None and said.target in known:
            overlay.put(Table.LABELS, key, state.encode(state.LabelRow(said.target, said.sequence, said.time_ns)))
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
