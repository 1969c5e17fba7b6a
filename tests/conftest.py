"""The harness: which tests can run here, and that none leaves a mount behind.

Tests marked ``mount`` are skipped where FUSE cannot be used, announced before the run and named after it; tests marked
``slow`` run only with ``--slow``. A mount left under pytest's temporary folder is detached and fails the run.
"""

from pathlib import Path

import pytest

from tests import mounts

OBSTACLE = pytest.StashKey[str | None]()
LEFT_BEHIND = pytest.StashKey[list[Path]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OBSTACLE] = mounts.obstacle()
    config.stash[LEFT_BEHIND] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        if slow:
            config.hook.pytest_deselected(items=slow)
            items[:] = [item for item in items if item not in slow]
    if obstacle := config.stash[OBSTACLE]:
        for item in items:
            if item.get_closest_marker("mount"):
                item.add_marker(pytest.mark.skip(reason=f"cannot mount: {obstacle}"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say it before the first test, so that nobody mistakes a partial run for a whole one."""
    obstacle = session.config.stash[OBSTACLE]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if obstacle and reporter is not None:
        reporter.write_sep("!", f"NO MOUNTING HERE: {obstacle}", red=True, bold=True)
        reporter.write_line("The tests of the real mount will be skipped; they are named at the end.", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is None or hasattr(session.config, "workerinput"):
        return  # One of several processes: the one that gathers their results looks, when all have ended.
    left = mounts.leftovers(factory.getbasetemp().resolve())
    for point in left:
        mounts.detach(point)
    session.config.stash[LEFT_BEHIND] = left
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = [report for report in terminalreporter.getreports("skipped") if "mount" in report.keywords]
    if (obstacle := config.stash[OBSTACLE]) and skipped:
        terminalreporter.write_sep("!", f"SKIPPED, NO MOUNTING HERE: {obstacle}", red=True, bold=True)
        for report in skipped:
            terminalreporter.write_line(f"  {report.nodeid}")
    if left := config.stash[LEFT_BEHIND]:
        terminalreporter.write_sep("!", "MOUNTS LEFT BEHIND: the run fails", red=True, bold=True)
        for point in left:
            terminalreporter.write_line(f"  {point} (detached)")
