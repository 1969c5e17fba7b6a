"""The history of one path, by the index and by looking at every version."""

import re
from functools import partial
from pathlib import Path

import pytest

from mimeifs.ids import MimeiId
from mimeifs.model import changed_paths, path_index, reindexing
from mimeifs.model import live as live_module
from mimeifs.model.checking import Finding
from mimeifs.model.checking.findings import Fault
from mimeifs.model.comparing import entry_at, split_path
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.path_history import Moment, Standing
from mimeifs.model.versions import VersionInfo
from mimeifs.store import operations
from mimeifs.store.database import U64, Table
from mimeifs.store.overlay import Overlay
from tests.model.conftest import Local, open_local
from tests.model.test_transplant_random import NAMES, Work


@pytest.fixture
def top(local: Local) -> LiveDir:
    made = local.mimei()
    for path in (b"a", b"b", b"d/x", b"d/e/y", b"still/z"):
        local.put(made, path, b"1 " + path)
    return made


def history(local: Local, top: LiveDir, path: bytes) -> list[tuple[int, int | None]]:
    moments = local.run(lambda: local.engine.history.moments(top.tree.mimei, path))
    return [(each.version.number, None if each.entry is None else each.entry.size) for each in moments]


def link(local: Local, top: LiveDir) -> None:
    """Another name, ``l``, for the file ``a``."""
    a = local.run(lambda: top.child(b"a"))
    local.run(lambda: top.link(b"l", a))


def test_the_history_of_a_path_has_each_state_once(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    local.backup(mimei)
    local.put(top, b"d/new", b"12")
    local.backup(mimei)
    local.put(top, b"b", b"elsewhere")
    local.backup(mimei)
    local.put(top, b"d/new", b"123")
    local.backup(mimei)
    directory, _ = local.above(top, b"d/new")
    local.run(lambda: directory.unlink(b"new"))
    local.backup(mimei)
    local.put(top, b"d/new", b"1")
    local.backup(mimei)
    assert history(local, top, b"d/new") == [(2, 2), (4, 3), (5, None), (6, 1)]
    assert [number for number, _ in history(local, top, b"/a")] == [1]
    assert history(local, top, b"never/was") == []
    assert [number for number, _ in history(local, top, b"")] == [1, 2, 3, 4, 5, 6]


def test_the_history_of_a_hard_link_follows_its_content(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    link(local, top)
    local.backup(mimei)
    local.put(top, b"a", b"22222222")
    local.backup(mimei)
    assert history(local, top, b"l") == [(1, 3), (2, 8)]


# Against every version


def walked(local: Local, mimei: MimeiId, path: bytes) -> list[Moment]:
    """The same answer without an index."""
    engine, found, shown = local.engine, [], None
    versions = sorted(engine.versions.newest_first(mimei), key=lambda version: (version.number, version.record))
    for version in versions:
        tree = local.run(lambda version=version: engine.versions.tree_root(version))
        entry = local.run(lambda tree=tree: entry_at(engine.live.blobs, tree, split_path(path)))
        if entry != shown:
            shown = entry
            found.append(Moment(version, entry))
    return found


def indexed(local: Local, mimei: MimeiId, path: bytes) -> list[Moment]:
    return local.run(lambda: local.engine.history.moments(mimei, path))


def candidates(local: Local, mimei: MimeiId, path: bytes) -> int:
    """How many versions have to be looked at."""
    found = path_index.find(local.running.database, mimei, path_index.digests_of(split_path(path)))
    assert len(found.gaps) <= 2  # below the first version and behind the last
    return len(found.numbers)


PATHS = [
    b"/".join(names)
    for names in [
        *((a,) for a in NAMES),
        *((a, b) for a in NAMES for b in NAMES),
        *((a, b, c) for a in NAMES for b in NAMES for c in NAMES),
    ]
]


def versions_of(local: Local, mimei: MimeiId) -> list[VersionInfo]:
    return sorted(local.engine.versions.newest_first(mimei), key=lambda version: version.number)


def expected(moments: list[Moment], version: VersionInfo) -> Standing | None:
    """How a version's state of a path stands among all of them."""
    until = [moment for moment in moments if moment.version.number <= version.number]
    if not until or until[-1].entry is None:
        return None
    before = [moment.version for moment in until[:-1] if moment.entry is not None]
    after = [moment.version for moment in moments[len(until) :] if moment.entry is not None]
    return Standing(until[-1], before[-1] if before else None, after[0] if after else None)


@pytest.mark.parametrize("seed", range(4))
def test_the_index_answers_as_every_version_does(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "IDLE_LIMIT", 3)
    monkeypatch.setattr(path_index, "FAN", 3)
    monkeypatch.setattr(path_index, "MAX_RUN", 1000)
    monkeypatch.setattr(changed_paths, "MANY", 4)
    local = open_local(tmp_path)
    try:
        work = Work(local, 100 + seed)
        acts = [work.write] * 6 + [work.mkdir] * 3 + [work.remove, work.rename, work.rename, work.link, work.link]
        acts += [work.backup] * 5 + [work.restore, work.restore_path, work.restore_path, work.settle, work.forget]
        for step in range(300):
            work.chance.choice(acts)()
            if step % 60 == 59:
                work.crash()
        fork = local.run(lambda: local.engine.transplant.fork(work.mimei))
        local.put(local.present(fork), b"new", b"in the fork")
        local.backup(fork)
        for mimei in (work.mimei, fork):
            for path in PATHS:
                moments = walked(local, mimei, path)
                assert indexed(local, mimei, path) == moments, path
                for version in versions_of(local, mimei)[:: 1 + seed]:
                    found = local.run(partial(local.engine.history.standing, mimei, path, version))
                    assert found == expected(moments, version), (path, version.number)
        assert local.findings() == []
    finally:
        local.running.close()


def test_versions_of_other_paths_are_not_looked_at(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    local.backup(mimei)
    for count in range(40):
        local.put(top, b"d/x", b"%d" % count)
        local.backup(mimei)
    assert candidates(local, mimei, b"d/x") == 41
    assert candidates(local, mimei, b"d") == 41
    assert candidates(local, mimei, b"d/e/y") == 1
    assert candidates(local, mimei, b"still") == 1


def test_a_directory_that_moves_is_one_note(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    local.backup(mimei)
    local.run(lambda: top.rename(b"d", top, b"moved", 0))
    version = local.backup(mimei)
    runs = [value for key, value in local.running.database.scan(Table.HISTORY, mimei) if path_index.run_of(key).first == 2]
    assert [sorted(pair[:8] for pair in path_index.pairs(run)) for run in runs] == [
        sorted([path_index.own(b"d"), path_index.whole(b"d"), path_index.own(b"moved"), path_index.whole(b"moved")])
    ]
    assert [moment.version for moment in indexed(local, mimei, b"moved/e/y")] == [version]
    assert [moment.version.number for moment in indexed(local, mimei, b"d/e/y")] == [1, 2]


def test_few_rows_whatever_the_number_of_versions(local: Local, top: LiveDir) -> None:
    for count in range(path_index.FAN**2 + 3):
        local.put(top, b"a", b"%d" % count)
        local.backup(top.tree.mimei)
    levels = [path_index.run_of(key).level for key, _ in local.running.database.scan(Table.HISTORY, top.tree.mimei)]
    assert levels == [2, 0, 0, 0]


def test_a_store_without_the_index_answers_the_same(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    for count in range(3):
        local.put(top, b"a", b"%d" % count)
        local.backup(mimei)
    before = indexed(local, mimei, b"a")
    with local.running.database.write() as transaction:
        transaction.drop(local.running.database.tables[Table.HISTORY], delete=False)
    local.running.database.renew()
    local.put(top, b"a", b"later")
    local.backup(mimei)
    assert indexed(local, mimei, b"a")[:-1] == before
    assert indexed(local, mimei, b"a") == walked(local, mimei, b"a")


def test_what_the_index_does_not_know_is_filled_in(local: Local, top: LiveDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindexing, "STEP_VERSIONS", 2)
    mimei, keeper = top.tree.mimei, local.running.keeper
    for count in range(6):
        local.put(top, b"d/x" if count % 2 else b"a", b"%d" % count)
        if count == 3:
            local.run(lambda: top.rename(b"still", top, b"moved", 0))
        local.backup(mimei)
    with local.running.database.write() as transaction:
        path_index.drop(Overlay(local.running.database, transaction), mimei)
    local.put(top, b"a", b"later")
    local.backup(mimei)
    while not keeper.knows_gaps:
        keeper.index_some()
    assert [candidates(local, mimei, path) for path in (b"a", b"b", b"d/x", b"moved/z")] == [4, 1, 4, 2]
    for path in (b"a", b"b", b"d/x", b"d/e/y", b"still/z", b"moved/z"):
        assert indexed(local, mimei, path) == walked(local, mimei, path)


def test_an_index_that_was_dropped_is_made_anew(local: Local, top: LiveDir) -> None:
    mimei, keeper = top.tree.mimei, local.running.keeper
    for count in range(3):
        local.put(top, b"d/x", b"%d" % count)
        local.backup(mimei)
    while not keeper.knows_gaps:
        keeper.index_some()
    local.run(lambda: local.engine.live.append(operations.clear(Table.HISTORY, mimei)))
    assert not keeper.knows_gaps
    assert [moment.version.number for moment in indexed(local, mimei, b"d/x")] == [1, 2, 3]
    while not keeper.knows_gaps:
        keeper.index_some()
    assert candidates(local, mimei, b"d/e/y") == 1
    assert candidates(local, mimei, b"d/x") == 3


def test_the_check_tells_what_the_index_misses(local: Local, top: LiveDir) -> None:
    mimei, database = top.tree.mimei, local.running.database
    local.backup(mimei)
    local.put(top, b"d/e/y", b"changed")
    local.backup(mimei)
    key, data = list(database.scan(Table.HISTORY, mimei))[-1]
    rows = path_index.pairs(data)

    def store(kept: list[bytes]) -> list[Finding]:
        with database.write() as transaction:
            path_index.put(Overlay(database, transaction), path_index.run_of(key), kept)
        return local.findings()

    lost = [row for row in rows if row[:8] != path_index.own(b"d/e/y")]
    assert [(each.fault, each.where.path, each.where.version) for each in store(lost)] == [(Fault.WRONG, b"d/e/y", 2)]  # type: ignore[attr-defined]
    assert [each.fault for each in store(rows[::-1])] == [Fault.WRONG]
    assert [each.fault for each in store([rows[0][:8] + bytes(8)])] == [Fault.WRONG]
    assert store(rows) == []


def test_the_worked_example_of_the_format_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "format" / "history.md").read_text()
    run = path_index.Run(MimeiId(bytes(32)), 3, 3, 0)
    rows = sorted(path_index.own(path) + U64.pack(3) for path in (b"d", b"d/x"))
    shown = [bytes.fromhex(line) for line in page.splitlines() if re.fullmatch(r"[0-9a-f ]{33,38}", line)]
    assert shown == [run.key[32:], *rows]


# One state among the others


def stood(local: Local, top: LiveDir, path: bytes, number: int | None) -> tuple[int, int | None, int | None] | None:
    """The numbers of the version that has a state first, of the one before and of the one after."""
    engine, mimei = local.engine, top.tree.mimei
    version = None if number is None else engine.versions.by_number(mimei, number)
    found = local.run(lambda: engine.history.standing(mimei, path, version))
    if found is None:
        return None
    before, after = (None if each is None else each.number for each in (found.before, found.after))
    return found.here.version.number, before, after


def test_a_state_stands_between_the_states_before_and_after_it(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    for turn, path in enumerate((b"b", b"d/x", b"d/x", b"b", b"d/new", b"d/x", b"b")):
        local.put(top, path, bytes(turn))
        local.backup(mimei)
    for path in (b"d/x", b"d", b"", b"a"):
        numbers = [moment.version.number for moment in indexed(local, mimei, path)]
        for index, number in enumerate(numbers):
            before = numbers[index - 1] if index else None
            after = numbers[index + 1] if index + 1 < len(numbers) else None
            assert stood(local, top, path, number) == (number, before, after)
        assert stood(local, top, path, None) == (numbers[-1], numbers[-2] if len(numbers) > 1 else None, None)
    assert stood(local, top, b"never", None) is None


def test_a_state_is_that_of_later_versions_too_until_it_changes(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    local.backup(mimei)
    for turn in range(5):
        local.put(top, b"b", b"%d" % turn)
        local.backup(mimei)
    local.put(top, b"a", b"changed")
    local.backup(mimei)
    assert [stood(local, top, b"a", number) for number in (1, 4, 6)] == [(1, None, 7)] * 3
    assert stood(local, top, b"a", 7) == (7, 1, None)


def test_the_state_of_a_path_that_went_is_passed_over(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    local.backup(mimei)
    local.run(lambda: top.unlink(b"a"))
    local.backup(mimei)
    assert stood(local, top, b"a", 2) is None
    assert stood(local, top, b"a", None) == (1, None, None)
    local.put(top, b"a", b"again")
    local.backup(mimei)
    assert stood(local, top, b"a", 3) == (3, 1, None)
    assert stood(local, top, b"a", 1) == (1, None, 3)


def test_a_hard_link_stands_where_its_content_does(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    link(local, top)
    local.backup(mimei)
    local.put(top, b"b", b"else")
    local.backup(mimei)
    local.put(top, b"a", b"22222222")
    local.backup(mimei)
    assert stood(local, top, b"l", 2) == (1, None, 3)
    assert stood(local, top, b"l", None) == (3, 1, None)


def test_a_history_goes_on_where_it_was_left(local: Local, top: LiveDir) -> None:
    mimei = top.tree.mimei
    for turn in range(6):
        local.put(top, b"a", b"%d" % turn)
        local.backup(mimei)
    whole = indexed(local, mimei, b"a")
    rest = local.run(lambda: list(local.engine.history.onward(mimei, b"a", whole[2].version.number)))
    assert rest == whole[2:]
