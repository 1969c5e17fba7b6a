"""Work that goes on in the background: a daemon with a log, and a parent that learns whether it started.

The parent waits on a pipe. The daemon writes there that it is ready, or why it cannot be. If it dies silently the pipe
ends, and what it wrote to the log says why. Always true: what earlier daemons wrote to the log is never told as the cause.
"""

import contextlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from mimeifs.api import errors
from mimeifs.errors import MimeiError

_log = logging.getLogger(__name__)

MAX_LOG = 1 << 20
"""A log over that size makes way for a new one when a daemon starts; one old one is kept beside it."""
_OLD = ".old"
_ERROR = re.compile(r"^\S+ \S+ (?:ERROR|CRITICAL) \S+: (.*)$", re.MULTILINE)
Work = Callable[[Callable[[], None]], int]


class _Outcome(msgspec.Struct, frozen=True):
    """What the daemon tells: that it is ready, an error's name and message, or the exit code with which it ended."""

    error: str = ""
    message: str = ""
    exit_code: int = 0


_decode = msgspec.msgpack.Decoder(_Outcome).decode


def start(log: Path, work: Work) -> None:
    """Run ``work`` as a daemon and return when it has called what it was given; raises why it did not."""
    begins = _make_way(log)
    file = _open(log)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _fork_again(file, writing, work)
    os.close(writing)
    os.close(file)
    os.waitpid(child, 0)
    try:
        said = os.read(reading, 1 << 16)
    finally:
        os.close(reading)
    outcome = _decode(said) if said else _Outcome(exit_code=errors.EXIT_PEER)
    if outcome.error:
        raise errors.from_wire(outcome.error, outcome.message)
    if outcome.exit_code:
        said_why = f"the node did not start: {_cause(log, begins)}; its log is {log}"
        raise errors.of_exit_code(outcome.exit_code, said_why)


def _make_way(log: Path) -> int:
    """Put a log aside that has grown too large; where in the log a daemon that starts now begins."""
    try:
        size = log.stat().st_size
        if size <= MAX_LOG:
            return size
        log.replace(log.with_name(log.name + _OLD))
    except OSError:
        pass  # Without a log yet, or with one that cannot move, it begins where it can.
    return 0


def _open(log: Path) -> int:
    """The log, for the daemon to write to. Opened before it is there, because without a log it could not say why it ended."""
    try:
        return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        known = errors.of_os_error(error)
        if known is None:
            raise
        said = f"the node's log {log} cannot be written ({error.strerror}): a node needs a home that it can write to"
        raise type(known)(said) from error


def _cause(log: Path, begins: int) -> str:
    """The first error in the log behind a place, else the last line there."""
    try:
        with log.open("rb") as file:
            file.seek(begins)
            written = file.read(MAX_LOG).decode(errors="backslashreplace")
    except OSError:
        written = ""
    first = _ERROR.search(written)
    return first[1] if first else (written.rstrip().rpartition("\n")[2] or "it said nothing")


def _fork_again(file: int, writing: int, work: Work) -> NoReturn:
    """Leave the session and the parent, so that neither terminal nor shell can end the daemon (daemon(7))."""
    os.setsid()
    if os.fork():
        os._exit(0)
    code = errors.EXIT_UNFORESEEN
    try:
        _turn_to(file)
        code = _work(writing, work)
    except BaseException:  # noqa: BLE001  # nobody is above: the log is the only place left
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _turn_to(file: int) -> None:
    """Standard input from nowhere, output to the log that is open as ``file``."""
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nowhere, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    os.close(nowhere)
    os.close(file)


def _work(writing: int, work: Work) -> int:
    def tell(outcome: _Outcome) -> None:
        with contextlib.suppress(BrokenPipeError):  # Nobody waits any more for how it ends.
            os.write(writing, msgspec.msgpack.encode(outcome))

    try:
        code = work(lambda: tell(_Outcome()))
        sys.stdout.flush()  # What the log has of it is the reason that is shown.
        if code:
            tell(_Outcome(exit_code=code))
        return code
    except (MimeiError, OSError) as error:
        known = error if isinstance(error, MimeiError) else errors.of_os_error(error)
        if known is None:
            raise
        _log.error("%s", known)  # For who reads the log later; nobody waits any more once it has started.
        row = errors.row_of(known)
        tell(_Outcome(row.name, str(known)))
        return row.exit_code
