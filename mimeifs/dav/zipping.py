"""A collection as one zip, made while it is sent: nothing is kept but the list of names. Stored, not packed: the network is
rarely slower than deflate, and photographs do not shrink.

Always true: memory grows with the number of files only; a file that cannot be read ends the transfer, so that half a zip is
never taken for a whole one.
"""

import zipfile
from collections.abc import Iterator
from time import gmtime

from mimeifs.dav.dates import SECOND
from mimeifs.dav.interface import Facts, Path, Tree

BLOCK = 1 << 20
PAGE = 500
_FIRST, _LAST = 315532800, 4354819198  # What a zip's times can say: 1980 to 2107.


def stream(tree: Tree, path: Path, top: str) -> Iterator[bytes]:
    """All files below ``path``, in a folder named ``top``."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", allowZip64=True) as archive:
        for place, facts in _walk(tree, path):
            name = "/".join([top, *(part.decode(errors="replace") for part in place)])
            if facts.kind == "dir":
                archive.writestr(_entry(name + "/", facts), b"")
                continue
            reading = tree.open((*path, *place))
            try:
                with archive.open(_entry(name, facts), "w", force_zip64=facts.size > 1 << 31) as member:
                    at = 0
                    while data := reading.read(at, BLOCK):
                        member.write(data)
                        at += len(data)
                        yield from sink.taken()
            finally:
                reading.close()
            yield from sink.taken()
    yield from sink.taken()


def _walk(tree: Tree, path: Path) -> Iterator[tuple[Path, Facts]]:
    """Everything below, less what shows it again: versions beside a present are left out, links are not followed."""
    pending: list[tuple[Path, Facts]] = [((), tree.look(path))]
    while pending:
        place, above = pending.pop()
        after = b""
        while True:
            page, after = tree.entries((*path, *place), after, PAGE)
            for one in page:
                here = (*place, one.name)
                if one.kind == "dir" and not (one.name.startswith(b"@") and above.writable and not one.writable):
                    yield here, one
                    pending.append((here, one))
                elif one.kind == "file":
                    yield here, one
            if not after:
                break


def _entry(name: str, facts: Facts) -> zipfile.ZipInfo:
    when = gmtime(min(max(facts.mtime_ns // SECOND, _FIRST), _LAST))
    entry = zipfile.ZipInfo(name.replace("\\", "_"), when[:6])
    entry.external_attr = (facts.mode & 0xFFFF) << 16 | (0x10 if facts.kind == "dir" else 0)
    return entry


class _Sink:
    """Where a zip is written that nobody seeks in."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def write(self, data: bytes, /) -> int:
        self._pieces.append(bytes(data))
        self._at += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> list[bytes]:
        """What was written since the last time."""
        taken, self._pieces = self._pieces, []
        return taken
