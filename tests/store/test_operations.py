"""Operations: each comes back as it was encoded, and nothing else is taken for one."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimeifs.errors import IntegrityError
from mimeifs.store import operations
from mimeifs.store.operations import Call, Clear, Delete, DropFile, Op, Put, Resize, TouchDir, TouchFile, Write, decode

AT = 5_000_000
u64 = st.integers(0, 2**64 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
table = st.integers(0, 255)
key = st.binary(max_size=300)
value = st.binary(max_size=3000)
simple = st.one_of(
    st.builds(Put, table, key, value),
    st.builds(Delete, table, key),
    st.builds(Clear, table, key),
    st.builds(Resize, u64, u64, i64, st.just(AT)),
    st.builds(TouchFile, u64, i64, i64),
    st.builds(DropFile, u64),
    st.builds(TouchDir, u64, i64, i64, st.integers(0, 2**32 - 1)),
    st.builds(Call, table, value, st.just(AT)),
)


def encoded(operation):
    match operation:
        case Put(table, key, value):
            return operations.put(table, key, value)
        case Delete(table, key):
            return operations.delete(table, key)
        case Clear(table, key):
            return operations.clear(table, key)
        case Resize(file, size, time_ns):
            return operations.resize(file, size, time_ns)
        case TouchFile(file, mtime, ctime):
            return operations.touch_file(file, mtime, ctime)
        case DropFile(file):
            return operations.drop_file(file)
        case TouchDir(directory, mtime, ctime, subdirs):
            return operations.touch_dir(directory, mtime, ctime, subdirs)
        case Call(kind, payload):
            return operations.call(kind, payload)
        case Write(file, start, length, _, time_ns):
            return operations.write(file, start, length, time_ns) + b"w" * length


@given(st.lists(simple, max_size=6))
def test_what_is_encoded_comes_back(wanted):
    assert list(decode(b"".join(map(encoded, wanted)), AT)) == wanted


@given(st.lists(simple, max_size=3), st.integers(1, 5000))
def test_a_write_knows_where_its_bytes_lie(before, length):
    frame = b"".join(map(encoded, before)) + operations.write(7, 9, length, -1) + b"w" * length
    assert list(decode(frame, AT))[-1] == Write(7, 9, length, AT + len(frame) - length, -1)


@given(simple, st.data())
def test_an_operation_cut_short_is_damage(operation, data):
    frame = encoded(operation)
    cut = data.draw(st.integers(1, len(frame) - 1))
    with pytest.raises(IntegrityError):
        list(decode(frame[:cut], AT))


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_operations_or_damage(data):
    try:
        list(decode(data, AT))
    except IntegrityError:
        return


@pytest.mark.parametrize("tag", sorted(set(range(256)) - set(Op)))
def test_an_unknown_tag_is_damage(tag):
    with pytest.raises(IntegrityError):
        list(decode(bytes([tag]) + bytes(100), AT))


def test_every_tag_has_a_decoder():
    assert set(operations._DECODERS) == set(Op)


def test_vectors_of_the_format_page():
    vectors = json.loads((Path(__file__).parent.parent / "data" / "journal" / "vectors.json").read_text())
    assert {vector["operation"] for vector in vectors["operations"]} == {op.name for op in Op}
    for vector in vectors["operations"]:
        raw = bytes.fromhex(vector["bytes"])
        (operation,) = decode(raw, AT)
        assert encoded(operation)[: len(raw)] == raw or isinstance(operation, Write)
        assert type(operation).__name__.upper() == vector["operation"].replace("_", "")
        for name, wanted in vector["fields"].items():
            found = getattr(operation, name)
            assert (found.hex() if isinstance(found, bytes) else found) == wanted
