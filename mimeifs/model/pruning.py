"""Pruning: the overlay of a part of a present that was replaced goes, but for files that are still open.

Part of the keeper's transaction. Always true afterwards: no row names what was below; files that handles hold are in
ORPHANS.
"""

from mimeifs.model import state
from mimeifs.model.entry import Kind, decode, decode_linked
from mimeifs.model.orders import PruneRequest
from mimeifs.store.database import U64, Table
from mimeifs.store.overlay import Overlay


def prune(overlay: Overlay, request: PruneRequest) -> None:
    """Carry out a :class:`PruneRequest`."""
    waiting, keep = [request.number], frozenset(request.keep)
    while waiting:
        number = waiting.pop()
        key = U64.pack(number)
        for _, value in list(overlay.scan(Table.ENTRIES, key)):
            entry = decode(value) if value else None
            if entry is not None and entry.live and entry.kind is Kind.DIRECTORY:
                waiting.append(entry.live)
            elif entry is not None and entry.live:
                _let_go(overlay, entry.live, keep)
        overlay.clear(Table.ENTRIES, key)
        overlay.set_directory(number, None)
        overlay.delete(Table.PARENTS, key)
    if request.tree:
        prefix = state.tree_key(request.tree)
        for _, value in list(overlay.scan(Table.LINKS, prefix)):
            number = decode_linked(value).entry.live if value else 0
            if number:
                _let_go(overlay, number, keep)
        overlay.clear(Table.LINKS, prefix)


def _let_go(overlay: Overlay, number: int, keep: frozenset[int]) -> None:
    if number in keep:
        overlay.put(Table.ORPHANS, U64.pack(number), b"")
    else:
        overlay.drop_file(number)
