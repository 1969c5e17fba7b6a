"""Mounting, ending and comparing: what every measurement on a mounted file system needs.

A mount is looked up in ``/proc/self/mountinfo``, never by touching its mount point, which would hang with a dead daemon. A
``Mounted`` ends by SIGTERM, then SIGKILL, and its mount never outlives it. Comparisons alternate between the systems in one
run, because machines drift; what counts is the median of the ratios of the rounds.
"""

import argparse
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

PROJECT = Path(__file__).resolve().parent.parent
MOUNT_TIMEOUT_S = 30.0
END_TIMEOUT_S = 20.0
QUIET_TIMEOUT_S = 20.0


class NotMounted(Exception):
    """The command ended, or took too long, before its mount appeared; carries the end of its output."""


@dataclass(frozen=True, slots=True)
class MountRow:
    """One row of mountinfo: where, which device (``major:minor``), which type."""

    point: str
    device: str
    kind: str


def mount_rows() -> Iterator[MountRow]:
    """The mounts of this process, oldest first (proc(5), mountinfo)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.split()
            point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
            yield MountRow(point, fields[2], fields[fields.index("-") + 1])


def mount_row(point: Path) -> MountRow | None:
    """The newest mount at ``point``, which must be absolute and free of links."""
    found = [row for row in mount_rows() if row.point == str(point)]
    return found[-1] if found else None


class Mounted:
    """A process that keeps a file system mounted at ``point``; a context manager that always ends both."""

    def __init__(self, name: str, command: Sequence[str], point: Path, log: Path) -> None:
        self.name = name
        self.point = point
        self._command = tuple(command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Mounted":
        with open(self._log, "ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=PROJECT, start_new_session=True
            )
        try:
            self._wait_for_mount()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Process id of the command, which leads a session of its own."""
        if self._process is None:
            raise NotMounted(f"{self.name} was not started")
        return self._process.pid

    @property
    def read_ahead_kb(self) -> int:
        """How far the kernel reads ahead on this mount, in KiB; 0 when unknown."""
        row = mount_row(self.point)
        try:
            return int(Path(f"/sys/class/bdi/{row.device}/read_ahead_kb").read_text()) if row else 0
        except OSError:
            return 0

    def log_tail(self) -> str:
        """The last of what the command printed."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""

    def cpu_s(self) -> float:
        """Processor seconds used so far by the command and what it started and did not reap."""
        return sum(_cpu_ticks(fields) for fields in _processes() if int(fields[3]) == self.pid) / os.sysconf("SC_CLK_TCK")

    def wait_quiet(self, share: float = 0.05, window_s: float = 0.2) -> bool:
        """Wait until the daemon uses less than ``share`` of a processor: its late work must not fall on the other's time."""
        end = time.monotonic() + QUIET_TIMEOUT_S
        while time.monotonic() < end:
            before = self.cpu_s()
            time.sleep(window_s)
            if self.cpu_s() - before <= share * window_s:
                return True
        return False

    def wait_end(self) -> None:
        """Wait until the command ends by itself; raises ``subprocess.TimeoutExpired``."""
        if self._process is not None:
            self._process.wait(END_TIMEOUT_S)

    def end(self) -> None:
        """SIGTERM, later SIGKILL to the session, then unmount whatever is left; may be called twice."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                # A daemon that hangs on its own mount dies only when the connection is cut.
                unmount(self.point)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        unmount(self.point)

    def _wait_for_mount(self) -> None:
        assert self._process is not None
        end = time.monotonic() + MOUNT_TIMEOUT_S
        while mount_row(self.point) is None:
            if self._process.poll() is not None:
                raise NotMounted(f"{self.name} ended with {self._process.returncode} before mounting: {self.log_tail()}")
            if time.monotonic() > end:
                raise NotMounted(f"{self.name} did not mount within {MOUNT_TIMEOUT_S:.0f} s: {self.log_tail()}")
            time.sleep(0.02)


def _processes() -> Iterator[list[str]]:
    """The fields of every process from its state on: 0 is the state, 3 the session (proc(5), stat)."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path("/proc", entry, "stat").read_text(errors="replace")
            except OSError:
                continue
            yield text[text.rindex(")") + 2 :].split()


def _cpu_ticks(fields: Sequence[str]) -> int:
    return sum(int(field) for field in fields[11:15])


def wait_all_quiet(systems: Sequence[Mounted], share: float = 0.05, window_s: float = 0.2) -> bool:
    """Wait until none of the daemons uses ``share`` of a processor: one's late work must not fall on another's time."""
    end = time.monotonic() + QUIET_TIMEOUT_S
    while time.monotonic() < end:
        before = sum(system.cpu_s() for system in systems)
        time.sleep(window_s)
        if sum(system.cpu_s() for system in systems) - before <= share * window_s:
            return True
    return False


def unmount(point: Path) -> None:
    """Detach every mount at ``point`` without touching it; silent when there is none."""
    tools = (("umount", "-l"), ("fusermount3", "-u", "-z"), ("fusermount", "-u", "-z"))
    for tool in tools if os.geteuid() == 0 else tools[1:]:
        if mount_row(point) is None:
            return
        try:
            subprocess.run((*tool, str(point)), check=False, capture_output=True, timeout=30)
        except OSError:
            continue


def start_command(name: str, template: str, scratch: Path) -> Mounted:
    """A mount by a command line in which ``{mount}`` and ``{home}`` stand for fresh directories below ``scratch``."""
    point, home = scratch / f"{name}.mount", scratch / f"{name}.home"
    point.mkdir()
    home.mkdir()
    words = [word.format(mount=point, home=home) for word in shlex.split(template)]
    return Mounted(name, words, point, scratch / f"{name}.log")


def start_memfs(name: str, session_loop: str, scratch: Path) -> Mounted:
    """The yardstick on the ``plain`` or the ``improved`` session loop."""
    command = f"{shlex.quote(sys.executable)} -m benchmarks.memfs {{mount}} --loop {session_loop}"
    return start_command(name, command, scratch)


def arguments_of(parser: argparse.ArgumentParser, parts: Iterable[str]) -> argparse.Namespace:
    """The arguments of a benchmark that has parts, ``parts`` those to run; ends with a usage error where one is unknown."""
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)} (default: all)")
    parser.add_argument("--scratch", help="where to put homes and mounts (default: the temporary directory)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.parts if name not in parts]
    if unknown:
        parser.error(f"unknown: {unknown[0]}; there are {', '.join(parts)}")
    arguments.parts = arguments.parts or list(parts)
    return arguments


def pace() -> float:
    """Seconds for a loop of 300,000 additions: how quick this machine is just now, for a program in Python."""
    began, total = time.perf_counter(), 0
    for number in range(300_000):
        total += number
    return time.perf_counter() - began


class Stolen:
    """How much of the processors' time others had since it was made, below this virtual machine (steal of proc_stat(5))."""

    def __init__(self) -> None:
        self._before = self._ticks()

    @staticmethod
    def _ticks() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle, stolen = sum(fields[3:5]), fields[7]
        return sum(fields) - idle, stolen

    def note(self) -> str:
        """A line for the table."""
        busy, stolen = (now - before for now, before in zip(self._ticks(), self._before, strict=True))
        return f"{stolen / max(1, busy):.0%} of the time that this machine wanted was taken by others"


@contextmanager
def scratch_directory(parent: str | None) -> Iterator[Path]:
    """A fresh directory that goes away with everything in it, unless something is still mounted below it."""
    place = tempfile.TemporaryDirectory(prefix="mimeifs-bench.", dir=parent, ignore_cleanup_errors=True)
    path = Path(place.name).resolve()
    try:
        yield path
    finally:
        if not any(row.point.startswith(f"{path}/") for row in mount_rows()):
            place.cleanup()


def drop_caches() -> bool:
    """Empty the kernel's page, name and inode caches; False, and nothing done, without the right to."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Ratio:
    """How one system compares with another: its value, and the median of the rounds' ratios; a target of 0 asks for nothing."""

    name: str
    value: float
    ratio: float
    target: float

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.ratio >= self.target


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; values per second in ``unit``, medians of the rounds."""

    name: str
    unit: str
    ours: float
    beside: tuple[Ratio, ...]


def alternate(systems: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure every system once a round, the order turned each round; values in the order of the rounds."""
    values: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(rounds):
        names = list(systems)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            values[name].append(systems[name]())
    return values


def row(name: str, unit: str, values: Mapping[str, Sequence[float]], ours: str, aims: Mapping[str, float]) -> Row:
    """A row from the rounds of all systems, paired round by round: ``ours`` beside each of those in ``aims``."""
    mine = values[ours]
    ratios = {other: statistics.median(x / y for x, y in zip(mine, values[other], strict=True)) for other in aims}
    beside = tuple(Ratio(other, statistics.median(values[other]), ratios[other], aim) for other, aim in aims.items())
    return Row(name, unit, statistics.median(mine), beside)


def table(rows: Sequence[Row]) -> str:
    """Aligned columns: name, ours, and for each of the others the ratio, its target, and whether it is reached."""
    if not rows:
        return "nothing was measured"
    cells = [("name", "ours", *(f"of {each.name}" for each in rows[0].beside))]
    for each in rows:
        cells.append((each.name, f"{each.ours:,.0f} {each.unit}", *map(_compared, each.beside)))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [" | ".join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:]))) for line in cells]
    lines.insert(1, "-+-".join("-" * width for width in widths))
    return "\n".join(lines)


def _compared(ratio: Ratio) -> str:
    if not ratio.target:
        return f"{ratio.ratio:.2f}"
    return f"{ratio.ratio:.2f}, {ratio.target:.2f} asked: {'yes' if ratio.met else 'NO'}"


def as_json(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The same rows for programs: ``{"notes": [...], "rows": [row...]}``."""
    shown = []
    for each in rows:
        beside = [{**asdict(ratio), "met": ratio.met} for ratio in each.beside]
        shown.append({"name": each.name, "unit": each.unit, "ours": each.ours, "beside": beside})
    return json.dumps({"notes": list(notes), "rows": shown}, indent=1)


class Directory(Mounted):
    """A directory of the disk's own file system, as one more system to compare with: nothing runs, nothing is mounted."""

    def __init__(self, name: str, point: Path) -> None:
        super().__init__(name, (), point, point / "log")

    def __enter__(self) -> "Directory":
        self.point.mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """See ``Mounted``."""

    @property
    def read_ahead_kb(self) -> int:
        """See ``Mounted``."""
        device = os.stat(self.point).st_dev
        try:
            return int(Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").read_text())
        except OSError:
            return 0

    def cpu_s(self) -> float:
        """See ``Mounted``."""
        return 0.0


@contextmanager
def all_mounted(systems: Sequence[Mounted]) -> Iterator[tuple[Mounted, ...]]:
    """Enter every system; each one ends, whatever the others do."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(system) for system in systems)
