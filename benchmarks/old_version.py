"""A large file out of an old version, beside the same out of the mounts of restic and borg, where these are installed.

Each program has just been started and knows nothing, and its mount is new, so that everything is read, decompressed and
verified; what it stores lies either in the kernel's page cache, or nowhere but on the disk. They take turns.
"""

import os
import shlex
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks import harness, large
from benchmarks.figures import Aim, Figure, Scale
from benchmarks.others import environment_of, run
from benchmarks.served import served
from mimeifs.api.requests import Backup
from mimeifs.home import Home

MIB = 1 << 20
AIMS = {"incompressible": 800, "half of it zeros": 400}
"""MiB/s for each file."""
FILES = {"incompressible": "random", "half of it zeros": "text"}
Place = Callable[[], AbstractContextManager[Path]]
"""Mounts, and says where the old version's files are."""


def measure(home: Home, scratch: Path, scale: Scale) -> list[Figure]:
    """All rows, of a home that exists and holds nothing called ``large``."""
    plain, environment = scratch / "files", environment_of(scratch)
    plain.mkdir()
    for name, pieces in (("random", large.blocks(scale.large_mib)), ("text", map(_halved, large.blocks(scale.large_mib)))):
        with open(plain / name, "wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)
    with served("past", home, scratch) as node:
        shutil.copytree(plain, node.point / "large")
        node.client.call(Backup(b"large"))
        node.mounted.wait_quiet()

    @contextmanager
    def ours() -> Iterator[Path]:
        with served("past", home, scratch) as node:
            node.mounted.wait_quiet()
            yield node.point / "large" / ".mimei" / "@1"

    stores: dict[str, tuple[Path, Place]] = {"": (home.storage.packs, ours)}
    if shutil.which("restic"):
        run(("restic", "init", "-q"), plain, environment)
        run(("restic", "backup", "-q", "."), plain, environment)
        stores["restic"] = scratch / "restic", _other("restic", "restic mount --no-lock {mount}", scratch, environment)
    if shutil.which("borg"):
        run(("borg", "init", "-e", "none"), plain, environment)
        run(("borg", "create", "::first", "."), plain, environment)
        stores["borg"] = scratch / "borg", _other("borg", "borg mount -f ::first {mount}", scratch, environment)
    shutil.rmtree(plain)
    return [row for kind in FILES for row in _rows(kind, stores, scale)]


def _rows(kind: str, stores: Mapping[str, tuple[Path, Place]], scale: Scale) -> list[Figure]:
    rows = []
    for state, prepare in {"its store in the page cache": _bring, "its store on the disk alone": _drop}.items():
        speeds: dict[str, list[float]] = {name: [] for name in stores}
        for _ in range(max(1, scale.rounds // 3)):
            for name, (store, place) in stores.items():
                with place() as point:
                    prepare(store)
                    speeds[name].append(_read(next(point.rglob(FILES[kind]))))
        medians = {name: statistics.median(values) for name, values in speeds.items()}
        what = f"{scale.large_mib:,} MiB out of an old version, {kind}, {state}"
        rows.append(Figure(what, medians[""], "MiB/s", AIMS[kind] if prepare is _bring else None, Aim.AT_LEAST))
        rows += [
            Figure(f"  {name}'s mount beside it", medians[""] / speed, "times", 1, Aim.AT_LEAST, f"{speed:.0f} MiB/s")
            for name, speed in medians.items()
            if name
        ]
    return rows


def _halved(block: bytes) -> bytes:
    """A block of the same size that compresses to half: unlike any other, and zeros every other 512 bytes."""
    return b"".join(block[at : at + 512] + bytes(512) for at in range(0, len(block), 1024))


def _other(name: str, command: str, scratch: Path, environment: Mapping[str, str]) -> Place:
    settings = " ".join(shlex.quote(f"{key}={value}") for key, value in environment.items())

    @contextmanager
    def mounted() -> Iterator[Path]:
        place = scratch / f"{name}.place"
        place.mkdir()
        with harness.start_command(name, f"env -i {settings} {command}", place) as there:
            there.wait_quiet()
            yield there.point
        shutil.rmtree(place)

    return mounted


def _bring(store: Path) -> None:
    """Have all of a store in the page cache."""
    place = bytearray(MIB)
    for file in sorted(path for path in store.rglob("*") if path.is_file()):
        with open(file, "rb", buffering=0) as opened:
            while opened.readinto(place):
                pass


def _drop(_store: Path) -> None:
    harness.drop_caches()


def _read(file: Path) -> float:
    """MiB/s of reading a file from front to back."""
    buffers, total = [bytearray(MIB)], 0
    began = time.perf_counter()
    descriptor = os.open(file, os.O_RDONLY)
    while count := os.readv(descriptor, buffers):
        total += count
    spent = time.perf_counter() - began
    os.close(descriptor)
    return total / MIB / spent
