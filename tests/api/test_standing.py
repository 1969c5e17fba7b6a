"""The states of a place and the changes of a directory, as the node answers: page by page, and what is not known."""

import pytest

from mimeifs.api import lines, standing
from mimeifs.api.requests import Backup
from mimeifs.api.tree_requests import (
    ChangesSince,
    MakeDirectory,
    Patch,
    Standing,
    StandingOf,
    State,
    StatesOf,
    SyncTokenOf,
)
from mimeifs.errors import NotFoundError, UnsupportedError
from mimeifs.model.resource import Path
from tests.api.conftest import Store

TOP = (b"photos",)
F = (*TOP, b"f")


@pytest.fixture
def photos(store: Store) -> Store:
    """``f`` in versions 1, 2 and 4; the third has another file."""
    store.ask(MakeDirectory(TOP))
    for name, data in ((b"f", b"1"), (b"f", b"22"), (b"other", b""), (b"f", b"333")):
        store.write(store.present(b"photos"), name, data)
        store.ask(Backup(b"photos", memo=f"{name.decode()} of {len(data)}"))
    return store


def states(store: Store, path: Path) -> list[State]:
    found: list[State] = []
    after = b""
    while True:
        page = store.ask(StatesOf(path, after))
        found += page.states
        after = page.next
        if not after:
            return found


def stands(store: Store, *path: bytes) -> Standing:
    return store.ask(StandingOf((*TOP, *path)))


@pytest.mark.parametrize("rows", [1, 2, 128])
def test_states_come_page_by_page_oldest_first(photos: Store, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(lines, "MAX_ROWS", rows)
    found = states(photos, F)
    assert [(state.version.number, state.facts.size, state.facts.immutable) for state in found] == [
        (1, 1, True),
        (2, 2, True),
        (4, 3, True),
    ]
    assert found[2].version.memo == "f of 3"
    assert found[2].version.labels == ("last",)
    assert [state.version.number for state in states(photos, TOP)] == [1, 2, 3, 4]
    assert states(photos, (*TOP, b"@1", b"f")) == found


def test_how_a_file_stands(photos: Store) -> None:
    def short(found: Standing) -> tuple[object, ...]:
        return found.here and found.here.number, found.before, found.after, found.past, found.same

    assert short(stands(photos, b"f")) == (4, "2", "", False, True)
    assert short(stands(photos, b"@3", b"f")) == (2, "1", "4", True, False)
    assert short(stands(photos)) == (4, "3", "", False, True)
    assert short(stands(photos, b"@1")) == (1, "", "2", True, False)
    photos.write(photos.present(b"photos"), b"f", b"4444")
    assert short(stands(photos, b"f")) == (4, "2", "", False, False)
    assert short(stands(photos, b"other")) == (3, "", "", False, True)
    assert short(stands(photos)) == (4, "3", "", False, False)
    photos.write(photos.present(b"photos"), b"new", b"")
    assert short(stands(photos, b"new")) == (None, "", "", False, False)


def test_a_property_that_changed_is_a_change(photos: Store) -> None:
    photos.ask(Patch(F, properties={"{n}p": b"1"}))
    assert not stands(photos, b"f").same
    photos.ask(Backup(b"photos"))
    assert stands(photos, b"f").same
    assert [state.version.number for state in states(photos, F)] == [1, 2, 4, 5]


def test_of_what_changes_can_be_asked(photos: Store) -> None:
    assert [stands(photos, *path).tracked for path in ((), (b"f",), (b"@1",), (b".mimei",))] == [True, False, True, False]
    assert not photos.ask(StandingOf(())).tracked
    for path in ((), F, (*TOP, b".mimei")):
        with pytest.raises(UnsupportedError):
            photos.ask(SyncTokenOf(path))
    with pytest.raises(NotFoundError):
        photos.ask(StandingOf((*TOP, b"none")))


def test_changes_come_in_pages_no_larger_than_asked(photos: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "SLICE_SECONDS", 60.0)
    for number in range(7):
        photos.write(photos.present(b"photos"), b"%d" % number, b"")
    found, token, more = [], "", True
    while more:
        page = photos.ask(ChangesSince(TOP, token, deep=False, limit=4))
        assert 0 < len(page.changes) <= 4
        found += [change.path for change in page.changes]
        token, more = page.token, page.more
    assert found == [(b"%d" % number,) for number in range(7)] + [(b"f",), (b"other",)]
    assert token == photos.ask(SyncTokenOf(TOP)).token
    exact = photos.ask(ChangesSince(TOP, "", deep=False, limit=9))
    assert (len(exact.changes), exact.more) == (9, False)


def test_a_page_ends_where_properties_are_large(photos: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "PAGE_BYTES", 1000)
    for name in (b"a", b"b", b"f"):
        photos.write(photos.present(b"photos"), name, b"")
        photos.ask(Patch((*TOP, name), properties={"{n}p": bytes(600)}))
    page = photos.ask(ChangesSince(TOP, "", deep=False, limit=9, properties=True))
    assert [change.path for change in page.changes] == [(b"a",)]
    assert page.more
    photos.ask(Backup(b"photos"))
    assert len(states(photos, F)) == 4


def test_what_is_not_known_is_said(photos: Store) -> None:
    found = photos.ask(ChangesSince(TOP, "mimei:sync:none", deep=False, limit=9))
    assert (found.known, found.changes, found.token) == (False, (), "")


def test_a_map_that_is_gone_while_it_is_told_is_said_too(photos: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    token = photos.ask(SyncTokenOf(TOP)).token
    photos.write(photos.present(b"photos"), b"f", b"")

    def gone(*_words: object, **_names: object):
        raise NotFoundError("collected")
        yield

    monkeypatch.setattr(photos.services.syncing, "changes", gone)
    assert not photos.ask(ChangesSince(TOP, token, deep=False, limit=9)).known
    with pytest.raises(NotFoundError):
        photos.ask(ChangesSince(TOP, "", deep=False, limit=9))
