"""Commands on MiMeis: ``create``, ``ls``, ``info``, ``fork``, ``split``, ``rm``, ``link``, ``ref``."""

import argparse
from collections.abc import Iterator

from mimeifs.api import requests
from mimeifs.api.requests import Created, MimeiFacts, MimeiLine, RefLine
from mimeifs.cli import of_store, show
from mimeifs.cli.command import Arguments, Command, Context, declare_act, raw, text
from mimeifs.cli.of_versions import sentence
from mimeifs.cli.show import Colour, Column, Paint
from mimeifs.errors import InvalidError

# create, fork, split


def _declare_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="its name in the root")
    parser.add_argument("--kind", choices=("tree", "file"), default="tree", help="a tree of files, or one file (default: tree)")
    _declare_view(parser)
    parser.add_argument("--ext", metavar="EXT", default="", help="extension, part of what its ID is made of")
    parser.add_argument("--app", metavar="TYPE", default="mimeifs", help="application type, part of what its ID is made of")
    parser.add_argument(
        "--mark", metavar="MARK", default="auto", help="tells MiMeis apart that are alike in the rest; auto draws one (default)"
    )


def _declare_view(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--view", choices=("all", "cur"), default="all", help="show the @ names, or the present directly (default: all)"
    )


def _create(context: Context, arguments: Arguments) -> int:
    mark = None if arguments.mark == "auto" else raw(arguments.mark)
    request = requests.Create(
        raw(arguments.name), arguments.kind, arguments.view, text(arguments.ext), text(arguments.app), mark
    )
    return _made(context, context.ask(request))


def _made(context: Context, reply: Created) -> int:
    context.output.one(reply, lambda paint: [f"{show.name(reply.name)}  {paint(reply.mimei, Colour.DIM)}"])
    return 0


def _declare_fork(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the MiMei to start from")
    parser.add_argument("new", metavar="NEW", help="the name of the new one in the root")


def _fork(context: Context, arguments: Arguments) -> int:
    return _made(context, context.ask(requests.Fork(raw(arguments.name), raw(arguments.new))))


def _declare_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the MiMei that holds the directory")
    parser.add_argument("path", metavar="PATH", help="the directory")
    parser.add_argument("new", metavar="NEW", nargs="?", default="", help="what to call it (default: as the directory)")


def _split(context: Context, arguments: Arguments) -> int:
    request = requests.Split(raw(arguments.name), raw(arguments.path).strip(b"/"), text(arguments.new))
    return _made(context, context.ask(request))


# ls, info


def _declare_ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="those that no link in the root shows, too")


def _ls(context: Context, arguments: Arguments) -> int:
    columns: list[Column[MimeiLine]] = [
        Column(
            "NAME", lambda line: show.name(line.name) + ("" if line.view else "  (not in the root)"), "<", lambda _: Colour.BOLD
        ),
        Column("KIND", lambda line: line.kind),
        Column("VIEW", lambda line: line.view or "-"),
        Column(
            "LAST", lambda line: f"@{line.number}{'+' * line.changed}" if line.number else "-", ">", lambda _: Colour.YELLOW
        ),
        Column("TIME", lambda line: show.time(line.time_ns)),
        Column("FILES", lambda line: str(line.files), ">"),
        Column("SIZE", lambda line: show.size(line.size), ">"),
    ]
    if arguments.all:
        columns.append(Column("ID", lambda line: line.mimei, colour=lambda _: Colour.DIM))
    elsewhere: list[MimeiLine] = []

    def pages() -> Iterator[tuple[MimeiLine, ...]]:
        for page in _pages(context, arguments):
            elsewhere.extend([line for line in page if not line.view][: 1 - len(elsewhere)])
            yield page

    context.output.many("mimeis", pages(), columns, "no MiMei yet; `mimei create NAME` makes one")
    if arguments.all and elsewhere:
        context.output.note("`mimei link ID NAME` links one in the root that is not there")
    return 0


def _pages(context: Context, arguments: Arguments) -> Iterator[tuple[MimeiLine, ...]]:
    if not arguments.all:
        yield from context.pages(requests.List(), "mimeis")
        return
    linked: dict[str, MimeiLine] = {}
    for page in context.pages(requests.List(), "mimeis"):
        for line in page:
            linked.setdefault(line.mimei, line)
    for page in context.pages(requests.ListAll(), "mimeis"):
        yield tuple(linked.get(line.mimei, line) for line in page)


def _declare_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a MiMei by name or ID, or the ID of a blob")


def _info(context: Context, arguments: Arguments) -> int:
    if of_store.is_blob(arguments.name):
        return of_store.info_blob(context, arguments.name)
    reply = context.ask(requests.Info(raw(arguments.name)))
    context.output.one(reply, lambda paint: _facts(reply, paint))
    return 0


def _facts(reply: MimeiFacts, paint: Paint) -> Iterator[str]:
    rows = [
        ("name", paint(show.name(reply.name), Colour.BOLD)),
        ("id", reply.mimei),
        ("kind", reply.kind),
        ("view", reply.view or "-"),
        ("author", reply.author),
        ("application", show.clean(reply.app_type)),
        ("extension", show.clean(reply.extension) or "-"),
        ("mark", reply.mark or "-"),
        ("created", show.time(reply.created_ns)),
    ]
    if reply.origin_mimei:
        rows += [("origin", reply.origin_mimei), ("", f"version {reply.origin_record}")]
    rows.append(("last", sentence(reply.last, paint) if reply.last else "no version yet"))
    if reply.release:
        rows.append(("release", sentence(reply.release, paint)))
    if len(reply.heads) > 1:
        rows.append(("heads", f"{len(reply.heads)} lines of versions that nothing has merged"))
    rows.append(("present", "has changes since the last version" if reply.changed else "as the last version"))
    for heading, cell in rows:
        yield f"{heading:11}  {cell}"


# rm


def _declare_rm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the link: an entry of the root, or a path to one in a MiMei")


def _rm(context: Context, arguments: Arguments) -> int:
    reply = context.ask(requests.Remove(raw(arguments.name)))

    def lines(_paint: Paint) -> Iterator[str]:
        yield f"dropped the link {show.name(reply.name)}; the MiMei stays as {reply.mimei}"
        yield f"`mimei link {reply.mimei} NAME` links it again"

    context.output.one(reply, lines)
    return 0


# link


def _declare_link(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mimei", metavar="ID", help="the MiMei, as `mimei ls --all` shows it")
    parser.add_argument("name", metavar="NAME", help="its name in the root")
    _declare_view(parser)


def _link(context: Context, arguments: Arguments) -> int:
    return _made(context, context.ask(requests.LinkMimei(raw(arguments.mimei), raw(arguments.name), arguments.view)))


# ref


def _declare_ref(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    for act, summary in (("add", "refer to a MiMei once more"), ("rm", "refer to it once less")):
        one = declare_act(acts, act, summary)
        one.add_argument("holder", metavar="HOLDER", help="the MiMei that refers")
        one.add_argument("target", metavar="TARGET", help="the MiMei referred to")
        one.add_argument("version", metavar="VERSION", nargs="?", default="", help="one version of it (default: the newest)")
        one.add_argument("--count", metavar="N", type=int, default=1, help="how many times (default: 1)")
    listing = declare_act(acts, "ls", "who refers to a MiMei")
    listing.add_argument("name", metavar="NAME", help="the MiMei referred to")


def _ref(context: Context, arguments: Arguments) -> int:
    columns: tuple[Column[RefLine], ...] = (
        Column("COUNT", lambda line: str(line.count), ">"),
        Column("HOLDER", lambda line: show.name(line.holder_name)),
        Column("TARGET", lambda line: show.name(line.target_name)),
        Column("VERSION", lambda line: f"@{line.version}" if line.version else line.record or "newest"),
    )
    if arguments.act == "ls":
        pages = context.pages(requests.ListRefs(raw(arguments.name)), "refs")
    else:
        if arguments.count < 1:
            raise InvalidError("--count is 1 or more")
        count = arguments.count if arguments.act == "add" else -arguments.count
        names = raw(arguments.holder), raw(arguments.target)
        pages = iter([context.ask(requests.ChangeRef(*names, text(arguments.version), count)).refs])
    context.output.many("refs", pages, columns, "no references")
    return 0


COMMANDS = (
    Command(
        "create",
        "make a MiMei and link it in the root",
        "Make a MiMei and link it in the root. Its ID is made from author, application type, extension, mark and kind, and is\n"
        "the same wherever these are.",
        (
            ("mimei create photos", "a tree, shown with @cur, @last and so on in it"),
            ("mimei create drafts --view cur", "a tree that shows its present directly, as mkdir in the root makes"),
            ("mimei create diary --kind file --ext txt", "a single file with versions"),
            ("mimei create recipes --mark recipes", "the same ID whenever this author makes it"),
        ),
        _declare_create,
        _create,
    ),
    Command(
        "ls",
        "list MiMeis",
        "List the MiMeis linked in the root with their newest version; a + says that the present has changed since.",
        (("mimei ls", "those in the root"), ("mimei ls --all", "every one on this node, with IDs")),
        _declare_ls,
        _ls,
    ),
    Command(
        "info",
        "all about a MiMei, or a blob",
        "Show all there is to say of a MiMei; or, given the ID of a blob, whether it is sound and which versions hold it.",
        (
            ("mimei info photos", "by name"),
            ("mimei info b4xq...", "a blob that `mimei check` found damaged"),
        ),
        _declare_info,
        _info,
    ),
    Command(
        "fork",
        "a new MiMei from an old one",
        "Make a new MiMei that starts as another one is now, and remembers it. If that has changes which no version has, a\n"
        "version is taken first. It costs the same whatever the size.",
        (("mimei fork drafts experiment", "then work in experiment; drafts stays as it is"),),
        _declare_fork,
        _fork,
    ),
    Command(
        "split",
        "make a directory a MiMei of its own",
        "Make a directory of a MiMei a MiMei of its own; a link to it stays in its place.",
        (
            ("mimei split drafts book", "drafts/book gets versions of its own"),
            ("mimei log drafts/book", "and these are they"),
        ),
        _declare_split,
        _split,
    ),
    Command(
        "rm",
        "drop a link to a MiMei",
        "Drop a link to a MiMei. The MiMei and its versions stay on the node: `mimei ls --all` lists them, `mimei link` links\n"
        "one again.",
        (
            ("mimei rm drafts", "drafts is no longer in the root"),
            ("mimei rm drafts/book", "the link that `mimei split` left in drafts goes"),
        ),
        _declare_rm,
        _rm,
    ),
    Command(
        "link",
        "link a MiMei in the root again",
        "Link a MiMei that is on this node in the root, for instance one whose link `mimei rm` or `rmdir` dropped.",
        (
            ("mimei ls --all", "shows the IDs, those without a link too"),
            ("mimei link m4xq... drafts", "as drafts, with @cur, @last and so on in it"),
            ("mimei link m4xq... drafts --view cur", "as drafts, showing its present directly"),
        ),
        _declare_link,
        _link,
    ),
    Command(
        "ref",
        "counted references between MiMeis",
        "Add, remove and list counted references from one MiMei to another.",
        (
            ("mimei ref add album photos", "album refers to the newest version of photos"),
            ("mimei ref add album photos 7", "to version 7"),
            ("mimei ref rm album photos", "once less"),
            ("mimei ref ls photos", "who refers to photos"),
        ),
        _declare_ref,
        _ref,
    ),
)
