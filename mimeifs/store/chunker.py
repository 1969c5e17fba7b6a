"""Where the bytes of a large file are cut into chunks: FastCDC, so that an edit moves only the cuts near it.

What this is not: anything that stores or reads. Always true: a cut depends on nothing but the offset of its chunk and the bytes
from there up to the cut, never on what follows; the same content is cut alike by every node and every release, because its
digest depends on it. Format page: ``docs/format/content.md``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

try:
    # The package falls back to pure Python in silence, 250 times slower; so its compiled module is named here.
    from fastcdc.fastcdc_cy import fastcdc_cy
except ImportError as error:
    raise ImportError(
        "the compiled half of the package fastcdc is missing: install a C compiler, then fastcdc again"
    ) from error


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Smallest, average and largest chunk in bytes; part of the format."""

    minimum: int
    average: int
    maximum: int


SIZES = ChunkSizes(64 << 10, 256 << 10, 1 << 20)


def first_cut(window: bytes | bytearray, start: int) -> int | None:
    """The length of the chunk at the start of ``window``, which lies at offset ``start``; None when more bytes are needed.

    Zeros as far as the next multiple of the largest size end there: without that, an edit in a sparse file would move every
    cut behind it, since nothing in zeros makes new cuts meet old ones.
    """
    if not window:
        return None
    grid = SIZES.maximum - start % SIZES.maximum
    if window[0] == 0 and len(window) >= grid and window.startswith(_zeros(grid)):
        return grid
    if len(window) >= SIZES.maximum:
        with memoryview(window) as view, view[: SIZES.maximum] as head:
            return _cut(head)
    if len(window) <= SIZES.minimum:
        return None
    # One byte more tells a cut at the very end from bytes that have run out.
    length = _cut(b"".join((window, b"\0")))
    return length if length <= len(window) else None


def chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of a stream of pieces, holding about one chunk and one piece at a time."""
    window, start = bytearray(), 0
    for piece in pieces:
        for begin in range(0, len(piece), SIZES.maximum):
            window += piece[begin : begin + SIZES.maximum]
            while len(window) >= SIZES.maximum:
                data = take(window, first_cut(window, start))
                start += len(data)
                yield data
    while window:
        data = take(window, first_cut(window, start))
        start += len(data)
        yield data


def take(window: bytearray, length: int | None) -> bytes:
    """Remove the first ``length`` bytes (None: all) from ``window`` and return them."""
    with memoryview(window) as view, view[:length] as head:
        data = bytes(head)
    del window[:length]
    return data


def _cut(data: bytes | memoryview) -> int:
    length: int = next(fastcdc_cy(data, SIZES.minimum, SIZES.average, SIZES.maximum)).length
    return length


@lru_cache(maxsize=2)
def _zeros(size: int) -> bytes:
    return bytes(size)
