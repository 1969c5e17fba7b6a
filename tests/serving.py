"""A served home for tests of the real mount: start it, end it, kill any part of it, and leave nothing behind.

The daemon runs as a subprocess in a session of its own, as a user would start it. Its mount is never looked at except
while it answers: whether it is there is read from ``/proc/self/mountinfo``. Whatever a test does, :func:`serving` ends
with every process gone and nothing mounted; a watchdog kills a daemon that hangs, so that no test waits for ever.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mimeifs.home import Home
from tests import mounts

PATIENCE = 30.0
"""Seconds that starting or ending may take."""

LIFE = 280
"""Seconds after which a daemon is killed, whatever it does; a little less than a test may take."""

MIMEI = (sys.executable, "-m", "mimeifs")


class Served:
    """A home and a mount point below ``folder``, and the daemon between them."""

    def __init__(
        self,
        folder: Path,
        *,
        home: Path | None = None,
        options: tuple[str, ...] = (),
        program: tuple[str, ...] = MIMEI,
        life: int = LIFE,
    ) -> None:
        self.folder = folder
        self.home = home or folder / "home"
        self.mount = folder / "mnt"
        self.log = folder / "log"
        self.options = options
        self.program = program
        self.life = life
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.mount.mkdir(exist_ok=True)

    # Starting and ending

    def start(self) -> "Served":
        """Serve, and return when the mount is there."""
        self.begin()
        self.until(self._ready, "the mount is there")
        return self

    def begin(self) -> None:
        """Have the daemon start, without waiting for anything."""
        self._dismiss()
        drive = () if "--dav" in self.options else ("--no-dav",)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "env",
                    "--default-signal=HUP",
                    *self.program,
                    "serve",
                    "--home",
                    str(self.home),
                    "--mount",
                    str(self.mount),
                    *drive,
                    *self.options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        command = f"sleep {self.life}; kill -9 -{self._process.pid}"
        self._watchdog = subprocess.Popen(["sh", "-c", command], start_new_session=True)

    def _ready(self) -> bool:
        """Whether all are there. A node comes after what a dead one left mounted has gone."""
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"the daemon ended:\n{self.tail()}")
        return self.mounted and {"node", "keeper", "syncer"} <= self.pids().keys()

    @property
    def serves(self) -> bool:
        """Whether all is in place."""
        return self._ready()

    @property
    def mounted(self) -> bool:
        """Whether anything, alive or dead, is mounted there."""
        return bool(mounts.leftovers(self.mount))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the daemon to end; its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the daemon to end by itself; its exit code."""
        assert self._process is not None
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon does not end:\n{self.tail()}") from None
        self.until(lambda: not self.group(), "no process is left")
        self._dismiss()
        return code

    def unmount(self) -> None:
        """Unmount from outside, as a user does."""
        subprocess.run(["fusermount3", "-u", str(self.mount)], check=True, timeout=PATIENCE)

    def kill_everything(self) -> None:
        """SIGKILL to all processes at once, as when the power goes; the dead mount stays."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self.until(lambda: not self.group(), "no process is left")
        self._dismiss()

    def kill(self, role: str) -> None:
        """SIGKILL to the node, the keeper or the syncer; returns when the process is gone."""
        pid = self.pids()[role]
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: pid not in self.group(), f"the {role} is gone")

    def kill_supervisor(self) -> None:
        """SIGKILL to the parent of all, and to nobody else."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)

    def signal_group(self, number: signal.Signals) -> None:
        """A signal to every process at once, as a terminal sends it."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def clean(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            if self.group():
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(PATIENCE)
        self._dismiss()
        while self.mounted:
            mounts.detach(self.mount)

    def _dismiss(self) -> None:
        if self._watchdog is not None:
            os.killpg(self._watchdog.pid, signal.SIGKILL)
            self._watchdog.wait(PATIENCE)
            self._watchdog = None

    # Looking

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return when the condition holds; fail when it does not come to hold."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not so after {PATIENCE:.0f} s: {what}\n{self.tail()}")
            time.sleep(0.005)

    @property
    def imported(self) -> bool:
        """Whether the daemon has all its modules, some of which ask other programs, and begins."""
        return Home(self.home).mount_file.exists()

    def group(self) -> set[int]:
        """The daemon's processes that live."""
        assert self._process is not None
        found = set()
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[2]) == self._process.pid and fields[0] not in "ZX":
                    found.add(int(entry))
        return found

    def pids(self) -> dict[str, int]:
        """Role to pid of the supervisor's children, told apart by the files they have open."""
        assert self._process is not None
        return {role_of(pid): pid for pid in self.group() - {self._process.pid}}

    def tail(self) -> str:
        """The end of the daemon's log."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    # Working

    def command(self, *words: str | bytes, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run ``mimei WORDS`` on this home."""
        environment = {**os.environ, "MIMEI_HOME": str(self.home)}
        done = subprocess.run([*MIMEI, *words], env=environment, capture_output=True, timeout=120, check=False)
        if check:
            assert done.returncode == 0, (words, done.stdout, done.stderr, self.tail())
        return done

    def mimei(self, name: str) -> Path:
        """A new tree MiMei; the directory of its present."""
        made = self.mount / name
        made.mkdir()
        return made


def listening() -> set[str]:
    """The sockets of this machine that wait for connections over TCP (proc(5))."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}


def role_of(pid: int) -> str:
    """What a child of the supervisor is: only the drive listens on TCP, only the node has the FUSE device, of the others only
    the keeper the index."""
    opened = set()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                opened.add(os.readlink(f"/proc/{pid}/fd/{name}"))
            except OSError:
                continue
    except OSError:
        return "gone"
    if opened & listening():
        return "drive"
    if str(mounts.FUSE_DEVICE) in opened:
        return "node"
    if any(path.endswith("/index/data.mdb") for path in opened):
        return "keeper"
    return "syncer"


@contextmanager
def serving(
    folder: Path,
    *,
    home: Path | None = None,
    options: tuple[str, ...] = (),
    program: tuple[str, ...] = MIMEI,
    life: int = LIFE,
) -> Iterator[Served]:
    """A started daemon, for ``life`` seconds at most; afterwards everything is gone."""
    served = Served(folder, home=home, options=options, program=program, life=life)
    try:
        yield served.start()
    finally:
        served.clean()
