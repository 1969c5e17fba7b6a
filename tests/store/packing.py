"""A directory of packs with a dictionary for an index, which tests break in every way."""

from pathlib import Path

from blake3 import blake3

from mimeifs.store.blobs import BlobReader, PackWriter, ResidentBlobReader
from mimeifs.store.packfiles import Rebuilt, rebuild
from mimeifs.store.packs import START, IndexRow, pack_name


class Store:
    """A directory of packs, and a dictionary in the place of the index that survives crashes of the writer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rows: dict[bytes, bytes] = {}
        self.end = START
        self.writer = self.open()

    def open(self) -> PackWriter:
        self.writer = PackWriter(self.directory, self.end, self.lookup)
        return self.writer

    def lookup(self, digest: bytes) -> IndexRow | None:
        raw = self.rows.get(digest)
        return None if raw is None else IndexRow.decode(raw)

    def commit(self) -> None:
        self.writer.sync()
        self.rows.update(self.writer.take_rows())
        self.end = self.writer.end

    def reader(self, cache_bytes: int = 1 << 20) -> BlobReader:
        return BlobReader(self.directory, self.lookup, cache_bytes=cache_bytes)

    def resident(self, cache_bytes: int = 1 << 20, pin_bytes: int = 1 << 20) -> ResidentBlobReader:
        return ResidentBlobReader(self.directory, self.lookup, cache_bytes=cache_bytes, pin_bytes=pin_bytes)

    def row(self, digest: bytes) -> IndexRow:
        row = self.lookup(digest)
        assert row is not None
        return row

    def rebuilt(self) -> tuple[Rebuilt, dict[bytes, bytes]]:
        rows: dict[bytes, bytes] = {}
        return rebuild(self.directory, rows.__setitem__), rows

    def last_pack(self) -> Path:
        return self.directory / pack_name(self.end.number)

    def flip(self, digest: bytes, shift: int = 0) -> None:
        """Damage the stored bytes of a blob, or what lies ``shift`` bytes from them."""
        row = self.row(digest)
        path = self.directory / pack_name(row.pack)
        data = bytearray(path.read_bytes())
        data[row.offset + shift] ^= 4
        path.write_bytes(data)


def noise(size: int, seed: int = 0) -> bytes:
    return blake3(seed.to_bytes(8, "big")).digest(size)


def never(*args: object) -> bytes:
    raise BlockingIOError
