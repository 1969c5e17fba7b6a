"""How fast a mounted file system answers ordinary programs, as ratios within one run.

``python -m benchmarks.mount_speed --ours "mimei serve --home {home} --mount {mount}" [--quick] [--json]``

Ours, the yardstick on both loops and the disk's own file system take turns. What counts are the medians of the rounds'
ratios: each row has its target against the yardstick on plain trio, all have the same against the one on our loop; beside the
disk they only tell. Each of :mod:`benchmarks.workloads` runs in a process of its own (``--client``).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import harness
from benchmarks.workloads import WORKLOADS, Sizes, Workload, nothing

OF_IMPROVED = 0.8
"""What every row is to reach beside the yardstick on our own loop."""
LATE_S = 4.5
"""When our late work (sealing what was written) has begun, after the last request."""


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
    for step in ([["--prepare"]] if workload.prepare is not nothing else []) + [[]]:
        harness.wait_all_quiet(everybody)
        done = subprocess.run(
            [*command, "--root", str(place), *step], cwd=harness.PROJECT, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{workload.name} on {system.name} failed: {done.stderr[-2000:]}{system.log_tail()}")
        printed = done.stdout
        time.sleep(LATE_S if system is everybody[0] else 0)
    shutil.rmtree(place)
    return float(printed)


def compare(systems: Sequence[harness.Mounted], chosen: Sequence[Workload], sizes: Sizes, rounds: int) -> list[harness.Row]:
    """Measure the first system against the yardstick on plain trio, on our loop, and the disk, which come in that order."""
    ours, plain, improved, disk = systems
    rows = []
    for workload in chosen:
        calls = {system.name: _call(workload, system, sizes, systems) for system in systems}
        values = harness.alternate(calls, rounds)
        aims = {plain.name: workload.target, improved.name: OF_IMPROVED, disk.name: 0.0}
        rows.append(harness.row(workload.name, workload.unit, values, ours.name, aims))
        print(f"{workload.name}: {_rounds(values)}", file=sys.stderr, flush=True)
    return rows


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
    stolen = harness.Stolen()
    with harness.scratch_directory(arguments.scratch) as scratch:
        systems = (
            harness.start_command("ours", arguments.ours, scratch),
            harness.start_memfs("memfs-plain", "plain", scratch),
            harness.start_memfs("memfs-improved", "improved", scratch),
            harness.Directory("disk", scratch / "disk"),
        )
        with harness.all_mounted(systems):
            notes.append("read-ahead in KiB: " + ", ".join(f"{system.name} {system.read_ahead_kb}" for system in systems))
            rows = compare(systems, chosen, sizes, rounds)
    notes.append(stolen.note())
    if arguments.json:
        print(harness.as_json(rows, notes))
        return
    print("\n\n".join((harness.table(rows), "\n".join(notes))))


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
