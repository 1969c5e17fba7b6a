"""The network drive on the command line: its options, and the command ``password``."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mimeifs.cli.command import Arguments, Command, Context, declare_act, text
from mimeifs.cli.show import Column, clean, time
from mimeifs.errors import InvalidError
from mimeifs.home import Home, typed_path

if TYPE_CHECKING:
    from mimeifs.dav.listening import DriveOptions


class PasswordRow(msgspec.Struct, frozen=True):
    """An app password, without the password."""

    name: str
    user: str
    label: str
    made_ns: int
    read_only: bool


class NewPassword(msgspec.Struct, frozen=True):
    """An app password that was just made."""

    name: str
    user: str
    password: str


_PUBLIC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)(:\d{1,5})?\Z", re.ASCII)


def declare_drive(parser: argparse.ArgumentParser) -> None:
    """The options of ``serve`` and ``mount``."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--dav", metavar="ADDRESS:PORT", help="where the network drive listens (default: 127.0.0.1:4880)")
    where.add_argument("--no-dav", action="store_true", help="no network drive")
    parser.add_argument("--dav-certificate", metavar="FILE", help="certificate and key (PEM), instead of one made here")
    parser.add_argument("--dav-login", action="store_true", help="ask for a login on this machine too")
    parser.add_argument("--dav-anonymous", action="store_true", help="let whoever has no name look, and change nothing")
    parser.add_argument("--dav-litter", action="store_true", help="keep .DS_Store and its like as any other file")
    parser.add_argument("--dav-public", metavar="HOST[:PORT]", action="append", default=[], help="a proxy's name for it")
    parser.add_argument("--dav-cors", metavar="ORIGIN", action="append", default=[], help="pages of that site may use it")


def drive_options(home: Home, arguments: Arguments) -> "DriveOptions | None":
    """What was asked for, checked; None without a network drive."""
    from mimeifs.dav.accounts import Accounts
    from mimeifs.dav.listening import DEFAULT_HOST, DEFAULT_PORT, DriveOptions, parse_address

    if arguments.no_dav:
        _check_no_others(arguments)
        return None
    host, port = parse_address(arguments.dav) if arguments.dav else (DEFAULT_HOST, DEFAULT_PORT)
    certificate = _certificate(arguments.dav_certificate) if arguments.dav_certificate else None
    for origin in arguments.dav_cors:
        if origin != "*" and not origin.startswith(("http://", "https://")):
            raise InvalidError(f"an origin is written as https://host, not {origin!r}")
    for name in arguments.dav_public:
        if not _PUBLIC.match(name):
            raise InvalidError(f"a proxy's name is written as HOST or HOST:PORT, not {name!r}")
    options = DriveOptions(
        host,
        port,
        certificate,
        arguments.dav_login,
        arguments.dav_anonymous,
        frozenset(name.lower() for name in arguments.dav_public),
        arguments.dav_litter,
        frozenset(arguments.dav_cors),
    )
    options.check(Accounts(home.accounts_file))
    return options


def _check_no_others(arguments: Arguments) -> None:
    """Raise ``InvalidError`` where no drive is wanted and something is said of it."""
    said = [name for name, value in vars(arguments).items() if name.startswith("dav_") and value]
    if said:
        raise InvalidError(f"--no-dav leaves nothing for --{said[0].replace('_', '-')} to say: leave out one of them")


def _certificate(path: str) -> Path:
    from mimeifs.dav.certificates import given  # Which loads much.

    return given(typed_path(path))


def _declare_password(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    add = declare_act(acts, "add", "make an app password for a user's device, and show it once")
    add.add_argument("user", metavar="USER", type=text)
    add.add_argument("label", metavar="LABEL", nargs="?", default="", type=text, help="which device or program it is for")
    add.add_argument("--read-only", action="store_true", help="it lets look, and change nothing")
    declare_act(acts, "ls", "list them")
    remove = declare_act(acts, "rm", "take one away; it is refused from then on")
    remove.add_argument("name", metavar="NAME", type=text, help="its first five letters, as `ls` shows them")


def _password(context: Context, arguments: Arguments) -> int:
    from mimeifs.clock import SystemClock, SystemRandomness
    from mimeifs.dav.accounts import Accounts

    context.home.check()
    accounts = Accounts(context.home.accounts_file)
    if arguments.act == "add":
        account, password = accounts.add(
            arguments.user, arguments.label, SystemRandomness(), SystemClock().now_ns(), read_only=arguments.read_only
        )
        shown = f"{password}\n(the app password of {clean(account.user)}; it is not shown again)"
        context.output.one(NewPassword(account.name, account.user, password), lambda _: [shown])
    elif arguments.act == "rm":
        gone = accounts.remove(arguments.name)
        row = PasswordRow(gone.name, gone.user, gone.label, gone.made_ns, gone.read_only)
        context.output.one(row, lambda _: [f"took away {gone.name} of {clean(gone.user)}"])
    else:
        rows = [PasswordRow(a.name, a.user, a.label, a.made_ns, a.read_only) for a in accounts.all()]
        context.output.many("passwords", [rows], _COLUMNS, "no app password yet; `mimei password add USER` makes one")
    return 0


_COLUMNS: tuple[Column[PasswordRow], ...] = (
    Column("name", lambda row: row.name),
    Column("made", lambda row: time(row.made_ns)),
    Column("may", lambda row: "look" if row.read_only else "change"),
    Column("user", lambda row: clean(row.user)),
    Column("label", lambda row: clean(row.label)),
)
COMMANDS = (
    Command(
        "password",
        "app passwords for the network drive",
        "Make, list and take away app passwords: one for each device or program that uses the network drive. They are drawn\n"
        "here, shown once, and kept as Argon2id only.",
        (
            ("mimei password add ada phone", "make one for Ada's phone"),
            ("mimei password ls", "list them"),
            ("mimei password rm k3j5x", "take that one away"),
        ),
        _declare_password,
        _password,
    ),
)
