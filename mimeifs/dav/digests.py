"""What a client says its upload's digest is, checked against what came: ``Content-MD5`` (RFC 1864), ``Repr-Digest`` and
``Content-Digest`` (RFC 9530), ``Digest`` (RFC 3230), ``OC-Checksum`` (ownCloud). Pure.

Nothing is hashed that nobody asked for. Algorithms nobody here knows are ignored, as RFC 9530 has it; a value that is no
digest of its algorithm is refused.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from mimeifs.dav.status import Refusal
from mimeifs.store.interfaces import Buffer

_ALGORITHMS = {"md5": "md5", "sha": "sha1", "sha-1": "sha1", "sha1": "sha1", "sha-256": "sha256", "sha256": "sha256"}
_ALGORITHMS |= {"sha-512": "sha512", "sha512": "sha512", "adler32": "adler32"}
_HEADERS = ("content-md5", "repr-digest", "content-digest", "digest", "oc-checksum")


class _Hash(Protocol):
    def update(self, data: Buffer, /) -> None: ...
    def digest(self) -> bytes: ...


class _Adler32:
    def __init__(self) -> None:
        self._sum = 1

    def update(self, data: Buffer, /) -> None:
        self._sum = zlib.adler32(data, self._sum)

    def digest(self) -> bytes:
        return self._sum.to_bytes(4, "big")


def _new(algorithm: str) -> _Hash:
    return _Adler32() if algorithm == "adler32" else hashlib.new(algorithm, usedforsecurity=False)


class Digests:
    """The digests that an upload must have, and those that what came so far has."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._wanted: list[tuple[str, str, bytes]] = []
        for name in _HEADERS:
            value = headers.get(name)
            if value is not None:
                for algorithm, digest in _READERS[name](value):
                    known = _ALGORITHMS.get(algorithm.strip().lower())
                    if known:
                        self._wanted.append((name, known, digest()))
        self._hashes = {algorithm: _new(algorithm) for _, algorithm, _ in self._wanted}
        for name, algorithm, wanted in self._wanted:
            if len(wanted) != len(_new(algorithm).digest()):
                raise _bad(name)

    def update(self, data: Buffer) -> None:
        """Take in what came."""
        for one in self._hashes.values():
            one.update(data)

    def check(self) -> None:
        """Raise ``Refusal`` (400) unless all that came is what was meant."""
        for name, algorithm, digest in self._wanted:
            if self._hashes[algorithm].digest() != digest:
                raise Refusal(
                    400, f"what arrived does not have the digest that {name} says; nothing was changed: send it again"
                )

    def checksum(self) -> str:
        """The first verified digest as ``oc:checksums`` has it, "" when there is none."""
        names = {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256", "adler32": "ADLER32"}
        found = [(names[a], d) for _, a, d in self._wanted if a in names]
        return f"{found[0][0]}:{found[0][1].hex()}" if found else ""


Pairs = list[tuple[str, Callable[[], bytes]]]


def _bad(name: str) -> Refusal:
    return Refusal(400, f"the digest in {name} makes no sense")


def _base64(name: str, text: str) -> Callable[[], bytes]:
    def decoded() -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise _bad(name) from None

    return decoded


def _md5(value: str) -> Pairs:
    return [("md5", _base64("Content-MD5", value.strip()))]


def _structured(value: str) -> Pairs:
    """``sha-256=:base64:, sha-512=:base64:``, a dictionary of RFC 9651."""
    found: Pairs = []
    for member in value.split(",")[:16]:
        algorithm, _, digest = member.strip().partition("=")
        found.append((algorithm, _base64("Repr-Digest", digest[1:-1] if digest[:1] == ":" == digest[-1:] else "?")))
    return found


def _instance(value: str) -> Pairs:
    pairs = [member.strip().partition("=") for member in value.split(",")[:16]]
    return [(algorithm, _base64("Digest", digest)) for algorithm, _, digest in pairs]


def _owncloud(value: str) -> Pairs:
    """``SHA1:hex``, several with blanks between them."""
    found: Pairs = []
    for one in value.split()[:16]:
        algorithm, _, digest = one.partition(":")

        def decoded(digest: str = digest) -> bytes:
            try:
                return bytes.fromhex(digest)
            except ValueError:
                raise _bad("OC-Checksum") from None

        found.append((algorithm, decoded))
    return found


_READERS: dict[str, Callable[[str], Pairs]] = {
    "content-md5": _md5,
    "repr-digest": _structured,
    "content-digest": _structured,
    "digest": _instance,
    "oc-checksum": _owncloud,
}
