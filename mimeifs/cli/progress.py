"""What is said on standard error while something takes long: nothing for a second, then how far it is, if a terminal
watches."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SILENT_SECONDS = 1.0
_TICK_SECONDS = 0.25


class Meter:
    """A line that is written over; ``say`` may be called as often as one likes."""

    def __init__(self, text: str, silent_seconds: float) -> None:
        self._text = text
        self._silent = silent_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """What to show from now on."""
        self._text = text

    def _run(self) -> None:
        waited, shown = self._silent, 0
        if self._done.wait(self._silent):
            return
        while True:
            line = f"{self._text} ({waited:.0f} s)"
            sys.stderr.write("\r" + line.ljust(shown))
            sys.stderr.flush()
            shown = len(line)
            if self._done.wait(_TICK_SECONDS):
                sys.stderr.write("\r" + " " * shown + "\r")
                sys.stderr.flush()
                return
            waited += _TICK_SECONDS

    def close(self) -> None:
        """Take the line away."""
        self._done.set()
        self._thread.join()


class Silence:
    """A meter that nobody watches."""

    def say(self, text: str) -> None:
        """See ``Meter``."""

    def close(self) -> None:
        """See ``Meter``."""


@contextmanager
def meter(text: str, silent_seconds: float = SILENT_SECONDS) -> Iterator[Meter | Silence]:
    """A meter for the time of a block."""
    found: Meter | Silence = Meter(text, silent_seconds) if sys.stderr.isatty() else Silence()
    try:
        yield found
    finally:
        found.close()
