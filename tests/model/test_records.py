"""Signed records: one encoding each, and nothing forged, damaged or out of bounds gets in."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimeifs.errors import ForbiddenError, IntegrityError, InvalidError, UnknownFormatError
from mimeifs.ids import BlobId, KeyId, MimeiId, RecordId, mimei_id, record_id
from mimeifs.model.delegation import Right, check_authority
from mimeifs.model.identity import KeyKind, SigningKey
from mimeifs.model.names import check_label
from mimeifs.model.records import (
    MAX_RECORD,
    SIGNING_CONTEXT,
    Delegation,
    Info,
    Label,
    Record,
    Ref,
    Signed,
    Version,
    decode,
    decode_as,
    decode_known,
    encode,
    next_time,
    sign,
)

HERE = Path(__file__).parent.parent / "data" / "records"
VECTORS = json.loads((HERE / "vectors.json").read_text())
USER = SigningKey(b"\x01" * 32, KeyKind.USER)
DEVICE = SigningKey(b"\x02" * 32, KeyKind.DEVICE)
MIMEI, OTHER = MimeiId(b"\x11" * 32), MimeiId(b"\x12" * 32)
PARENT, SECOND, ROOT = RecordId(b"\x21" * 32), RecordId(b"\x22" * 32), BlobId(b"\x31" * 32)
T = 1_790_000_000_123_456_789

INFO = Info(USER.key_id, "photos", "jpg", b"\x00\xff", "tree", "Féria", T)
DELEGATION = Delegation(USER.key_id, DEVICE.key_id, T, None, frozenset({1, 2, 3}))
VERSION = Version(MIMEI, 300, 128, (PARENT, SECOND), ROOT, 5, 2**62, T, "both")
LABEL = Label(MIMEI, "before-move", PARENT, 7, T)
REF = Ref(MIMEI, OTHER, PARENT, 3, T, 9)
EXAMPLES: list[tuple[Record, SigningKey]] = [
    (INFO, USER),
    (DELEGATION, USER),
    (VERSION, DEVICE),
    (LABEL, DEVICE),
    (REF, DEVICE),
]
SAMPLES = [sign(record, key).data for record, key in EXAMPLES]

EXPECTED: dict[str, Record] = {
    "info": INFO,
    "info of a fork": replace(INFO, created_ns=-1, origin=(OTHER, PARENT)),
    "delegation": DELEGATION,
    "delegation with an end": replace(DELEGATION, not_after_ns=T + 1, rights=frozenset({1})),
    "first version": Version(MIMEI, 1, 1, (), ROOT, 0, 0, 0),
    "merge": VERSION,
    "label": LABEL,
    "release dropped": Label(MIMEI, "release", None, 8, T),
    "reference": REF,
    "reference taken back": Ref(MIMEI, OTHER, None, -3, T, 10),
}


def is_label(text: str) -> bool:
    try:
        check_label(text)
    except InvalidError:
        return False
    return True


ids32 = st.binary(min_size=32, max_size=32)
texts = st.text(max_size=60)
counts = st.integers(0, 2**63 - 1)
firsts = st.integers(1, 2**63 - 1)
times = st.integers(-(2**63) + 1, 2**63 - 1)
hints = texts.filter(lambda text: "/" not in text and "\0" not in text and text not in (".", ".."))
kinds = st.sampled_from(["file", "tree", "database"])
RECORDS = st.one_of(
    st.builds(Info, ids32, texts, texts, st.binary(max_size=255), kinds, hints, times, st.none() | st.tuples(ids32, ids32)),
    st.builds(
        Delegation,
        st.just(USER.key_id),
        ids32,
        st.integers(-(2**62), 2**62),
        st.none() | st.integers(2**62, 2**63 - 1),
        st.frozensets(st.integers(1, 255), min_size=1, max_size=16),
    ),
    st.builds(
        Version,
        ids32,
        firsts,
        firsts,
        st.lists(ids32, max_size=64, unique=True).map(tuple),
        ids32,
        counts,
        counts,
        times,
        st.text(max_size=1024),
    ),
    st.builds(Label, ids32, st.just("release") | st.text(max_size=62).filter(is_label), st.none() | ids32, firsts, times),
    st.builds(Ref, ids32, ids32, st.none() | ids32, firsts | firsts.map(lambda n: -n), times, firsts),
)


def test_the_vectors_are_what_their_encoder_makes() -> None:
    assert runpy.run_path(str(HERE / "encoder.py"))["vectors"]() == VECTORS


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["name"])
def test_a_record_has_the_documented_bytes(row: dict[str, str]) -> None:
    record = EXPECTED[row["name"]]
    key = USER if row["seed"] == USER.seed.hex() else DEVICE
    signed = sign(record, key)
    assert encode(signed).hex() == row["data"]
    assert signed.id.hex() == row["id"]
    assert decode(bytes.fromhex(row["data"])) == signed


@given(RECORDS)
@settings(max_examples=200)
def test_what_was_signed_is_decoded(record: Record) -> None:
    signed = sign(record, USER)
    again = decode(encode(signed))
    assert again == signed
    assert again.record == record
    assert (again.signer, again.id) == (USER.key_id, record_id(encode(signed)))
    assert decode_known(encode(signed)) == signed


@pytest.mark.parametrize("data", SAMPLES)
def test_damage_to_any_byte_of_a_record_is_seen(data: bytes) -> None:
    for index in range(len(data)):
        spoilt = bytearray(data)
        spoilt[index] ^= 1
        with pytest.raises((IntegrityError, UnknownFormatError)):
            decode(bytes(spoilt))


@pytest.mark.parametrize("data", SAMPLES)
def test_a_record_of_another_length_is_refused(data: bytes) -> None:
    for wrong in (*(data[:size] for size in range(len(data))), data + b"\0", data + bytes(MAX_RECORD)):
        with pytest.raises(IntegrityError):
            decode(wrong)


def signed_body(kind: int, body: bytes, key: SigningKey = USER) -> bytes:
    """An envelope with a true signature around any body."""
    data = bytes([1, kind]) + body + key.key_id
    return data + key.sign(SIGNING_CONTEXT, data)


@given(st.integers(1, 5), st.binary(max_size=300))
@settings(max_examples=200)
def test_no_signed_bytes_crash_the_decoder(kind: int, body: bytes) -> None:
    try:
        signed = decode(signed_body(kind, body))
    except (IntegrityError, UnknownFormatError):
        return
    assert sign(signed.record, USER).data == signed.data


@given(st.sampled_from(SAMPLES), st.data())
@settings(max_examples=300)
def test_no_other_encoding_of_a_record_is_accepted(sample: bytes, data: st.DataObject) -> None:
    body = bytearray(sample[2:-96])
    index = data.draw(st.integers(0, len(body) - 1))
    body[index : index + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        signed = decode(signed_body(sample[1], bytes(body)))
    except (IntegrityError, UnknownFormatError):
        return
    assert sign(signed.record, USER).data[2:-96] == body


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_decoder(data: bytes) -> None:
    for hostile in (data, b"\x01" + data, b"\x01\x03" + data):
        with pytest.raises((IntegrityError, UnknownFormatError)):
            decode(hostile)


def test_a_later_format_is_refused_naming_both_numbers() -> None:
    with pytest.raises(UnknownFormatError, match=r"format 2.*format 1"):
        decode(b"\x02" + SAMPLES[0][1:])


@pytest.mark.parametrize("kind", [0, 6, 255])
def test_an_unknown_kind_is_refused_naming_both_numbers(kind: int) -> None:
    with pytest.raises(UnknownFormatError, match=rf"kind {kind}.*1 to 5"):
        decode(signed_body(kind, b""))


def test_a_signature_over_the_same_bytes_in_another_context_is_refused() -> None:
    data = SAMPLES[0][:-64]
    with pytest.raises(IntegrityError, match="signature"):
        decode(data + USER.sign(b"something else", data))


def test_only_the_expected_kind_is_taken() -> None:
    assert decode_as(Version, SAMPLES[2]).record == VERSION
    with pytest.raises(IntegrityError, match="a Version was expected, not a Label"):
        decode_as(Version, SAMPLES[3])


def test_the_id_of_an_info_is_made_of_its_inputs_only() -> None:
    expected = mimei_id(USER.key_id, "photos", "jpg", b"\x00\xff", "tree")
    assert INFO.mimei_id == expected
    assert replace(INFO, name_hint="x", created_ns=0, origin=(OTHER, PARENT)).mimei_id == expected
    assert replace(INFO, kind="file").mimei_id != expected


BAD: list[tuple[Record, dict[str, Any]]] = [
    (INFO, {"author": KeyId(b"short")}),
    (INFO, {"app_type": "x" * 256}),
    (INFO, {"extension": "ü" * 128}),
    (INFO, {"app_type": "\udcff"}),
    (INFO, {"mark": bytes(256)}),
    (INFO, {"kind": "socket"}),
    (INFO, {"name_hint": "x" * 256}),
    (INFO, {"name_hint": "a/b"}),
    (INFO, {"name_hint": ".."}),
    (INFO, {"name_hint": "a\0"}),
    (INFO, {"created_ns": 2**63}),
    (INFO, {"origin": (OTHER, RecordId(b""))}),
    (DELEGATION, {"device": USER.key_id}),
    (DELEGATION, {"not_after_ns": T - 1}),
    (DELEGATION, {"rights": frozenset()}),
    (DELEGATION, {"rights": frozenset({0})}),
    (DELEGATION, {"rights": frozenset({256})}),
    (DELEGATION, {"rights": frozenset(range(1, 18))}),
    (VERSION, {"sequence": 0}),
    (VERSION, {"number": 0}),
    (VERSION, {"number": 2**63}),
    (VERSION, {"parents": (PARENT, PARENT)}),
    (VERSION, {"parents": tuple(RecordId(bytes([n] * 32)) for n in range(65))}),
    (VERSION, {"parents": (RecordId(b"x"),)}),
    (VERSION, {"root": BlobId(bytes(33))}),
    (VERSION, {"files": -1}),
    (VERSION, {"bytes": -1}),
    (VERSION, {"time_ns": -(2**63)}),
    (VERSION, {"memo": "x" * 4097}),
    (VERSION, {"memo": "\udcff"}),
    (LABEL, {"label": ""}),
    (LABEL, {"label": "last"}),
    (LABEL, {"label": "2nd"}),
    (LABEL, {"label": "x" * 256}),
    (LABEL, {"sequence": 0}),
    (LABEL, {"target": RecordId(b"")}),
    (REF, {"count_delta": 0}),
    (REF, {"count_delta": 2**63}),
    (REF, {"sequence": 0}),
    (REF, {"version": RecordId(b"")}),
]


@pytest.mark.parametrize(("record", "change"), BAD)
def test_a_record_out_of_bounds_is_not_made(record: Record, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        replace(record, **change)


def test_the_largest_record_fits() -> None:
    parents = tuple(RecordId(bytes([n] * 32)) for n in range(64))
    largest = replace(VERSION, parents=parents, memo="x" * 4096, bytes=2**63 - 1, number=2**63 - 1)
    assert decode(sign(largest, DEVICE).data).record == largest


# Who may sign for whom.


def grant(**change: Any) -> Signed[Delegation]:
    return sign(replace(DELEGATION, **change), USER)


def test_a_delegation_is_signed_by_its_user_only() -> None:
    with pytest.raises(InvalidError, match="own key"):
        sign(DELEGATION, DEVICE)
    with pytest.raises(IntegrityError, match="did not sign"):
        decode(signed_body(2, SAMPLES[1][2:-96], DEVICE))


def test_the_author_needs_no_delegation() -> None:
    check_authority(USER.key_id, USER.key_id, (), Right.VERSIONS, T)


@pytest.mark.parametrize("right", Right)
def test_a_device_may_do_what_it_was_given(right: Right) -> None:
    check_authority(DEVICE.key_id, USER.key_id, [grant(rights=frozenset({right}))], right, T)


def test_a_device_whose_clock_is_behind_may_sign() -> None:
    check_authority(DEVICE.key_id, USER.key_id, [grant()], Right.VERSIONS, 0)


def test_a_delegation_holds_to_its_last_nanosecond() -> None:
    check_authority(DEVICE.key_id, USER.key_id, [grant(not_after_ns=T + 5)], Right.VERSIONS, T + 5)


def test_one_of_several_delegations_is_enough() -> None:
    grants = [grant(not_after_ns=T), grant(rights=frozenset({Right.LABELS})), grant()]
    check_authority(DEVICE.key_id, USER.key_id, grants, Right.CREATE, T + 1)


THIRD = KeyId(b"\x77" * 32)


@pytest.mark.parametrize(
    ("signer", "author", "grants"),
    [
        (DEVICE.key_id, USER.key_id, []),
        (DEVICE.key_id, USER.key_id, [grant(not_after_ns=T + 5)]),
        (DEVICE.key_id, USER.key_id, [grant(rights=frozenset({Right.LABELS, Right.CREATE, 200}))]),
        (DEVICE.key_id, THIRD, [grant()]),
        (THIRD, USER.key_id, [grant()]),
        (USER.key_id, DEVICE.key_id, [grant()]),
        # Two halves do not make a whole: the right has run out, and what lasts does not give it.
        (DEVICE.key_id, USER.key_id, [grant(not_after_ns=T), grant(rights=frozenset({Right.LABELS}))]),
    ],
)
def test_what_was_not_given_is_forbidden(signer: KeyId, author: KeyId, grants: list[Signed[Delegation]]) -> None:
    with pytest.raises(ForbiddenError, match="delegate to this device"):
        check_authority(signer, author, grants, Right.VERSIONS, T + 6)


@pytest.mark.parametrize(("now", "parents", "expected"), [(5, [], 5), (5, [1, 3], 5), (5, [5], 6), (5, [9, 7], 10)])
def test_a_version_is_later_than_its_parents(now: int, parents: list[int], expected: int) -> None:
    assert next_time(now, parents) == expected
