"""Counted references: added, deleted, kept, and never below nothing."""

import pytest

from mimeifs.errors import InvalidError, NotFoundError, UsageError
from mimeifs.ids import MimeiId, RecordId
from mimeifs.model import records
from mimeifs.model.references import Held
from mimeifs.store.packfiles import pack_numbers, scan_pack
from mimeifs.store.packs import pack_name
from tests.model.conftest import Local


@pytest.fixture
def pair(local: Local) -> tuple[MimeiId, MimeiId]:
    """A holder and a target."""
    return local.mimei(b"album").tree.mimei, local.mimei(b"photo").tree.mimei


def test_references_are_counted_by_holder_and_version(local: Local, pair: tuple[MimeiId, MimeiId]) -> None:
    album, photo = pair
    references = local.engine.references
    one = local.backup(photo)
    local.run(lambda: references.add(album, photo, None, 2))
    local.run(lambda: references.add(album, photo, one.record, 3))
    local.run(lambda: references.add(photo, photo, None, 1))
    local.run(lambda: references.delete(album, photo, None, 1))
    expected = {Held(album, None, 1), Held(album, one.record, 3), Held(photo, None, 1)}
    assert set(references.get(photo)) == expected
    assert references.get(album) == []
    local.crash()
    assert set(local.engine.references.get(photo)) == expected


def test_what_was_added_counts_before_it_is_replayed(local: Local, pair: tuple[MimeiId, MimeiId]) -> None:
    album, photo = pair
    local.engine.references.add(album, photo, None, 2)
    assert local.engine.references.get(photo) == [Held(album, None, 2)]


def test_more_than_there_are_cannot_be_deleted(local: Local, pair: tuple[MimeiId, MimeiId]) -> None:
    album, photo = pair
    references = local.engine.references
    local.run(lambda: references.add(album, photo, None, 2))
    before = local.engine.journal.position
    with pytest.raises(UsageError):
        references.delete(album, photo, None, 3)
    assert (references.get(photo), local.engine.journal.position) == ([Held(album, None, 2)], before)
    local.run(lambda: references.delete(album, photo, None, 2))
    assert references.get(photo) == []
    with pytest.raises(UsageError):
        references.delete(album, photo, None, 1)


def test_each_change_is_a_signed_record_with_a_sequence_of_its_own(local: Local, pair: tuple[MimeiId, MimeiId]) -> None:
    album, photo = pair
    references = local.engine.references
    for _ in range(2):
        local.run(lambda: references.add(album, photo, None, 1))
        local.run(lambda: references.delete(album, photo, None, 1))
    packs = local.home.storage.packs
    frames = [frame for number in pack_numbers(packs) for frame in scan_pack(packs / pack_name(number))]
    found = [
        records.decode(local.running.attempt(lambda f=frame: local.engine.blobs.get(f.digest))).record  # type: ignore[misc]
        for frame in frames
        if frame.row.is_record
    ]
    refs = [record for record in found if isinstance(record, records.Ref)]
    assert [(ref.count_delta, ref.sequence) for ref in refs] == [(1, 1), (-1, 2), (1, 3), (-1, 4)]


def test_refused_before_anything_changes(local: Local, pair: tuple[MimeiId, MimeiId]) -> None:
    album, photo = pair
    references = local.engine.references
    nobody = MimeiId(bytes(32))
    for call, error in (
        (lambda: references.add(album, photo, None, 0), InvalidError),
        (lambda: references.delete(album, photo, None, -1), InvalidError),
        (lambda: references.add(nobody, photo, None, 1), NotFoundError),
        (lambda: references.add(album, photo, RecordId(b"r" * 32), 1), NotFoundError),
    ):
        with pytest.raises(error):
            call()
    local.run(lambda: references.add(album, nobody, None, 1))
    assert references.get(nobody) == [Held(album, None, 1)]
