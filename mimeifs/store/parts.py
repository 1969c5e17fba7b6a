"""Pieces of blobs in a row: what a range of a content is made of.

Always true: pieces are joined in the order given; a blob too short for its piece is damage, and is said to be.
"""

from collections.abc import Callable, Sequence

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.store.interfaces import BlobSource, Buffer, Cold, Part

__all__ = ["check_length", "gathered", "joined"]


def check_length(have: int, part: Part) -> None:
    """Raise ``IntegrityError`` unless a blob of ``have`` bytes holds the whole piece."""
    _, start, length = part
    if have < start + length:
        raise IntegrityError(f"a blob of {have} bytes stands where {start + length} are needed")


def joined(source: BlobSource, parts: Sequence[Part]) -> Buffer:
    """The pieces one behind the other, out of a source that only knows whole blobs; raises as :func:`gathered` does."""

    def piece(part: Part) -> Buffer:
        blob, start, length = part
        data = source.get(blob)
        check_length(len(data), part)
        return data if length == len(data) else memoryview(data)[start : start + length]

    return gathered(piece, parts)


def gathered(piece: Callable[[Part], Buffer], parts: Sequence[Part]) -> Buffer:
    """What ``piece`` gives for each part, one behind the other.

    Raises as ``BlobSource.get`` does; ``Cold`` then names every blob that is missing, so that one fetch is enough.
    """
    pieces: list[Buffer] = []
    cold: list[BlobId] = []
    for part in parts:
        try:
            pieces.append(piece(part))
        except Cold as missing:
            cold += missing.ids
    if cold:
        raise Cold(tuple(cold))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
