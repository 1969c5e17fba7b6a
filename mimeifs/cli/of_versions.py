"""Commands on the versions of a MiMei: ``backup``, ``release``, ``label``, ``log``, ``restore``."""

import argparse
from collections.abc import Iterator

from mimeifs.api import requests
from mimeifs.api.requests import VersionLine
from mimeifs.cli import show
from mimeifs.cli.command import Arguments, Command, Context, raw, text
from mimeifs.cli.show import Colour, Column, Paint
from mimeifs.errors import InvalidError, TooLargeError


def number(version: VersionLine) -> str:
    """A version's number as people type it."""
    return f"{version.number}~{version.fork}" if version.fork else str(version.number)


def sentence(version: VersionLine, paint: Paint) -> str:
    """A version in one line."""
    labels = "".join(f" @{show.clean(label)}" for label in version.labels)
    about = f"{show.time(version.time_ns)}, {show.count(version.files, 'file')}, {show.size(version.size)}"
    memo = f"  {show.clean(version.memo)}" if version.memo else ""
    return f"{paint('@' + number(version), Colour.YELLOW)}{paint(labels, Colour.GREEN)}  {about}{memo}"


def declare_name(parser: argparse.ArgumentParser) -> None:
    """The MiMei a command is about."""
    parser.add_argument("name", metavar="NAME", help="the MiMei: an entry of the root, or an ID")


# backup


def _declare_backup(parser: argparse.ArgumentParser) -> None:
    declare_name(parser)
    parser.add_argument("-m", "--memo", metavar="MEMO", default="", help="a line to remember it by, at most 4096 bytes")
    parser.add_argument("--label", metavar="L", default="", help="give the version this label")


def _backup(context: Context, arguments: Arguments) -> int:
    memo, label = text(arguments.memo), _label_given(arguments.label) if arguments.label else ""
    _check_memo(memo)
    reply = context.ask(requests.Backup(raw(arguments.name), memo, label))

    def lines(paint: Paint) -> Iterator[str]:
        yield sentence(reply.version, paint) + ("" if reply.fresh else "  (nothing has changed since)")

    context.output.one(reply, lines)
    return 0


def _check_memo(memo: str) -> None:
    """Raise unless a version can hold it. Looked at before it is sent: what is too long for a request says nothing of memos."""
    from mimeifs.model.records import MAX_MEMO

    size = len(memo.encode())
    if size > MAX_MEMO:
        raise TooLargeError(f"the memo has {size} bytes, at most {MAX_MEMO} fit; put the rest in a file")


def _label_given(argument: str) -> str:
    """A label as people type it, with or without ``@``; raises ``InvalidError`` for what can be none."""
    from mimeifs.model.names import RELEASE, check_label

    label = text(argument).removeprefix("@")
    if label != RELEASE:  # Refused where it stands for a label, but it can be dropped like one.
        check_label(label)
    return label


# release, label


def _declare_release(parser: argparse.ArgumentParser) -> None:
    declare_name(parser)
    parser.add_argument("version", metavar="NUMBER", nargs="?", default="last", help="the version (default: last)")


def _release(context: Context, arguments: Arguments) -> int:
    reply = context.ask(requests.Release(raw(arguments.name), text(arguments.version)))
    context.output.one(reply, lambda paint: [sentence(reply.version, paint)])
    return 0


def _declare_label(parser: argparse.ArgumentParser) -> None:
    declare_name(parser)
    parser.add_argument("label", metavar="LABEL", help="no '/', no '~', not starting with a digit, no reserved word")
    parser.add_argument("version", metavar="VERSION", nargs="?", default=None, help="the version (default: last)")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--drop", action="store_true", help="drop the label; its version stays")
    act.add_argument("--move", action="store_true", help="take the label from the version that has it")


def _label(context: Context, arguments: Arguments) -> int:
    name, label = raw(arguments.name), _label_given(arguments.label)
    if arguments.drop and arguments.version is not None:
        raise InvalidError("--drop takes no version: a label belongs to one version only")
    version = text(arguments.version or "last")
    if arguments.drop:
        reply = context.ask(requests.DropLabel(name, label))
    elif arguments.move:
        reply = context.ask(requests.MoveLabel(name, label, version))
    else:
        reply = context.ask(requests.Label(name, label, version))
    context.output.one(reply, lambda paint: [sentence(reply.version, paint)])
    return 0


# log


def version_columns() -> tuple[Column[VersionLine], ...]:
    """Columns for versions."""
    return (
        Column("NUMBER", number, ">", lambda _: Colour.YELLOW),
        Column("TIME", lambda version: show.time(version.time_ns)),
        Column("FILES", lambda version: str(version.files), ">"),
        Column("SIZE", lambda version: show.size(version.size), ">"),
        Column("LABELS", lambda version: show.clean(" ".join(version.labels)), colour=lambda _: Colour.GREEN),
        Column("MEMO", lambda version: show.clean(version.memo)),
    )


def _log(context: Context, arguments: Arguments) -> int:
    pages = context.pages(requests.Log(raw(arguments.name)), "versions")
    context.output.many("versions", pages, version_columns(), "no version yet; `mimei backup` takes one")
    return 0


# restore


def _declare_restore(parser: argparse.ArgumentParser) -> None:
    declare_name(parser)
    parser.add_argument("version", metavar="NUMBER", help="the version to go back to")
    parser.add_argument("path", metavar="PATH", nargs="?", help="only this file or directory")


def _restore(context: Context, arguments: Arguments) -> int:
    if arguments.path == "":
        raise InvalidError("PATH is empty: name a file or directory, or leave it away for everything")
    path = raw(arguments.path or "").strip(b"/")
    reply = context.ask(requests.Restore(raw(arguments.name), text(arguments.version), path))

    def lines(paint: Paint) -> Iterator[str]:
        what = show.name(path) if path else "everything"
        yield f"{what} is as in {sentence(reply.version, paint)}"
        if reply.saved is not None:
            yield f"what was there before is in {sentence(reply.saved, paint)}"

    context.output.one(reply, lines)
    return 0


COMMANDS = (
    Command(
        "backup",
        "take a version of the present",
        "Take a version of what a MiMei holds now. When nothing has changed since the last version, that one is it. The\n"
        "command returns when the version is safe on the disk.",
        (
            ("mimei backup drafts", "take a version"),
            ('mimei backup drafts -m "before the move"', "with a memo"),
            ("mimei backup drafts --label before-move", "and call it @before-move"),
        ),
        _declare_backup,
        _backup,
    ),
    Command(
        "release",
        "publish a version as @release",
        "Make a version the published one: @release shows it from now on.",
        (
            ("mimei release drafts", "publish the last version"),
            ("mimei release drafts 7", "publish version 7"),
            ("mimei label drafts release --drop", "publish none any more"),
        ),
        _declare_release,
        _release,
    ),
    Command(
        "label",
        "give, move or drop a label",
        "Give a version a name of its own, move that to another version, or drop it. The versions stay as they are.",
        (
            ("mimei label drafts sent", "call the last version @sent"),
            ("mimei label drafts sent 7", "call version 7 @sent"),
            ("mimei label drafts sent 8 --move", "take the label from 7 and give it to 8"),
            ("mimei label drafts sent --drop", "drop it"),
        ),
        _declare_label,
        _label,
    ),
    Command(
        "log",
        "list the versions",
        "List the versions of a MiMei, newest first, with their labels and memos.",
        (("mimei log drafts", "all versions"), ("mimei log drafts --json", "for programs")),
        declare_name,
        _log,
    ),
    Command(
        "restore",
        "bring a version, or a path of it, back",
        "Bring the present, or one path in it, back to what a version holds. If the present has changes that no version has,\n"
        "a version is taken first, so nothing is lost.",
        (
            ("mimei restore drafts 3", "everything, as it was in version 3"),
            ("mimei restore drafts last letter.txt", "one file, as in the last version"),
            ("mimei restore photos 2026-11-20T18:00 holiday", "a directory, as it was that evening"),
        ),
        _declare_restore,
        _restore,
    ),
)
