"""The harness itself: a run that cannot mount or leaves a mount behind must not look like a good one."""

from pathlib import Path

import pytest

from tests import mounts

TABLE = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
90 22 0:45 / /tmp/run/a rw,nosuid - fuse.mimei mimei rw
91 90 0:46 / /tmp/run/a/with\\040space rw - fuse.mimei mimei rw
92 22 0:47 / /tmp/running rw - fuse.mimei mimei rw
"""

INNER = """
import pytest
@pytest.mark.mount
def test_real_mount(): pass
@pytest.mark.slow
def test_patience(): pass
def test_plain(tmp_path): pass
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A small project of its own that uses this project's conftest."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(INNER)
    pytester.makeini("[pytest]\nmarkers =\n    mount: mounts\n    slow: slow\n")
    return pytester


def arrange(inner: pytest.Pytester, *lines: str) -> None:
    """Have the machine look as the lines say, in every process."""
    root = Path(mounts.__file__).parent.parent
    begin = ("import sys", f"sys.path.insert(0, {str(root)!r})", "from tests import mounts")
    inner.makeconftest("\n".join((*begin, *lines, "from tests.conftest import *")))


def test_mounts_are_found_below_a_folder_only_and_innermost_first() -> None:
    found = mounts.mounted_under(TABLE, Path("/tmp/run"))
    assert found == [Path("/tmp/run/a/with space"), Path("/tmp/run/a")]


def test_a_missing_device_is_an_obstacle(tmp_path: Path) -> None:
    assert "is missing" in (mounts.obstacle(tmp_path / "fuse") or "")


def test_slow_tests_are_left_out_unless_asked_for(inner: pytest.Pytester) -> None:
    arrange(inner, "mounts.obstacle = lambda: None", "mounts.leftovers = lambda folder: []")
    inner.runpytest_subprocess().assert_outcomes(passed=2, deselected=1)
    inner.runpytest_subprocess("--slow").assert_outcomes(passed=3)


PROCESSES = pytest.mark.parametrize("processes", [(), ("-p", "xdist", "-n1")], ids=["one process", "several"])


@PROCESSES
def test_mount_tests_are_skipped_loudly_where_fuse_is_missing(inner: pytest.Pytester, processes: tuple[str, ...]) -> None:
    arrange(inner, "mounts.obstacle = lambda: '/dev/fuse is missing'")
    result = inner.runpytest_subprocess("-q", *processes)
    result.assert_outcomes(passed=1, skipped=1, deselected=0 if processes else 1)
    result.stdout.fnmatch_lines(["*NO MOUNTING HERE: /dev/fuse is missing*", "*SKIPPED, NO MOUNTING*", "*::test_real_mount"])


@PROCESSES
def test_a_mount_left_behind_is_detached_and_fails_the_run(inner: pytest.Pytester, processes: tuple[str, ...]) -> None:
    arrange(
        inner,
        "mounts.obstacle = lambda: None",
        "mounts.leftovers = lambda folder: [folder / 'lost']",
        "mounts.detach = lambda point: open('detached', 'a').write(point.name)",
    )
    result = inner.runpytest_subprocess(*processes)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (inner.path / "detached").read_text() == "lost"
    result.stdout.fnmatch_lines(["*MOUNTS LEFT BEHIND*", "*lost (detached)"])
