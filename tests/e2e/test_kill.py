"""kill -9 at any moment: what was fsynced is there, and the store opens without repair."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mimeifs.serve import MAX_DEATHS
from tests.e2e import promising
from tests.serving import PATIENCE, Served, serving

pytestmark = pytest.mark.mount


class Writer:
    """The program that notes what it was promised, running."""

    def __init__(self, served: Served, directory: Path) -> None:
        self._served = served
        self.directory = directory
        self.notes = served.folder / "notes"
        self.notes.touch()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def promised(self) -> int:
        """How much has been promised."""
        return self.notes.read_bytes().count(b"\n")

    def start(self) -> None:
        """Write, from a number on that was never used."""
        command = [sys.executable, promising.__file__, str(self.directory), str(self.notes), str(1 + 10 * self.promised)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def more(self, count: int) -> None:
        """Return when ``count`` more promises were made."""
        wanted = self.promised + count
        self._served.until(lambda: self.promised >= wanted, f"{wanted} promises")

    def stopped(self) -> None:
        """The mount failed, so the writer ends by itself."""
        assert self._process is not None
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        """End it at any point."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "s") as served:
        yield served


@pytest.fixture
def writer(served: Served) -> Iterator[Writer]:
    writer = Writer(served, served.mimei("work"))
    yield writer
    writer.stop()


def check(served: Served) -> None:
    """End cleanly, and have the checker find nothing."""
    assert served.end() == 0
    assert "unforeseen" not in served.tail()
    served.command("check")


def test_what_was_fsynced_survives_the_death_of_everything_again_and_again(served: Served, writer: Writer) -> None:
    for _ in range(3):
        writer.start()
        writer.more(60)
        served.kill_everything()
        writer.stopped()
        served.start()
        assert promising.kept(writer.directory, writer.notes) == []
    check(served)


def test_what_was_fsynced_survives_the_death_of_the_node_which_is_started_again(served: Served, writer: Writer) -> None:
    for _ in range(2):
        writer.start()
        writer.more(60)
        before = served.pids()["node"]
        served.kill("node")
        writer.stopped()
        served.until(lambda before=before: served.pids().get("node", before) != before, "a new node")
        served.until(lambda: served.serves, "the new node serves")
        assert promising.kept(writer.directory, writer.notes) == []
    check(served)


@pytest.mark.parametrize("role", ["keeper", "syncer"])
def test_the_service_goes_on_when_another_process_dies(role: str, served: Served, writer: Writer) -> None:
    writer.start()
    for _ in range(MAX_DEATHS):
        writer.more(30)
        node = served.pids()["node"]
        served.kill(role)
        writer.more(30)
        assert served.pids()["node"] == node
    writer.stop()
    (writer.directory / ".mimei" / "@after").mkdir()
    assert (writer.directory / ".mimei" / "@after" / "log").read_bytes() == (writer.directory / "log").read_bytes()
    assert promising.kept(writer.directory, writer.notes) == []
    check(served)


def killed_again_and_again(served: Served, role: str) -> None:
    """Kill every process of a role until nobody replaces it at once."""
    for _ in range(MAX_DEATHS + 1):
        served.until(lambda: role in served.pids(), f"a {role}")
        served.kill(role)
    served.until(lambda: "another is started in" in served.tail(), "the supervisor waits")
    assert role not in served.pids()


def test_without_a_keeper_everything_can_be_read_and_nothing_is_taken(served: Served) -> None:
    present = served.mimei("work")
    (present / "f").write_bytes(b"before")
    (present / ".mimei" / "@before").mkdir()
    killed_again_and_again(served, "keeper")
    assert (present / "f").read_bytes() == (present / ".mimei" / "@before" / "f").read_bytes() == b"before"
    for change in ((present / "f").write_bytes, lambda _: (present / ".mimei" / "@now").mkdir()):
        with pytest.raises(OSError, match="Input/output error"):
            change(b"now")
    told = served.command("backup", "work", check=False)
    assert told.returncode == 8
    assert b"again and again" in told.stderr
    served.until(lambda: "keeper" in served.pids(), "another keeper")
    served.until(lambda: written(present / "g"), "it takes what is written")
    (present / ".mimei" / "@after").mkdir()
    assert (present / ".mimei" / "@after" / "g").read_bytes() == b"new"
    check(served)


def written(path: Path) -> bool:
    """Whether a file could be written."""
    try:
        path.write_bytes(b"new")
    except OSError:
        return False
    return True


def test_who_asks_for_the_end_while_there_is_no_keeper_gets_it(served: Served, writer: Writer) -> None:
    writer.start()
    writer.more(30)
    killed_again_and_again(served, "keeper")
    assert served.end() == 0
    assert not served.mounted
    writer.stopped()
    served.start()
    assert promising.kept(writer.directory, writer.notes) == []
    check(served)


def test_who_waits_for_a_sync_is_answered_by_a_later_syncer(served: Served, writer: Writer) -> None:
    writer.start()
    killed_again_and_again(served, "syncer")
    served.until(lambda: "syncer" in served.pids(), "another syncer")
    writer.more(30)
    writer.stop()
    assert promising.kept(writer.directory, writer.notes) == []
    check(served)


def test_the_death_of_the_supervisor_ends_everything_cleanly(served: Served, writer: Writer) -> None:
    writer.start()
    writer.more(30)
    served.kill_supervisor()
    writer.stopped()
    served.until(lambda: not served.group(), "no process is left")
    assert not served.mounted
    served.start()
    assert promising.kept(writer.directory, writer.notes) == []
    check(served)


def test_a_death_while_starting_leaves_a_store_that_opens(served: Served) -> None:
    present = served.mimei("work")
    for number in range(200):
        (present / f"{number}").write_bytes(os.urandom(20_000))
    (present / ".mimei" / "@v").mkdir()
    served.kill_everything()
    for _ in range(3):
        served.begin()
        served.until(lambda: len(served.group()) >= 2, "the keeper recovers")
        served.kill_everything()
    served.start()
    assert len(os.listdir(present)) == 200
    assert len(os.listdir(present / ".mimei" / "@v")) == 200
    check(served)


def test_a_daemon_that_is_asked_to_end_while_it_starts_does_so(served: Served) -> None:
    assert served.end() == 0
    for processes in (2, 3, 4):
        served.begin()
        served.until(lambda least=processes: served.imported and len(served.group()) >= least, "some processes are there")
        assert served.end() == 0
        assert not served.mounted


def test_files_without_a_name_are_gone_after_a_death_and_leave_nothing(served: Served) -> None:
    present = served.mimei("work")
    (present / "sealed").write_bytes(os.urandom(100_000))
    (present / ".mimei" / "@v").mkdir()
    opened = []
    for name in ("new", "sealed"):
        file = (present / name).open("ab", buffering=0)
        file.write(os.urandom(200_000))
        (present / name).unlink()
        file.write(os.urandom(200_000))
        os.fsync(file.fileno())
        opened.append(file)
    served.kill_everything()
    for file in opened:
        with suppress(OSError):
            file.close()
    served.start()
    assert os.listdir(present) == []
    assert (present / ".mimei" / "@v" / "sealed").stat().st_size == 100_000
    check(served)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_comes_to_the_whole_group_ends_cleanly(served: Served, writer: Writer, number: signal.Signals) -> None:
    writer.start()
    writer.more(30)
    served.signal_group(number)
    writer.stopped()
    assert served.ended() == 0
    served.start()
    assert promising.kept(writer.directory, writer.notes) == []
    check(served)
