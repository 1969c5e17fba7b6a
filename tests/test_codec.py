"""The canonical codec: one encoding each, and nothing else accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimeifs.codec import MAX_UINT, Reader, put_bytes, put_int, put_text, put_uint
from mimeifs.errors import IntegrityError

UINTS = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "8001"),
    (300, "ac02"),
    (16383, "ff7f"),
    (16384, "808001"),
    (MAX_UINT, "ffffffffffffffffff01"),
]
INTS = [
    (0, "00"),
    (-1, "01"),
    (1, "02"),
    (-64, "7f"),
    (64, "8001"),
    (2**63 - 1, "feffffffffffffffff01"),
    (-(2**63), "ff" * 9 + "01"),
]


@pytest.mark.parametrize(("value", "shown"), UINTS)
def test_unsigned_integers_have_the_documented_bytes(value: int, shown: str) -> None:
    out = bytearray()
    put_uint(out, value)
    assert out.hex() == shown
    assert Reader(out).uint() == value


@pytest.mark.parametrize(("value", "shown"), INTS)
def test_signed_integers_have_the_documented_bytes(value: int, shown: str) -> None:
    out = bytearray()
    put_int(out, value)
    assert out.hex() == shown
    assert Reader(out).sint() == value


@pytest.mark.parametrize("value", [-1, MAX_UINT + 1])
def test_integers_outside_64_bits_are_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="unsigned 64-bit"):
        put_uint(bytearray(), value)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_signed_integers_outside_64_bits_are_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="unsigned 64-bit"):
        put_int(bytearray(), value)


@pytest.mark.parametrize(
    "shown", ["", "80", "8000", "ff00", "ffffffffffffffffff02", "ffffffffffffffffff7f", "80" * 10 + "01", "80" * 10]
)
def test_other_forms_of_integers_are_refused(shown: str) -> None:
    with pytest.raises(IntegrityError):
        Reader(bytes.fromhex(shown)).uint()


def test_a_field_longer_than_the_data_is_refused() -> None:
    with pytest.raises(IntegrityError, match="too early"):
        Reader(b"\x03ab").field()


def test_a_field_over_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(IntegrityError, match="limit"):
        Reader(b"\x03abc").field(2)


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80"])
def test_text_that_is_not_utf8_is_refused(raw: bytes) -> None:
    with pytest.raises(IntegrityError, match="UTF-8"):
        Reader(bytes([len(raw)]) + raw).text()


def test_taking_a_negative_count_is_refused() -> None:
    with pytest.raises(IntegrityError):
        Reader(b"abc").take(-1)


def test_bytes_left_over_are_refused() -> None:
    reader = Reader(b"\x01\x00")
    reader.uint()
    with pytest.raises(IntegrityError, match="1 bytes left over"):
        reader.done()


def test_reading_can_begin_inside_the_data() -> None:
    reader = Reader(memoryview(b"\xff\x05"), 1)
    assert reader.uint() == 5
    reader.done()


@given(st.integers(0, MAX_UINT), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=300), st.text(max_size=100))
def test_what_was_written_is_read(number: int, signed: int, raw: bytes, text: str) -> None:
    out = bytearray()
    put_uint(out, number)
    put_int(out, signed)
    put_bytes(out, raw)
    put_text(out, text)
    reader = Reader(out)
    assert (reader.uint(), reader.sint(), reader.field(), reader.text()) == (number, signed, raw, text)
    reader.done()


@given(st.binary(max_size=12))
def test_whatever_is_read_as_an_integer_is_written_the_same(data: bytes) -> None:
    reader = Reader(data)
    try:
        value = reader.uint()
    except IntegrityError:
        return
    out = bytearray()
    put_uint(out, value)
    assert out == data[: reader.pos]
