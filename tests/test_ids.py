"""Identifiers: the documented bytes, and one spelling each."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimeifs import ids
from mimeifs.errors import InvalidError

HERE = Path(__file__).parent / "data" / "ids"
VECTORS = json.loads((HERE / "vectors.json").read_text())
KINDS = {
    "b": (ids.show_blob, ids.parse_blob),
    "r": (ids.show_record, ids.parse_record),
    "k": (ids.show_key, ids.parse_key),
    "m": (ids.show_mimei, ids.parse_mimei),
}
RAW = bytes(range(32))


def test_the_vectors_are_what_their_encoder_makes() -> None:
    assert runpy.run_path(str(HERE / "encoder.py"))["vectors"]() == VECTORS


@pytest.mark.parametrize("letter", KINDS)
@pytest.mark.parametrize("row", VECTORS["shown"])
def test_ids_are_printed_as_documented(letter: str, row: dict[str, str]) -> None:
    show, parse = KINDS[letter]
    assert show(bytes.fromhex(row["raw"])) == row[letter]
    assert parse(row[letter]).hex() == row["raw"]


@pytest.mark.parametrize("row", VECTORS["blobs"])
def test_a_blob_is_named_by_the_digest_of_its_bytes(row: dict[str, str]) -> None:
    assert ids.blob_id(bytes.fromhex(row["data"])).hex() == row["id"]
    assert ids.record_id(bytes.fromhex(row["data"])).hex() == row["id"]


@pytest.mark.parametrize("row", VECTORS["mimeis"])
def test_a_mimei_is_named_by_what_it_was_made_from(row: dict[str, str]) -> None:
    author, mark = ids.KeyId(bytes.fromhex(row["author"])), bytes.fromhex(row["mark"])
    assert ids.mimei_id(author, row["app_type"], row["extension"], mark, row["kind"]).hex() == row["id"]


def test_inputs_that_only_join_alike_give_different_ids() -> None:
    assert len({row["id"] for row in VECTORS["mimeis"]}) == len(VECTORS["mimeis"])


@given(st.binary(min_size=32, max_size=32), st.sampled_from(list(KINDS)))
def test_what_was_printed_is_parsed(raw: bytes, letter: str) -> None:
    show, parse = KINDS[letter]
    assert parse(show(raw)) == raw
    assert len(show(raw)) == 53


def spoil(change: Callable[[str], str]) -> str:
    return change(ids.show_blob(RAW))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        spoil(str.upper),
        spoil(lambda text: "m" + text[1:]),
        spoil(lambda text: text[:-1]),
        spoil(lambda text: text + "a"),
        spoil(lambda text: text + "===="),
        spoil(lambda text: text[:-1] + "b"),  # the unused bits of the last character must be zero
        spoil(lambda text: text[:5] + "1" + text[6:]),
        spoil(lambda text: text[:5] + "é" + text[6:]),
        spoil(lambda text: " " + text),
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="not the ID of a blob"):
        ids.parse_blob(text)
