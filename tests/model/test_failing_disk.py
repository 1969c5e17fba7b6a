"""The disk fails at one call, whichever it is: who needed it is told, nothing wrong is shown, and all else goes on.

A recorded workload is run again and again, each time with another of its calls failing (see :mod:`tests.store.failing`), and
held against what the steps that returned have made. At the end the processes die, and the store is opened and checked.
"""

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimeifs import keeper, syncer
from mimeifs.home import Home
from mimeifs.model import keeper as model_keeper
from mimeifs.store import journal, overlay, packwriter, room
from tests.model.conftest import open_local
from tests.model.working import Service, days
from tests.store.failing import Fault, Faults, install

STEPS = 70
SEGMENT = 256 << 10
FULL_STEPS = 12
"""How many steps long there is no room."""
SAMPLE = 14


@pytest.fixture(scope="module", autouse=True)
def small_segments() -> Iterator[None]:
    """Segments and packs that a short workload fills several times."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (journal, model_keeper, keeper, syncer, overlay, room):
            patched.setattr(module, "SEGMENT_SIZE", SEGMENT)
        patched.setattr(model_keeper, "START_POSITION", SEGMENT + journal.HEADER_SIZE)
        patched.setattr(packwriter, "ROLL_BYTES", 500_000)
        yield


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, small_segments: None) -> Path:
    """A home with one MiMei."""
    place = tmp_path_factory.mktemp("fresh")
    local = open_local(place)
    local.mimei()
    local.running.close()
    return place / "home"


def run(fresh: Path, place: Path, faults: Faults) -> Service:
    """The workload, on a copy of the home; at its end the disk is well, and everything is there after a restart."""
    subprocess.run(["cp", "-a", "--sparse=always", str(fresh), str(place)], check=True)
    with pytest.MonkeyPatch.context() as patched:
        install(faults, patched)
        service = Service(Home(place), faults)
        faults.armed = True
        try:
            full = 0
            for _ in days(service, random.Random(3), STEPS):
                full += bool(faults.struck)
                if faults.fault is Fault.FULL and full > FULL_STEPS:
                    faults.armed = False
            faults.armed = False
            if service.broken:
                service.restart()
            service.seal()
            refused = len(service.refused)
            for _ in days(service, random.Random(4), 10):
                assert not service.broken
            assert service.refused[refused:] == []
            service.check()
            service.restart()
            service.check()
            service.end()
        finally:
            service.kill()
    shutil.rmtree(place)
    return service


@pytest.fixture(scope="module")
def calls(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Fault, int]:
    """How many calls of each kind the workload makes when nothing fails."""
    found = {}
    for fault in Fault:
        faults = Faults(fault)
        assert run(fresh, tmp_path_factory.mktemp("well") / "home", faults).refused == []
        found[fault] = faults.calls
    return found


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
def test_a_disk_that_fails_costs_what_needed_it_and_nothing_else(
    fault: Fault, calls: dict[Fault, int], fresh: Path, tmp_path: Path
) -> None:
    for at in sorted(random.Random(fault.value).sample(range(1, calls[fault] + 1), SAMPLE)):
        faults = Faults(fault, at)
        run(fresh, tmp_path / "home", faults)
        assert faults.struck, f"call {at} was not made"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
def test_whichever_call_of_the_disk_fails(fault: Fault, calls: dict[Fault, int], fresh: Path, tmp_path: Path) -> None:
    failed = []
    for at in range(1, calls[fault] + 1):
        faults = Faults(fault, at)
        try:
            run(fresh, tmp_path / "home", faults)
        except (AssertionError, Exception) as error:
            shutil.rmtree(tmp_path / "home")
            failed.append(f"{at}: {faults.struck[:1]} {error!r:.300}")
    assert failed == []
