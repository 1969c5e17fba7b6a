"""The HTTP server of the network drive, put together.

What this is not: waiting for somebody to come, and ending (``drive``). Always true: the server is bound to nothing but the
socket it was given, and writes to no log but the drive's own.
"""

import logging
import socket

from mimeifs.dav import certificates
from mimeifs.dav.access import Gate
from mimeifs.dav.access_log import AccessLog
from mimeifs.dav.accounts import Accounts
from mimeifs.dav.http import Adapter, Server
from mimeifs.dav.interface import Tree
from mimeifs.dav.listening import DriveOptions
from mimeifs.dav.litter import LitterTree
from mimeifs.dav.origins import Origins
from mimeifs.dav.surface import Site, Surface
from mimeifs.home import Home

log = logging.getLogger(__name__)


def make_server(home: Home, options: DriveOptions, tree: Tree, listener: socket.socket) -> Server:
    """The server on ``listener``, which has a backlog already. Raises ``UsageError`` for a certificate that is none."""
    accounts = Accounts(home.accounts_file)
    gate = Gate(accounts if options.asks_for_login else None, anonymous=options.anonymous)
    origins = Origins(options.public, options.pages, local_only=not options.asks_for_login)
    litter = None if options.keep_litter else LitterTree(tree)
    site = Site(tree, gate, origins, litter, AccessLog(home.access_log))
    server = Server((options.host, options.port), Surface(site), listener=listener)
    if options.secure:
        path = certificates.given(options.certificate) if options.certificate else None
        path = path or certificates.made(home.certificate_file, options.host)
        server.ssl_adapter = Adapter(str(path), str(path))
        log.info("the certificate's SHA-256 is %s", certificates.fingerprint(path))
    return server
