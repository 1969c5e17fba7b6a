"""What a command is: its words, its arguments, its examples, and the function that carries it out.

Always true: a command's function gets a :class:`Context` and parsed arguments, writes results to ``context.output`` only,
and returns an exit code or raises.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from mimeifs.api.requests import Request
from mimeifs.cli import gate
from mimeifs.cli.output import Output
from mimeifs.cli.progress import meter
from mimeifs.cli.show import clean
from mimeifs.errors import InvalidError
from mimeifs.home import Home

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """Where a command works, and where its results go."""

    home: Home
    output: Output

    def ask(self, request: Request[R]) -> R:
        """The reply to one request."""
        with gate.opened(self.home) as way, meter("working"):
            return way.call(request)

    def pages(self, request: Any, field: str) -> Iterator[tuple[Any, ...]]:
        """The pages of a list whose rows the reply has in ``field``."""
        with gate.opened(self.home) as way:
            while True:
                reply = way.call(request)
                yield getattr(reply, field)
                if not reply.next:
                    return
                request = msgspec.structs.replace(request, after=reply.next)


Arguments = argparse.Namespace
Run = Callable[[Context, Arguments], int]


@dataclass(frozen=True, slots=True)
class Command:
    """One command of ``mimei``. ``examples`` are (command line, what it does)."""

    name: str
    summary: str
    about: str
    examples: tuple[tuple[str, str], ...]
    declare: Callable[[argparse.ArgumentParser], None]
    run: Run

    def epilog(self, program: str) -> str:
        """The examples that begin with ``program``, aligned."""
        examples = [(line, what) for line, what in self.examples if f"{line} ".startswith(f"{program} ")]
        width = max(len(line) for line, _ in examples)
        return "examples:\n" + "\n".join(f"  {line:{width}}  {what}" for line, what in examples)


def declare_act(acts: Any, name: str, summary: str) -> argparse.ArgumentParser:
    """The parser of one of the things that a command does."""
    act: argparse.ArgumentParser = acts.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    declare_everywhere(act)
    return act


def declare_everywhere(parser: argparse.ArgumentParser) -> None:
    """The options that stand before a command, behind it, or behind what it is to do."""
    # Without defaults, so that what was said in one place is not unsaid in the next.
    parser.add_argument(
        "--home",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="the node's home (default: $MIMEI_HOME, else ~/.local/share/mimei)",
    )
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="results as JSON, errors as one line of JSON"
    )


def text(argument: str) -> str:
    """An argument that must be text; raises ``InvalidError`` for bytes that are no UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise InvalidError(f"not valid UTF-8: '{clean(argument)}'") from None
    return argument


def raw(argument: str) -> bytes:
    """An argument that names a file: any bytes."""
    return os.fsencode(argument)
