"""The yardstick does what a file system must, on both session loops: a ratio against a broken one would mean nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import harness, workloads

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module", params=["plain", "improved"])
def mounted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One mount for all tests."""
    with harness.start_memfs("memfs", request.param, tmp_path_factory.mktemp("memfs").resolve()) as system:
        yield system.point
    assert harness.mount_row(system.point) is None


@pytest.fixture
def root(mounted: Path, request: pytest.FixtureRequest) -> Path:
    """A directory of its own for a test."""
    made = mounted / request.node.name
    made.mkdir()
    return made


def test_bytes_come_back_wherever_they_were_written(root: Path) -> None:
    with open(root / "file", "wb+") as file:
        file.write(b"abc")
        file.seek(10_000)
        file.write(b"end")
        file.flush()
        os.ftruncate(file.fileno(), 10_002)
        os.fsync(file.fileno())
    assert (root / "file").read_bytes() == b"abc" + bytes(9997) + b"en"


def test_names_come_and_go(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "file").write_bytes(b"one")
    os.link(root / "a" / "file", root / "second")
    (root / "link").symlink_to("second")
    os.rename(root / "a" / "file", root / "file")
    (root / "a").rmdir()
    (root / "second").unlink()
    assert sorted(os.listdir(root)) == ["file", "link"]
    assert (root / "file").stat().st_nlink == 1
    assert os.readlink(root / "link") == "second"


def test_a_rename_replaces(root: Path) -> None:
    (root / "old").write_bytes(b"old")
    (root / "new").write_bytes(b"new")
    os.replace(root / "new", root / "old")
    assert os.listdir(root) == ["old"]
    assert (root / "old").read_bytes() == b"new"


def test_a_long_listing_shows_every_name_once(root: Path) -> None:
    names = [f"{number:04d}" for number in range(1500)]
    for name in names:
        (root / name).touch()
    assert sorted(os.listdir(root)) == names


def test_an_unlinked_open_file_keeps_its_bytes(root: Path) -> None:
    with open(root / "file", "wb+") as file:
        file.write(b"still here")
        file.flush()
        (root / "file").unlink()
        file.seek(0)
        assert file.read() == b"still here"


@pytest.mark.parametrize("workload", workloads.WORKLOADS, ids=lambda item: item.run.__name__)
def test_every_workload_runs(root: Path, workload: workloads.Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "drop_caches", lambda: False)
    place = root / "place"
    place.mkdir()
    sizes = workloads.Sizes(large_mib=2, files=8, appends=8)
    workload.prepare(place, sizes)
    assert workload.run(place, sizes) > 0


def test_rows_are_medians_of_the_rounds_ratios() -> None:
    row = harness.row(
        "work", "/s", {"we": [10, 30, 20], "they": [10, 10, 40], "disk": [1, 1, 1]}, "we", {"they": 1.1, "disk": 0}
    )
    assert row.ours == 20
    assert [(each.value, each.ratio, each.met) for each in row.beside] == [(10, 1.0, False), (1, 20, True)]
