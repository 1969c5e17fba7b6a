"""Digests of the slices of a blob, so that a small read verifies 16 KiB instead of a whole chunk.

A chunk has a name for all of its bytes only: whoever wants 4 KiB would have up to 1 MiB read and hashed. So who stores a blob
that is long and kept as it is hashes each slice by itself, too, and the index keeps those digests beside the blob's place.

What this is not: a name for anything, or a tree; a slice that does not match is a reason to look at the whole blob.
"""

from blake3 import blake3

from mimeifs.store.interfaces import Buffer

SLICE = 16 << 10
SHORT = 64 << 10
"""Blobs up to here are read and verified whole, in bytes."""
DIGEST = 32


def digests_of(plain: Buffer) -> bytes:
    """BLAKE3-256 of each slice, one behind the other; the last may be short."""
    with memoryview(plain) as view:
        return b"".join([blake3(view[at : at + SLICE]).digest() for at in range(0, len(view), SLICE)])


def length_of(size: int) -> int:
    """How long the digests of a blob of ``size`` bytes are."""
    return -(-size // SLICE) * DIGEST


def around(start: int, stop: int, size: int) -> tuple[int, int]:
    """The whole slices around these bytes of a blob of ``size``: where they begin and end."""
    return start - start % SLICE, min(stop + -stop % SLICE, size)


def hold(digests: bytes, begin: int, data: memoryview) -> bool:
    """Whether ``data``, from ``begin``, the beginning of a slice, to the end of another, is what was stored."""
    at = begin // SLICE * DIGEST
    for start in range(0, len(data), SLICE):
        if blake3(data[start : start + SLICE]).digest() != digests[at : at + DIGEST]:
            return False
        at += DIGEST
    return True
