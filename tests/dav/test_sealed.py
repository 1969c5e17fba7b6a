"""Sealed bytes as the process of the drive reads them: ahead, verified, and what is damaged never."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.dav.sealed import Sealed
from mimeifs.engine import LocalEngine, create_home
from mimeifs.errors import IntegrityError
from mimeifs.home import Home
from mimeifs.model.node import Who
from mimeifs.store import content
from mimeifs.store.content import ContentRef
from mimeifs.store.database import Table

DATA = random.Random(5).randbytes(5 << 20)
BLOCK = 1 << 20


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[tuple[Sealed, ContentRef, Home]]:
    """A content of many chunks."""
    home = Home(tmp_path / "home")
    create_home(home, SystemClock(), SystemRandomness(), None, Who(os.geteuid(), os.getegid()))
    local = LocalEngine(home, SystemClock(), SystemRandomness())
    packs = local.keeper._packs
    ref = content.write_all(packs, [DATA])
    packs.sync()
    with local.database.write() as transaction:
        for digest, row in packs.take_rows():
            transaction.put(digest, row, db=local.database.tables[Table.BLOBS])
    local.abandon()
    sealed = Sealed(home.storage)
    yield sealed, ref, home
    sealed.close()


def whole(sealed: Sealed, ref: ContentRef, start: int = 0) -> bytes:
    reader, found = sealed.reader(ref), b""
    try:
        while data := reader.read(start + len(found), BLOCK):
            assert len(data) <= BLOCK
            found += bytes(data)
    finally:
        reader.close()
    return found


def test_from_front_to_back(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, _ = stored
    for start in (0, 1, 1234567):
        assert whole(sealed, ref, start) == DATA[start:]


def test_here_and_there(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, _ = stored
    draw, reader, at = random.Random(6), sealed.reader(ref), 0
    for _ in range(200):
        at = at if draw.random() < 0.6 else draw.randrange(len(DATA))
        data = bytes(reader.read(at, draw.choice((1, 5000, BLOCK))))
        assert data == DATA[at : at + len(data)]
        at += len(data)
    reader.close()


def test_what_was_read_stays_while_the_next_is_read(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, _ = stored
    reader, at = sealed.reader(ref), 0
    while data := reader.read(at, BLOCK):
        if reader._next is not None:
            reader._next[1].exception()  # The next block is there now.
        assert bytes(data) == DATA[at : at + len(data)]
        at += len(data)
    reader.close()
    assert at == len(DATA)


def test_damage_ends_the_reading_where_it_is(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, home = stored
    pack = max(home.storage.packs.iterdir(), key=lambda found: found.stat().st_size)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        file.write(b"damage")
    with pytest.raises(IntegrityError):
        whole(sealed, ref)
    reader = sealed.reader(ref)
    assert DATA.startswith(bytes(reader.read(0, BLOCK)))
    reader.close()
