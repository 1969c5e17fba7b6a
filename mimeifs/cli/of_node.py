"""Commands that start and end a node: ``serve``, ``mount``, ``umount``."""

import argparse
import logging
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mimeifs.api.client import connect
from mimeifs.api.errors import EXIT_DONE
from mimeifs.cli import background, mounts, passphrases
from mimeifs.cli.command import Arguments, Command, Context
from mimeifs.cli.of_drive import declare_drive, drive_options
from mimeifs.cli.of_home import declare_passphrase, make_home
from mimeifs.cli.show import Paint, clean
from mimeifs.errors import ConflictError, InvalidError, LockedError, NotADirError, NotFoundError
from mimeifs.home import DEFAULT, Home, typed_path

if TYPE_CHECKING:
    from mimeifs.node import ServeOptions

DEFAULT_MOUNT = "~/mimei"
_END_SECONDS = 60.0
_PAUSE_SECONDS = 0.05


class MountReply(msgspec.Struct, frozen=True):
    """A node that was started in the background, or whose mount went."""

    mount: str
    home: str
    log: str


def _declare_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mount", metavar="DIR", default=DEFAULT_MOUNT, help=f"where to mount; made if missing (default: {DEFAULT_MOUNT})"
    )
    _declare_mounting(parser)
    parser.add_argument(
        "--foreground", action="store_true", help="stay in the foreground, as it does anyway; `mimei mount` is the other one"
    )


def _declare_mounting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", dest="options", metavar="OPTIONS", action="append", default=[], help="mount options, by commas")
    parser.add_argument("--allow-other", action="store_true", help="let the machine's other users in")
    declare_drive(parser)
    declare_passphrase(parser)


def _options(context: Context, arguments: Arguments, ready: Callable[[], None]) -> "ServeOptions":
    """Check everything that can be, make what is missing, and say what to serve."""
    from mimeifs.fuse.mount import parse_options
    from mimeifs.node import ServeOptions

    how = parse_options(",".join(arguments.options), allow_other=arguments.allow_other)
    home, where = context.home, mounts.place(arguments.mount)
    _check_apart(home, where)
    drive = drive_options(home, arguments)
    if home.begun:
        home.check()
        running = connect(home.socket)
        if running is not None:
            running.close()
            raise LockedError(f"a node serves {home.root} already; `mimei umount` ends it")
    _make_place(context, where)
    if not home.exists:
        make_home(home, passphrases.given(arguments.passphrase_file))
        context.output.note(f"made a home in {home.root}")
    return ServeOptions(home, where, how, ready, drive)


def _check_apart(home: Home, where: Path) -> None:
    """The mount must hide nothing that the node works with: it would ask itself for its own store, and wait for ever."""
    root = Path(os.path.realpath(home.root))
    if root.is_relative_to(where):
        raise InvalidError(f"a mount on {where} would hide the home {root} that it shows; choose another directory")
    for part in (home.storage.root, home.user_key.parent):
        if where.is_relative_to(root / part.name):
            raise InvalidError(f"{where} is where the home {root} keeps its own; choose another directory")


def _make_place(context: Context, where: Path) -> None:
    """Make sure there is a directory to mount on, and no other node on it."""
    if where in mounts.mimei_mounts(mounts.TABLE.read_bytes()):
        if not mounts.is_stale(where):
            raise ConflictError(f"a node is mounted on {where} already; `mimei umount {where}` ends it")
        context.output.note(f"taking away what a dead node left mounted on {where}")
        mounts.unmount_lazily(where)
    if where.exists() and not where.is_dir():
        raise NotADirError(f"{where} is not a directory; give a directory to mount on")
    where.mkdir(parents=True, exist_ok=True)
    if any(where.iterdir()):
        context.output.note(f"{where} is not empty: what is in it is hidden while the node is mounted")


def _run(options: "ServeOptions") -> int:
    """Serve until told to end, with the mount point noted in the home meanwhile."""
    from mimeifs.serve import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    options.home.mount_file.write_text(f"{options.mount}\n")
    try:
        return serve(options)
    finally:
        options.home.mount_file.unlink(missing_ok=True)


# serve


def _serve(context: Context, arguments: Arguments) -> int:
    where = mounts.place(arguments.mount)

    def ready() -> None:
        reply = MountReply(str(where), str(context.home.root), "")
        context.output.one(reply, lambda _: _hints(context.home, where))
        sys.stdout.flush()

    return _run(_options(context, arguments, ready))


def _hints(home: Home, where: Path) -> Iterator[str]:
    """What to try next."""
    mimei = _program()
    if home.root != typed_path(DEFAULT):
        mimei += f" --home {shlex.quote(str(home.root))}"
    steps = (
        (f"cd {shlex.quote(str(where))}", ""),
        ("mkdir drafts", "make a MiMei"),
        ("echo hello > drafts/letter.txt", "work in it with ordinary tools"),
        (f"{mimei} backup drafts", "take a version"),
        ("ls drafts/.mimei", "its present and past"),
        (f"{mimei} --help", "what else there is"),
    )
    width = max(len(step) for step, _ in steps)
    yield f"serving {clean(str(home.root))} on {clean(str(where))}; Ctrl-C ends it. In another terminal, try:"
    yield ""
    for step, what in steps:
        yield f"  {step:{width}}  # {what}" if what else f"  {step}"


def _program() -> str:
    """How a person in another terminal calls the program that runs here."""
    own, known = Path(sys.argv[0]).absolute(), shutil.which("mimei")
    if own.name != "mimei":
        return f"{shlex.quote(sys.executable)} -m mimeifs"
    return "mimei" if known and own.exists() and Path(known).samefile(own) else shlex.quote(str(own))


# mount


def _declare_mount(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "mount", metavar="DIR", nargs="?", default=DEFAULT_MOUNT, help=f"made if missing (default: {DEFAULT_MOUNT})"
    )
    _declare_mounting(parser)


def _mount(context: Context, arguments: Arguments) -> int:
    options = _options(context, arguments, lambda: None)
    log = context.home.root / "log"
    background.start(log, lambda ready: _run(replace(options, ready=ready)))
    reply = MountReply(str(options.mount), str(context.home.root), str(log))

    def lines(_paint: Paint) -> Iterator[str]:
        yield f"mounted on {clean(reply.mount)}; `mimei umount {clean(shlex.quote(reply.mount))}` ends it"
        yield f"its log is {clean(reply.log)}"

    context.output.one(reply, lines)
    return EXIT_DONE


# umount


def _declare_umount(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "mount", metavar="DIR|NAME", nargs="?", help="the mount, or the last part of its path (default: the home's)"
    )
    parser.add_argument("--lazy", action="store_true", help="detach it now, even while it is in use; do not wait")


def _umount(context: Context, arguments: Arguments) -> int:
    home = context.home
    noted = home.mount_file.read_text().rstrip("\n") if home.mount_file.exists() else ""
    own = mounts.mounts_of(mounts.TABLE.read_bytes(), os.geteuid())
    try:
        where = mounts.find(arguments.mount or noted or DEFAULT_MOUNT, own)
    except NotFoundError:
        meant = not arguments.mount or (noted and mounts.place(arguments.mount) == Path(noted))
        if not meant or not _end_unmounted(home):
            raise
        return _told(context, noted, f"ended the node of {home.root}, which was unmounted already")
    if arguments.lazy:
        mounts.unmount_lazily(where)
        return _told(context, str(where), f"detached {where}; its node ends when the last that uses it is gone")
    mounts.unmount(where)
    if noted and where == Path(noted):
        _wait_for_end(home)
    return _told(context, str(where), f"unmounted {where}")


def _told(context: Context, mount: str, said: str) -> int:
    context.output.one(MountReply(mount, str(context.home.root), ""), lambda _: [clean(said)])
    return EXIT_DONE


def _end_unmounted(home: Home) -> bool:
    """End the node of a home whose mount is gone, as after a lazy unmount; whether there was one."""
    running = connect(home.socket)
    if running is None:
        return False
    try:
        os.kill(running.peer_process(), signal.SIGTERM)
    except ProcessLookupError:
        pass  # It ended by itself just now.
    finally:
        running.close()
    _wait_for_end(home)
    return True


def _wait_for_end(home: Home) -> None:
    """Return when the node has let the store go: then everything is durable, and the next command can have it."""
    from mimeifs.store.storage import StoreLock

    end = time.monotonic() + _END_SECONDS
    while True:
        try:
            StoreLock(home.storage).release()
        except LockedError:
            if time.monotonic() > end:
                raise ConflictError(f"unmounted, but the node still works on {home.root}; its log says why") from None
            time.sleep(_PAUSE_SECONDS)
        else:
            home.mount_file.unlink(missing_ok=True)
            return


COMMANDS = (
    Command(
        "serve",
        "run a node in the foreground and mount it",
        "Run a node and mount it. Home and mount point are made if missing. Ctrl-C, SIGTERM, closing the terminal or\n"
        "unmounting ends it, with everything durable.",
        (
            ("mimei serve --mount ~/mimei", "until Ctrl-C"),
            ("mimei serve --mount /srv/mimei --allow-other", "for every user of the machine"),
            ("mimei serve --mount ~/mimei -o ro,noexec", "with mount options"),
        ),
        _declare_serve,
        _serve,
    ),
    Command(
        "mount",
        "start a node in the background",
        "Start a node in the background and return when it is mounted. Its log is in the home.",
        (("mimei mount ~/mimei", "start"), ("mimei umount ~/mimei", "end")),
        _declare_mount,
        _mount,
    ),
    Command(
        "umount",
        "unmount and end the node",
        "Unmount, and wait until the node has ended with everything durable. A mount whose node died ('Transport endpoint is\n"
        "not connected') is taken away too, and a node whose mount is gone is ended.",
        (
            ("mimei umount ~/mimei", "by its path"),
            ("mimei umount mimei", "by the last part of it"),
            ("mimei umount --lazy ~/mimei", "at once, even while something is in it; the node ends later"),
        ),
        _declare_umount,
        _umount,
    ),
)
