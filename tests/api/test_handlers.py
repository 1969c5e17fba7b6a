"""What each request does to a store."""

import pytest

from mimeifs.api import lines, requests
from mimeifs.errors import (
    ConflictError,
    ExistsError,
    InvalidError,
    MimeiError,
    NameTooLongError,
    NotADirError,
    NotFoundError,
    UsageError,
)
from mimeifs.ids import parse_mimei
from tests.api.conftest import WHO, Store


def create(store: Store, name: bytes = b"photos") -> requests.Created:
    return store.ask(requests.Create(name, view="cur"))


# create


def test_create_makes_a_tree_that_can_be_worked_in(store: Store) -> None:
    made = create(store)
    assert (made.name, made.kind, made.view) == (b"photos", "tree", "cur")
    store.write(store.present(b"photos"), b"a", b"x")
    assert store.present(b"photos").stat().uid == WHO.uid


def test_create_makes_a_file_mimei(store: Store) -> None:
    made = store.ask(requests.Create(b"diary", kind="file", extension="txt", app_type="text"))
    facts = store.ask(requests.Info(b"diary"))
    assert (made.kind, facts.kind, facts.extension, facts.app_type) == ("file", "file", "txt", "text")


def test_the_same_mark_is_the_same_mimei(store: Store) -> None:
    store.ask(requests.Create(b"a", mark=b"m"))
    with pytest.raises(ExistsError, match="choose another mark"):
        store.ask(requests.Create(b"b", mark=b"m"))
    assert [line.name for line in store.ask(requests.List()).mimeis] == [b"a"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [(b"", InvalidError), (b"..", InvalidError), (b"a/b", InvalidError), (b"@x", InvalidError), (b"x" * 256, NameTooLongError)],
)
def test_create_refuses_a_bad_name(store: Store, name: bytes, kind: type[MimeiError]) -> None:
    with pytest.raises(kind):
        store.ask(requests.Create(name))
    assert len(store.ask(requests.ListAll()).mimeis) == 1  # the root


def test_create_refuses_a_taken_name(store: Store) -> None:
    create(store)
    with pytest.raises(ExistsError):
        create(store)


def test_a_name_that_is_no_utf8_is_kept_as_bytes(store: Store) -> None:
    create(store, b"\xff\xfe")
    assert store.ask(requests.Info(b"\xff\xfe")).name == b"\xff\xfe"


def test_the_kernel_is_told_of_a_new_name(store: Store) -> None:
    told: list[tuple[int, bytes]] = []
    store.services.live.invalidated = lambda parent, name: told.append((parent, name))
    create(store)
    assert told == [(1, b"photos")]


# names


def test_a_mimei_is_found_by_its_id(store: Store) -> None:
    made = create(store)
    assert store.ask(requests.Info(made.mimei.encode())).mimei == made.mimei


def test_a_missing_name_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no MiMei nope"):
        store.ask(requests.Info(b"nope"))


def test_a_missing_id_is_not_found(store: Store) -> None:
    text = create(store).mimei
    with pytest.raises(NotFoundError):
        store.ask(requests.Info(("m" + "a" * 52).encode()))
    assert parse_mimei(text)


def test_an_ordinary_file_of_the_root_is_no_mimei(store: Store) -> None:
    store.write(store.services.views.root, b"plain", b"x")
    with pytest.raises(InvalidError, match="plain is no MiMei"):
        store.ask(requests.Backup(b"plain"))


def test_a_path_through_a_file_is_refused(store: Store) -> None:
    create(store)
    store.write(store.present(b"photos"), b"f", b"x")
    with pytest.raises(NotADirError):
        store.ask(requests.Info(b"photos/f/x"))


# ls, info


def test_ls_goes_on_from_page_to_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_ROWS", 2)
    names = [b"m%d" % number for number in range(5)]
    for name in names:
        create(store, name)
    found, after = [], b""
    while True:
        page = store.ask(requests.List(after))
        assert len(page.mimeis) <= 2
        found += [line.name for line in page.mimeis]
        after = page.next
        if not after:
            break
    assert found == names


def test_ls_all_lists_what_has_no_link(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_ROWS", 1)
    create(store)
    store.ask(requests.Remove(b"photos"))
    found, request = [], requests.ListAll()
    while True:
        page = store.ask(request)
        found += [(line.name, line.view) for line in page.mimeis]
        if not page.next:
            break
        request = requests.ListAll(page.next)
    assert sorted(found) == [(b"photos", ""), (b"root", "root")]


def test_info_tells_of_changes(store: Store) -> None:
    create(store)
    store.ask(requests.Backup(b"photos"))
    assert not store.ask(requests.Info(b"photos")).changed
    store.write(store.present(b"photos"), b"a", b"x")
    facts = store.ask(requests.Info(b"photos"))
    assert facts.changed
    assert facts.last is not None
    assert (facts.number, facts.last.labels, facts.release) == (1, ("last",), None)


# rm


def test_rm_drops_the_link_and_keeps_the_mimei(store: Store) -> None:
    made = create(store)
    store.write(store.present(b"photos"), b"a", b"x")
    assert store.ask(requests.Remove(b"photos")).mimei == made.mimei
    assert store.ask(requests.List()).mimeis == ()
    assert store.ask(requests.Backup(made.mimei.encode())).version.files == 1


def test_rm_refuses_an_ordinary_file(store: Store) -> None:
    store.write(store.services.views.root, b"plain", b"x")
    with pytest.raises(InvalidError):
        store.ask(requests.Remove(b"plain"))


# backup, labels, release


def test_backup_without_changes_is_the_version_before(store: Store) -> None:
    create(store)
    first, second = store.ask(requests.Backup(b"photos", "memo")), store.ask(requests.Backup(b"photos"))
    assert (first.fresh, second.fresh) == (True, False)
    assert (second.version.number, second.version.memo) == (1, "memo")


def test_backup_gives_the_label(store: Store) -> None:
    create(store)
    assert store.ask(requests.Backup(b"photos", label="@one")).version.labels == ("last", "one")


@pytest.mark.parametrize("label", ["cur", "@cur", "last", "7up", "a/b", "", "a~b", "Release"])
def test_a_label_that_would_mislead_is_refused(store: Store, label: str) -> None:
    create(store)
    store.ask(requests.Backup(b"photos"))
    for request in (
        requests.Label(b"photos", label),
        requests.MoveLabel(b"photos", label),
        requests.DropLabel(b"photos", label),
    ):
        with pytest.raises(InvalidError):
            store.ask(request)


def test_a_label_can_be_moved_and_dropped(store: Store) -> None:
    create(store)
    store.ask(requests.Backup(b"photos", label="good"))
    store.write(store.present(b"photos"), b"a", b"x")
    store.ask(requests.Backup(b"photos"))
    with pytest.raises(ExistsError):
        store.ask(requests.Label(b"photos", "good", "2"))
    assert store.ask(requests.MoveLabel(b"photos", "good", "2")).version.number == 2
    assert store.ask(requests.DropLabel(b"photos", "good")).version.labels == ("last",)
    with pytest.raises(NotFoundError):
        store.ask(requests.DropLabel(b"photos", "good"))


def test_release_publishes_and_drop_ends_it(store: Store) -> None:
    create(store)
    store.ask(requests.Backup(b"photos"))
    assert store.ask(requests.Release(b"photos")).version.labels == ("last", "release")
    store.ask(requests.DropLabel(b"photos", "release"))
    assert store.ask(requests.Info(b"photos")).release is None


def test_release_needs_a_version(store: Store) -> None:
    create(store)
    with pytest.raises(NotFoundError, match="takes one"):
        store.ask(requests.Release(b"photos"))
    with pytest.raises(NotFoundError, match="@9"):
        store.ask(requests.Release(b"photos", "9"))
    with pytest.raises(InvalidError, match="cur is the present"):
        store.ask(requests.Release(b"photos", "@cur"))


# log


def test_log_goes_on_from_page_to_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_ROWS", 3)
    create(store)
    for number in range(7):
        store.write(store.present(b"photos"), b"a", b"%d" % number)
        store.ask(requests.Backup(b"photos"))
    found, after = [], b""
    while True:
        page = store.ask(requests.Log(b"photos", after))
        found += [line.number for line in page.versions]
        after = page.next
        if not after:
            break
    assert found == [7, 6, 5, 4, 3, 2, 1]


def test_log_without_versions_is_empty(store: Store) -> None:
    create(store)
    assert store.ask(requests.Log(b"photos")) == requests.Versions((), b"")


# restore, fork, split


def test_restore_keeps_what_was_there(store: Store) -> None:
    create(store)
    store.write(store.present(b"photos"), b"a", b"one")
    store.ask(requests.Backup(b"photos"))
    store.write(store.present(b"photos"), b"a", b"two")
    reply = store.ask(requests.Restore(b"photos", "1"))
    assert reply.saved is not None
    assert (reply.version.number, reply.saved.number) == (1, 2)
    present = store.present(b"photos")
    assert store.local.attempt(lambda: present.lookup(b"a").open(writing=False).read(0, 9)) == b"one"


def test_restore_of_what_is_unchanged_takes_no_version(store: Store) -> None:
    create(store)
    store.ask(requests.Backup(b"photos"))
    assert store.ask(requests.Restore(b"photos", "last")).saved is None


def test_restore_of_a_missing_path_is_refused(store: Store) -> None:
    create(store)
    store.ask(requests.Backup(b"photos"))
    with pytest.raises(NotFoundError):
        store.ask(requests.Restore(b"photos", "1", b"no/such"))


def test_fork_starts_from_the_present(store: Store) -> None:
    create(store)
    store.write(store.present(b"photos"), b"a", b"x")
    forked = store.ask(requests.Fork(b"photos", b"copy"))
    facts = store.ask(requests.Info(b"copy"))
    assert forked.view == "cur"
    assert (facts.files, facts.origin_mimei) == (1, store.ask(requests.Info(b"photos")).mimei)
    store.write(store.present(b"copy"), b"b", b"y")
    assert store.ask(requests.Backup(b"photos")).version.files == 1


def test_fork_to_a_taken_name_changes_nothing(store: Store) -> None:
    create(store)
    with pytest.raises(ExistsError):
        store.ask(requests.Fork(b"photos", b"photos"))
    assert store.ask(requests.Info(b"photos")).number == 0


def test_split_leaves_a_mimei_that_its_path_names(store: Store) -> None:
    create(store)
    store.do(lambda: store.present(b"photos").mkdir(b"sub", 0o755, WHO))
    store.write(store.present(b"photos").lookup(b"sub"), b"a", b"x")
    made = store.ask(requests.Split(b"photos", b"sub"))
    assert made.name == b"photos/sub"
    assert store.ask(requests.Info(b"photos/sub")).mimei == made.mimei


# ref


def test_references_are_counted(store: Store) -> None:
    create(store, b"album")
    create(store)
    store.ask(requests.ChangeRef(b"album", b"photos", count=3))
    (line,) = store.ask(requests.ChangeRef(b"album", b"photos", count=-1)).refs
    assert (line.holder_name, line.target_name, line.count, line.record) == (b"album", b"photos", 2, "")
    assert store.ask(requests.ListRefs(b"photos")).refs == (line,)
    with pytest.raises(UsageError):
        store.ask(requests.ChangeRef(b"album", b"photos", count=-5))


def test_a_reference_can_name_a_version(store: Store) -> None:
    create(store, b"album")
    create(store)
    version = store.ask(requests.Backup(b"photos")).version
    (line,) = store.ask(requests.ChangeRef(b"album", b"photos", "1")).refs
    assert line.record == version.record


def test_a_reference_may_lead_to_another_node(store: Store) -> None:
    create(store, b"album")
    elsewhere = ("m" + "a" * 52).encode()
    store.ask(requests.ChangeRef(b"album", elsewhere))
    assert store.ask(requests.ListRefs(elsewhere)).refs[0].count == 1


def test_an_error_has_changed_nothing(store: Store) -> None:
    create(store)
    before = store.services.live.journal.position
    for request in (requests.Label(b"photos", "x"), requests.Restore(b"photos", "3"), requests.Split(b"photos", b"no")):
        with pytest.raises((MimeiError, ConflictError)):
            store.ask(request)
    assert store.services.live.journal.position == before
