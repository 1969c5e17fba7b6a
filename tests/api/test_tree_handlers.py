"""Requests of the tree as the node answers them: sessions, what is too much, and whom things belong to."""

import msgspec
import pytest

from mimeifs.api import sessions
from mimeifs.api.requests import PASSING, decode_reply, decode_request, encode
from mimeifs.api.tree_requests import (
    SLICE,
    Begin,
    CloseReading,
    Commit,
    Discard,
    Entries,
    Look,
    Looked,
    MakeDirectory,
    Move,
    OpenFile,
    ReadPart,
    RemoveTree,
    Space,
    Stage,
    TakeLock,
    WriteStaged,
)
from mimeifs.errors import CapacityError, InvalidError, LockHeldError, MimeiError, NotFoundError, TooLargeError
from mimeifs.model.resource import Guard
from mimeifs.store.database import Table
from tests.api.conftest import Store

LARGE = bytes(range(256)) * 2048


@pytest.fixture
def session(store: Store) -> int:
    store.ask(MakeDirectory((b"photos",)))
    return store.ask(Begin()).session


def put(store: Store, session: int, name: bytes, data: bytes) -> Looked:
    staged = store.ask(Stage(session, len(data))).staged
    for start in range(0, len(data), SLICE):
        store.ask(WriteStaged(session, staged, start, data[start : start + SLICE]))
    return store.ask(Commit(session, staged, (b"photos", name), uid=7, gid=8))


def test_a_file_goes_up_and_comes_back(store: Store, session: int) -> None:
    for data in (b"", b"short", LARGE):
        assert put(store, session, b"a", data).facts.size == len(data)
        opened = store.ask(OpenFile(session, (b"photos", b"a")))
        assert opened.facts.etag == store.ask(Look((b"photos", b"a"))).facts.etag
        if opened.reading:
            parts = [store.ask(ReadPart(session, opened.reading, start, SLICE)).data for start in range(0, len(data), SLICE)]
            assert b"".join(parts) == data
            assert store.ask(ReadPart(session, opened.reading, len(data), 1)).data == b""
            store.ask(CloseReading(session, opened.reading))
        elif opened.facts.content is None:
            assert opened.data == data
    assert store.services.sessions.find(session).readings == {}


def test_what_is_made_belongs_to_whom_was_said(store: Store, session: int) -> None:
    put(store, session, b"a", b"1")
    node = store.present(b"photos")
    stat = store.local.attempt(lambda: node.lookup(b"a")).stat()
    assert (stat.uid, stat.gid, stat.mode & 0o7777) == (7, 8, 0o644)


def test_a_session_that_ends_drops_what_it_has_open(store: Store, session: int) -> None:
    staged = store.ask(Stage(session)).staged
    store.ask(WriteStaged(session, staged, 0, b"1"))
    store.services.leave()
    store.local.settle()
    assert list(store.local.database.scan(Table.ORPHANS, b"")) == []
    with pytest.raises(NotFoundError):
        store.ask(WriteStaged(session, staged, 1, b"2"))


def test_a_caller_ends_its_own_sessions_only(store: Store, session: int) -> None:
    store.services.by(store.services.who).leave()
    assert store.ask(Stage(session)).staged


def test_a_client_has_not_more_open_than_it_may(store: Store, session: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_OPEN", 2)
    first = store.ask(Stage(session)).staged
    store.ask(Stage(session))
    with pytest.raises(CapacityError):
        store.ask(Stage(session))
    store.ask(Discard(session, first))
    store.ask(Stage(session))


REFUSED = {
    "no such session": (lambda session, _: Stage(session + 99), NotFoundError),
    "no such upload": (lambda session, _: Commit(session, 99, (b"photos", b"x")), NotFoundError),
    "no such reading": (lambda session, _: ReadPart(session, 99, 0, 1), NotFoundError),
    "bytes with a gap": (lambda session, staged: WriteStaged(session, staged, 5, b"x"), InvalidError),
    "bytes before the end": (lambda session, staged: WriteStaged(session, staged, -1, b"x"), InvalidError),
    "too many bytes at once": (lambda session, staged: WriteStaged(session, staged, 0, bytes(SLICE + 1)), TooLargeError),
    "a negative size": (lambda session, _: Stage(session, -1), InvalidError),
    "a size beyond all": (lambda session, _: Stage(session, 1 << 62), TooLargeError),
    "an owner that is none": (lambda session, staged: Commit(session, staged, (b"photos", b"x"), uid=-1, gid=0), InvalidError),
    "a name that is none": (lambda session, staged: Commit(session, staged, (b"photos", b"..")), InvalidError),
    "the root replaced": (lambda session, staged: Commit(session, staged, ()), MimeiError),
    "the root removed": (lambda _, __: RemoveTree(()), MimeiError),
    "the root moved": (lambda _, __: Move((), (b"photos", b"x"), overwrite=True), MimeiError),
    "a path of a thousand names": (lambda _, __: Look((b"x",) * 1001), MimeiError),
    "a directory opened": (lambda session, _: OpenFile(session, (b"photos",)), MimeiError),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(store: Store, session: int, what: str) -> None:
    make, error = REFUSED[what]
    staged = store.ask(Stage(session)).staged
    with pytest.raises(error):
        store.ask(make(session, staged))
    assert [facts.name for facts in store.ask(Entries(())).entries] == [b"photos"]
    assert store.ask(Entries((b"photos",))).entries == ()


def test_limits_of_pages_are_kept_whatever_is_asked(store: Store, session: int) -> None:
    for name in (b"a", b"b"):
        put(store, session, name, b"1")
    for limit, count in ((-5, 1), (0, 1), (1, 1), (10**9, 2)):
        assert len(store.ask(Entries((b"photos",), limit=limit)).entries) == count


def test_an_error_of_a_lock_names_what_is_locked(store: Store, session: int) -> None:
    store.ask(TakeLock((b"photos",), "<o/>", exclusive=True, infinite=True, timeout_s=60, guard=Guard(user="ann")))
    with pytest.raises(LockHeldError) as held:
        put(store, session, b"a", b"1")
    assert held.value.path == (b"photos",)


def test_facts_cross_the_wire_in_few_bytes(store: Store, session: int) -> None:
    reply = put(store, session, b"a", b"1")
    data = encode(reply)
    assert decode_reply(data) == reply
    assert len(data) < 200


@pytest.mark.parametrize(
    "changes", [{"path": [b"a", 7]}, {"path": b"a"}, {"path": [], "guard": {"tokens": "x"}}, {"path": [], "extra": 1}, {}]
)
def test_a_request_of_another_shape_is_none(changes: dict[str, object]) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_request(msgspec.msgpack.encode({"type": "remove-tree", **changes}))


def test_what_changes_the_tree_is_waited_for(store: Store) -> None:
    assert not {Commit, MakeDirectory, RemoveTree, Move, TakeLock} & set(PASSING)
    assert {Look, Entries, Stage, WriteStaged, Space} <= set(PASSING)
