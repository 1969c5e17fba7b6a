"""Signed records: the facts about a MiMei that nodes keep and pass on, as the very bytes that were signed.

An envelope is: format byte, kind byte, body, signer's public key, signature. It is stored, hashed and forwarded as it
is, never encoded anew. What this is not: who may sign what (``delegation``), or which records a MiMei has.

Always true: a record has one encoding; what :func:`decode` returns was signed by its ``signer``, and every field is
within its bounds. Format page: ``docs/format/records.md``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, Self, TypeVar, get_args

from mimeifs.codec import Reader, put_bytes, put_int, put_text, put_uint
from mimeifs.errors import IntegrityError, InvalidError, UnknownFormatError
from mimeifs.ids import ID_SIZE, BlobId, KeyId, MimeiId, RecordId, mimei_id, record_id
from mimeifs.model.identity import SIGNATURE_SIZE, SigningKey, verify
from mimeifs.model.names import RELEASE, check_label

RECORD_FORMAT = 1
SIGNING_CONTEXT = b"mimeifs record v1"
MAX_RECORD = 8192
MAX_TEXT = 255  # bytes of an application type, extension, mark or name hint
MAX_LABEL_BYTES = 255
MAX_MEMO = 4096
MAX_PARENTS = 64
MAX_RIGHTS = 16
MAX_COUNT = (1 << 63) - 1  # sequences, version numbers, totals
MAX_TIME_NS = (1 << 63) - 1  # the year 2262

MimeiKind = Literal["file", "tree", "database"]
_MIMEI_KINDS: tuple[MimeiKind, ...] = get_args(MimeiKind)  # the byte stored is the place here, from 1; only ever appended to


def _check_ids(*values: bytes) -> None:
    for value in values:
        if len(value) != ID_SIZE:
            raise InvalidError(f"an ID has {ID_SIZE} bytes, not {len(value)}")


def _check_within(noun: str, value: int, lowest: int, highest: int = MAX_COUNT) -> None:
    if not lowest <= value <= highest:
        raise InvalidError(f"{noun} {value} is not within {lowest} to {highest}")


def _check_time(value: int) -> None:
    _check_within("time", value, -MAX_TIME_NS, MAX_TIME_NS)


def _check_text(noun: str, value: str, limit: int = MAX_TEXT) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidError(f"{noun} is not valid UTF-8: {value!r}") from error
    if size > limit:
        raise InvalidError(f"{noun} has {size} bytes, at most {limit} fit")


def _some(value: RecordId | None) -> tuple[RecordId, ...]:
    return () if value is None else (value,)


def _put_option(out: bytearray, ids: tuple[bytes, ...]) -> None:
    out.append(1 if ids else 0)
    out += b"".join(ids)


def _take_option(reader: Reader) -> bool:
    tag = reader.take(1)[0]
    if tag > 1:
        raise IntegrityError(f"an optional field begins with {tag}, not 0 or 1")
    return tag == 1


def _take_id(reader: Reader) -> bytes:
    return reader.take(ID_SIZE)


@dataclass(frozen=True, slots=True)
class Info:
    """What a MiMei is: the inputs of its ID, and how it came to be. Signed by the author or a device that may create."""

    KIND: ClassVar[int] = 1
    author: KeyId
    app_type: str
    extension: str
    mark: bytes
    kind: MimeiKind
    name_hint: str  # a file name to show it under, or empty
    created_ns: int
    origin: tuple[MimeiId, RecordId] | None = None  # the version it was forked or split off from

    def __post_init__(self) -> None:
        _check_ids(self.author, *(self.origin or ()))
        _check_text("application type", self.app_type)
        _check_text("extension", self.extension)
        _check_text("name hint", self.name_hint)
        _check_within("length of the mark", len(self.mark), 0, MAX_TEXT)
        _check_time(self.created_ns)
        if self.kind not in _MIMEI_KINDS:
            raise InvalidError(f"no such kind of MiMei: {self.kind!r} (expected one of {', '.join(_MIMEI_KINDS)})")
        if "/" in self.name_hint or "\0" in self.name_hint or self.name_hint in (".", ".."):
            raise InvalidError(f"not a file name: {self.name_hint!r}")

    @property
    def mimei_id(self) -> MimeiId:
        """The ID these inputs give; the origin, the hint and the time have no part in it."""
        return mimei_id(self.author, self.app_type, self.extension, self.mark, self.kind)

    def put(self, out: bytearray) -> None:
        """Append the body."""
        out += self.author
        put_text(out, self.app_type)
        put_text(out, self.extension)
        put_bytes(out, self.mark)
        out.append(_MIMEI_KINDS.index(self.kind) + 1)
        put_text(out, self.name_hint)
        put_int(out, self.created_ns)
        _put_option(out, self.origin or ())

    @classmethod
    def take(cls, reader: Reader) -> Self:
        """Read a body."""
        author = KeyId(_take_id(reader))
        app_type, extension = reader.text(MAX_TEXT), reader.text(MAX_TEXT)
        mark, kind = reader.field(MAX_TEXT), reader.take(1)[0]
        if not 1 <= kind <= len(_MIMEI_KINDS):
            raise UnknownFormatError(f"MiMei of kind {kind}; this program knows kinds 1 to {len(_MIMEI_KINDS)}")
        hint, created_ns = reader.text(MAX_TEXT), reader.sint()
        origin = (MimeiId(_take_id(reader)), RecordId(_take_id(reader))) if _take_option(reader) else None
        return cls(author, app_type, extension, mark, _MIMEI_KINDS[kind - 1], hint, created_ns, origin)


@dataclass(frozen=True, slots=True)
class Delegation:
    """A user lets a device sign in the user's name; signed by the user's key. ``rights`` holds ``delegation.Right``
    numbers."""

    KIND: ClassVar[int] = 2
    user: KeyId
    device: KeyId
    created_ns: int
    not_after_ns: int | None
    rights: frozenset[int]

    def __post_init__(self) -> None:
        _check_ids(self.user, self.device)
        _check_time(self.created_ns)
        if self.user == self.device:
            raise InvalidError("a key needs no delegation to itself")
        if self.not_after_ns is not None:
            _check_within("end of a delegation", self.not_after_ns, self.created_ns, MAX_TIME_NS)
        _check_within("count of rights", len(self.rights), 1, MAX_RIGHTS)
        for right in self.rights:
            _check_within("right", right, 1, 255)

    def put(self, out: bytearray) -> None:
        """Append the body."""
        out += self.user + self.device
        put_int(out, self.created_ns)
        out.append(0 if self.not_after_ns is None else 1)
        if self.not_after_ns is not None:
            put_int(out, self.not_after_ns)
        put_bytes(out, bytes(sorted(self.rights)))

    @classmethod
    def take(cls, reader: Reader) -> Self:
        """Read a body."""
        user, device, created_ns = KeyId(_take_id(reader)), KeyId(_take_id(reader)), reader.sint()
        not_after_ns = reader.sint() if _take_option(reader) else None
        rights = reader.field(MAX_RIGHTS)
        if rights != bytes(sorted(set(rights))):
            raise IntegrityError("the rights of a delegation are not in ascending order")
        return cls(user, device, created_ns, not_after_ns, frozenset(rights))


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable state of a MiMei. ``sequence`` counts the records of its writer, ``number`` the versions of the
    MiMei."""

    KIND: ClassVar[int] = 3
    mimei: MimeiId
    sequence: int
    number: int
    parents: tuple[RecordId, ...]  # the first is the one it was made on top of
    root: BlobId
    files: int
    bytes: int
    time_ns: int
    memo: str = ""

    def __post_init__(self) -> None:
        _check_ids(self.mimei, self.root, *self.parents)
        _check_within("sequence", self.sequence, 1)
        _check_within("version number", self.number, 1)
        _check_within("count of parents", len(self.parents), 0, MAX_PARENTS)
        _check_within("count of files", self.files, 0)
        _check_within("count of bytes", self.bytes, 0)
        _check_time(self.time_ns)
        _check_text("memo", self.memo, MAX_MEMO)
        if len(set(self.parents)) != len(self.parents):
            raise InvalidError("a version names the same parent twice")

    def put(self, out: bytearray) -> None:
        """Append the body."""
        out += self.mimei
        put_uint(out, self.sequence)
        put_uint(out, self.number)
        put_uint(out, len(self.parents))
        for parent in self.parents:
            out += parent
        out += self.root
        put_uint(out, self.files)
        put_uint(out, self.bytes)
        put_int(out, self.time_ns)
        put_text(out, self.memo)

    @classmethod
    def take(cls, reader: Reader) -> Self:
        """Read a body."""
        mimei, sequence, number, count = MimeiId(_take_id(reader)), reader.uint(), reader.uint(), reader.uint()
        _check_within("count of parents", count, 0, MAX_PARENTS)
        parents = tuple(RecordId(_take_id(reader)) for _ in range(count))
        root, files, size = BlobId(_take_id(reader)), reader.uint(), reader.uint()
        return cls(mimei, sequence, number, parents, root, files, size, reader.sint(), reader.text(MAX_MEMO))


@dataclass(frozen=True, slots=True)
class Label:
    """A name for a version, or with no target its end. The published version is the label ``release``."""

    KIND: ClassVar[int] = 4
    mimei: MimeiId
    label: str
    target: RecordId | None
    sequence: int
    time_ns: int

    def __post_init__(self) -> None:
        if self.label != RELEASE:
            check_label(self.label)
        _check_ids(self.mimei, *_some(self.target))
        _check_within("sequence", self.sequence, 1)
        _check_time(self.time_ns)

    def put(self, out: bytearray) -> None:
        """Append the body."""
        out += self.mimei
        put_text(out, self.label)
        _put_option(out, _some(self.target))
        put_uint(out, self.sequence)
        put_int(out, self.time_ns)

    @classmethod
    def take(cls, reader: Reader) -> Self:
        """Read a body."""
        mimei, label = MimeiId(_take_id(reader)), reader.text(MAX_LABEL_BYTES)
        target = RecordId(_take_id(reader)) if _take_option(reader) else None
        return cls(mimei, label, target, reader.uint(), reader.sint())


@dataclass(frozen=True, slots=True)
class Ref:
    """The holder refers to the target ``count_delta`` times more (below zero: fewer), to one version or to the newest."""

    KIND: ClassVar[int] = 5
    holder: MimeiId
    target: MimeiId
    version: RecordId | None
    count_delta: int
    time_ns: int
    sequence: int

    def __post_init__(self) -> None:
        _check_ids(self.holder, self.target, *_some(self.version))
        _check_within("change of a reference count", self.count_delta, -MAX_COUNT)
        _check_within("sequence", self.sequence, 1)
        _check_time(self.time_ns)
        if self.count_delta == 0:
            raise InvalidError("a reference that changes no count says nothing")

    def put(self, out: bytearray) -> None:
        """Append the body."""
        out += self.holder + self.target
        _put_option(out, _some(self.version))
        put_int(out, self.count_delta)
        put_int(out, self.time_ns)
        put_uint(out, self.sequence)

    @classmethod
    def take(cls, reader: Reader) -> Self:
        """Read a body."""
        holder, target = MimeiId(_take_id(reader)), MimeiId(_take_id(reader))
        version = RecordId(_take_id(reader)) if _take_option(reader) else None
        return cls(holder, target, version, reader.sint(), reader.sint(), reader.uint())


Record = Info | Delegation | Version | Label | Ref
R = TypeVar("R", bound=Record)
R_co = TypeVar("R_co", bound=Record, covariant=True)
_KINDS: dict[int, type[Record]] = {kind.KIND: kind for kind in (Info, Delegation, Version, Label, Ref)}
_TAIL = ID_SIZE + SIGNATURE_SIZE


@dataclass(frozen=True, slots=True)
class Signed(Generic[R_co]):
    """A record with its signer, its name and the bytes it travels as. Made only by the functions below."""

    record: R_co
    signer: KeyId
    id: RecordId
    data: bytes


def sign(record: R, key: SigningKey) -> Signed[R]:
    """The record signed by this key. Whether the key may sign it is ``delegation.check_authority``'s to say."""
    if isinstance(record, Delegation) and record.user != key.key_id:
        raise InvalidError("a delegation is signed by the user's own key")
    out = bytearray((RECORD_FORMAT, record.KIND))
    record.put(out)
    out += key.key_id
    out += key.sign(SIGNING_CONTEXT, bytes(out))
    data = bytes(out)
    return Signed(record, key.key_id, record_id(data), data)


def encode(signed: Signed[Record]) -> bytes:
    """The bytes to store and forward: always those that were signed."""
    return signed.data


def decode(data: bytes) -> Signed[Record]:
    """A record from disk or a peer, its signature verified.

    Raises ``IntegrityError`` when damaged, forged or out of bounds, ``UnknownFormatError`` when from a later program.
    """
    signed = decode_known(data)
    verify(signed.signer, SIGNING_CONTEXT, data[:-SIGNATURE_SIZE], data[-SIGNATURE_SIZE:])
    return signed


def decode_known(data: bytes) -> Signed[Record]:
    """As :func:`decode` without the signature's check: only for bytes that went through it when they came in."""
    if not 2 + _TAIL <= len(data) <= MAX_RECORD:
        raise IntegrityError(f"a record of {len(data)} bytes is not within {2 + _TAIL} to {MAX_RECORD}")
    if data[0] != RECORD_FORMAT:
        raise UnknownFormatError(f"record of format {data[0]}; this program knows format {RECORD_FORMAT}")
    kind = _KINDS.get(data[1])
    if kind is None:
        raise UnknownFormatError(f"record of kind {data[1]}; this program knows kinds 1 to {max(_KINDS)}")
    reader = Reader(data[2:-_TAIL])
    try:
        record = kind.take(reader)
    except InvalidError as error:
        raise IntegrityError(f"not a well-formed record: {error}") from error
    reader.done()
    signer = KeyId(data[-_TAIL:-SIGNATURE_SIZE])
    if isinstance(record, Delegation) and record.user != signer:
        raise IntegrityError("a delegation that its user did not sign")
    return Signed(record, signer, record_id(data), data)


def decode_as(kind: type[R], data: bytes) -> Signed[R]:
    """As :func:`decode`, where only one kind of record may stand; ``IntegrityError`` for any other."""
    signed = decode(data)
    found = narrowed(kind, signed)
    if found is None:
        raise IntegrityError(f"a {kind.__name__} was expected, not a {type(signed.record).__name__}")
    return found


def narrowed(kind: type[R], signed: Signed[Record]) -> Signed[R] | None:
    """The same, known to be of that kind; None where it is of another."""
    record = signed.record
    return Signed(record, signed.signer, signed.id, signed.data) if isinstance(record, kind) else None


def next_time(now_ns: int, parent_times: Iterable[int]) -> int:
    """The time of a new version: the clock's, or 1 ns after its latest parent where the clock has gone back."""
    return max((now_ns, *(time_ns + 1 for time_ns in parent_times)))
