"""The command line's grammar: all commands in one table, and the parser made from it."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from mimeifs import __version__
from mimeifs.cli import of_comparisons, of_drive, of_home, of_mimeis, of_node, of_store, of_versions
from mimeifs.cli.command import Arguments, Command, Context, declare_everywhere
from mimeifs.errors import UsageError


def _declare_help(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", metavar="COMMAND", nargs="*", help="the command (default: all of them)")


def _help(_context: Context, arguments: Arguments) -> int:
    make_parser().parse_args([*arguments.words, "--help"])
    return 0


_HELP = Command(
    "help",
    "explain a command",
    "Show the commands, or the options and examples of one; the same as `mimei COMMAND --help`.",
    (("mimei help", "all commands"), ("mimei help backup", "one of them")),
    _declare_help,
    _help,
)
_GROUPS: tuple[tuple[str, tuple[Command, ...]], ...] = (
    ("a node", (*of_home.MAKING, *of_node.COMMANDS)),
    ("MiMeis", of_mimeis.COMMANDS),
    ("versions", (*of_versions.COMMANDS, *of_comparisons.COMMANDS)),
    ("keys and care", (*of_store.COMMANDS, *of_home.COMMANDS, *of_drive.COMMANDS, _HELP)),
)
COMMANDS: dict[str, Command] = {command.name: command for _, group in _GROUPS for command in group}

_ABOUT = """\
Files whose names never change and whose pasts never vanish.

A MiMei is a file tree (or one file) with a writable present and numbered, signed, read-only versions.
A NAME is an entry of the node's root, a path to a link in one, or the ID of a MiMei.
A VERSION is written as after an @: 7, last, release, a label, 2026-11-20T18:00; cur is the present.
"""
_EXAMPLES = """\
examples:
  mimei mount ~/mimei                start a node in the background and mount it
  mkdir ~/mimei/drafts               make a MiMei with ordinary tools (or: mimei create drafts)
  mimei backup drafts -m "before"    take a version of it
  mimei log drafts                   list its versions
  mimei diff drafts 1 2              what changed between two of them
  mimei restore drafts 1 letter.txt  bring an old file back
  mimei umount ~/mimei               end the node

`mimei COMMAND --help` shows the options and examples of one command.
"""


class MisusedError(UsageError):
    """A command line outside the grammar: what is wrong, which words it is about, and the usage line for them."""

    def __init__(self, message: str, program: str, usage: str) -> None:
        super().__init__(message)
        self.program = program
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """A parser that raises what it has to say, so that it is told as every other error is."""

    def error(self, message: str) -> NoReturn:
        """Raise ``MisusedError``."""
        raise MisusedError(message, self.prog, self.format_usage())

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """As the standard library's, but a command's parser itself refuses what it does not know: the one above it, which
        would, knows neither the command's name nor its usage."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def format_help(self) -> str:
        """As the standard library's; what a command does with an act has those of its examples that begin so."""
        if not self.epilog:
            self.formatter_class = argparse.RawDescriptionHelpFormatter
            self.epilog = COMMANDS[self.prog.split()[1]].epilog(self.prog)
        return super().format_help()


def make_parser() -> Parser:
    """The parser for all of it; ``command`` is None where none was given."""
    parser = Parser(
        prog="mimei",
        description=_ABOUT + "\n" + _summaries(),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="mimei [--home DIR] [--json] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"mimei {__version__}")
    declare_everywhere(parser)
    parser.set_defaults(home=None, json=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help=argparse.SUPPRESS, prog=parser.prog)
    for command in COMMANDS.values():
        made = commands.add_parser(
            command.name,
            description=command.about,
            epilog=command.epilog(parser.prog),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        declare_everywhere(made)
        command.declare(made)
    return parser


def _summaries() -> str:
    width = max(map(len, COMMANDS))
    lines = []
    for title, group in _GROUPS:
        lines.append(f"{title}:")
        lines += [f"  {command.name:{width}}  {command.summary}" for command in group]
    return "\n".join(lines) + "\n"
