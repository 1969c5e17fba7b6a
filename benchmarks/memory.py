"""Anonymous memory of a node: all its processes together, pages they share counted once (see ``Served.anonymous``).

Files mapped or cached do not count: the kernel takes those back when it needs room.
"""

import subprocess
import time
from pathlib import Path

from benchmarks.figures import Figure, Scale
from benchmarks.planting import Shape, plant
from benchmarks.served import Served, served
from mimeifs.home import Home

MIB = 1 << 20
_EACH = 1000


def measure(scratch: Path, scale: Scale) -> list[Figure]:
    """All rows about memory."""
    home = Home(scratch / "huge")
    shape = Shape(scale.huge // _EACH, _EACH, longest=0)
    plant(home, shape)
    with served("huge", home, scratch) as node:
        node.mounted.wait_quiet()
        idle = node.anonymous() / MIB
        began = time.perf_counter()
        found = _find(node.point / "big" / ".mimei" / "@1")
        spent = time.perf_counter() - began
        if found != shape.files + shape.directories + 1:
            raise AssertionError(f"find saw {found} names of {shape.files + shape.directories + 1}")
        node.mounted.wait_quiet()
        after = node.anonymous() / MIB
        each = _each(node)
    return [
        Figure("anonymous memory, idle", idle, "MiB", 64),
        Figure(f"anonymous memory after find over {shape.files:,} files of a version", after, "MiB", 200, note=each),
        Figure("that find", spent, "s"),
    ]


def _find(place: Path) -> int:
    done = subprocess.run(("find", str(place)), check=True, capture_output=True)
    return done.stdout.count(b"\n")


def _each(node: Served) -> str:
    """Private memory of each process, in MiB."""
    parts = []
    for pid in node.processes():
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        private = sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
        parts.append(f"{private / 1024:.0f}")
    return "anonymous in each process, shared included: " + ", ".join(parts)
