"""GET of small sealed files: what is kept of them, and when their bytes are read again."""

from types import SimpleNamespace
from typing import Any

from mimeifs.dav import reading
from mimeifs.dav.exchange import Answer
from mimeifs.dav.interface import Facts, Path, Small
from mimeifs.dav.known import Known
from mimeifs.ids import BlobId
from mimeifs.model.resource import ResourceKind
from mimeifs.store.content import ContentKind, ContentRef

KIND: ResourceKind = "file"


def facts(data: bytes, mtime_ns: int, ino: int = 7) -> Facts:
    content = ContentRef(ContentKind.BLOB, BlobId(data.ljust(32)), len(data))
    return Facts(b"f", KIND, len(data), mtime_ns, 0, 0, ino, 0o644, data.decode(), True, False, content=content)


class OneFile:
    """A tree of one file, with how often it was opened and read."""

    def __init__(self) -> None:
        self.moment, self.opened, self.bytes_read = 1, 0, 0
        self.small = Known[Path, Small](lambda: self.moment, most=10, room=1 << 20)
        self.data, self.mtime_ns, self.ino = b"first", 1, 7

    def open(self, _: Path) -> Any:
        self.opened += 1
        return SimpleNamespace(facts=facts(self.data, self.mtime_ns, self.ino), read=self._read, close=lambda: None)

    def _read(self, offset: int, size: int) -> bytes:
        self.bytes_read += size
        return self.data[offset : offset + size]

    def get(self) -> tuple[Answer, int, int]:
        self.opened = self.bytes_read = 0
        exchange: Any = SimpleNamespace(tree=self, path=(b"f",), headers={}, header=lambda _: None)
        return reading.get(exchange), self.opened, self.bytes_read


def test_bytes_are_read_again_only_where_the_file_has_changed() -> None:
    tree = OneFile()
    first, opened, read = tree.get()
    assert (first.body, opened, read) == (b"first", 1, 5)
    assert tree.get() == (first, 0, 0)
    tree.moment += 1  # Something else has changed.
    assert tree.get() == (first, 1, 0)
    assert tree.get() == (first, 0, 0)
    tree.moment, tree.data = tree.moment + 1, b"other"
    changed, opened, read = tree.get()
    assert (changed.body, opened, read) == (b"other", 1, 5)
    tree.moment, tree.mtime_ns = tree.moment + 1, 10**18
    later, opened, read = tree.get()
    assert (later.body, opened, read) == (b"other", 1, 5)
    assert later.headers != changed.headers


def test_a_locked_empty_name_is_never_kept() -> None:
    tree = OneFile()
    tree.ino = 0
    assert [tree.get()[1] for _ in range(3)] == [1, 1, 1]
