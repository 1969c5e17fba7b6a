"""What a node remembers locally of MiMeis, trees and versions: rows that can be rebuilt from signed records and the
overlay.

Local state, so encoded with msgpack arrays rather than the canonical codec; never sent and never signed. The keys'
layout is here too, so that nobody else spells one out.
"""

import struct
from collections.abc import Callable
from typing import TypeVar

import msgspec

from mimeifs.ids import BlobId, KeyId, MimeiId, RecordId
from mimeifs.store.database import U32, U64, damage

_TREE_DIR = struct.Struct(">IQ")
LINKS_DIR = (1 << 64) - 1
"""Stands for the link map where CHANGED names a directory."""


class MimeiRow(msgspec.Struct, frozen=True, array_like=True):
    """A MiMei known here. ``tree`` is the number of its present, 0 when none is kept here."""

    info: RecordId
    kind: str
    tree: int
    name: str
    author: KeyId
    origin_mimei: MimeiId | None = None
    origin_version: RecordId | None = None
    created_ns: int = 0


class TreeRow(msgspec.Struct, frozen=True, array_like=True):
    """The present of a MiMei: its root directory's number, and the base of its link map with what that holds."""

    mimei: MimeiId
    root: int
    links: BlobId
    linked_files: int = 0
    linked_bytes: int = 0


class VersionRow(msgspec.Struct, frozen=True, array_like=True):
    """What listings need of a version; the record itself lies in the packs."""

    root: BlobId
    writer: KeyId
    sequence: int
    parents: tuple[RecordId, ...]
    files: int
    size: int
    time_ns: int
    memo: str


class LabelRow(msgspec.Struct, frozen=True, array_like=True):
    """A name for a version."""

    target: RecordId
    sequence: int
    time_ns: int


class RefRow(msgspec.Struct, frozen=True, array_like=True):
    """How often a holder refers to a target, and how many records have said so; stays at a count of 0."""

    count: int
    sequence: int


T = TypeVar("T")


def _decoder(kind: type[T]) -> Callable[[bytes], T]:
    """What decodes rows of that kind; raises ``IntegrityError``."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def run(data: bytes) -> T:
        try:
            return decode(data)
        except msgspec.MsgspecError as error:
            raise damage(error) from error

    return run


encode = msgspec.msgpack.encode
decode_mimei = _decoder(MimeiRow)
decode_tree = _decoder(TreeRow)
decode_version = _decoder(VersionRow)
decode_label = _decoder(LabelRow)
decode_ref = _decoder(RefRow)
decode_withheld = _decoder(list[tuple[int, bytes]])


def tree_key(tree: int) -> bytes:
    """Key in TREES, and prefix in CHANGED and LINKS."""
    return U32.pack(tree)


def withheld_key(tree: int) -> bytes:
    """Key in META of the names in CHANGED that versions may leave out."""
    return b"withheld " + U32.pack(tree)


def changed_key(tree: int, directory: int, name: bytes) -> bytes:
    """Key in CHANGED."""
    return _TREE_DIR.pack(tree, directory) + name


def split_changed(key: bytes) -> tuple[int, bytes]:
    """Directory number and name of a key in CHANGED."""
    return _TREE_DIR.unpack_from(key)[1], key[_TREE_DIR.size :]


def entry_key(directory: int, name: bytes) -> bytes:
    """Key in ENTRIES."""
    return U64.pack(directory) + name


def link_key(tree: int, link_id: int) -> bytes:
    """Key in LINKS."""
    return _TREE_DIR.pack(tree, link_id)


def parent_row(parent: int, name: bytes) -> bytes:
    """Row of PARENTS."""
    return U64.pack(parent) + name


def split_parent(row: bytes) -> tuple[int, bytes]:
    """Parent's number and name of a row of PARENTS."""
    return U64.unpack_from(row)[0], row[8:]


def version_key(mimei: MimeiId, number: int, record: RecordId) -> bytes:
    """Key in VERSIONS."""
    return mimei + U64.pack(number) + record


def split_version(key: bytes) -> tuple[int, RecordId]:
    """Number and record of a key in VERSIONS."""
    return U64.unpack_from(key, 32)[0], RecordId(key[40:])
