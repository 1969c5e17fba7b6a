"""Commands and a running node: over its socket, in the background, and where a node died."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from mimeifs.api import server
from mimeifs.api.services import services_of
from mimeifs.cli import background, mounts
from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.engine import LocalEngine
from mimeifs.errors import NotFoundError
from mimeifs.home import Home
from mimeifs.model.node import Who
from mimeifs.store.database import U32, Table, open_database
from tests.cli.conftest import Run
from tests.mounts import mounted_under

T = TypeVar("T")
MIMEI = (sys.executable, "-m", "mimeifs")


class Carrying:
    """A carrier that is a local engine."""

    def __init__(self, local: LocalEngine) -> None:
        self.local = local

    async def carry(self, call: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        return self.local.run(call)

    durable = carry


@pytest.fixture
def served(run: Run, tmp_path: Path) -> Iterator[Home]:
    """A home whose socket is answered from a thread, as a node without a mount would."""
    assert run("init").code == 0
    home, tokens, started = Home(tmp_path / "home"), [], threading.Event()
    scope = trio.CancelScope()

    async def serve() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        local = LocalEngine(home, SystemClock(), SystemRandomness())
        with scope:
            async with trio.open_nursery() as nursery:
                services = services_of(local.engine, Who(0, 0))
                await nursery.start(server.serve, home.socket, Carrying(local), services)
                started.set()
        local.close()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert started.wait(20)
    yield home
    tokens[0].run_sync_soon(scope.cancel)
    thread.join()


def test_commands_go_to_the_node(run: Run, served: Home) -> None:
    assert run("create", "drafts").code == 0
    assert run("backup", "drafts").out.startswith("@1 @last")
    assert run("backup", "nope").code == 3
    assert "drafts" in run("ls").out


@pytest.mark.parametrize("act", ["add", "rm"])
def test_a_count_that_no_message_can_hold_is_a_mistake(run: Run, served: Home, act: str) -> None:
    run("create", "drafts")
    done = run("ref", act, "drafts", "drafts", "--count", str(10**20))
    assert (done.code, done.err) == (2, "mimei ref: a number that is asked for has more than 64 bits\n")


def test_reading_is_done_beside_the_node(run: Run, served: Home) -> None:
    run("create", "drafts")
    run("backup", "drafts")
    for words in (("check",), ("diff", "drafts"), ("check", "--quick")):
        # In a process of its own, because one process cannot have the index open twice.
        done = subprocess.run([*MIMEI, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr


# The command as a process


def test_output_that_nobody_reads_is_no_error_message(run: Run, served: Home) -> None:
    run("create", "drafts")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*MIMEI, "ls"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


BACKGROUND = """
import sys
from pathlib import Path
from mimeifs.cli.background import start
from mimeifs.errors import MimeiError, ExistsError
def work(ready):
    {work}
    return 0
try:
    start(Path(sys.argv[1]), work)
except MimeiError as error:
    print(type(error).__name__, error)
else:
    print("started")
"""


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("ready()", "started"),
        ("raise ExistsError('it is there')", "ExistsError it is there"),
        ("print('on its last legs'); return 10", "UnknownFormatError the node did not start: on its last legs; its log is LOG"),
        (
            "print('2026-11-22 19:09:26,123 ERROR mimeifs.serve: why'); return 8",
            "IntegrityError the node did not start: why; its",
        ),
        ("raise ZeroDivisionError('odd')", "ZeroDivisionError: odd"),
        ("open('/nowhere/at/all')", "NotFoundError /nowhere/at/all: No such file or directory"),
        ("return 5", "ForbiddenError the node did not start"),
    ],
)
def test_a_daemon_tells_whether_it_started(tmp_path: Path, work: str, said: str) -> None:
    log = tmp_path / "log"
    log.write_text("2026-11-21 19:09:26,123 ERROR mimeifs.serve: of an earlier run\n")
    program = BACKGROUND.format(work=work)
    done = subprocess.run([sys.executable, "-c", program, str(log)], capture_output=True, text=True, check=True)
    assert said.replace("LOG", str(log)) in done.stdout
    assert done.stderr == ""


def test_a_log_that_cannot_be_written_is_told_before_anything_starts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    program = BACKGROUND.format(work="ready()")
    done = subprocess.run([sys.executable, "-c", program, str(log)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith(f"IsADirError the node's log {log} cannot be written (Is a directory): a node needs")


def test_a_log_that_has_grown_large_makes_way(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(bytes(background.MAX_LOG + 1))
    program = BACKGROUND.format(work="print('new'); ready()")
    subprocess.run([sys.executable, "-c", program, str(log)], check=True)
    assert (log.with_name("log.old").stat().st_size, log.stat().st_size < 100) == (background.MAX_LOG + 1, True)


# Mounts

TABLE = b"""\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
40 22 0:40 / /mnt/my\\040files rw,nosuid - fuse.mimei mimei rw,user_id=0
41 22 0:41 / /srv/other rw - fuse.sshfs somebody rw
42 22 0:42 / /home/me/mimei rw shared:7 master:2 - fuse.mimei mimei rw
"""


def test_mounts_of_nodes_are_found_in_the_kernels_list() -> None:
    assert mounts.mimei_mounts(TABLE) == [Path("/home/me/mimei"), Path("/mnt/my files")]


def test_who_is_not_root_is_told_of_their_own_mounts_only() -> None:
    theirs = TABLE + b"43 22 0:43 / /srv/theirs rw - fuse.mimei mimei:/srv/home rw,user_id=1000,group_id=1000\n"
    assert mounts.mounts_of(theirs, 1000) == [Path("/srv/theirs")]
    assert mounts.mounts_of(theirs, 100) == []
    assert mounts.mounts_of(theirs, 0) == [Path("/srv/theirs"), *mounts.mimei_mounts(TABLE)]


def test_a_mount_is_named_by_path_or_last_part() -> None:
    listed = mounts.mimei_mounts(TABLE)
    assert mounts.find("/mnt/my files/", listed) == Path("/mnt/my files")
    assert mounts.find("mimei", listed) == Path("/home/me/mimei")
    with pytest.raises(NotFoundError, match="mounted are: /home/me/mimei, /mnt/my files"):
        mounts.find("/srv/other", listed)


def test_a_place_is_found_without_looking_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real" / "mount").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    looked_at: list[str] = []
    for name, look in (("stat", os.stat), ("lstat", os.lstat)):
        monkeypatch.setattr(os, name, lambda path, look=look, **how: (looked_at.append(os.fspath(path)), look(path, **how))[1])
    assert mounts.place(f"{tmp_path}/link/../link/mount") == tmp_path / "real" / "mount"
    assert str(tmp_path / "link") in looked_at
    assert str(tmp_path / "real" / "mount") not in looked_at


@pytest.mark.mount
def test_mount_and_umount(run: Run, tmp_path: Path) -> None:
    where = tmp_path / "deep" / "mount"
    table = Path("/proc/self/mountinfo")
    started = subprocess.run([*MIMEI, "mount", str(where)], capture_output=True, text=True, check=False, timeout=60)
    assert started.returncode == 0, started.stderr
    (where / "drafts").mkdir()
    (where / "drafts" / "a").write_text("x")
    again = run("mount", str(where))
    assert (again.code, "mimei umount" in again.err) == (7, True)
    assert run("umount", "mount").code == 0
    assert mounted_under(table.read_text(), tmp_path) == []
    assert not (tmp_path / "home" / "mount").exists()
    assert "drafts  tree  cur" in run("ls").out
    assert run("umount", str(where)).code == 3


@pytest.mark.mount
def test_a_lazy_umount_does_not_wait_and_the_node_can_be_ended_after_it(run: Run, tmp_path: Path) -> None:
    where = tmp_path / "mount"
    assert subprocess.run([*MIMEI, "mount", str(where)], check=False, timeout=60).returncode == 0
    (where / "drafts").mkdir()
    held = os.open(where / "drafts", os.O_RDONLY)
    try:
        busy = run("umount", str(where))
        assert (busy.code, "--lazy" in busy.err) == (7, True)
        lazy = run("umount", "--lazy", str(where))
        assert (lazy.code, "its node ends when the last that uses it is gone" in lazy.out) == (0, True)
        ended = run("umount")
        assert (ended.code, "ended the node" in ended.out) == (0, True)
    finally:
        os.close(held)
    assert "drafts" in run("ls").out
    assert run("umount").code == 3


@pytest.mark.mount
@pytest.mark.parametrize("command", [("mount",), ("serve", "--mount")])
def test_a_node_that_cannot_start_says_why_in_one_line(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    run("init")
    database = open_database(Home(tmp_path / "home").storage.index)
    with database.write() as transaction:
        transaction.put(b"format", U32.pack(99), db=database.tables[Table.META])
    database.close()
    words = [*MIMEI, *command, str(tmp_path / "mount")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (10, "", 1)
    assert done.stderr.startswith(f"mimei {command[0]}: the store in ")
    assert "has format 99" in done.stderr
    told = subprocess.run([*words, "--json"], capture_output=True, text=True, check=False, timeout=60)
    assert json.loads(told.stderr)["error"] == "unknown-format"
