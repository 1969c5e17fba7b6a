"""What has an aim of its own, not one beside the yardstick: a large file out of an old version with every cache cold, what the
kernel answers alone, and the longest single operation of four clients while versions are taken and files are sealed.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import harness, large
from benchmarks.figures import Aim, Figure, Scale
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
        place = node.point / "large"
        place.mkdir()
        _write(place / "random", large.blocks(scale.large_mib))
        _write(place / "text", map(_halved, large.blocks(scale.large_mib)))
        node.client.call(Backup(b"large"))
        node.mounted.wait_quiet()
    speeds = {name: _read_cold(home, scratch, name) for name in ("random", "text")}
    with served("loaded", home, scratch) as node:
        asked = _asked(node, node.point / "large" / ".mimei" / "@1")
        longest, note = _longest(node, scale.rounds)
    size = f"{scale.large_mib:,} MiB out of an old version, cold"
    return [
        Figure(f"{size}, incompressible", speeds["random"], "MiB/s", 800, Aim.AT_LEAST),
        Figure(f"{size}, half of it zeros", speeds["text"], "MiB/s", 400, Aim.AT_LEAST),
        Figure("requests for what the kernel has of a version", asked, "", 0, note="stat and read, 100 times each"),
        Figure(f"longest single operation of {CLIENTS} clients, versions and seals going on", longest, "ms", 20, note=note),
    ]


def _halved(block: bytes) -> bytes:
    """A block of the same size that compresses to half: unlike any other, and zeros every other 512 bytes."""
    return b"".join(block[at : at + 512] + bytes(512) for at in range(0, len(block), 1024))


def _write(file: Path, pieces: Iterator[bytes]) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
    for piece in pieces:
        os.write(descriptor, piece)
    os.close(descriptor)


def _read_cold(home: Home, scratch: Path, name: str) -> float:
    """MiB/s from a node just started, nothing in any cache."""
    with served("loaded", home, scratch) as node:
        node.mounted.wait_quiet()
        harness.drop_caches()
        buffers, total = [bytearray(MIB)], 0
        began = time.perf_counter()
        descriptor = os.open(node.point / "large" / ".mimei" / "@1" / name, os.O_RDONLY)
        while count := os.readv(descriptor, buffers):
            total += count
        spent = time.perf_counter() - began
        os.close(descriptor)
    return total / MIB / spent


def _asked(node: Served, version: Path) -> int:
    """How often the node is asked for attributes and bytes that the kernel has."""
    file = version / "random"
    descriptor, daemon = os.open(file, os.O_RDONLY), node.node()
    inside = os.open(version, os.O_PATH)
    try:
        for _ in range(2):
            os.pread(descriptor, 65536, 0)
            os.stat("random", dir_fd=inside)
        node.mounted.wait_quiet()
        before = reads(daemon)
        for _ in range(100):
            os.pread(descriptor, 65536, 0)
            os.stat("random", dir_fd=inside)
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
