"""Where the network drive listens, and what that asks for: a login and TLS everywhere but on this machine alone.

What this is not: the server, which a command that only checks its options does not load.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from mimeifs.dav.accounts import Accounts
from mimeifs.errors import ForbiddenError, InvalidError

PREFIX = "/webdav"
"""Where the tree is in the paths of URLs."""
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 4880


@dataclass(frozen=True, slots=True)
class DriveOptions:
    """How the tree is shown as a network drive."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    certificate: Path | None = None
    login: bool = False
    anonymous: bool = False
    public: frozenset[str] = frozenset()
    """Further names of this server, with ports, such as a proxy's."""
    keep_litter: bool = False
    """What desktops leave in folders goes into the tree, and so into versions."""
    pages: frozenset[str] = frozenset()
    """Origins of pages that may use it (CORS)."""

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return not self.local or self.certificate is not None

    @property
    def asks_for_login(self) -> bool:
        """Whether one needs a name. A name in public means that a proxy lets others in."""
        return not self.local or self.login or self.anonymous or bool(self.public)

    def check(self, accounts: Accounts) -> None:
        """Raise ``ForbiddenError`` where a login is asked for and nobody could give one."""
        if not self.asks_for_login or self.anonymous or accounts.all():
            return
        if self.local:
            why = "--dav-login" if self.login else "--dav-public, by which others come,"
            raise ForbiddenError(
                f"{why} asks for a login, and nobody has a password yet: make one with `mimei password add NAME`,"
                " then start again"
            )
        raise ForbiddenError(
            f"the network drive on {shown(self.host, self.port)} can be reached by others, so whoever uses it needs a name:"
            " make an app password with `mimei password add NAME`, then start again. (TLS comes by itself, with a"
            " certificate made here unless --dav-certificate names yours; for this machine alone, leave out --dav.)"
        )


def parse_address(text: str) -> tuple[str, int]:
    """``ADDRESS:PORT``, with brackets around an address of version 6; raises ``InvalidError``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or not host:
        raise InvalidError(f"{text!r} is no ADDRESS:PORT; this machine alone is 127.0.0.1:{DEFAULT_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidError(f"an address of version 6 stands in brackets: [{host}]:{port}")
    return host, int(port)


def shown(host: str, port: int) -> str:
    """Host and port as an address has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
