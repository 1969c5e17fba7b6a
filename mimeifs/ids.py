"""Identifiers: what names a thing for ever, and how it is written down.

An ID in memory is 32 raw bytes with a type of its own; printed, it is one letter for its class and 52 characters of base32
in lower case, so that it survives DNS labels and file systems blind to case.

* :data:`BlobId` ``b...``: BLAKE3-256 of a blob's plain bytes.
* :data:`RecordId` ``r...``: BLAKE3-256 of a signed record's bytes; a version is named by its record.
* :data:`KeyId` ``k...``: an Ed25519 public key.
* :data:`MimeiId` ``m...``: see :func:`mimei_id`; never a hash of content, time or rights.

Always true: parsing what was printed gives the same bytes; one ID has one spelling.
"""

import base64
from typing import NewType

from blake3 import blake3

from mimeifs.codec import put_bytes
from mimeifs.errors import InvalidError

BlobId = NewType("BlobId", bytes)
RecordId = NewType("RecordId", bytes)
KeyId = NewType("KeyId", bytes)
MimeiId = NewType("MimeiId", bytes)

ID_SIZE = 32
_MIMEI_CONTEXT = "mimeifs 2026 MiMei ID v1"


def blob_id(data: bytes | bytearray | memoryview) -> BlobId:
    """The name of these bytes as a blob."""
    return BlobId(blake3(data).digest())


def record_id(data: bytes) -> RecordId:
    """The name of a signed record, given exactly the bytes that were signed and their signature."""
    return RecordId(blake3(data).digest())


def mimei_id(author: KeyId, app_type: str, extension: str, mark: bytes, kind: str) -> MimeiId:
    """The ID made once from what a MiMei is: same inputs, same ID, on every node (white paper, "MiMei ID")."""
    out = bytearray()
    for part in (author, app_type.encode(), extension.encode(), mark, kind.encode()):
        put_bytes(out, part)
    return MimeiId(blake3(out, derive_key_context=_MIMEI_CONTEXT).digest())


def _show(letter: str, raw: bytes) -> str:
    return letter + base64.b32encode(raw).decode().rstrip("=").lower()


def _parse(letter: str, noun: str, text: str) -> bytes:
    body = text[1:].upper()
    try:
        raw = base64.b32decode(body + "=" * (-len(body) % 8))
    except ValueError:
        raw = b""
    if text[:1] != letter or len(raw) != ID_SIZE or _show(letter, raw) != text:
        raise InvalidError(f"not the ID of a {noun}: {text!r} (expected {letter!r} and 52 characters a-z, 2-7)")
    return raw


def show_blob(value: bytes) -> str:
    """Printed form of a BlobId."""
    return _show("b", value)


def show_record(value: bytes) -> str:
    """Printed form of a RecordId."""
    return _show("r", value)


def show_key(value: bytes) -> str:
    """Printed form of a KeyId."""
    return _show("k", value)


def show_mimei(value: bytes) -> str:
    """Printed form of a MimeiId."""
    return _show("m", value)


def parse_blob(text: str) -> BlobId:
    """Inverse of :func:`show_blob`; raises ``InvalidError``."""
    return BlobId(_parse("b", "blob", text))


def parse_record(text: str) -> RecordId:
    """Inverse of :func:`show_record`; raises ``InvalidError``."""
    return RecordId(_parse("r", "record", text))


def parse_key(text: str) -> KeyId:
    """Inverse of :func:`show_key`; raises ``InvalidError``."""
    return KeyId(_parse("k", "key", text))


def parse_mimei(text: str) -> MimeiId:
    """Inverse of :func:`show_mimei`; raises ``InvalidError``."""
    return MimeiId(_parse("m", "MiMei", text))
