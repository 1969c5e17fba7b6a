"""Work that goes on in the background: a daemon with a log, and a parent that learns whether it started.

The parent waits on a pipe. The daemon writes there once: that it is ready, or why it cannot be. If it dies silently the
pipe ends, and the log says more.
"""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from mimeifs.api import errors
from mimeifs.errors import MimeiError, PeerError

_LOG_LINES = 5
Work = Callable[[Callable[[], None]], int]


class _Outcome(msgspec.Struct, frozen=True):
    """What the daemon tells: nothing wrong, or an error's name and message."""

    error: str = ""
    message: str = ""


_decode = msgspec.msgpack.Decoder(_Outcome).decode


def start(log: Path, work: Work) -> None:
    """Run ``work`` as a daemon and return when it has called what it was given; raises why it did not."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _fork_again(log, writing, work)
    os.close(writing)
    os.waitpid(child, 0)
    try:
        said = os.read(reading, 1 << 16)
    finally:
        os.close(reading)
    if not said:
        raise PeerError(f"the node did not start; its log {log} ends with:{_tail(log)}")
    outcome = _decode(said)
    if outcome.error:
        raise errors.from_wire(outcome.error, outcome.message)


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="backslashreplace").splitlines()
    except OSError:
        return " (nothing)"
    return " " + " | ".join(lines[-_LOG_LINES:])


def _fork_again(log: Path, writing: int, work: Work) -> NoReturn:
    """Leave the session and the parent, so that neither terminal nor shell can end the daemon (daemon(7))."""
    os.setsid()
    if os.fork():
        os._exit(0)
    code = errors.EXIT_UNFORESEEN
    try:
        _turn_to(log)
        code = _work(writing, work)
    except BaseException:  # noqa: BLE001  # nobody is above: the log is the only place left
        traceback.print_exc()
    finally:
        os._exit(code)


def _turn_to(log: Path) -> None:
    """Standard input from nowhere, output to the log."""
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for source, target in ((nowhere, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    os.close(nowhere)
    os.close(file)


def _work(writing: int, work: Work) -> int:
    def tell(outcome: _Outcome) -> None:
        os.write(writing, msgspec.msgpack.encode(outcome))

    try:
        return work(lambda: tell(_Outcome()))
    except MimeiError as error:
        row = errors.row_of(error)
        tell(_Outcome(row.name, str(error)))
        return row.exit_code
