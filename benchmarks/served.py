"""A node serving a home during a measurement, and what can be seen of its processes from outside (proc(5)).

The node process is the one that holds ``/dev/fuse``, the keeper the supervisor's first child. Nothing here touches the mount.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import harness
from mimeifs.api.client import Client, connect
from mimeifs.home import Home

_CONNECT_S = 20.0


class Served:
    """A served home; ``client`` is a connection to its socket."""

    def __init__(self, home: Home, mounted: harness.Mounted, client: Client) -> None:
        self.home = home
        self.mounted = mounted
        self.point = mounted.point
        self.client = client

    def processes(self) -> list[int]:
        """The supervisor and its children, in the order they were started."""
        supervisor = self.mounted.pid
        return [supervisor, *map(int, Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split())]

    def keeper(self) -> int:
        """Process id of the keeper."""
        return self.processes()[1]

    def node(self) -> int:
        """Process id of the node."""
        for pid in self.processes()[1:]:
            folder = f"/proc/{pid}/fd"
            if any(_points_to(f"{folder}/{name}", "/dev/fuse") for name in os.listdir(folder)):
                return pid
        raise RuntimeError(f"no process of {self.mounted.name} holds /dev/fuse: {self.mounted.log_tail()}")

    def stored(self) -> int:
        """Bytes in the packs."""
        return sum(entry.stat().st_size for entry in os.scandir(self.home.storage.packs))

    def anonymous(self) -> int:
        """Bytes of anonymous memory of all processes; a page that several of them share counts once.

        The kernel divides each shared page among those who map it (``Pss_Anon`` in smaps_rollup, proc(5)); nobody else shares
        pages with these processes, so the parts of all of them add up to each page once.
        """
        return sum(_rollup(pid) for pid in self.processes())


def cpu_ns(pid: int) -> int:
    """Processor time a process has used, to the nanosecond (proc(5), schedstat), its threads not included."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def reads(pid: int) -> int:
    """How often a process has called read(2) and its kin."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("syscr")).split()[1])


def _rollup(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def _points_to(link: str, target: str) -> bool:
    try:
        return os.readlink(link) == target
    except OSError:
        return False


@contextmanager
def served(name: str, home: Home, scratch: Path, *options: str) -> Iterator[Served]:
    """Serve a home on a mount point of its own, with more options of ``mimei serve``."""
    point = scratch / f"{name}.mount"
    point.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mimeifs", "serve", "--home", str(home.root), "--mount", str(point), *options]
    with harness.Mounted(name, command, point, scratch / f"{name}.log") as mounted:
        client = _connect(home, mounted)
        try:
            yield Served(home, mounted, client)
        finally:
            client.close()


def _connect(home: Home, mounted: harness.Mounted) -> Client:
    end = time.monotonic() + _CONNECT_S
    while (client := connect(home.socket)) is None:
        if time.monotonic() > end:
            raise harness.NotMounted(f"{mounted.name} does not listen on {home.socket}: {mounted.log_tail()}")
        time.sleep(0.02)
    return client
