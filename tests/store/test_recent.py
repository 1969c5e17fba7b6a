"""Nodes of maps kept in memory in front of the packs."""

import pytest

from mimeifs.errors import MissingError
from mimeifs.store.packs import START, IndexRow
from mimeifs.store.packwriter import PackWriter
from mimeifs.store.recent import ENTRY_OVERHEAD, RecentNodes


@pytest.fixture
def packs(tmp_path):
    writer = PackWriter(tmp_path, START, lambda _digest: None)
    yield writer
    writer.close()


def forget(packs):
    """Have the packs know nothing, as if everything in them were gone."""
    packs.abandon()


def test_what_was_put_is_answered_from_memory(packs):
    nodes = RecentNodes(packs, room=1 << 16)
    blob = nodes.put(b"node" * 100)
    forget(packs)
    assert nodes.get(blob) == b"node" * 100


def test_what_was_put_is_in_the_packs_too(packs):
    blob = RecentNodes(packs, room=1 << 16).put(b"node" * 100)
    assert packs.get(blob) == b"node" * 100


def test_what_the_packs_took_back_is_stored_again(packs):
    nodes = RecentNodes(packs, room=1 << 16)
    nodes.put(b"node" * 100)
    forget(packs)
    blob = nodes.put(b"node" * 100)
    assert packs.get(blob) == b"node" * 100


def test_memory_stays_within_its_room_and_the_oldest_goes_first(packs):
    nodes = RecentNodes(packs, room=3 * (100 + ENTRY_OVERHEAD))
    first, *others = [nodes.put(bytes([number]) * 100) for number in range(4)]
    forget(packs)
    assert [nodes.get(blob) for blob in others] == [bytes([number]) * 100 for number in (1, 2, 3)]
    with pytest.raises(MissingError):
        nodes.get(first)


def test_a_whole_map_is_shrunk_and_what_an_edit_writes_is_not(packs):
    nodes = RecentNodes(packs, room=1 << 16)
    whole, edited = nodes.whole.put(b"whole" * 100), nodes.put(b"edit" * 100)
    packs.sync()
    stored = {digest: IndexRow.decode(row).stored for digest, row in packs.take_rows()}
    assert stored[whole] < 100
    assert stored[edited] == 400
    forget(packs)
    assert nodes.get(whole) == b"whole" * 100
