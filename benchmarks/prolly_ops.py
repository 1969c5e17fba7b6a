"""What prolly maps cost: us a lookup, rows/s built and scanned, ms for 100 changes in 100,000 rows and for their diff.

Run: python benchmarks/prolly_ops.py. Prints the best of several rounds; a map of 100,000 rows with values of 100 bytes.
"""

import random
import time
from collections import deque
from collections.abc import Callable

from mimeifs.store import prolly
from mimeifs.store.interfaces import MemoryBlobs

ROWS = 100_000
LOOKUPS = 5_000
CHANGES = 100
ROUNDS = 5


def best(act: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        act()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    draw = random.Random(1)
    rows = [(b"name-%08d.txt" % (i * 37), bytes([i % 251]) * 100) for i in range(ROWS)]
    blobs = MemoryBlobs()
    root = prolly.build(blobs, rows)
    keys = [draw.choice(rows)[0] for _ in range(LOOKUPS)]
    ranks = [draw.randrange(ROWS) for _ in range(LOOKUPS)]
    mixed: dict[bytes, bytes | None] = {}
    for key, value in draw.sample(rows, CHANGES):
        mixed[draw.choice([key, key + b"+"])] = draw.choice([None, value[:50], value + value])
    changes = sorted(mixed.items())
    same_size = [(key, draw.randbytes(len(value))) for key, value in sorted(draw.sample(rows, CHANGES))]
    changed = prolly.apply(blobs, blobs, root, changes)

    per_lookup = 1e6 / LOOKUPS
    print(f"build      {ROWS / best(lambda: prolly.build(MemoryBlobs(), rows)):12,.0f} rows/s")
    print(f"scan       {ROWS / best(lambda: deque(prolly.scan(blobs, root), 0)):12,.0f} rows/s")
    print(f"get        {per_lookup * best(lambda: [prolly.get(blobs, root, key) for key in keys]):12.1f} us")
    print(f"find       {per_lookup * best(lambda: [prolly.find(blobs, root, key) for key in keys]):12.1f} us")
    print(f"floor      {per_lookup * best(lambda: [prolly.floor(blobs, root, key) for key in keys]):12.1f} us")
    print(f"at         {per_lookup * best(lambda: [prolly.at(blobs, root, rank) for rank in ranks]):12.1f} us")
    print(f"apply      {1e3 * best(lambda: prolly.apply(blobs, blobs, root, changes)):12.1f} ms, {CHANGES} mixed changes")
    print(f"apply      {1e3 * best(lambda: prolly.apply(blobs, blobs, root, same_size)):12.1f} ms, {CHANGES} of the same size")
    print(f"diff       {1e3 * best(lambda: list(prolly.diff(blobs, root, changed))):12.1f} ms, {CHANGES} mixed changes")


if __name__ == "__main__":
    main()
