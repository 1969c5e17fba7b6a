"""A large file and its versions: what an overwrite and an insertion cost in time and bytes."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Scale
from benchmarks.served import Served, served
from mimeifs.api.requests import Backup
from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.engine import create_home
from mimeifs.home import Home
from mimeifs.model.node import Who

MIB = 1 << 20
INSERTED = MIB + 4321
FRONT = 3 * MIB + 11
_STAMP_EVERY = 1 << 15


def blocks(mib: int) -> Iterator[bytes]:
    """Blocks of 1 MiB, none like another."""
    block = bytearray(os.urandom(MIB))
    for number in range(mib):
        for offset in range(0, MIB, _STAMP_EVERY):
            block[offset : offset + 8] = number.to_bytes(8, "little")
        yield bytes(block)


def measure(scratch: Path, scale: Scale) -> list[Figure]:
    """All rows about a large file."""
    home = Home(scratch / "large")
    create_home(home, SystemClock(), SystemRandomness(), None, Who(0, 0))
    with served("large", home, scratch) as node:
        place = node.point / "large"
        place.mkdir()
        file = place / "file"
        began = time.perf_counter()
        _write(file, blocks(scale.large_mib))
        written = time.perf_counter() - began
        first, _ = _backup(node)
        descriptor = os.open(file, os.O_WRONLY)
        os.pwrite(descriptor, os.urandom(MIB), scale.large_mib * MIB // 2 + 12345)
        os.close(descriptor)
        overwritten, more = _backup(node)
        _insert(file)
        inserted, added = _backup(node)
    size = f"{scale.large_mib:,} MiB"
    return [
        Figure(f"first version of a file of {size}", first, "s", note=f"written in {written:.1f} s"),
        Figure(f"version after 1 MiB overwritten in {size}", overwritten, "s", 0.2),
        Figure("stored for it", more, "MiB", 2),
        Figure("version after 1 MiB + 4,321 bytes inserted near the front", inserted, "s", note="the whole file written again"),
        Figure("stored for it", added, "MiB", 2.5),
    ]


def _write(file: Path, pieces: Iterator[bytes]) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for piece in pieces:
        os.write(descriptor, piece)
    os.close(descriptor)


def _insert(file: Path) -> None:
    """Write the file again beside itself with bytes put in, and put that in its place, as editors do."""
    new = file.with_name("new")

    def pieces() -> Iterator[bytes]:
        with file.open("rb") as old:
            yield old.read(FRONT)
            yield os.urandom(INSERTED)
            while piece := old.read(MIB):
                yield piece

    _write(new, pieces())
    new.replace(file)


def _backup(node: Served) -> tuple[float, float]:
    """Seconds, and MiB more in the packs once all is quiet."""
    before = node.stored()
    began = time.perf_counter()
    node.client.call(Backup(b"large"))
    spent = time.perf_counter() - began
    return spent, (node.stored() - before) / MIB
