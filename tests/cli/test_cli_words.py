"""Every command and option is explained: in the help by example, in the reference in full."""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from mimeifs.api import errors
from mimeifs.cli.main import EXIT_PIPE
from mimeifs.cli.parser import COMMANDS, make_parser
from tests.cli.conftest import Run

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
ISSUED = (
    "init serve mount umount create ls info backup release label log diff history restore fork split rm ref check key version"
)
ADDED = "help link password rebuild"


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def options(parser: argparse.ArgumentParser) -> set[str]:
    own = {option for action in parser._actions for option in action.option_strings}
    return own.union(*(options(sub) for sub in subparsers(parser).values()))


def section(command: str) -> str:
    return re.split(r"^#{2,3} ", PAGE.partition(f"\n### {command}\n")[2], flags=re.MULTILINE)[0]


ALL = subparsers(make_parser())
EVERYWHERE = {"-h", "--help", "--home", "--json"}


def test_there_are_the_commands_that_were_promised() -> None:
    assert set(COMMANDS) == {*ISSUED.split(), *ADDED.split()}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_in_the_reference(command: str) -> None:
    text = section(command)
    assert text
    undocumented = {option for option in options(subparsers(make_parser())[command]) - EVERYWHERE if option not in text}
    assert undocumented == set()


def test_the_options_of_every_command_are_in_the_reference() -> None:
    text = PAGE.partition("## Everywhere")[2].partition("\n## ")[0]
    assert {option for option in options(argparse.ArgumentParser()) | EVERYWHERE - {"-h"} if len(option) > 2} <= set(
        re.findall(r"--\w+", text)
    )


def test_every_exit_code_is_in_the_reference() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")} | {EXIT_PIPE}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.partition("## Exit codes")[2], flags=re.MULTILINE)}
    assert codes == listed


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(command: str, run: Run) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert "examples:" in done.out
    assert all(line in done.out for line, _ in COMMANDS[command].examples)


@pytest.mark.parametrize("words", [(name, act) for name, parser in ALL.items() for act in subparsers(parser)])
def test_help_of_what_a_command_does_teaches_by_its_examples(words: tuple[str, str], run: Run) -> None:
    shown = run(*words, "--help").out.partition("\nexamples:\n")[2].splitlines()
    assert shown
    assert all(line.startswith(f"  mimei {' '.join(words)}") for line in shown)


@pytest.mark.parametrize("line", [line for command in COMMANDS.values() for line, _ in command.examples])
def test_every_example_is_a_command_line(line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "mimei"
    assert make_parser().parse_args(words).command in COMMANDS


def test_without_a_command_the_help_appears(run: Run) -> None:
    done = run()
    assert (done.code, "examples:" in done.err) == (2, True)


@pytest.mark.parametrize("words", [("nonsense",), ("backup",), ("ls", "--nonsense"), ("create", "x", "--kind", "database")])
def test_a_wrong_command_line_is_a_usage_error(words: tuple[str, ...], run: Run) -> None:
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    told = run(*words, "--json")
    assert (told.code, told.out, json.loads(told.err)["error"]) == (2, "", "usage")


def test_a_usage_error_is_about_its_command(run: Run) -> None:
    usage, said = run("backup").err.splitlines()
    assert usage.startswith("usage: mimei backup [-h]")
    assert said.startswith("mimei backup: ")
    assert run("key", "show", "x", "y").err.startswith("usage: mimei key show")
    for words in (("ls", "extra"), ("serve", "--bogus"), ("backup", "a", "b", "-x")):
        usage, *_, said = run(*words).err.splitlines()
        assert usage.startswith(f"usage: mimei {words[0]} [-h]")
        assert said.startswith(f"mimei {words[0]}: unrecognized arguments: ")


def test_help_is_a_command_too(run: Run) -> None:
    assert run("help").out == run("--help").out
    assert run("help", "backup").out == run("backup", "--help").out
    assert run("help", "key", "show").out == run("key", "show", "--help").out
    done = run("help", "nonsense")
    assert (done.code, done.out, "'nonsense'" in done.err) == (2, "", True)


def test_an_empty_home_is_not_the_default_one(run: Run) -> None:
    done = run("--home=", "init")
    assert (done.code, "names no directory" in done.err) == (2, True)
