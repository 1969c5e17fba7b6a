"""``python -m benchmarks [PART...] [--quick] [--json]``: the table of speed and size, with targets.

Parts: ``mount`` (against the yardstick), ``versions``, ``large``, ``loaded``, ``memory``, ``dav`` (beside Apache, where that is
installed), ``prolly``; without any, all of them. Needs ``/dev/fuse``; as root it can drop the kernel's caches, else what is
called cold is warm. The exit code is 1 when a target was missed, so that a glance at it is enough.
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import dav, harness, large, loaded, memory, versions
from benchmarks.figures import FULL, QUICK, Figure, Scale, as_json, table

MEASURES: dict[str, tuple[str, Callable[[Path, Scale], list[Figure]]]] = {
    "versions": ("versions", versions.measure),
    "large": ("a large file", large.measure),
    "loaded": ("cold, cached and under load", loaded.measure),
    "memory": ("memory", memory.measure),
    "dav": ("the network drive", dav.measure),
}
NAMES = ("mount", *MEASURES, "prolly")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and print the table with its targets.")
    parser.add_argument("--quick", action="store_true", help="fewer files, smaller files, fewer rounds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return harness.arguments_of(parser, NAMES)


def _passed_on(name: str, arguments: argparse.Namespace) -> None:
    """Run a benchmark that prints its own tables."""
    command = [sys.executable, "-m", "benchmarks.prolly_ops"]
    if name == "mount":
        ours = f"{shlex.quote(sys.executable)} -m mimeifs serve --home {{home}} --mount {{mount}}"
        command = [sys.executable, "-m", "benchmarks.mount_speed", "--ours", ours]
        command += [flag for flag, given in (("--quick", arguments.quick), ("--json", arguments.json)) if given]
        command += ["--scratch", arguments.scratch] if arguments.scratch else []
    subprocess.run(command, cwd=harness.PROJECT, check=True)


def main() -> int:
    arguments = _arguments()
    scale = QUICK if arguments.quick else FULL
    notes = [
        f"{os.cpu_count()} processors, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    ]
    tables: dict[str, list[Figure]] = {}
    stolen = harness.Stolen()
    for name in NAMES:
        if name not in arguments.parts:
            continue
        if name not in MEASURES:
            _passed_on(name, arguments)
            continue
        title, measure = MEASURES[name]
        with harness.scratch_directory(arguments.scratch) as scratch:
            tables[title] = measure(scratch, scale)
        if not arguments.json:
            print(table(title, tables[title]), end="\n\n", flush=True)
    if tables:
        notes.append(stolen.note())
        print(as_json(tables, notes) if arguments.json else "\n".join(notes))
    return int(not all(figure.met for group in tables.values() for figure in group))


if __name__ == "__main__":
    sys.exit(main())
