"""How fast a mounted file system answers ordinary programs, as ratios against the yardstick.

``python -m benchmarks.mount_speed --ours "mimei serve --home {home} --mount {mount}" [--quick] [--json]``

Each workload is a function of a fresh directory that returns operations or MiB a second. What it reads is written before, by
another one, and at rest when it begins. It runs in a process of its own
(``--client``), which does bare ``os`` calls inside the time taken and everything else outside.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import harness

MIB = 1 << 20
STAMP_EVERY = 1 << 16
SMALL = b"\xa5" * 4096
CLIENTS = 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work: the large file in MiB, the number of small files, of appends (all clients together)."""

    large_mib: int
    files: int
    appends: int


@dataclass(frozen=True, slots=True)
class Workload:
    """A measurement: how its result is counted, the least ratio we accept, the work itself, and what must be there before.

    Between preparing and measuring everybody is left alone until he has done his late work.
    """

    name: str
    unit: str
    target: float
    run: Callable[[Path, Sizes], float]
    prepare: Callable[[Path, Sizes], None] = lambda place, sizes: None


def sequential_write(place: Path, sizes: Sizes) -> float:
    """MiB/s of writing one large file of unique bytes in blocks of 1 MiB, fsync included."""
    block = bytearray(os.urandom(MIB))
    began = time.perf_counter()
    _write_large(place / "large", block, sizes.large_mib)
    return sizes.large_mib / (time.perf_counter() - began)


def sequential_read_cold(place: Path, sizes: Sizes) -> float:
    """MiB/s of reading one large file that is not in the page cache."""
    harness.drop_caches()
    buffers = [bytearray(MIB)]
    began = time.perf_counter()
    descriptor = os.open(place / "large", os.O_RDONLY)
    total = 0
    while count := os.readv(descriptor, buffers):
        total += count
    os.close(descriptor)
    spent = time.perf_counter() - began
    if total != sizes.large_mib * MIB:
        raise AssertionError(f"read {total} bytes of {sizes.large_mib} MiB")
    return sizes.large_mib / spent


def write_large(place: Path, sizes: Sizes) -> None:
    """The large file."""
    _write_large(place / "large", bytearray(os.urandom(MIB)), sizes.large_mib)


def create_small(place: Path, sizes: Sizes) -> float:
    """Files a second, each created, given 4 KiB and closed."""
    names = _names(place, sizes.files)
    began = time.perf_counter()
    _create(names)
    return sizes.files / (time.perf_counter() - began)


def open_read_small(place: Path, sizes: Sizes) -> float:
    """Files of 4 KiB a second, each opened, read and closed, as their writer left them."""
    names = _names(place, sizes.files)
    _create(names)
    began = time.perf_counter()
    for name in names:
        descriptor = os.open(name, os.O_RDONLY)
        os.read(descriptor, 4096)
        os.close(descriptor)
    return sizes.files / (time.perf_counter() - began)


def stat_cold(place: Path, sizes: Sizes) -> float:
    """Files a second whose attributes are asked for after the kernel forgot them."""
    names = _names(place, sizes.files)
    _create(names)
    harness.drop_caches()
    # Dropping names sends as many forgets; they belong to the dropping.
    time.sleep(0.3)
    began = time.perf_counter()
    for name in names:
        os.stat(name)
    return sizes.files / (time.perf_counter() - began)


def append_fsync(place: Path, sizes: Sizes) -> float:
    """Appends of 4 KiB a second to one file, an fsync after each."""
    began = time.perf_counter()
    _append(place / "journal", sizes.appends)
    return sizes.appends / (time.perf_counter() - began)


def append_fsync_clients(place: Path, sizes: Sizes) -> float:
    """The same by four processes at once, a file each; appends a second of all together."""
    each = sizes.appends // CLIENTS
    wait_end, start_end = os.pipe()
    children = []
    for number in range(CLIENTS):
        child = os.fork()
        if child == 0:
            os.close(start_end)
            os.read(wait_end, 1)
            _append(place / f"journal{number}", each)
            os._exit(0)
        children.append(child)
    began = time.perf_counter()
    os.close(start_end)
    failed = [child for child in children if os.waitpid(child, 0)[1] != 0]
    spent = time.perf_counter() - began
    os.close(wait_end)
    if failed:
        raise AssertionError(f"{len(failed)} of {CLIENTS} clients failed")
    return each * CLIENTS / spent


WORKLOADS = (
    Workload("sequential write + fsync", "MiB/s", 0.8, sequential_write),
    Workload("sequential read, cold", "MiB/s", 0.8, sequential_read_cold, write_large),
    Workload("create + write 4 KiB + close", "/s", 0.8, create_small),
    Workload("open + read 4 KiB + close", "/s", 0.9, open_read_small),
    Workload("stat, cold", "/s", 0.6, stat_cold),
    Workload("append 4 KiB + fsync", "/s", 0.4, append_fsync),
    Workload("append 4 KiB + fsync, 4 clients", "/s", 0.4, append_fsync_clients),
)


def _names(place: Path, count: int) -> list[str]:
    return [f"{place}/{number:06d}" for number in range(count)]


def _create(names: Sequence[str]) -> None:
    for name in names:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, SMALL)
        os.close(descriptor)


def _append(name: Path, count: int) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for _ in range(count):
        os.write(descriptor, SMALL)
        os.fsync(descriptor)
    os.close(descriptor)


def _write_large(name: Path, block: bytearray, mib: int) -> None:
    """Stamp every 64 KiB, so that no chunk of the file is like another and none can be stored once for two."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for number in range(mib):
        stamp = number.to_bytes(8, "little")
        for offset in range(0, MIB, STAMP_EVERY):
            block[offset : offset + 8] = stamp
        if os.write(descriptor, block) != MIB:
            raise AssertionError("a short write")
    os.fsync(descriptor)
    os.close(descriptor)


def _client(workload: str, place: Path, sizes: Sizes, *, preparing: bool) -> None:
    """Prepare one workload in ``place``, or run it and print its result."""
    chosen = next(item for item in WORKLOADS if item.name == workload)
    if preparing:
        chosen.prepare(place, sizes)
    else:
        print(chosen.run(place, sizes), flush=True)


def _measure(workload: Workload, system: harness.Mounted, sizes: Sizes, everybody: Sequence[harness.Mounted]) -> float:
    """Run a workload in a fresh directory of ``system``, and remove it afterwards."""
    command = [sys.executable, "-m", "benchmarks.mount_speed", "--client", workload.name]
    command += ["--size", str(sizes.large_mib), "--files", str(sizes.files), "--appends", str(sizes.appends)]
    place = Path(tempfile.mkdtemp(prefix="bench-", dir=system.point))
    printed = ""
    for step in (["--prepare"], []):
        for other in everybody:
            other.wait_quiet()
        done = subprocess.run(
            [*command, "--root", str(place), *step], cwd=harness.PROJECT, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{workload.name} on {system.name} failed: {done.stderr[-2000:]}{system.log_tail()}")
        printed = done.stdout
    shutil.rmtree(place)
    return float(printed)


def compare(
    systems: Sequence[harness.Mounted], chosen: Sequence[Workload], sizes: Sizes, rounds: int
) -> dict[str, list[harness.Row]]:
    """Measure the first system against each of the others; the targets are those of the first table."""
    ours, *yardsticks = systems
    tables: dict[str, list[harness.Row]] = {f"{ours.name} against {other.name}": [] for other in yardsticks}
    for workload in chosen:
        calls = {system.name: _call(workload, system, sizes, systems) for system in systems}
        values = harness.alternate(calls, rounds)
        for number, other in enumerate(yardsticks):
            target = 0.0 if number else workload.target
            row = harness.ratio_row(workload.name, workload.unit, values[ours.name], values[other.name], target)
            tables[f"{ours.name} against {other.name}"].append(row)
        print(f"{workload.name}: {_rounds(values)}", file=sys.stderr, flush=True)
    return tables


def _call(
    workload: Workload, system: harness.Mounted, sizes: Sizes, everybody: Sequence[harness.Mounted]
) -> Callable[[], float]:
    return lambda: _measure(workload, system, sizes, everybody)


def _rounds(values: dict[str, list[float]]) -> str:
    return "; ".join(f"{name} {' '.join(f'{value:.0f}' for value in rounds)}" for name, rounds in values.items())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mount_speed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ours", help="command that mounts; {mount} and {home} are replaced by fresh directories")
    parser.add_argument("--only", action="append", help="run only workloads whose name contains this (may be repeated)")
    parser.add_argument("--rounds", type=int, default=None, help="rounds per workload (default 5, quick 3)")
    parser.add_argument("--size", type=int, default=None, help="the large file in MiB (default 2048, quick 128)")
    parser.add_argument("--files", type=int, default=None, help="number of small files (default 4000, quick 1000)")
    parser.add_argument("--appends", type=int, default=None, help="number of appends (default 4000, quick 1000)")
    parser.add_argument("--quick", action="store_true", help="small sizes, three rounds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--scratch", help="where to put mounts and homes (default: the temporary directory)")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.client and not arguments.ours:
        parser.error("--ours is needed")
    return arguments


def _run(arguments: argparse.Namespace, sizes: Sizes) -> None:
    chosen = [item for item in WORKLOADS if not arguments.only or any(part in item.name for part in arguments.only)]
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    notes = [
        f"{rounds} rounds; {sizes.large_mib} MiB, {sizes.files} files, {sizes.appends} appends; {os.cpu_count()} processors"
    ]
    if not harness.drop_caches():
        notes.append("not permitted to drop caches: what is called cold is warm")
    with harness.scratch_directory(arguments.scratch) as scratch:
        systems = (
            harness.start_command("ours", arguments.ours, scratch),
            harness.start_memfs("memfs-plain", "plain", scratch),
            harness.start_memfs("memfs-improved", "improved", scratch),
            harness.Directory("disk", scratch / "disk"),
        )
        with harness.all_mounted(systems):
            notes.append("read-ahead in KiB: " + ", ".join(f"{system.name} {system.read_ahead_kb}" for system in systems))
            tables = compare(systems, chosen, sizes, rounds)
    if arguments.json:
        print(harness.as_json(tables, notes))
        return
    print("\n\n".join((*(harness.table(title, rows) for title, rows in tables.items()), "\n".join(notes))))


def main() -> None:
    arguments = _arguments()
    large, files, appends = (128, 1000, 1000) if arguments.quick else (2048, 4000, 4000)
    sizes = Sizes(arguments.size or large, arguments.files or files, arguments.appends or appends)
    if arguments.client:
        _client(arguments.client, arguments.root, sizes, preparing=arguments.prepare)
    else:
        _run(arguments, sizes)


if __name__ == "__main__":
    main()
