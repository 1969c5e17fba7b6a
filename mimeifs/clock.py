"""Time and randomness as arguments: nothing below the shell asks the machine for either.

Times are integer nanoseconds since the epoch (UTC), ``_ns`` in names. Implementations for tests live beside the real
ones and pass the same contract tests.
"""

import os
import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch; may jump, as the machine's clock does."""
        ...


class Randomness(Protocol):
    """Where unpredictable bytes come from."""

    def draw(self, count: int) -> bytes:
        """Exactly ``count`` bytes nobody can guess."""
        ...


class SystemClock:
    """The machine's clock."""

    now_ns = staticmethod(time.time_ns)


class SystemRandomness:
    """The kernel's generator."""

    draw = staticmethod(os.urandom)


@dataclass(slots=True)
class ManualClock:
    """A clock for tests: each reading is ``step_ns`` after the one before, so that order is visible."""

    time_ns: int = 1_700_000_000_000_000_000
    step_ns: int = 1_000

    def now_ns(self) -> int:
        self.time_ns += self.step_ns
        return self.time_ns


@dataclass(slots=True)
class CountingRandomness:
    """A predictable source for tests; never for keys that matter."""

    state: int = 0

    def draw(self, count: int) -> bytes:
        self.state += 1
        seed = self.state.to_bytes(8, "big")
        return (seed * (count // 8 + 1))[:count]
