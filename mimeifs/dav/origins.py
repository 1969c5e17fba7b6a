"""Under which names this server answers, and which pages of other sites may talk to it (CORS). Pure.

A browser carries a person's rights to whatever page it shows, so a server that asks nobody's name (on the loopback address)
answers only to names that mean this machine, and changes nothing for a page that came from elsewhere.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mimeifs.dav.status import Headers, Refusal

_LOCAL = {"localhost", "127.0.0.1", "[::1]"}
_SAFE = {"OPTIONS", "GET", "HEAD", "PROPFIND", "REPORT"}
_PORTS = {"http": "80", "https": "443"}
_FOR = re.compile(r'(?:^|;)\s*for="?\[?([0-9a-fA-F.:]+?)\]?(?::\d+)?"?\s*(?:;|$)', re.IGNORECASE)
_EXPOSED = "DAV, ETag, Content-Range, Content-Length, Last-Modified, Lock-Token, Location, Allow"


@lru_cache(256)
def is_loopback(address: str) -> bool:
    """Whether whoever is connected is on this machine."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Origins:
    """``public``: further names, with ports, such as a proxy's; ``allowed``: origins of pages that may use this server, ``*``
    for all; ``local_only``: answer to this machine's names and the public ones alone."""

    public: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()
    local_only: bool = False

    def admit(self, method: str, headers: Mapping[str, str], scheme: str) -> frozenset[str]:
        """The names under which the request's own server goes; raises ``Refusal`` (403, 421)."""
        host = headers.get("host", "").lower()
        name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
        if self.local_only and host and name not in _LOCAL and not name.endswith(".localhost") and host not in self.public:
            raise Refusal(421, f"this server does not answer for {host[:100]}; --dav-public makes it")
        if method not in _SAFE and self._foreign(headers, host):
            raise Refusal(403, "a page of another site may not change anything here")
        return _names(host, name, port, scheme, self.public)

    def client(self, headers: Mapping[str, str], address: str) -> str:
        """Whose request it is: whom a proxy of this machine names last, where there is one; else who is connected.

        Where both headers are there, only one of them can be the proxy's, so neither counts.
        """
        if not self.public or not is_loopback(address):
            return address
        forwarded, others = headers.get("forwarded"), headers.get("x-forwarded-for")
        if (forwarded is None) is (others is None):
            return address
        if forwarded is not None:
            match = _FOR.search(forwarded.rpartition(",")[2])
            named = "" if match is None else match[1]
        else:
            named = (others or "").rpartition(",")[2].strip()
        try:
            return str(ipaddress.ip_address(named))
        except ValueError:
            return address

    def _foreign(self, headers: Mapping[str, str], host: str) -> bool:
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site", "none") == "cross-site"
        if origin in self.allowed or "*" in self.allowed:
            return False
        authority = origin.lower().partition("://")[2]
        return authority != host and authority not in self.public

    def _permits(self, headers: Mapping[str, str]) -> str:
        origin = headers.get("origin", "")
        return origin if origin and (origin in self.allowed or "*" in self.allowed) else ""

    def response(self, headers: Mapping[str, str]) -> Headers:
        """What every answer says to browsers."""
        permitted = self._permits(headers) if self.allowed else ""
        if not permitted:
            return (("Cross-Origin-Resource-Policy", "same-origin"),) if "sec-fetch-site" in headers else ()
        return (
            ("Access-Control-Allow-Origin", permitted),
            ("Access-Control-Expose-Headers", _EXPOSED),
            ("Vary", "Origin"),
        )

    def preflight(self, headers: Mapping[str, str], methods: str) -> Headers:
        """What an OPTIONS before a request of a page says besides."""
        if not self._permits(headers) or "access-control-request-method" not in headers:
            return ()
        asked = headers.get("access-control-request-headers", "")
        kept = ", ".join(name.strip() for name in asked.split(",")[:64] if name.strip().replace("-", "").isalnum())
        return (
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Allow-Headers", kept),
            ("Access-Control-Max-Age", "600"),
        )


@lru_cache(256)
def _names(host: str, name: str, port: str, scheme: str, public: frozenset[str]) -> frozenset[str]:
    """A host as the request names it, and what else means the same."""
    usual = _PORTS.get(scheme, "")
    same = {host, f"{host}:{usual}"} if not port else {host, name} if port == usual else {host}
    return frozenset(same | public)
