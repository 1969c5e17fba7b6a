"""The most memory that processes have while something is done, looked at from outside (proc(5))."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes of anonymous memory of each process, and how long it took."""

    each: tuple[int, ...]
    seconds: float


def peak_while(processes: Sequence[int], work: Callable[[], object]) -> Peak:
    """Do something; the most that each process had meanwhile."""
    ended, most = threading.Event(), [0] * len(processes)

    def watch() -> None:
        while not ended.wait(EVERY_S):
            for index, pid in enumerate(processes):
                most[index] = max(most[index], _anonymous(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        work()
    finally:
        spent = time.perf_counter() - began
        ended.set()
        watcher.join()
    return Peak(tuple(most), spent)


def _anonymous(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))
