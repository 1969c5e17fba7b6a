"""A client that never rests: how long its slowest requests took, and when.

``python -m benchmarks.stall DIRECTORY`` works in the directory until its standard input ends, then prints JSON: a list of
(beginning, duration) in seconds of the monotonic clock for all operations over half a millisecond. Each operation is one that
the kernel cannot answer alone: a name that is not there, a write, a read of what was just written by the other descriptor.
"""

import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SLOW_S = 0.0005


def operations(place: Path) -> Iterator[Callable[[], object]]:
    """What is done in turn."""
    file, missing = os.open(place / "file", os.O_RDWR | os.O_CREAT, 0o644), place / "missing"
    while True:
        yield lambda: os.path.exists(missing)
        yield lambda: os.pwrite(file, b"x" * 4096, 0)
        yield lambda: os.close(os.open(place / "file", os.O_RDONLY))


def main() -> None:
    slow: list[tuple[float, float]] = []
    print("ready", flush=True)
    for act in operations(Path(sys.argv[1])):
        began = time.monotonic()
        act()
        spent = time.monotonic() - began
        if spent > SLOW_S:
            slow.append((began, spent))
        if select.select((sys.stdin,), (), (), 0)[0]:
            break
    print(json.dumps(slow))


if __name__ == "__main__":
    main()
