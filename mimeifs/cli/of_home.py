"""Commands on a home directory itself, which need no node: ``init``, ``key``, ``version``."""

import argparse
import os
import platform
from collections.abc import Iterator

import msgspec

from mimeifs import __version__
from mimeifs.cli import passphrases
from mimeifs.cli.command import Arguments, Command, Context, declare_act
from mimeifs.cli.show import Paint, clean
from mimeifs.errors import InvalidError
from mimeifs.home import Home

SEALED, PLAIN = "sealed", "plain"
_SEALS = {SEALED: "sealed", PLAIN: "unsealed"}


class InitReply(msgspec.Struct, frozen=True):
    """A home that was made. ``seal`` says whether a passphrase protects the user's key."""

    home: str
    root: str
    user_key: str
    device_key: str
    seal: str


class KeyReply(msgspec.Struct, frozen=True):
    """The keys of a home."""

    user_key: str
    seal: str
    user_file: str
    device_key: str
    device_file: str


class VersionReply(msgspec.Struct, frozen=True):
    """What runs here."""

    version: str
    python: str
    store_format: int
    record_format: int
    key_format: int
    protocol: int


def declare_passphrase(parser: argparse.ArgumentParser) -> None:
    """The options that say where a passphrase comes from."""
    parser.add_argument("--passphrase-file", metavar="FILE", help="take the passphrase from the first line of FILE")


# init


def _declare_init(parser: argparse.ArgumentParser) -> None:
    declare_passphrase(parser)
    parser.add_argument("--passphrase", action="store_true", help="ask for a passphrase that seals the user's key")


def _init(context: Context, arguments: Arguments) -> int:
    passphrase = passphrases.given(arguments.passphrase_file)
    if passphrase is None and arguments.passphrase:
        passphrase = passphrases.asked_twice("Passphrase for the new user key: ")
    reply = make_home(context.home, passphrase)

    def lines(_paint: Paint) -> Iterator[str]:
        yield f"made a home in {clean(reply.home)}"
        yield f"user key    {reply.user_key} ({_SEALS[reply.seal]})"
        yield f"device key  {reply.device_key}"

    context.output.one(reply, lines)
    return 0


def make_home(home: Home, passphrase: bytes | None) -> InitReply:
    """Make keys, store and root MiMei. Raises ``ExistsError``, ``ForbiddenError``, ``WrongPassphraseError``."""
    from mimeifs.clock import SystemClock, SystemRandomness
    from mimeifs.engine import create_home
    from mimeifs.ids import show_mimei
    from mimeifs.model.node import Who

    if home.root.exists():
        home.check_place()
    if home.begun:
        home.check()  # A key that is missing is worth more to be told than that the store is there.
    elif home.user_key.exists():
        home.user(passphrase)  # Before anything is made: the passphrase may be wrong.
    root = create_home(home, SystemClock(), SystemRandomness(), passphrase, Who(os.geteuid(), os.getegid()))
    keys = _keys(home)
    return InitReply(str(home.root), show_mimei(root), keys.user_key, keys.device_key, keys.seal)


# key


def _declare_key(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    declare_act(acts, "show", "the keys of this home, and whether the user's key is sealed")
    change = declare_act(acts, "passphrase", "change, set or remove the passphrase of the user's key")
    declare_passphrase(change)
    change.add_argument("--new-passphrase-file", metavar="FILE", help="take the new passphrase from the first line of FILE")
    change.add_argument("--remove", action="store_true", help="leave the key without a passphrase")


def _key(context: Context, arguments: Arguments) -> int:
    if arguments.act == "passphrase":
        _change_passphrase(context.home, arguments)
    reply = _keys(context.home)

    def lines(_paint: Paint) -> Iterator[str]:
        yield f"user key    {reply.user_key} ({_SEALS[reply.seal]})"
        yield f"            {clean(reply.user_file)}"
        yield f"device key  {reply.device_key}"
        yield f"            {clean(reply.device_file)}"

    context.output.one(reply, lines)
    return 0


def _keys(home: Home) -> KeyReply:
    from mimeifs.ids import show_key
    from mimeifs.model.identity import look_at_key_file

    user, device = look_at_key_file(home.user_key), look_at_key_file(home.device_key)
    seal = SEALED if user.sealed else PLAIN
    return KeyReply(show_key(user.key_id), seal, str(home.user_key), show_key(device.key_id), str(home.device_key))


def _change_passphrase(home: Home, arguments: Arguments) -> None:
    from mimeifs.clock import SystemRandomness
    from mimeifs.model.identity import encode_key_file, look_at_key_file, replace_key_file

    passphrase = passphrases.given(arguments.passphrase_file)
    if passphrase is None and look_at_key_file(home.user_key).sealed:
        passphrase = passphrases.asked("Present passphrase of the user key: ")
    key = home.user(passphrase)
    fresh = passphrases.given(arguments.new_passphrase_file, passphrases.NEW_VARIABLE)
    if arguments.remove and fresh is not None:
        raise InvalidError("a new passphrase and --remove were both given; decide for one")
    if not arguments.remove and fresh is None:
        fresh = passphrases.asked_twice("New passphrase: ")
    replace_key_file(home.user_key, encode_key_file(key, fresh, SystemRandomness()))


# version


def _nothing(_parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def _version(context: Context, _arguments: Arguments) -> int:
    from mimeifs.api.frames import GREETING, HEAD
    from mimeifs.model.identity import KEY_FILE_FORMAT
    from mimeifs.model.records import RECORD_FORMAT
    from mimeifs.store.database import FORMAT

    protocol = HEAD.unpack(GREETING[8:])[0]
    reply = VersionReply(__version__, platform.python_version(), FORMAT, RECORD_FORMAT, KEY_FILE_FORMAT, protocol)

    def lines(_paint: Paint) -> Iterator[str]:
        yield f"mimei {reply.version} on Python {reply.python}"
        yield f"formats: store {reply.store_format}, records {reply.record_format}, keys {reply.key_format}"

    context.output.one(reply, lines)
    return 0


MAKING = (
    Command(
        "init",
        "make a home: keys, store and root",
        "Make a home directory with keys, an empty store and the root MiMei. `serve` and `mount` do it too on first use.",
        (
            ("mimei init", "in the default place, the key unsealed"),
            ("mimei init --passphrase", "ask for a passphrase that seals the user's key"),
            ("mimei init --home /srv/mimei", "somewhere else"),
        ),
        _declare_init,
        _init,
    ),
)
COMMANDS = (
    Command(
        "key",
        "show the keys, or change the passphrase",
        "Show the keys of this home, or change the passphrase that seals the user's key. The device's key is never sealed,\n"
        "so that versions can be taken without anybody there.",
        (
            ("mimei key show", "IDs and files of both keys"),
            ("mimei key passphrase", "ask for the present and the new passphrase"),
            ("mimei key passphrase --remove", "leave the key unsealed"),
        ),
        _declare_key,
        _key,
    ),
    Command(
        "version",
        "show what runs here",
        "Show the program's version and the formats it reads and writes.",
        (("mimei version --json", "for programs"),),
        _nothing,
        _version,
    ),
)
