"""Who gets in: nobody's name is asked on the loopback address unless passwords were made for it, everybody's elsewhere.

Basic over TLS, and bearer tokens (the app password by itself). Digest is refused: it needs passwords that can be read back.
Whoever guesses is slowed, by address, before anything is computed; what was right a moment ago is not computed again.
"""

import base64
import binascii
import hashlib
import ipaddress
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

from mimeifs.dav.accounts import Accounts
from mimeifs.dav.exchange import Visitor
from mimeifs.dav.status import Refusal

KNOWN_SECONDS = 600.0
MAX_KNOWN = 1000
MAX_REMEMBERED = 10_000
FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
CHALLENGE = (("WWW-Authenticate", 'Basic realm="mimeifs", charset="UTF-8"'),)

ANYBODY = Visitor("", may_write=True)
"""Whoever can reach a server that asks for no names."""


@dataclass
class _Known:
    visitor: Visitor
    until: float
    stamp: tuple[int, int]


@dataclass
class Gate:
    """``accounts`` None: whoever can reach the server may do everything. ``anonymous``: whoever has no name may look."""

    accounts: Accounts | None
    anonymous: bool = False
    _known: dict[bytes, _Known] = field(default_factory=dict)
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _checking: threading.Lock = field(default_factory=threading.Lock)

    @property
    def open(self) -> bool:
        """Whether one may look without a name."""
        return self.accounts is None or self.anonymous

    def admit(self, headers: Mapping[str, str], address: str, *, secure: bool) -> Visitor:
        """Who asks; raises ``Refusal`` (401, 403, 429)."""
        if self.accounts is None:
            return ANYBODY
        header = headers.get("authorization")
        if header is None:
            if self.anonymous:
                return Visitor("", may_write=False)
            raise Refusal(401, "who are you? Give a user's name and an app password", headers=CHALLENGE)
        if not secure:
            raise Refusal(403, "a password is not taken over a connection that anybody can read: use https")
        digest = hashlib.blake2b(header.encode(errors="surrogateescape"), key=self._key).digest()
        stamp = self.accounts.stamp()
        known = self._known.get(digest)
        if known is not None and known.until > monotonic() and known.stamp == stamp:
            return known.visitor
        visitor = self._checked(self.accounts, header, _network(address))
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[digest] = _Known(visitor, monotonic() + KNOWN_SECONDS, stamp)
        return visitor

    def _checked(self, accounts: Accounts, header: str, network: str) -> Visitor:
        """Check a password, one at a time, since each costs memory."""
        user, password = _credentials(header)
        with self._checking:
            count, until = self._failures.get(network, (0, 0.0))
            wait = until - monotonic()
            if wait > 0:
                told = (("Retry-After", str(int(wait) + 1)),)
                raise Refusal(429, "too many wrong passwords from this address; wait a little", headers=told)
            account = accounts.check(password, user)
            if account is None:
                if len(self._failures) >= MAX_REMEMBERED:
                    self._failures.clear()
                # The first two are typing errors.
                pause = min(FIRST_WAIT * 2 ** min(count - 1, 10), LONGEST_WAIT) if count > 1 else 0.0
                self._failures[network] = (count + 1, monotonic() + pause)
                raise Refusal(401, "there is no such user with that app password", headers=CHALLENGE)
            self._failures.pop(network, None)
        return Visitor(account.user, may_write=not account.read_only)


def _credentials(header: str) -> tuple[str | None, str]:
    """User (None: whoever the token says) and password; raises ``Refusal`` (400, 401)."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == "bearer" and rest:
        return None, rest.strip()
    if scheme.lower() != "basic":
        raise Refusal(401, "the only ways in are Basic and Bearer", headers=CHALLENGE)
    try:
        user, colon, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise Refusal(400, "the Authorization header makes no sense") from None
    if not colon:
        raise Refusal(400, "the Authorization header makes no sense")
    return user, password


def _network(address: str) -> str:
    """Whom to slow: an address, or the /64 that one household has of version 6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
