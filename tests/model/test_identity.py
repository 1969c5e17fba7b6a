"""Keys, signatures and key files."""

import os
import struct
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mimeifs.clock import CountingRandomness, SystemRandomness
from mimeifs.errors import (
    ExistsError,
    ForbiddenError,
    IntegrityError,
    InvalidError,
    NotFoundError,
    UnknownFormatError,
    WrongPassphraseError,
)
from mimeifs.ids import KeyId
from mimeifs.model.identity import (
    INTERACTIVE,
    MAX_KEY_FILE,
    KeyKind,
    SealCost,
    SigningKey,
    decode_key_file,
    describe_key_file,
    encode_key_file,
    needs_passphrase,
    new_key,
    read_key_file,
    replace_key_file,
    verify,
    write_key_file,
)

KEPT = Path(__file__).parent.parent / "data" / "keys"
KEY = SigningKey(b"\x01" * 32, KeyKind.USER)
OTHER = SigningKey(b"\x02" * 32, KeyKind.DEVICE)
CHEAP = SealCost(passes=1, memory_kib=8)
PLAIN = encode_key_file(KEY, None, CountingRandomness())
SEALED = encode_key_file(KEY, b"secret", CountingRandomness(), CHEAP)


def with_checksum(data: bytes | bytearray) -> bytes:
    return bytes(data[:-8]) + blake3(data[:-8]).digest()[:8]


# Signing.


def test_a_key_has_the_public_half_of_rfc_8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    expected = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert SigningKey(seed, KeyKind.USER).key_id.hex() == expected


@given(st.binary(min_size=1, max_size=64), st.binary(max_size=200))
def test_a_signature_verifies(context: bytes, message: bytes) -> None:
    verify(KEY.key_id, context, message, KEY.sign(context, message))


def test_a_signature_holds_for_nothing_else() -> None:
    signature = KEY.sign(b"context", b"message")
    wrong = [
        (OTHER.key_id, b"context", b"message", signature),
        (KEY.key_id, b"contex", b"tmessage", signature),
        (KEY.key_id, b"other", b"message", signature),
        (KEY.key_id, b"context", b"message2", signature),
        (KEY.key_id, b"context", b"message", signature[:-1]),
        (KEY.key_id, b"context", b"message", signature + b"\0"),
        (KeyId(b""), b"context", b"message", signature),
        (KeyId(bytes(32)), b"context", b"message", signature),
        (KeyId(b"\xff" * 32), b"context", b"message", signature),
    ]
    for case in wrong:
        with pytest.raises(IntegrityError):
            verify(*case)


@pytest.mark.parametrize("index", range(64))
def test_every_byte_of_a_signature_counts(index: int) -> None:
    spoilt = bytearray(KEY.sign(b"context", b"message"))
    spoilt[index] ^= 1
    with pytest.raises(IntegrityError):
        verify(KEY.key_id, b"context", b"message", bytes(spoilt))


@pytest.mark.parametrize("context", [b"", b"x" * 65])
def test_a_context_is_short_and_never_empty(context: bytes) -> None:
    with pytest.raises(ValueError, match="context"):
        KEY.sign(context, b"message")


def test_new_keys_differ() -> None:
    randomness = SystemRandomness()
    assert new_key(KeyKind.USER, randomness).key_id != new_key(KeyKind.USER, randomness).key_id


def test_a_key_needs_a_whole_seed() -> None:
    with pytest.raises(InvalidError, match="32 bytes"):
        SigningKey(b"short", KeyKind.USER)


def test_a_key_does_not_print_its_seed() -> None:
    assert repr(KEY.seed)[2:-1] not in repr(KEY)


# Key files as bytes.


@pytest.mark.parametrize("key", [KEY, OTHER])
@pytest.mark.parametrize("passphrase", [None, b"x", b"\x00\xff" * 512])
def test_a_key_file_gives_its_key_back(key: SigningKey, passphrase: bytes | None) -> None:
    data = encode_key_file(key, passphrase, SystemRandomness(), CHEAP)
    assert decode_key_file(data, passphrase) == key
    assert needs_passphrase(data) is (passphrase is not None)
    assert len(data) <= MAX_KEY_FILE


def test_a_key_file_shows_whose_it_is_while_sealed() -> None:
    face = describe_key_file(SEALED)
    assert (face.kind, face.key_id, face.sealed) == (KeyKind.USER, KEY.key_id, True)


def test_a_sealed_key_file_does_not_hold_the_seed() -> None:
    assert KEY.seed in PLAIN
    assert KEY.seed not in SEALED


def test_sealing_costs_what_is_asked_by_default() -> None:
    data = encode_key_file(KEY, b"secret", SystemRandomness())
    assert struct.unpack_from(">II", data, 43) == (INTERACTIVE.passes, INTERACTIVE.memory_kib)
    assert decode_key_file(data, b"secret") == KEY


@pytest.mark.parametrize("passphrase", [None, b"", b"Secret", b"secret\0", b"x" * 1025])
def test_a_wrong_passphrase_opens_nothing(passphrase: bytes | None) -> None:
    with pytest.raises(WrongPassphraseError):
        decode_key_file(SEALED, passphrase)


@pytest.mark.parametrize("passphrase", [b"", b"x" * 1025])
def test_a_passphrase_has_bounds(passphrase: bytes) -> None:
    with pytest.raises(InvalidError, match="passphrase"):
        encode_key_file(KEY, passphrase, SystemRandomness(), CHEAP)


@pytest.mark.parametrize("data", [PLAIN, SEALED], ids=["plain", "sealed"])
def test_damage_to_any_byte_of_a_key_file_is_seen(data: bytes) -> None:
    for index in range(len(data)):
        spoilt = bytearray(data)
        spoilt[index] ^= 0x10
        with pytest.raises((IntegrityError, UnknownFormatError)):
            decode_key_file(bytes(spoilt), b"secret")


@pytest.mark.parametrize("data", [PLAIN, SEALED], ids=["plain", "sealed"])
def test_a_key_file_of_another_length_is_refused(data: bytes) -> None:
    for wrong in (*(data[:size] for size in range(len(data))), data + b"\0"):
        with pytest.raises(IntegrityError):
            decode_key_file(wrong, b"secret")


def test_a_forged_face_of_a_sealed_file_is_not_believed() -> None:
    for index in (9, *range(11, 43)):  # kind, public key
        forged = bytearray(SEALED)
        forged[index] ^= 3
        with pytest.raises(WrongPassphraseError):
            decode_key_file(with_checksum(forged), b"secret")


def test_a_plain_file_with_another_public_key_is_refused() -> None:
    forged = bytearray(PLAIN)
    forged[11:43] = OTHER.key_id
    with pytest.raises(IntegrityError, match="public key"):
        decode_key_file(with_checksum(forged), None)


@pytest.mark.parametrize(("passes", "memory_kib"), [(0, 8), (17, 8), (1, 7), (1, (1 << 20) + 1), (2**32 - 1, 2**32 - 1)])
def test_a_hostile_cost_is_refused_without_being_paid(passes: int, memory_kib: int) -> None:
    forged = bytearray(SEALED)
    struct.pack_into(">II", forged, 43, passes, memory_kib)
    with pytest.raises(IntegrityError, match="too much work"):
        decode_key_file(with_checksum(forged), b"secret")


def test_a_later_format_is_refused_naming_both_numbers() -> None:
    with pytest.raises(UnknownFormatError, match=r"format 9.*format 1"):
        decode_key_file(PLAIN[:8] + b"\x09" + PLAIN[9:], None)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reading_of_a_key_file(tail: bytes) -> None:
    for data in (tail, b"mimeikey" + tail, with_checksum(PLAIN[:9] + tail + bytes(8))):
        with pytest.raises((IntegrityError, UnknownFormatError)):
            decode_key_file(data, None)


def test_key_files_of_the_first_format_still_open() -> None:
    assert decode_key_file((KEPT / "device-plain-v1.key").read_bytes(), None) == OTHER
    assert decode_key_file((KEPT / "user-sealed-v1.key").read_bytes(), b"correct horse") == KEY


def test_a_plain_key_file_has_the_documented_bytes() -> None:
    expected = b"mimeikey" + bytes([1, 2, 0]) + OTHER.key_id + OTHER.seed
    assert encode_key_file(OTHER, None, CountingRandomness()) == expected + blake3(expected).digest()[:8]


# Key files on disk.


def test_a_written_key_file_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "user.key"
    old = os.umask(0)
    try:
        write_key_file(path, SEALED)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert read_key_file(path) == SEALED
    assert os.listdir(tmp_path) == ["user.key"]


def test_a_new_key_never_overwrites_a_file(tmp_path: Path) -> None:
    path = tmp_path / "user.key"
    write_key_file(path, PLAIN)
    with pytest.raises(ExistsError, match="never overwritten"):
        write_key_file(path, SEALED)
    assert read_key_file(path) == PLAIN
    assert os.listdir(tmp_path) == ["user.key"]


def test_the_passphrase_of_a_key_can_change(tmp_path: Path) -> None:
    path = tmp_path / "user.key"
    write_key_file(path, PLAIN)
    replace_key_file(path, SEALED)
    assert read_key_file(path) == SEALED
    assert path.stat().st_mode & 0o7777 == 0o600
    assert os.listdir(tmp_path) == ["user.key"]


def test_a_key_is_not_replaced_by_another(tmp_path: Path) -> None:
    path = tmp_path / "user.key"
    write_key_file(path, PLAIN)
    with pytest.raises(ExistsError, match="another key"):
        replace_key_file(path, encode_key_file(OTHER, None, CountingRandomness()))
    assert read_key_file(path) == PLAIN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o620, 0o666])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "user.key"
    write_key_file(path, PLAIN)
    path.chmod(mode)
    with pytest.raises(ForbiddenError, match=f"chmod 600 {path}"):
        read_key_file(path)


def test_a_key_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "user.key"
    write_key_file(path, PLAIN)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ForbiddenError, match=f"belongs to user {owner}"):
        read_key_file(path)


def test_a_missing_key_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no key file .*user\.key"):
        read_key_file(tmp_path / "user.key")


def test_a_missing_directory_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no directory"):
        write_key_file(tmp_path / "none" / "user.key", PLAIN)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(tmp_path: Path, make: object) -> None:
    path = tmp_path / "user.key"
    assert callable(make)
    make(path)
    with pytest.raises(InvalidError, match="not a file"):
        read_key_file(path)


def test_an_endless_key_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "user.key"
    write_key_file(path, PLAIN + bytes(1 << 20))
    with pytest.raises(IntegrityError):
        describe_key_file(read_key_file(path))
