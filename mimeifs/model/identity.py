"""Keys: making them, signing with them, and keeping them in files; passwords, as what is kept of them. The only home of PyNaCl.

What this is not: who may do what (``delegation``) or what is signed (``records``). Nothing here asks for a passphrase, and
randomness comes in as an argument; only the functions at the end touch a disk.

Always true: a signature covers the context it was made for, so none can be passed off as another; a seed is never printed;
a key file is opened only when nobody but its owner can read it. Format page: ``docs/format/keys.md``.
"""

import contextlib
import hmac
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import nacl.bindings as sodium
import nacl.exceptions
from blake3 import blake3

from mimeifs.clock import Randomness
from mimeifs.codec import put_bytes
from mimeifs.errors import (
    CapacityError,
    ExistsError,
    ForbiddenError,
    IntegrityError,
    InvalidError,
    NotFoundError,
    UnknownFormatError,
    WrongPassphraseError,
)
from mimeifs.ids import ID_SIZE, KeyId
from mimeifs.store import disk

SEED_SIZE = 32
SIGNATURE_SIZE = 64
MAX_CONTEXT = 64
MAX_PASSPHRASE = 1024


class KeyKind(IntEnum):
    """Whose key it is."""

    USER = 1  # a person: the author of MiMeis
    DEVICE = 2  # a node: signs versions under a user's delegation


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key pair (RFC 8032), held as its seed of 32 bytes."""

    seed: bytes = field(repr=False)
    kind: KeyKind
    key_id: KeyId = field(init=False)
    _secret: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_SIZE:
            raise InvalidError(f"a key's seed has {SEED_SIZE} bytes, not {len(self.seed)}")
        public, secret = sodium.crypto_sign_seed_keypair(self.seed)
        object.__setattr__(self, "key_id", KeyId(public))
        object.__setattr__(self, "_secret", secret)

    def sign(self, context: bytes, message: bytes) -> bytes:
        """The signature (64 bytes) of ``message`` in ``context`` (1 to 64 bytes that name what is being signed)."""
        return sodium.crypto_sign(_separated(context, message), self._secret)[:SIGNATURE_SIZE]


def new_key(kind: KeyKind, randomness: Randomness) -> SigningKey:
    """A fresh key pair."""
    return SigningKey(randomness.draw(SEED_SIZE), kind)


def verify(key_id: KeyId, context: bytes, message: bytes, signature: bytes) -> None:
    """Return if ``signature`` is this key's for this context and message; raise ``IntegrityError`` otherwise."""
    if len(key_id) != ID_SIZE or len(signature) != SIGNATURE_SIZE:
        raise IntegrityError("a key or signature has the wrong length")
    try:
        sodium.crypto_sign_open(signature + _separated(context, message), key_id)
    except nacl.exceptions.BadSignatureError as error:
        raise IntegrityError("the signature does not match what was signed") from error


def _separated(context: bytes, message: bytes) -> bytes:
    if not 1 <= len(context) <= MAX_CONTEXT:
        raise ValueError(f"a signing context has 1 to {MAX_CONTEXT} bytes")
    out = bytearray()
    put_bytes(out, context)
    return bytes(out) + message


# Key files, as bytes.

KEY_FILE_FORMAT = 1
_MAGIC = b"mimeikey"
_HEADER = struct.Struct(">8sBBB32s")  # magic, format, kind of key, seal, public key
_SEAL = struct.Struct(">II16s24s")  # Argon2id passes, memory in KiB, salt, nonce
_PLAIN, _SEALED = 0, 1
_CHECK_SIZE = 8
_BOX_OVERHEAD = 16
_BODY_SIZES = {_PLAIN: SEED_SIZE, _SEALED: _SEAL.size + SEED_SIZE + _BOX_OVERHEAD}
MAX_KEY_FILE = _HEADER.size + _BODY_SIZES[_SEALED] + _CHECK_SIZE


@dataclass(frozen=True, slots=True)
class SealCost:
    """What one guess at a passphrase costs: Argon2id passes (1 to 16) and KiB of memory (8 to 1048576), in one lane.

    The bounds hold for what is read too: a hostile file cannot ask for more than a GiB.
    """

    passes: int
    memory_kib: int

    def __post_init__(self) -> None:
        if not (1 <= self.passes <= 16 and 8 <= self.memory_kib <= 1 << 20):
            raise InvalidError(f"Argon2id with {self.passes} passes over {self.memory_kib} KiB is outside 1-16 and 8-1048576")


INTERACTIVE = SealCost(passes=2, memory_kib=64 << 10)


@dataclass(frozen=True, slots=True)
class KeyFileFace:
    """What a key file tells without its passphrase; when sealed, nothing vouches for it until the file is opened."""

    kind: KeyKind
    key_id: KeyId
    sealed: bool


def encode_key_file(key: SigningKey, passphrase: bytes | None, randomness: Randomness, cost: SealCost = INTERACTIVE) -> bytes:
    """The bytes of a key file: plain when ``passphrase`` is None, else sealed (Argon2id, XChaCha20-Poly1305)."""
    seal = _PLAIN if passphrase is None else _SEALED
    header = _HEADER.pack(_MAGIC, KEY_FILE_FORMAT, key.kind, seal, key.key_id)
    if passphrase is None:
        return _checked(header + key.seed)
    if not 1 <= len(passphrase) <= MAX_PASSPHRASE:
        raise InvalidError(f"a passphrase has 1 to {MAX_PASSPHRASE} bytes; use none at all for a plain key file")
    salt, nonce = randomness.draw(16), randomness.draw(24)
    header += _SEAL.pack(cost.passes, cost.memory_kib, salt, nonce)
    box = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(key.seed, header, nonce, _stretch(passphrase, salt, cost))
    return _checked(header + box)


def describe_key_file(data: bytes) -> KeyFileFace:
    """What the file shows openly. ``IntegrityError`` if damaged, ``UnknownFormatError`` if from a later program."""
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        raise IntegrityError("not a MiMei key file")
    _, number, kind, seal, public = _HEADER.unpack_from(data)
    if number != KEY_FILE_FORMAT:
        raise UnknownFormatError(f"key file of format {number}; this program knows format {KEY_FILE_FORMAT}")
    if kind not in tuple(KeyKind) or seal not in _BODY_SIZES:
        raise IntegrityError(f"key file with unknown kind of key {kind} or seal {seal}")
    if len(data) != _HEADER.size + _BODY_SIZES[seal] + _CHECK_SIZE or _checked(data[:-_CHECK_SIZE]) != data:
        raise IntegrityError("the key file is damaged: its checksum does not match")
    return KeyFileFace(KeyKind(kind), KeyId(public), seal == _SEALED)


def needs_passphrase(data: bytes) -> bool:
    """Whether :func:`decode_key_file` needs a passphrase for this file."""
    return describe_key_file(data).sealed


def decode_key_file(data: bytes, passphrase: bytes | None) -> SigningKey:
    """The key in a key file; a plain file ignores the passphrase.

    Raises ``WrongPassphraseError``, and what :func:`describe_key_file` raises.
    """
    face = describe_key_file(data)
    body = data[_HEADER.size : -_CHECK_SIZE]
    key = SigningKey(_unsealed(data, passphrase) if face.sealed else body, face.kind)
    if key.key_id != face.key_id:
        raise IntegrityError("the key file is damaged: its public key does not belong to its secret")
    return key


def _unsealed(data: bytes, passphrase: bytes | None) -> bytes:
    start = _HEADER.size + _SEAL.size
    passes, memory_kib, salt, nonce = _SEAL.unpack_from(data, _HEADER.size)
    try:
        cost = SealCost(passes, memory_kib)
    except InvalidError as error:
        raise IntegrityError(f"the key file asks for too much work: {error}") from error
    if passphrase is None:
        raise WrongPassphraseError("this key file is sealed: give its passphrase")
    if not 1 <= len(passphrase) <= MAX_PASSPHRASE:
        raise WrongPassphraseError("the passphrase does not open this key file")
    stretched = _stretch(passphrase, salt, cost)
    try:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(data[start:-_CHECK_SIZE], data[:start], nonce, stretched)
    except nacl.exceptions.CryptoError as error:
        raise WrongPassphraseError("the passphrase does not open this key file") from error


def _stretch(passphrase: bytes, salt: bytes, cost: SealCost) -> bytes:
    kind = sodium.crypto_pwhash_ALG_ARGON2ID13
    try:
        return sodium.crypto_pwhash_alg(32, passphrase, salt, cost.passes, cost.memory_kib << 10, kind)
    except nacl.exceptions.RuntimeError as error:
        raise CapacityError(f"not enough memory to open a key file sealed with {cost.memory_kib} KiB") from error


def _checked(data: bytes) -> bytes:
    # Keyless: it tells damage from a wrong passphrase; the seal is what resists an attacker.
    return data + blake3(data).digest()[:_CHECK_SIZE]


# Passwords, as text to keep.


def password_hash(password: bytes, randomness: Randomness, cost: SealCost) -> str:
    """What to keep of a password: Argon2id, with its cost and salt beside it."""
    salt = randomness.draw(16)
    return f"argon2id${cost.passes}${cost.memory_kib}${salt.hex()}${_stretch(password, salt, cost).hex()}"


def password_fits(password: bytes, kept: str) -> bool:
    """Whether it is the password of which ``kept`` was made; raises ``IntegrityError`` when ``kept`` is no such text."""
    try:
        kind, passes, memory_kib, salt, digest = kept.split("$")
        cost, drawn, wanted = SealCost(int(passes), int(memory_kib)), bytes.fromhex(salt), bytes.fromhex(digest)
    except (ValueError, InvalidError) as error:
        raise IntegrityError("a kept password makes no sense; make it anew") from error
    if kind != "argon2id" or len(drawn) != sodium.crypto_pwhash_SALTBYTES:
        raise IntegrityError("a kept password makes no sense; make it anew")
    return len(password) <= MAX_PASSPHRASE and hmac.compare_digest(_stretch(password, drawn, cost), wanted)


# Key files, on disk.


def read_key_file(path: Path) -> bytes:
    """The bytes of a key file that only this process's user can read; ``ForbiddenError`` says what to do about any
    other."""
    try:
        # O_NONBLOCK so that a fifo in its place cannot hang the caller.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"no key file {path}") from error
    except PermissionError as error:
        raise ForbiddenError(f"cannot read the key file {path}: run as its owner") from error
    try:
        _check_private(path, os.fstat(handle))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(MAX_KEY_FILE + 1)
    finally:
        os.close(handle)


def open_key_file(path: Path, passphrase: bytes | None) -> SigningKey:
    """The key in the file at ``path``; raises what :func:`read_key_file` and :func:`decode_key_file` do, naming the file."""
    with _named(path):
        return decode_key_file(read_key_file(path), passphrase)


def look_at_key_file(path: Path) -> KeyFileFace:
    """What the file at ``path`` shows openly; raises what :func:`read_key_file` and :func:`describe_key_file` do."""
    with _named(path):
        return describe_key_file(read_key_file(path))


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors about a file's bytes say which file it is."""
    try:
        yield
    except (IntegrityError, UnknownFormatError, WrongPassphraseError) as error:
        raise type(error)(f"{path}: {error}") from error


def check_key_file(path: Path) -> None:
    """Raise ``ForbiddenError`` where others have access to a key file; does not open it."""
    try:
        facts = os.stat(path)
    except FileNotFoundError as error:
        raise NotFoundError(f"no key file {path}") from error
    _check_private(path, facts)


def _check_private(path: Path, facts: os.stat_result) -> None:
    me = os.geteuid()
    if not stat.S_ISREG(facts.st_mode):
        raise InvalidError(f"{path} is not a file: give the path of a key file")
    if facts.st_uid != me:
        raise ForbiddenError(f"the key file {path} belongs to user {facts.st_uid}: run as that user, or: chown {me} {path}")
    if facts.st_mode & 0o077:
        raise ForbiddenError(f"others have access to the key file {path}: run: chmod 600 {path}")


def write_key_file(path: Path, data: bytes) -> None:
    """Create a key file, mode 0600, whole or not at all, and durable on return; ``ExistsError`` if the name is taken."""
    temporary = _write_beside(path, data)
    try:
        # A link, not a rename: a rename would replace a key that can never be made again.
        os.link(temporary, path)
    except FileExistsError as error:
        raise ExistsError(f"{path} exists; a key file is never overwritten by a new key") from error
    finally:
        os.unlink(temporary)
    disk.sync_directory(path.parent)


def replace_key_file(path: Path, data: bytes) -> None:
    """Put other bytes of the same key (a new passphrase) in place of a key file, atomically and durably."""
    if describe_key_file(read_key_file(path)).key_id != describe_key_file(data).key_id:
        raise ExistsError(f"{path} holds another key; it is not overwritten")
    temporary = _write_beside(path, data)
    try:
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    disk.sync_directory(path.parent)


def _write_beside(path: Path, data: bytes) -> str:
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # O_EXCL, mode 0600
    except FileNotFoundError as error:
        raise NotFoundError(f"no directory {path.parent} for the key file") from error
    except PermissionError as error:
        raise ForbiddenError(f"cannot write in {path.parent}: choose a directory of your own for the key file") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return temporary
