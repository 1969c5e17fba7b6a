"""The process of the network drive: WebDAV on threads, a client of the node's socket like any command.

States: waiting for a place to listen, serving, ended. It never opens the overlay and never touches the mount; when it
dies it is replaced, and when it cannot listen the node goes on without it.
"""

import logging
import logging.handlers
import os
import signal
import threading

from mimeifs.dav import access_log, certificates
from mimeifs.dav.access import Gate
from mimeifs.dav.accounts import Accounts
from mimeifs.dav.exchange import PREFIX
from mimeifs.dav.http import Adapter, Server
from mimeifs.dav.interface import Tree
from mimeifs.dav.listening import DriveOptions, shown
from mimeifs.dav.litter import LitterTree
from mimeifs.dav.origins import Origins
from mimeifs.dav.surface import Site, application
from mimeifs.errors import ConflictError
from mimeifs.home import Home

log = logging.getLogger(__name__)

MAX_LOG = 8 << 20
OLD_LOGS = 3
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(home: Home, options: DriveOptions, tree: Tree, lifeline: int) -> None:
    """Serve until asked to end, or until the supervisor is gone. Raises ``ConflictError`` where the port is taken."""
    server = make_server(home, options, tree)
    try:
        server.prepare()
    except OSError as error:
        raise ConflictError(
            f"there is no network drive, because {shown(options.host, options.port)} cannot be used ({error}): choose"
            " another place with --dav ADDRESS:PORT, or none with --no-dav; the mount works without it"
        ) from None
    for number in _SIGNALS:
        signal.signal(number, lambda *_: _end(server))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_end_on_loss, args=(lifeline, server), daemon=True).start()
    _log_requests(home)
    url = f"{'https' if options.secure else 'http'}://{shown(*server.bind_addr)}{PREFIX}/"
    home.drive_file.write_text(f"{url}\n")
    log.info("the network drive is at %s", url)
    try:
        server.serve()
    finally:
        home.drive_file.unlink(missing_ok=True)


def _log_requests(home: Home) -> None:
    """Write the access log to a file of its own, which makes way for a new one before it fills the disk."""
    handler = logging.handlers.RotatingFileHandler(home.access_log, maxBytes=MAX_LOG, backupCount=OLD_LOGS)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access_log.log.addHandler(handler)
    access_log.log.propagate = False


def make_server(home: Home, options: DriveOptions, tree: Tree) -> Server:
    """The server, not yet bound."""
    accounts = Accounts(home.accounts_file)
    gate = Gate(accounts if options.asks_for_login else None, anonymous=options.anonymous)
    origins = Origins(options.public, options.pages, local_only=not options.asks_for_login)
    server = Server(
        (options.host, options.port), application(Site(tree, gate, origins, None if options.keep_litter else LitterTree(tree)))
    )
    if options.secure:
        path = certificates.given(options.certificate) if options.certificate else None
        path = path or certificates.made(home.certificate_file, options.host)
        server.ssl_adapter = Adapter(str(path), str(path))
        log.info("the certificate's SHA-256 is %s", certificates.fingerprint(path))
    return server


def _end(server: Server) -> None:
    # From another thread: stopping waits for the loop that a signal has interrupted.
    threading.Thread(target=server.stop, daemon=True).start()


def _end_on_loss(lifeline: int, server: Server) -> None:
    os.read(lifeline, 1)
    server.stop()
