"""A reader's place in a content: what it finds and what it asks for ahead."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import Random

import pytest
from blake3 import blake3

from mimeifs.errors import IntegrityError
from mimeifs.ids import BlobId
from mimeifs.store import chunker, content
from mimeifs.store.chunker import ChunkSizes
from mimeifs.store.content import ContentRef, chunks_from, write_all
from mimeifs.store.interfaces import Buffer, Cold, MemoryBlobs, Part
from mimeifs.store.parts import joined


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few hundred bytes, so that short contents have many."""
    monkeypatch.setattr(chunker, "SIZES", ChunkSizes(64, 256, 1024))


def noise(size: int, seed: int = 0) -> bytes:
    return blake3(seed.to_bytes(8, "big")).digest(size)


def stored(blobs: MemoryBlobs, data: bytes) -> ContentRef:
    return write_all(blobs, [data])


def chunk_ids(blobs: MemoryBlobs, ref: ContentRef) -> list[BlobId]:
    return [chunk.blob for chunk in chunks_from(blobs, ref, 0)]


class Followed(MemoryBlobs):
    """Blobs that note what was asked for ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[BlobId] = []

    def view(self, parts: Sequence[Part]) -> Buffer:
        return joined(self, parts)

    def ahead(self, ids: Iterable[BlobId]) -> None:
        self.asked += ids


def test_reading_on_asks_ahead_for_every_chunk_once(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "READ_AHEAD", 20_000)
    blobs, data = Followed(), noise(300_000)
    ref = stored(blobs, data)
    reader = content.Reader()
    found = [bytes(reader.view(blobs, ref, offset, 5000)) for offset in range(0, len(data), 5000)]
    assert b"".join(found) == data
    assert sorted(blobs.asked) == sorted(set(blobs.asked))
    assert set(blobs.asked) >= set(chunk_ids(blobs, ref)[80:])


class Troubled(Followed):
    """Blobs that are refused by turns, by whatever error."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = Random(seed)

    def trouble(self) -> None:
        if self.random.random() < 0.15:
            raise self.random.choice((Cold((BlobId(b""),)), IntegrityError("damaged"), RuntimeError("unforeseen")))

    def get(self, blob: BlobId) -> bytes:
        self.trouble()
        return super().get(blob)

    def ahead(self, ids: Iterable[BlobId]) -> None:
        self.trouble()
        super().ahead(ids)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_was_raised_the_next_reading_is_whole(small: None, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(content, "READ_AHEAD", 20_000)
    blobs, data = Troubled(seed), noise(600_000)
    ref = stored(blobs, data)
    reader = content.Reader()
    for offset in range(0, len(data), 5000):
        while True:
            with suppress(Cold, IntegrityError, RuntimeError):
                assert bytes(reader.view(blobs, ref, offset, 5000)) == data[offset : offset + 5000]
                break
    assert len(blobs.asked) > 100


def test_a_source_that_gives_too_little_is_damage(small: None) -> None:
    class Short(Followed):
        def view(self, parts: Sequence[Part]) -> Buffer:
            return bytes(super().view(parts))[:-1]

    blobs = Short()
    ref = stored(blobs, noise(100_000))
    with pytest.raises(IntegrityError, match="4999 bytes stand where 5000"):
        content.Reader().view(blobs, ref, 0, 5000)


def test_reading_here_and_there_asks_for_nothing_ahead(small: None) -> None:
    blobs, data = Followed(), noise(300_000)
    ref = stored(blobs, data)
    reader = content.Reader()
    for offset in (200_000, 10, 150_000, 40_000, 299_990):
        assert bytes(reader.view(blobs, ref, offset, 5000)) == data[offset : offset + 5000]
    assert not blobs.asked


def test_a_reader_that_is_given_another_content_reads_that(small: None) -> None:
    blobs = Followed()
    first, second = noise(100_000, 1), noise(100_000, 2)
    refs = stored(blobs, first), stored(blobs, second)
    reader = content.Reader()
    assert bytes(reader.view(blobs, refs[0], 0, 5000)) == first[:5000]
    assert bytes(reader.view(blobs, refs[1], 5000, 5000)) == second[5000:10_000]


def test_who_reads_here_and_there_looks_each_chunk_up_once(small: None) -> None:
    class Counted(Followed):
        gets = 0

        def get(self, blob: BlobId) -> bytes:
            self.gets += 1
            return super().get(blob)

        def view(self, parts: Sequence[Part]) -> Buffer:
            return joined(MemoryBlobs(self.blobs), parts)

    blobs, data, draw = Counted(), noise(100_000), Random(3)
    ref = stored(blobs, data)
    places = [chunk.start for chunk in chunks_from(blobs, ref, 0)]
    reader = content.Reader()
    looked_up = []
    for _ in range(2):
        before = blobs.gets
        for start in draw.sample(places, len(places)):
            assert bytes(reader.view(blobs, ref, start, 30)) == data[start : start + 30]
        looked_up.append(blobs.gets - before)
    assert looked_up[0] >= len(places)
    assert looked_up[1] == 0


def test_of_a_very_large_content_not_every_place_is_remembered(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MAX_MET", 10)
    blobs, data, draw = Followed(), noise(100_000), Random(4)
    ref = stored(blobs, data)
    reader = content.Reader()
    for _ in range(500):
        start = draw.randrange(len(data) - 900)
        assert bytes(reader.view(blobs, ref, start, 900)) == data[start : start + 900]
        assert len(reader._met) <= 10
        assert [chunk.start for chunk in reader._met] == sorted({chunk.start for chunk in reader._met})
