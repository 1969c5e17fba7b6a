"""The entry of ``mimei``: from the command line to a command, and from whatever it raises to one line and an exit code.

Always true: a person's mistake costs them one line on standard error, never a traceback; what nobody foresaw goes to a
log whose place is told. Exit codes are in ``mimeifs.api.errors`` and ``docs/reference/cli.md``.
"""

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from mimeifs.api import errors as table
from mimeifs.cli.command import Arguments, Context
from mimeifs.cli.output import Json, Output, text_output
from mimeifs.cli.parser import COMMANDS, MisusedError, make_parser
from mimeifs.cli.show import clean
from mimeifs.errors import MimeiError, UsageError
from mimeifs.home import Home, home_from

EXIT_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; the exit code."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = make_parser()
    try:
        parsed = parser.parse_args(arguments)
    except MisusedError as error:
        return _tell_usage(error, sys.argv[1:] if arguments is None else arguments)
    if parsed.command is None:
        if parsed.json:
            return _tell(UsageError("no command was given"), parsed)
        parser.print_help(sys.stderr)
        return table.EXIT_USAGE
    if parsed.home == "":
        return _tell(UsageError("--home names no directory; leave it out for the default"), parsed)
    try:
        home = home_from(parsed.home)
    except MimeiError as error:
        return _tell(error, parsed)
    output: Output = Json() if parsed.json else text_output(dict(os.environ))
    try:
        code = COMMANDS[parsed.command].run(Context(home, output), parsed)
        sys.stdout.flush()
        return code
    except MimeiError as error:
        return _tell(error, parsed)
    except KeyboardInterrupt:
        _complain("interrupted")
        return table.EXIT_INTERRUPTED
    except BrokenPipeError:
        _lead_nowhere(sys.stdout)  # Whoever read the output has had enough.
        return EXIT_PIPE
    except OSError as error:
        _flush_or_drop(sys.stdout)
        known = table.of_os_error(error)
        return _unforeseen(home, parsed) if known is None else _tell(known, parsed)
    except Exception:  # noqa: BLE001  # the last door before a traceback
        return _unforeseen(home, parsed)


def _open_standard_streams() -> None:
    """Have what is closed lead nowhere: a file of the store would get its number, and every line that is written to it."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # for as long as the process lives, as the one it replaces
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _lead_nowhere(stream: TextIO) -> None:
    """Have nobody get what is said from here on, nor what is buffered: the interpreter would try once more at its end, and end
    with an exit code of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _flush_or_drop(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        _lead_nowhere(stream)


def _tell(error: MimeiError, parsed: Arguments) -> int:
    """One line about an error; its exit code."""
    row = table.row_of(error)
    _say(row, str(error), parsed)
    return row.exit_code


def _say(row: table.Row, message: str, parsed: Arguments) -> None:
    program = f"mimei {parsed.command}" if parsed.command else "mimei"
    _complain(_as_json(row, message) if parsed.json else f"{program}: {clean(message)}")


def _complain(line: str) -> None:
    """A line on standard error; where that takes none, the exit code says it all the same."""
    with suppress(OSError):
        print(line, file=sys.stderr)
    _flush_or_drop(sys.stderr)


def _as_json(row: table.Row, message: str) -> str:
    return json.dumps({"error": row.name, "message": message, "exit_code": row.exit_code})


def _tell_usage(error: MisusedError, arguments: Sequence[str]) -> int:
    """What is wrong with a command line, of which no more is known than its words; the exit code."""
    row = table.row_of(error)
    if "--json" in arguments:
        _complain(_as_json(row, f"{error.program}: {error}"))
    else:
        _complain(f"{error.usage}{error.program}: {clean(str(error))}")
    return row.exit_code


def _unforeseen(home: Home, parsed: Arguments) -> int:
    """Keep the traceback where it can be found; one line about it."""
    kind, error, _ = sys.exc_info()
    place = _keep(home, traceback.format_exc())
    said = clean(str(error).partition("\n")[0])
    name = kind.__name__ if kind else "error"
    row = table.Row(table.UNFORESEEN, table.EXIT_UNFORESEEN)
    _say(row, f"something unforeseen happened ({name}: {said}); the details are in {place}", parsed)
    return row.exit_code


def _keep(home: Home, details: str) -> Path:
    """Append to the home's log, or where that cannot be, to a file of its own."""
    log = home.root / "log"
    try:
        with open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "a") as file:
            file.write(details)
    except OSError:
        handle, name = tempfile.mkstemp(prefix="mimei-", suffix=".log")
        with open(handle, "w") as file:
            file.write(details)
        return Path(name)
    return log
