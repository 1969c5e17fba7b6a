"""A store that a program of any format number has written opens, checks, shows what it showed, and goes on being used."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from mimeifs.clock import ManualClock
from mimeifs.engine import LocalEngine
from mimeifs.home import Home
from mimeifs.rebuild import rebuild
from mimeifs.store.database import Table
from tests.data.stores.make import everything
from tests.model.conftest import WHO, Local, Randomness

KEPT = sorted((Path(__file__).parent / "data" / "stores").glob("*.tar.xz"))


@pytest.fixture(params=KEPT, ids=lambda path: path.name.removesuffix(".tar.xz"))
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Local, dict[str, dict[str, list[object]]]]:
    archive: Path = request.param
    with tarfile.open(archive) as tar:
        # The first releases of Python 3.11 know no filters.
        tar.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    home = Home(tmp_path / "home")
    home.device_key.chmod(0o600)
    clock = ManualClock(time_ns=1_800_000_000 * 10**9)
    local = Local(home, clock, LocalEngine(home, clock, Randomness()))
    return local, json.loads(archive.with_name(archive.name.replace(".tar.xz", ".json")).read_text())


def test_a_kept_store_shows_what_it_showed_and_has_no_fault(kept: tuple[Local, dict[str, dict[str, list[object]]]]) -> None:
    local, expected = kept
    assert everything(local) == expected
    assert local.findings() == []
    local.running.close()


def test_the_histories_of_a_kept_store_are_the_same_by_index(kept: tuple[Local, dict[str, dict[str, list[object]]]]) -> None:
    local, expected = kept
    keeper = local.running.keeper
    paths = {bytes.fromhex(path) for seen in expected.values() for path in seen}
    pairs = [(mimei, path) for mimei, _ in local.engine.mimeis.all() for path in sorted(paths)]
    before = [local.run(lambda pair=pair: local.engine.history.moments(*pair)) for pair in pairs]
    assert any(before)
    while not keeper.knows_gaps:
        keeper.index_some()
    assert [local.run(lambda pair=pair: local.engine.history.moments(*pair)) for pair in pairs] == before
    assert list(local.running.database.scan(Table.HISTORY, b""))
    assert local.findings() == []
    local.running.close()


def test_a_kept_store_goes_on_being_used(kept: tuple[Local, dict[str, dict[str, list[object]]]]) -> None:
    local, expected = kept
    mimei = next(mimei for mimei, row in local.engine.mimeis.all() if row.name == "photos")
    last = local.engine.versions.last(mimei)
    assert last is not None
    local.put(local.present(mimei), b"new", b"written by a later program")
    assert local.backup(mimei).number == last.number + 1
    now = everything(local)
    assert {name: seen for name, seen in now.items() if name in expected and not name.endswith("@cur")} == {
        name: seen for name, seen in expected.items() if not name.endswith("@cur")
    }
    assert local.findings() == []
    local.running.close()


def test_the_index_of_a_kept_store_can_be_made_again(kept: tuple[Local, dict[str, dict[str, list[object]]]]) -> None:
    local, expected = kept
    local.running.close()
    shutil.rmtree(local.home.storage.index)
    rebuild(local.home, local.clock, Randomness(), WHO, force=False, report=lambda _text: None)
    local.running = LocalEngine(local.home, local.clock, Randomness())
    versions = {name: seen for name, seen in expected.items() if not name.endswith("@cur")}
    assert versions
    assert {name: seen for name, seen in everything(local).items() if name in versions} == versions
    assert local.findings() == []
    local.running.close()


def test_there_is_a_store_of_every_format_number() -> None:
    assert [path.name for path in KEPT] == ["format-1.tar.xz"]
