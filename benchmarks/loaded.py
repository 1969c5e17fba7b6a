"""What has an aim of its own, not one beside the yardstick: a large file out of an old version, what the kernel answers alone,
and the longest single operation of four clients while versions are taken and files are sealed.
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks import harness, old_version
from benchmarks.figures import Figure, Scale
from benchmarks.served import Served, reads, served
from mimeifs.api.requests import Backup
from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.engine import create_home
from mimeifs.home import Home
from mimeifs.model.node import Who

MIB = 1 << 20
CLIENTS = 4
FILES = 100
SEALED_S = 3.0
"""By then what was written has been sealed."""


def measure(scratch: Path, scale: Scale) -> list[Figure]:
    """All rows."""
    home = Home(scratch / "loaded")
    create_home(home, SystemClock(), SystemRandomness(), None, Who(0, 0))
    with served("loaded", home, scratch) as node:
        place = node.point / "cached"
        place.mkdir()
        (place / "file").write_bytes(os.urandom(MIB))
        node.client.call(Backup(b"cached"))
        node.mounted.wait_quiet()
        asked = _asked(node, place / ".mimei" / "@1")
        longest, note = _longest(node, scale.rounds)
    return [
        *old_version.measure(home, scratch, scale),
        Figure("requests for what the kernel has of a version", asked, "", 0, note="stat and read, 100 times each"),
        Figure(f"longest single operation of {CLIENTS} clients, versions and seals going on", longest, "ms", 20, note=note),
    ]


def _asked(node: Served, version: Path) -> int:
    """How often the node is asked for attributes and bytes that the kernel has."""
    file = version / "file"
    descriptor, daemon = os.open(file, os.O_RDONLY), node.node()
    inside = os.open(version, os.O_PATH)
    try:
        for _ in range(2):
            os.pread(descriptor, 65536, 0)
            os.stat("file", dir_fd=inside)
        node.mounted.wait_quiet()
        before = reads(daemon)
        for _ in range(100):
            os.pread(descriptor, 65536, 0)
            os.stat("file", dir_fd=inside)
        return reads(daemon) - before
    finally:
        os.close(descriptor)
        os.close(inside)


def _longest(node: Served, rounds: int) -> tuple[float, str]:
    """Milliseconds, and how many were long; files are written, sealed and go into versions all the while."""
    places = [node.point / f"client{number}" for number in range(CLIENTS)]
    for place in places:
        place.mkdir()
    command = [sys.executable, "-m", "benchmarks.stall"]
    start = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=harness.PROJECT, text=True)
    clients = [start([*command, str(place)]) for place in places]
    try:
        for client in clients:
            assert client.stdout is not None
            client.stdout.readline()
        busy = node.point / "busy"
        busy.mkdir()
        for number in range(max(2, rounds // 3)):
            for file in range(FILES):
                (busy / f"{number}-{file}").write_bytes(os.urandom(1 << 16))
            node.client.call(Backup(b"busy"))
            for file in range(FILES):
                (busy / f"{number}-{file}").write_bytes(os.urandom(1 << 16))
            time.sleep(SEALED_S)
    finally:
        slow = [spent * 1e3 for client in clients for _, spent in json.loads(client.communicate("end\n", timeout=60)[0])]
    over = sum(spent > 10 for spent in slow)
    return max(slow, default=0.0), f"{over} took over 10 ms, {len(slow)} over half a millisecond"
