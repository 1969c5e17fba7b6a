"""Sealed bytes as the process of the drive reads them: ahead, verified, and what is damaged never."""

import fcntl
import mmap
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.dav.sealed import Sealed
from mimeifs.engine import LocalEngine, create_home
from mimeifs.errors import IntegrityError
from mimeifs.home import Home
from mimeifs.model.node import Who
from mimeifs.store import content, witness
from mimeifs.store.content import ContentRef
from mimeifs.store.database import Table
from mimeifs.store.pages import PagedReader, Pages, Piece, Pipes
from mimeifs.store.witness import PAGE

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


def damage(home: Home) -> None:
    """Write over the middle of the largest pack."""
    pack = max(home.storage.packs.iterdir(), key=lambda found: found.stat().st_size)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        file.write(b"damage")


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


def test_a_short_piece_is_damage_and_not_the_end(
    stored: tuple[Sealed, ContentRef, Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, ref, _ = stored
    reader = sealed.reader(ref)
    monkeypatch.setattr(PagedReader, "piece", lambda self, parts: self.view(parts)[:-1])
    with pytest.raises(IntegrityError, match="bytes stand where"):
        reader.read(0, BLOCK)
    reader.close()


def test_damage_ends_the_reading_where_it_is(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, home = stored
    damage(home)
    with pytest.raises(IntegrityError):
        whole(sealed, ref)
    reader = sealed.reader(ref)
    assert DATA.startswith(bytes(reader.read(0, BLOCK)))
    reader.close()


def pieces(sealed: Sealed, ref: ContentRef, start: int = 0) -> tuple[bytes, set[type]]:
    """What is sent, and as what."""
    reader, found, kinds = sealed.reader(ref), b"", set()
    try:
        while start + len(found) < ref.size:
            piece = reader.piece(start + len(found), BLOCK)
            kinds.add(type(piece))
            found += sent(piece)
    finally:
        reader.close()
    return found, kinds


def sent(piece: Piece) -> bytes:
    """The bytes that come out of a socket at its other end."""
    near, far = socket.socketpair()
    near.setblocking(False)
    found = b""
    with near, far:
        if not isinstance(piece, Pages):
            return bytes(piece)
        while piece.left:
            with suppress(BlockingIOError):
                piece.send(near.fileno())
            found += far.recv(BLOCK)
        near.shutdown(socket.SHUT_WR)
        while data := far.recv(BLOCK):
            found += data
    assert len(found) == len(piece)
    return found


def test_what_was_verified_goes_out_as_pages(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, _ = stored
    found, kinds = pieces(sealed, ref)
    assert found == DATA
    assert memoryview in kinds
    for start in (0, 1, 1234567):
        assert pieces(sealed, ref, start) == (DATA[start:], {Pages})
        assert whole(sealed, ref, start) == DATA[start:]


def test_pages_that_nobody_sent_are_not_sent_later(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, _ = stored
    assert whole(sealed, ref) == DATA
    reader, draw = sealed.reader(ref), random.Random(7)
    for _ in range(50):
        at = draw.randrange(len(DATA))
        piece = reader.piece(at, draw.choice((1, 5000, BLOCK)))
        assert isinstance(piece, Pages)
        if draw.random() < 0.5:
            assert sent(piece) == DATA[at : at + len(piece)]
    reader.close()


def test_damage_after_it_was_verified_is_seen(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, home = stored
    assert whole(sealed, ref) == DATA
    damage(home)
    with pytest.raises(IntegrityError):
        pieces(sealed, ref)


def test_what_left_the_memory_is_verified_again(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, _ = stored
    assert whole(sealed, ref) == DATA
    for one in list(sealed._witnesses._known.values())[::2]:
        assert witness._libc.madvise(one._address, one._count * PAGE, mmap.MADV_DONTNEED) == 0
    found, kinds = pieces(sealed, ref)
    assert found == DATA
    assert memoryview in kinds
    assert pieces(sealed, ref) == (DATA, {Pages})


def test_where_there_can_be_no_pipe_bytes_go_out(
    stored: tuple[Sealed, ContentRef, Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, ref, _ = stored
    monkeypatch.setattr(fcntl, "fcntl", _refuse)
    for _ in range(2):
        assert pieces(sealed, ref) == (DATA, {memoryview})


def _refuse(*_: object) -> None:
    raise PermissionError("there are too many large pipes")


def test_a_pipe_that_was_not_emptied_is_let_go(stored: tuple[Sealed, ContentRef, Home]) -> None:
    sealed, ref, _ = stored
    assert whole(sealed, ref) == DATA
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        reader = sealed.reader(ref)
        assert isinstance(reader.piece(0, BLOCK), Pages)
        reader.close()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert pieces(sealed, ref) == (DATA, {Pages})


def test_there_are_not_more_pipes_than_was_said() -> None:
    pipes = Pipes(most=2)
    taken = [pipes.take(), pipes.take()]
    with pytest.raises(OSError, match="enough"):
        pipes.take()
    pipes.give_back(taken[0])
    assert pipes.take() is taken[0]
    for one in taken:
        pipes.give_back(one)
    pipes.close()
