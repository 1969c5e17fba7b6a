"""Damage in packs: storing the same content again mends it, and a damaged header costs nothing."""

from pathlib import Path

import pytest

from mimeifs.errors import IntegrityError
from mimeifs.store.packs import START, IndexRow, PackEnd
from mimeifs.store.packwriter import PackWriter

DATA = bytes(range(256)) * 20


def stored(directory: Path, index: dict[bytes, bytes], data: bytes, end=START):
    writer = PackWriter(directory, end, lambda digest: IndexRow.decode(index[digest]) if digest in index else None)
    name = writer.put(data)
    writer.sync()
    index.update(writer.take_rows())
    end = writer.end
    writer.close()
    return name, end


def flip(directory: Path, offset: int) -> None:
    path = directory / "00000001.pack"
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 0xFF
    path.write_bytes(raw)


def reader(directory: Path, index: dict[bytes, bytes], end) -> PackWriter:
    return PackWriter(directory, end, lambda digest: IndexRow.decode(index[digest]) if digest in index else None)


def test_a_damaged_blob_is_stored_anew_when_it_is_put_again(tmp_path: Path) -> None:
    index: dict[bytes, bytes] = {}
    name, end = stored(tmp_path, index, DATA)
    flip(tmp_path, IndexRow.decode(index[name]).offset + 20)
    broken = reader(tmp_path, index, end)
    with pytest.raises(IntegrityError):
        broken.get(name)
    broken.close()
    assert stored(tmp_path, index, DATA, end)[0] == name
    _, end = stored(tmp_path, index, b"more", reader_end(tmp_path, index))
    healed = reader(tmp_path, index, end)
    assert healed.get(name) == DATA
    healed.close()


def reader_end(directory: Path, index: dict[bytes, bytes]):
    rows = [IndexRow.decode(row) for row in index.values()]
    last = max(rows, key=lambda row: (row.pack, row.offset))
    return PackEnd(last.pack, last.offset + last.stored)


def test_a_sound_blob_is_not_stored_twice(tmp_path: Path) -> None:
    index: dict[bytes, bytes] = {}
    _, end = stored(tmp_path, index, DATA)
    assert stored(tmp_path, index, DATA, end)[1] == end


def test_a_damaged_header_costs_no_blob_and_nothing_is_added_behind_it(tmp_path: Path) -> None:
    index: dict[bytes, bytes] = {}
    name, end = stored(tmp_path, index, DATA)
    flip(tmp_path, 0)
    other, end = stored(tmp_path, index, b"something else", end)
    again = reader(tmp_path, index, end)
    assert (again.get(name), again.get(other), end.number) == (DATA, b"something else", 2)
    again.close()
