"""An index made again from packs: every version, label and reference of the one that was lost."""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from mimeifs.clock import CountingRandomness
from mimeifs.engine import LocalEngine
from mimeifs.errors import ConflictError, ForbiddenError, IntegrityError, LockedError, NotFoundError
from mimeifs.home import Home
from mimeifs.ids import MimeiId
from mimeifs.model.identity import KeyKind, encode_key_file, new_key, write_key_file
from mimeifs.model.node import Node
from mimeifs.model.references import Held
from mimeifs.rebuild import Outcome, rebuild
from mimeifs.store import disk
from mimeifs.store import salvage as salvaging
from mimeifs.store.database import Table
from mimeifs.store.journal import segments
from mimeifs.store.packfiles import pack_numbers
from mimeifs.store.packs import HEADER_SIZE, IndexRow, encode_header, pack_name
from tests.model.conftest import WHO, Local, Randomness, open_local
from tests.store.packing import noise

Seen = dict[str, dict[str, tuple[object, ...]]]


class Lost:
    """A used home that nobody has open, and what was in it; what is changed in it after :meth:`lose` began is in no version."""

    def __init__(self, path: Path) -> None:
        self.local = open_local(path)
        self.home = self.local.home
        made = self.local
        notes, photos = made.mimei(b"notes"), made.mimei(b"photos")
        made.put(notes, b"a", b"one")
        made.put(notes, b"sub/b", b"b")
        made.backup(notes.tree.mimei, "first")
        made.put(notes, b"a", noise(300_000))
        sub, a = made.run(lambda: notes.child(b"sub")), made.run(lambda: notes.child(b"a"))
        made.run(lambda: sub.link(b"a2", a))
        made.run(lambda: notes.symlink(b"s", b"target", WHO))
        made.backup(notes.tree.mimei, "second")
        made.put(photos, b"2025/p", noise(90_000, 1))
        last = made.backup(photos.tree.mimei)
        versions = made.engine.versions
        made.run(lambda: versions.release(notes.tree.mimei, versions.by_number(notes.tree.mimei, 1)))
        made.run(lambda: versions.drop_label(notes.tree.mimei, "second"))
        made.run(lambda: made.engine.references.add(notes.tree.mimei, photos.tree.mimei, last.record, 3))
        made.run(lambda: made.engine.references.delete(notes.tree.mimei, photos.tree.mimei, last.record, 1))
        self.fork = made.run(lambda: made.engine.transplant.fork(notes.tree.mimei, name="fork"))
        self.notes, self.photos = notes.tree.mimei, photos.tree.mimei
        self.seen = seen(made)

    def lose(self) -> "Lost":
        """End, and lose the index."""
        self.local.running.close()
        shutil.rmtree(self.home.storage.index)
        return self

    def rebuild(self, *, force: bool = False) -> Outcome:
        return rebuild(self.home, self.local.clock, Randomness(), WHO, force=force, report=lambda _text: None)

    def open(self) -> Local:
        self.local.running = LocalEngine(self.home, self.local.clock, Randomness())
        return self.local


def seen(local: Local) -> Seen:
    """Everything that records tell: of each MiMei its versions, with all they hold, labels and references."""
    engine, found = local.engine, Seen()
    for mimei, row in engine.mimeis.all():
        held = found[mimei.hex()] = {"row": (row.kind, row.name, row.author, row.origin_mimei, row.created_ns)}
        for info in list(engine.versions.newest_first(mimei)):
            held[f"{info.number} {info.record.hex()}"] = (info.row, *sorted(local.tree(local.past(info)).items()))
        held["labels"] = tuple(sorted(engine.versions.labels(mimei).items()))
        held["refs"] = tuple(sorted(engine.references.get(mimei), key=repr))
        held["heads"] = tuple(engine.database.scan(Table.HEADS, mimei))
    return found


@pytest.fixture
def lost(tmp_path: Path) -> Lost:
    return Lost(tmp_path)


def below(local: Local, name: bytes) -> dict[bytes, bytes]:
    """What stands in the root under a name."""
    return local.tree(local.run(lambda: local.engine.views.root.lookup(name)))


def test_all_that_records_tell_is_there_again(lost: Lost) -> None:
    outcome = lost.lose().rebuild()
    local = lost.open()
    assert seen(local) == lost.seen
    assert local.findings() == []
    assert (outcome.mimeis, outcome.versions) == (4, 4)
    assert (outcome.damaged, outcome.gaps, outcome.refused) == ((), (), 0)
    assert local.engine.references.get(lost.photos) == [Held(lost.notes, local.engine.versions.last(lost.photos).record, 2)]  # type: ignore[union-attr]
    local.running.close()


def test_each_present_is_the_newest_version_and_can_be_worked_in(lost: Lost) -> None:
    local = lost.local
    local.put(local.present(lost.notes), b"unversioned", b"gone")
    lost.lose().rebuild()
    local = lost.open()
    notes, newest = local.present(lost.notes), local.engine.versions.last(lost.notes)
    assert newest is not None
    assert local.tree(notes) == local.tree(local.past(newest))
    assert local.backup(lost.notes).number == newest.number
    local.put(notes, b"sub/b", b"changed")
    assert local.run(lambda: notes.child(b"a")).stat().nlink == 2
    taken = local.backup(lost.notes)
    assert (taken.number, local.tree(local.past(taken))[b"sub/b"]) == (newest.number + 1, b"changed")
    assert local.engine.mimeis.tree(lost.notes).single is False
    assert local.findings() == []
    local.running.close()


def test_what_nothing_shows_is_put_into_the_root_under_names_of_its_own(lost: Lost) -> None:
    local = lost.local
    twin = local.run(lambda: local.engine.mimeis.create(local.engine.mimeis.info("notes", "tree"), WHO))
    local.run(lambda: local.engine.mimeis.create(local.engine.mimeis.info("", "tree"), WHO))
    local.run(lambda: local.engine.mimeis.create(local.engine.mimeis.info("@last", "tree"), WHO))
    outcome = lost.lose().rebuild()
    local = lost.open()
    assert {b"notes", b"notes (2)", b"photos", b"fork"} < set(outcome.placed)
    assert len(set(outcome.placed)) == 6
    assert below(local, b"photos")[b"2025/p"] == noise(90_000, 1)
    assert twin.mimei in {mimei for mimei, _ in local.engine.mimeis.all()}
    assert local.findings() == []
    local.running.close()


def test_links_of_the_roots_newest_version_stand_and_are_not_made_twice(lost: Lost) -> None:
    local = lost.local
    root = local.engine.views.root
    local.run(lambda: root.rename(b"notes", root, b"renamed", 0))
    local.backup(root.tree.mimei)
    outcome = lost.lose().rebuild()
    local = lost.open()
    assert set(outcome.placed) == {b"fork"}
    assert below(local, b"renamed")[b"sub/b"] == b"b"
    local.running.close()


def test_a_mimei_that_another_shows_is_not_put_into_the_root(lost: Lost) -> None:
    local = lost.local
    local.put(local.present(lost.photos), b"album/x", b"x")
    inner = local.run(lambda: local.engine.transplant.split(lost.photos, b"album"))
    local.backup(lost.photos)
    outcome = lost.lose().rebuild()
    local = lost.open()
    assert set(outcome.placed) == {b"notes", b"photos", b"fork"}
    assert below(local, b"photos")[b"album/x"] == b"x"
    assert local.engine.mimeis.tree(lost.photos).nests
    assert local.tree(local.present(inner)) == {b"x": b"x"}
    local.running.close()


def test_a_sound_index_is_only_replaced_by_force_and_versions_keep_their_inode_numbers(lost: Lost) -> None:
    before = number_in_a_version(lost.local, lost.notes)
    lost.local.running.close()
    with pytest.raises(ConflictError, match="--force"):
        lost.rebuild()
    lost.rebuild(force=True)
    local = lost.open()
    assert seen(local) == lost.seen
    assert number_in_a_version(local, lost.notes) == before
    lost.lose().rebuild()
    assert number_in_a_version(lost.open(), lost.notes) != before
    local.running.close()


def number_in_a_version(local: Local, mimei: MimeiId) -> int:
    past = local.past(local.engine.versions.by_number(mimei, 1))
    return local.run(lambda: past.lookup(b"a")).stat().ino


def test_the_old_index_and_journal_are_set_aside_each_time(lost: Lost) -> None:
    lost.local.running.abandon()
    index = (lost.home.storage.index / "data.mdb").read_bytes()
    numbers = segments(lost.home.storage.journal)
    first, second = lost.rebuild(force=True), lost.rebuild(force=True)
    assert first.aside != second.aside
    assert (Path(first.aside) / "index" / "data.mdb").read_bytes() == index
    assert segments(Path(first.aside) / "journal") == numbers
    assert min(segments(lost.home.storage.journal)) > max(segments(Path(second.aside) / "journal")) > max(numbers)
    assert sorted(os.listdir(lost.home.root)) == ["keys", "store"]


def test_damage_in_packs_costs_what_is_damaged(lost: Lost) -> None:
    local = lost.local
    row = IndexRow.decode(local.engine.database.get(Table.BLOBS, local.engine.versions.by_number(lost.notes, 2).root) or b"")
    info = IndexRow.decode(local.engine.database.get(Table.BLOBS, local.engine.mimeis.row(lost.photos).info) or b"")
    lost.lose()
    flip(lost.home, row)
    flip(lost.home, info)
    outcome = lost.rebuild()
    assert len(outcome.damaged) == 2
    assert (outcome.mimeis, outcome.versions, outcome.refused) == (3, 3, 1)  # The version of what has lost its own record.
    local = lost.open()
    notes = lost.seen[lost.notes.hex()]
    assert seen_of(local, lost.notes, 1) == next(value for key, value in notes.items() if key.startswith("1 "))
    assert local.tree(local.present(lost.notes)) == {b"a": b"one", b"sub": b"/", b"sub/b": b"b"}  # The newest that is whole.
    local.running.close()


def seen_of(local: Local, mimei: MimeiId, number: int) -> tuple[object, ...]:
    info = local.engine.versions.by_number(mimei, number)
    return (info.row, *sorted(local.tree(local.past(info)).items()))


def flip(home: Home, row: IndexRow) -> None:
    with (home.storage.packs / pack_name(row.pack)).open("r+b") as file:
        file.seek(row.offset)
        byte = file.read(1)
        file.seek(row.offset)
        file.write(bytes([byte[0] ^ 1]))


def test_a_root_whose_record_is_damaged_is_made_again_under_its_name(lost: Lost) -> None:
    local = lost.local
    root = local.engine.views.root.tree.mimei
    row = IndexRow.decode(local.engine.database.get(Table.BLOBS, local.engine.mimeis.row(root).info) or b"")
    flip(lost.lose().home, row)
    lost.rebuild()
    local = lost.open()
    assert local.engine.views.root.tree.mimei == root
    assert below(local, b"photos")[b"2025/p"] == noise(90_000, 1)
    assert local.findings() == []
    local.running.close()


@pytest.mark.parametrize("call", range(1, 90, 4))
def test_whatever_interrupts_it_another_call_does_it(lost: Lost, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    lost.local.running.close()
    calls = itertools.count(1)

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object) -> object:
            if next(calls) == call:
                raise KeyboardInterrupt
            return real(*args)

        return run

    for name in ("write", "write_pieces", "sync", "move", "sync_directory"):
        monkeypatch.setattr(disk, name, dying(getattr(disk, name)))
    try:
        lost.rebuild(force=True)
        done = True
    except KeyboardInterrupt:
        done = False
    monkeypatch.undo()
    if not done:
        lost.rebuild(force=True)
    local = lost.open()
    assert seen(local) == lost.seen
    assert local.findings() == []
    local.running.close()


def test_without_packs_or_with_another_key_nothing_is_done(lost: Lost, tmp_path: Path) -> None:
    home = lost.lose().home
    home.device_key.rename(tmp_path / "device.key")
    other = new_key(KeyKind.DEVICE, CountingRandomness(500))
    write_key_file(home.device_key, encode_key_file(other, None, CountingRandomness(600)))
    with pytest.raises(ForbiddenError, match="key file back"):
        lost.rebuild()
    (tmp_path / "device.key").rename(home.device_key)
    home.storage.packs.rename(tmp_path / "packs")
    with pytest.raises(NotFoundError, match="no packs"):
        lost.rebuild()
    (tmp_path / "packs").rename(home.storage.packs)
    lost.rebuild()
    local = lost.open()
    assert seen(local) == lost.seen
    with pytest.raises(LockedError):
        lost.rebuild(force=True)
    local.running.close()


def test_a_label_that_was_dropped_and_set_again_stands(lost: Lost) -> None:
    local = lost.local
    versions = local.engine.versions
    for number in (1, 2, 1):
        local.run(lambda number=number: versions.set_label(lost.notes, "again", versions.by_number(lost.notes, number)))
        local.run(lambda: versions.drop_label(lost.notes, "again"))
    local.run(lambda: versions.set_label(lost.notes, "again", versions.by_number(lost.notes, 2)))
    local.run(lambda: versions.drop_label(lost.notes, "release"))
    before = versions.labels(lost.notes)
    assert set(before) == {"first", "again"}
    lost.lose().rebuild()
    local = lost.open()
    assert local.engine.versions.labels(lost.notes) == before
    local.running.close()


def test_an_index_that_may_not_be_read_is_not_taken_for_damaged(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    lost.local.running.close()

    def refuse(*_args: object, **_more: object) -> None:
        raise lmdb.Error("Too many open files")

    monkeypatch.setattr(lmdb, "open", refuse)
    with pytest.raises(IntegrityError, match=r"cannot be looked at .Too many open files"):
        lost.rebuild()
    monkeypatch.undo()
    assert not list(lost.home.storage.root.glob("set-aside*"))


def test_no_secret_of_the_index_is_in_a_message(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = lost.local.engine.database.meta(b"inode key")
    lost.local.running.close()

    def refuse(*_args: object) -> None:
        raise MemoryError("no memory")

    monkeypatch.setattr(salvaging, "read_through", refuse)  # After META was told.
    with pytest.raises(IntegrityError) as told:
        lost.rebuild()
    assert str(told.value).endswith("cannot be looked at (no memory)")
    assert secret[:4].decode(errors="replace") not in str(told.value)


def test_a_lost_journal_is_reason_enough(lost: Lost) -> None:
    lost.local.running.close()
    shutil.rmtree(lost.home.storage.journal)
    lost.rebuild()
    local = lost.open()
    assert seen(local) == lost.seen
    local.running.close()


def test_the_root_of_another_store_is_not_shown_in_this_one(lost: Lost, tmp_path: Path) -> None:
    other = open_local(tmp_path / "other")
    foreign = other.mimei(b"foreign")
    other.put(foreign, b"f", b"from elsewhere")
    other.backup(foreign.tree.mimei)
    other.running.close()
    packs = lost.lose().home.storage.packs
    data = (other.home.storage.packs / pack_name(1)).read_bytes()
    (packs / pack_name(9)).write_bytes(encode_header(9) + data[HEADER_SIZE:])
    assert set(lost.rebuild().placed) == {b"foreign", b"fork", b"notes", b"photos"}
    local = lost.open()
    assert below(local, b"foreign") == {b"f": b"from elsewhere"}
    local.running.close()


def test_packs_are_only_added_to(lost: Lost) -> None:
    packs = lost.lose().home.storage.packs
    with (packs / pack_name(pack_numbers(packs)[-1])).open("ab") as file:
        file.write(b"torn tail")
    before = {number: (packs / pack_name(number)).read_bytes() for number in pack_numbers(packs)}
    assert lost.rebuild().gaps
    local = lost.open()
    local.put(local.present(lost.notes), b"new", b"new")
    local.backup(lost.notes)
    local.running.close()
    assert {number: (packs / pack_name(number)).read_bytes() for number in before} == before


def test_a_file_mimei_stays_one(lost: Lost) -> None:
    local = lost.local
    tree = local.run(lambda: local.engine.mimeis.create(local.engine.mimeis.info("letter", "file"), WHO))
    local.put(tree.root, b"letter.txt", b"dear")
    local.backup(tree.mimei)
    lost.lose().rebuild()
    local = lost.open()
    assert local.engine.mimeis.tree(tree.mimei).single
    node: Node = local.present(tree.mimei)
    assert local.tree(node) == {b"letter.txt": b"dear"}
    local.running.close()
