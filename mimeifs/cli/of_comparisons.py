"""Commands that compare: ``diff`` and ``history``. They read the store in their own process (``reading``)."""

import argparse
import stat
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import msgspec

from mimeifs.api.requests import VersionLine
from mimeifs.cli import show
from mimeifs.cli.command import Arguments, Command, Context, raw, text
from mimeifs.cli.of_versions import declare_name, number
from mimeifs.cli.progress import meter
from mimeifs.cli.show import Colour, Column
from mimeifs.errors import InvalidError, NotFoundError

if TYPE_CHECKING:
    from mimeifs.api.services import Services
    from mimeifs.model.comparing import Comparing, Difference
    from mimeifs.model.entry import Entry

T = TypeVar("T")
_PAGE = 256
ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_COLOURS = {ADDED: Colour.GREEN, REMOVED: Colour.RED}


class ChangeLine(msgspec.Struct, frozen=True):
    """What differs at a path. ``change`` is added, removed or changed; ``aspects`` says how a changed one differs: content,
    attributes, type. ``kind`` is that of the newer side; sizes are None on a side where there is no file."""

    path: bytes
    change: str
    aspects: tuple[str, ...]
    kind: str
    old_size: int | None
    new_size: int | None


class HistoryLine(msgspec.Struct, frozen=True):
    """A version in which a path differs from the version before; ``size`` is None where there is no file."""

    version: VersionLine
    change: str
    kind: str
    size: int | None


def _pages(rows: Iterator[T]) -> Iterator[tuple[T, ...]]:
    while page := tuple(islice(rows, _PAGE)):
        yield page


def _kind(entry: "Entry") -> str:
    return entry.kind.name.lower()


def _size(entry: "Entry | None") -> int | None:
    """Bytes of a file."""
    from mimeifs.model.entry import FILE_TYPE

    return entry.size if entry is not None and FILE_TYPE.get(entry.kind) == stat.S_IFREG else None


def _path(path: bytes, kind: str) -> str:
    return show.name(path or b".") + ("/" if kind == "directory" and path else "")


# diff


def _declare_diff(parser: argparse.ArgumentParser) -> None:
    declare_name(parser)
    parser.add_argument("old", metavar="A", nargs="?", default="last", help="the older version (default: last)")
    parser.add_argument("new", metavar="B", nargs="?", default="cur", help="the newer one (default: cur, the present)")


def _diff(context: Context, arguments: Arguments) -> int:
    from mimeifs.cli.reading import moment

    columns: tuple[Column[ChangeLine], ...] = (
        Column("CHANGE", _change, "<", lambda line: _COLOURS.get(line.change, Colour.YELLOW)),
        Column("SIZE", _sizes),
        Column("PATH", lambda line: _path(line.path, line.kind)),
    )
    old, new = text(arguments.old), text(arguments.new)
    with meter("comparing"), moment(context.home) as now:
        rows = _differences(now.services(), raw(arguments.name), old, new)
        context.output.many("changes", _pages(rows), columns, "nothing differs")
    return 0


def _differences(services: "Services", name: bytes, old: str, new: str) -> Iterator[ChangeLine]:
    from mimeifs.api import finding

    mimei = finding.find(services, name).mimei
    if old.removeprefix("@") == finding.CUR:
        raise InvalidError("cur comes last, as what is newer: `mimei diff NAME VERSION`")
    before = finding.version(services, mimei, old)
    after = None if new.removeprefix("@") == finding.CUR else finding.version(services, mimei, new)
    yield from map(_line, _comparing(services).diff(before, after))


def _comparing(services: "Services") -> "Comparing":
    from mimeifs.model.comparing import Comparing

    return Comparing(services.live, services.mimeis, services.versions)


def _line(found: "Difference") -> ChangeLine:
    shown = found.after or found.before
    change = ADDED if found.before is None else REMOVED if found.after is None else CHANGED
    aspects = tuple(aspect.name.lower() for aspect in found.aspects if aspect.name)
    kind = _kind(shown) if shown is not None else ""
    return ChangeLine(found.path, change, aspects, kind, _size(found.before), _size(found.after))


def _change(line: ChangeLine) -> str:
    return line.change if line.change != CHANGED else ", ".join(line.aspects)


def _sizes(line: ChangeLine) -> str:
    sizes = [show.size(size) for size in (line.old_size, line.new_size) if size is not None]
    return " -> ".join(dict.fromkeys(sizes))


# history


def _declare_history(parser: argparse.ArgumentParser) -> None:
    declare_name(parser)
    parser.add_argument("path", nargs="?", metavar="PATH", help="a path inside it (may be left out with --reindex)")
    parser.add_argument("--reindex", action="store_true", help="look at every version, and have the index made anew")


def _history(context: Context, arguments: Arguments) -> int:
    from mimeifs.api.requests import Reindex
    from mimeifs.cli import gate
    from mimeifs.cli.reading import moment

    if arguments.reindex:
        with gate.opened(context.home) as way:
            way.call(Reindex(raw(arguments.name)))
    if arguments.path is None:
        if arguments.reindex:
            return 0
        name = show.name(raw(arguments.name))
        raise InvalidError(f"whose history? `mimei history {name} PATH` shows that of a path, `mimei log {name}` all versions")

    columns: tuple[Column[HistoryLine], ...] = (
        Column("NUMBER", lambda line: number(line.version), ">", lambda _: Colour.YELLOW),
        Column("TIME", lambda line: show.time(line.version.time_ns)),
        Column("CHANGE", lambda line: line.change, "<", lambda line: _COLOURS.get(line.change, Colour.YELLOW)),
        Column("SIZE", lambda line: "" if line.size is None else show.size(line.size), ">"),
        Column("LABELS", lambda line: show.clean(" ".join(line.version.labels)), colour=lambda _: Colour.GREEN),
        Column("MEMO", lambda line: show.clean(line.version.memo)),
    )
    with meter("looking through the versions"), moment(context.home) as now:
        rows = _moments(now.services(), raw(arguments.name), raw(arguments.path))
    if not rows:
        name, path = show.name(raw(arguments.name)), show.name(raw(arguments.path))
        raise NotFoundError(f"no version of {name} holds {path}; `mimei log {name}` lists the versions")
    context.output.many("versions", _pages(iter(rows)), columns, "")
    return 0


def _moments(services: "Services", name: bytes, path: bytes) -> list[HistoryLine]:
    """The distinct states of a path, newest first."""
    from mimeifs.api import finding, lines
    from mimeifs.model.path_history import PathHistory

    mimei = finding.find(services, name).mimei
    names, before, found = lines.names_of_versions(services, mimei), False, []
    for state in PathHistory(services.live, services.versions).moments(mimei, path):
        change = REMOVED if state.entry is None else CHANGED if before else ADDED
        before = state.entry is not None
        version = state.version
        fork = finding.fork_mark(version, finding.namesakes(services, mimei, version.number))
        kind = _kind(state.entry) if state.entry is not None else ""
        found.append(HistoryLine(lines.version_line(version, names, fork), change, kind, _size(state.entry)))
    return found[::-1]


COMMANDS = (
    Command(
        "diff",
        "what differs between two versions",
        "List the paths that differ between two versions, or between a version and the present.",
        (
            ("mimei diff drafts", "what has changed since the last version"),
            ("mimei diff drafts 3", "what has changed since version 3"),
            ("mimei diff drafts 3 release", "between version 3 and the published one"),
        ),
        _declare_diff,
        _diff,
    ),
    Command(
        "history",
        "the distinct versions of one path",
        "List the versions in which one path differs from the version before.",
        (
            ("mimei history drafts letter.txt", "of a file"),
            ("mimei history photos holiday/2026", "of a directory"),
        ),
        _declare_history,
        _history,
    ),
)
