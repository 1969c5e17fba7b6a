"""Counted references: which MiMei refers to which, how often, and to which version.

A reference keeps its target from being let go elsewhere; it is counted, because its holder may name the target many
times. Each change is a signed record. This is not a hard link, and not a LINK entry: those are names in trees.

Always true: a count is never below 0; a refused call changes nothing.
"""

from dataclasses import dataclass

from mimeifs.errors import InvalidError, TooLargeError, UsageError
from mimeifs.ids import ID_SIZE, MimeiId, RecordId, show_mimei
from mimeifs.model import records, state
from mimeifs.model.live import Live
from mimeifs.model.mimeis import Mimeis
from mimeifs.model.orders import CallKind
from mimeifs.model.versions import Versions
from mimeifs.store import operations
from mimeifs.store.database import Table


@dataclass(frozen=True, slots=True)
class Held:
    """How often ``holder`` refers to a target: to one version, or (``None``) to the newest, whichever that is."""

    holder: MimeiId
    version: RecordId | None
    count: int


class References:
    """The references between MiMeis, as far as this node's holders go."""

    def __init__(self, live: Live, mimeis: Mimeis, versions: Versions) -> None:
        self._live = live
        self._mimeis = mimeis
        self._versions = versions

    def add(self, holder: MimeiId, target: MimeiId, version: RecordId | None, count: int) -> int:
        """The holder, a MiMei of this node, refers to the target ``count`` times more; the position where that is
        durable. The target may be on another node."""
        if count < 1:
            raise InvalidError(f"references are added one or more at a time, not {count}")
        return self._change(holder, target, version, count)

    def delete(self, holder: MimeiId, target: MimeiId, version: RecordId | None, count: int) -> int:
        """The holder refers to the target ``count`` times fewer; raises ``UsageError`` when it does not do so as often."""
        if count < 1:
            raise InvalidError(f"references are deleted one or more at a time, not {count}")
        return self._change(holder, target, version, -count)

    def get(self, target: MimeiId) -> list[Held]:
        """Who refers to the target, by holder and version, the newest's first."""
        held = []
        for key, value in self._live.small_scan(Table.REFS, target):
            count = state.decode_ref(value).count
            if count:
                holder, version = MimeiId(key[ID_SIZE : 2 * ID_SIZE]), key[2 * ID_SIZE :]
                held.append(Held(holder, RecordId(version) if version else None, count))
        return held

    def _change(self, holder: MimeiId, target: MimeiId, version: RecordId | None, by: int) -> int:
        self._mimeis.row(holder)
        if version is not None and self._live.small_row(Table.MIMEIS, target) is not None:
            self._versions.by_record(target, version)
        key = target + holder + (version or b"")
        data = self._live.small_row(Table.REFS, key)
        old = state.decode_ref(data) if data else state.RefRow(0, 0)
        count = old.count + by
        if count < 0:
            often = "once" if old.count == 1 else f"{old.count} times"
            raise UsageError(f"{self._called(holder)} refers to {self._called(target)} {often}, not {-by} times")
        if count > records.MAX_COUNT:
            raise TooLargeError(f"more than {records.MAX_COUNT} references from one MiMei to another")
        record = records.Ref(holder, target, version, by, self._live.now_ns(), old.sequence + 1)
        signed = records.sign(record, self._mimeis.signer.device)
        row = state.encode(state.RefRow(count, old.sequence + 1))
        return self._live.append(operations.call(CallKind.RECORD, signed.data) + self._live.set_small(Table.REFS, key, row))

    def _called(self, mimei: MimeiId) -> str:
        """A MiMei by its name, or by its ID where it is on another node."""
        row = self._live.small_row(Table.MIMEIS, mimei)
        return show_mimei(mimei) if row is None else state.decode_mimei(row).name


__all__ = ["Held", "References"]
