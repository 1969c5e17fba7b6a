"""Commands that work on a store in their own process: ``check``, ``info`` of a blob, and ``rebuild``.

Everybody may read, so a node that runs is not held up; what one of its own writes made look wrong while it was read is
not reported, because with a node running only what a second look confirms is a finding.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from mimeifs.api.errors import EXIT_DAMAGED, EXIT_DONE, EXIT_FINDINGS
from mimeifs.cli import show
from mimeifs.cli.command import Arguments, Command, Context
from mimeifs.cli.progress import meter
from mimeifs.cli.show import Colour, Column, Paint
from mimeifs.errors import InvalidError, MimeiError, NotFoundError
from mimeifs.home import Home

if TYPE_CHECKING:
    from mimeifs.cli.reading import Moment
    from mimeifs.model.checking import Depth, Finding
    from mimeifs.rebuild import Outcome

_ID = re.compile(r"[br][a-z2-7]{52}")


class FindingLine(msgspec.Struct, frozen=True):
    """One thing that does not fit; ``where`` is in a person's words. What is not concerned, or not known, is "" (``blob``,
    ``mimei``) or None: ``version`` is None for the present."""

    fault: str
    where: str
    problem: str
    blob: str
    mimei: str
    version: int | None
    path: bytes | None


class HolderLine(msgspec.Struct, frozen=True):
    """A version that needs a blob; ``path`` is None when the version as a whole does."""

    mimei: str
    name: str
    number: int
    path: bytes | None


class BlobReply(msgspec.Struct, frozen=True):
    """A blob or record; ``damage`` is "" when its bytes are what its name says."""

    blob: str
    size: int
    stored: int
    pack: int
    kind: str
    damage: str
    holders: tuple[HolderLine, ...]


# check


def _declare_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="do not read the bytes of contents")


def _check(context: Context, arguments: Arguments) -> int:
    from mimeifs.model.checking import Depth

    depth = Depth.QUICK if arguments.quick else Depth.FULL
    found = list(_findings(context.home, depth))
    columns: tuple[Column[FindingLine], ...] = (
        Column("FAULT", lambda line: line.fault, "<", lambda _: Colour.RED),
        Column("WHERE", lambda line: show.clean(line.where)),
        Column("PROBLEM", lambda line: show.clean(_without_blob(line))),
        Column("BLOB", lambda line: line.blob),
    )
    context.output.many("findings", [found], columns, "everything fits")
    if any(line.blob for line in found):
        context.output.note("WHERE names one place of each blob; `mimei info BLOB` names every version and path that needs it")
    return EXIT_FINDINGS if found else EXIT_DONE


def _without_blob(line: FindingLine) -> str:
    """The problem without the blob's ID, which has a column of its own."""
    return line.problem.removeprefix(line.blob).lstrip()


def _findings(home: Home, depth: "Depth") -> Iterator[FindingLine]:
    from mimeifs.cli.reading import moment
    from mimeifs.store.database import damage
    from mimeifs.store.salvage import salvage

    home.check()
    with meter("checking") as watched:
        if not salvage(home.storage.index, shared=True).whole:  # What LMDB would die of is not to be met in this process.
            raise damage("not all of it can be read")
        with moment(home) as now:
            first, shared = list(_look(home, now, depth, watched.say)), now.shared
        if first and shared:
            watched.say("looking again")
            with moment(home) as now:
                again = set(_look(home, now, depth, watched.say))
            first = [finding for finding in first if finding in again]
    yield from map(_line, first)


def _look(home: Home, now: "Moment", depth: "Depth", say: Callable[[str], None]) -> "Iterator[Finding]":
    from mimeifs.model.checking import Progress, check

    def report(progress: Progress) -> None:
        say(f"checking {progress.stage} {progress.done}/{progress.total}")

    return check(now.database, now.blobs, home.storage, depth, report)


def _line(finding: "Finding") -> FindingLine:
    from mimeifs.ids import show_blob, show_mimei
    from mimeifs.model.checking import Where

    blob, where = show_blob(finding.blob) if finding.blob is not None else "", finding.where
    at = where if isinstance(where, Where) else Where(where, None)
    mimei = show_mimei(at.mimei) if at.mimei is not None else ""
    return FindingLine(finding.fault.value, str(where), finding.problem, blob, mimei, at.version, at.path)


# info of a blob


def is_blob(argument: str) -> bool:
    """Whether an argument has the form of a blob's or record's ID rather than of a name."""
    return _ID.fullmatch(argument) is not None


def info_blob(context: Context, argument: str) -> int:
    """Whether a blob or record is sound, and which versions need it."""
    from mimeifs.cli.reading import moment

    with moment(context.home) as now, meter("looking through the versions"):
        reply = _blob(now, argument)
    context.output.one(reply, lambda paint: _blob_lines(reply, paint))
    return EXIT_DAMAGED if reply.damage else EXIT_DONE


def _blob(now: "Moment", argument: str) -> BlobReply:
    from mimeifs.ids import BlobId, parse_blob, parse_record, show_mimei
    from mimeifs.model import state
    from mimeifs.model.checking import holders
    from mimeifs.store.database import Table
    from mimeifs.store.packs import IndexRow

    noun = "blob" if argument[:1] == "b" else "record"
    nowhere = NotFoundError(f"no such {noun} is stored, and no version needs one: {argument}")
    try:
        digest = BlobId(parse_blob(argument) if noun == "blob" else parse_record(argument))
    except InvalidError:
        raise nowhere from None  # Of its form, but not the ID of anything: the last character holds one bit only.
    stored = now.database.get(Table.BLOBS, digest)
    row, damage = IndexRow.decode(stored) if stored is not None else IndexRow(0, 0, 0, 0, 0), ""
    try:
        now.blobs.get(digest)
    except MimeiError as error:
        damage = str(error)
    found = []
    for holder in holders(now.database, now.blobs, digest):
        mimei = state.decode_mimei(now.database.get(Table.MIMEIS, holder.mimei) or b"")
        found.append(HolderLine(show_mimei(holder.mimei), mimei.name, holder.number, holder.path))
    if stored is None and not found:
        raise nowhere
    return BlobReply(argument, row.plain, row.stored, row.pack, "record" if row.is_record else "blob", damage, tuple(found))


def _blob_lines(reply: BlobReply, paint: Paint) -> Iterator[str]:
    yield f"{reply.kind} of {show.size(reply.size)}, stored as {show.size(reply.stored)} in pack {reply.pack}"
    yield paint(show.clean(reply.damage), Colour.RED) if reply.damage else "its bytes are what its name says"
    if not reply.holders:
        yield "no version needs it"
    for holder in reply.holders:
        where = "the version itself" if holder.path is None else show.name(b"/" + holder.path)
        yield f"{show.clean(holder.name)} {paint(f'@{holder.number}', Colour.YELLOW)}  {where}"


# rebuild


def _declare_rebuild(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="also where the index can be read to its end")


def _rebuild(context: Context, arguments: Arguments) -> int:
    from mimeifs.clock import SystemClock, SystemRandomness
    from mimeifs.model.node import Who
    from mimeifs.rebuild import rebuild

    who = Who(os.geteuid(), os.getegid())
    with meter("looking at the old index") as watched:
        made = rebuild(context.home, SystemClock(), SystemRandomness(), who, force=arguments.force, report=watched.say)
    context.output.one(made, lambda paint: _rebuilt_lines(made, paint))
    return EXIT_DONE if made.complete else EXIT_FINDINGS


def _rebuilt_lines(reply: "Outcome", paint: Paint) -> Iterator[str]:
    yield (
        f"made the index again from {show.count(reply.packs, 'pack')}:"
        f" {show.count(reply.blobs, 'blob')}, {show.count(reply.records, 'record')}"
    )
    held = f"{show.count(reply.mimeis, 'MiMei')} with {show.count(reply.versions, 'version')}"
    yield f"{held}; each present is what its newest version holds"
    if reply.placed:
        yield f"put into the root, since nothing showed them: {', '.join(map(show.name, reply.placed))}"
    if reply.damaged:
        yield paint(f"{show.count(len(reply.damaged), 'blob')} damaged; `mimei check` says what they are part of", Colour.RED)
    if reply.gaps:
        places = ", ".join(f"pack {gap.pack} at {gap.offset}" for gap in reply.gaps)
        yield paint(f"nothing could be read in {places}, up to the next frame", Colour.RED)
    if reply.refused:
        yield paint(f"{show.count(reply.refused, 'record')} that cannot be relied upon left out", Colour.RED)
    yield f"the old index and journal are in {show.clean(reply.aside)}; remove them when you miss nothing"


COMMANDS = (
    Command(
        "check",
        "read everything stored and say what does not fit",
        "Read everything a store holds and say what does not fit; nothing is changed. Exit code 1 says that something was\n"
        "found. With a node running it reads beside it.",
        (
            ("mimei check", "every stored byte"),
            ("mimei check --quick", "records and directories only"),
            ("mimei check --json", "for programs"),
        ),
        _declare_check,
        _check,
    ),
    Command(
        "rebuild",
        "make a lost or damaged index again from the packs",
        "Make the index of a store again from its packs, where it is lost or damaged: every version, label and reference.\n"
        "What was changed since the newest version of a MiMei is not in packs; the old index and journal are set aside, not\n"
        "removed. No node may be running. Exit code 1 says that not everything could be read.",
        (
            ("mimei rebuild", "after `the index does not open`"),
            ("mimei rebuild --force", "though the index can be read, because `mimei check` finds it wrong"),
        ),
        _declare_rebuild,
        _rebuild,
    ),
)
