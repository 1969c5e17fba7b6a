"""Operations: what a journal frame says, encoded and decoded; sans-I/O.

Each is a change of the overlay: rows put, deleted or cleared by prefix, bytes written to a file, a new size, new times,
or a CALL for the floor above. Fixed little-endian heads, then the variable parts. Operations name absolute values, never
differences, so that reading one is enough to know what it left behind.
Format page: ``docs/format/journal.md``.
"""

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum

import msgspec

from mimeifs.errors import IntegrityError


class Op(IntEnum):
    """Tags of operations, as stored."""

    PUT = 1
    DELETE = 2
    WRITE = 3
    RESIZE = 4
    TOUCH_FILE = 5
    DROP_FILE = 6
    TOUCH_DIR = 7
    CLEAR = 8
    CALL = 9


_PUT = struct.Struct("<BBHI")
_DELETE = struct.Struct("<BBH")
_WRITE = struct.Struct("<BQQqI")
_RESIZE = struct.Struct("<BQQq")
_TOUCH_FILE = struct.Struct("<BQqq")
_DROP_FILE = struct.Struct("<BQ")
_TOUCH_DIR = struct.Struct("<BQqqI")
_CALL = struct.Struct("<BBI")


class Put(msgspec.Struct, frozen=True, gc=False):
    """Set a row of a table."""

    table: int
    key: bytes
    value: bytes


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove a row of a table, if it is there."""

    table: int
    key: bytes


class Clear(msgspec.Struct, frozen=True, gc=False):
    """Remove every row of a table whose key begins with ``prefix``."""

    table: int
    prefix: bytes


class Write(msgspec.Struct, frozen=True, gc=False):
    """Bytes of file ``file`` at ``start``, lying in the journal at ``address``; mtime and ctime become ``time_ns``."""

    file: int
    start: int
    length: int
    address: int
    time_ns: int


class Resize(msgspec.Struct, frozen=True, gc=False):
    """File ``file`` now has ``size`` bytes; mtime and ctime become ``time_ns``."""

    file: int
    size: int
    time_ns: int
    at: int


class TouchFile(msgspec.Struct, frozen=True, gc=False):
    """New times of a file."""

    file: int
    mtime_ns: int
    ctime_ns: int


class DropFile(msgspec.Struct, frozen=True, gc=False):
    """Nothing names or holds this file any more: forget its row and its extents."""

    file: int


class TouchDir(msgspec.Struct, frozen=True, gc=False):
    """New times of a directory, and how many subdirectories it has now."""

    directory: int
    mtime_ns: int
    ctime_ns: int
    subdirs: int


class Call(msgspec.Struct, frozen=True, gc=False):
    """Something for the keeper above the store: a version to take, a record to keep."""

    kind: int
    payload: bytes
    at: int


Operation = Put | Delete | Clear | Write | Resize | TouchFile | DropFile | TouchDir | Call


def put(table: int, key: bytes, value: bytes) -> bytes:
    """Encode :class:`Put`."""
    return _PUT.pack(Op.PUT, table, len(key), len(value)) + key + value


def delete(table: int, key: bytes) -> bytes:
    """Encode :class:`Delete`."""
    return _DELETE.pack(Op.DELETE, table, len(key)) + key


def clear(table: int, prefix: bytes) -> bytes:
    """Encode :class:`Clear`."""
    return _DELETE.pack(Op.CLEAR, table, len(prefix)) + prefix


def write(file: int, start: int, length: int, time_ns: int) -> bytes:
    """Encode the head of :class:`Write`; the data must follow as the frame's last piece."""
    return _WRITE.pack(Op.WRITE, file, start, time_ns, length)


def resize(file: int, size: int, time_ns: int) -> bytes:
    """Encode :class:`Resize`."""
    return _RESIZE.pack(Op.RESIZE, file, size, time_ns)


def touch_file(file: int, mtime_ns: int, ctime_ns: int) -> bytes:
    """Encode :class:`TouchFile`."""
    return _TOUCH_FILE.pack(Op.TOUCH_FILE, file, mtime_ns, ctime_ns)


def drop_file(file: int) -> bytes:
    """Encode :class:`DropFile`."""
    return _DROP_FILE.pack(Op.DROP_FILE, file)


def touch_dir(directory: int, mtime_ns: int, ctime_ns: int, subdirs: int) -> bytes:
    """Encode :class:`TouchDir`."""
    return _TOUCH_DIR.pack(Op.TOUCH_DIR, directory, mtime_ns, ctime_ns, subdirs)


def call(kind: int, payload: bytes) -> bytes:
    """Encode :class:`Call`."""
    return _CALL.pack(Op.CALL, kind, len(payload)) + payload


def _keyed(data: bytes, pos: int, _at: int) -> tuple[Operation, int]:
    tag, table, size = _DELETE.unpack_from(data, pos)
    pos += _DELETE.size
    key = data[pos : pos + size]
    return (Delete(table, key) if tag == Op.DELETE else Clear(table, key)), pos + size


def decode(data: bytes, at: int) -> Iterator[Operation]:
    """The operations of one frame's payload, which begins at journal position ``at``.

    Raises ``IntegrityError`` when the payload, though its checksum was right, is not a sequence of operations.
    """
    pos, end = 0, len(data)
    try:
        while pos < end:
            operation, pos = _DECODERS[data[pos]](data, pos, at)
            yield operation
    except (KeyError, struct.error) as error:
        raise IntegrityError(f"journal frame at {at} holds something that is no operation") from error
    if pos != end:
        raise IntegrityError(f"journal frame at {at} ends inside an operation")


def _decode_put(data: bytes, pos: int, _at: int) -> tuple[Operation, int]:
    _, table, key_size, value_size = _PUT.unpack_from(data, pos)
    pos += _PUT.size
    middle = pos + key_size
    return Put(table, data[pos:middle], data[middle : middle + value_size]), middle + value_size


def _decode_write(data: bytes, pos: int, at: int) -> tuple[Operation, int]:
    _, file, start, time_ns, length = _WRITE.unpack_from(data, pos)
    pos += _WRITE.size
    return Write(file, start, length, at + pos, time_ns), pos + length


def _decode_resize(data: bytes, pos: int, at: int) -> tuple[Operation, int]:
    _, file, size, time_ns = _RESIZE.unpack_from(data, pos)
    return Resize(file, size, time_ns, at), pos + _RESIZE.size


def _decode_touch_file(data: bytes, pos: int, _at: int) -> tuple[Operation, int]:
    _, file, mtime_ns, ctime_ns = _TOUCH_FILE.unpack_from(data, pos)
    return TouchFile(file, mtime_ns, ctime_ns), pos + _TOUCH_FILE.size


def _decode_drop_file(data: bytes, pos: int, _at: int) -> tuple[Operation, int]:
    return DropFile(_DROP_FILE.unpack_from(data, pos)[1]), pos + _DROP_FILE.size


def _decode_touch_dir(data: bytes, pos: int, _at: int) -> tuple[Operation, int]:
    _, directory, mtime_ns, ctime_ns, subdirs = _TOUCH_DIR.unpack_from(data, pos)
    return TouchDir(directory, mtime_ns, ctime_ns, subdirs), pos + _TOUCH_DIR.size


def _decode_call(data: bytes, pos: int, at: int) -> tuple[Operation, int]:
    _, kind, size = _CALL.unpack_from(data, pos)
    pos += _CALL.size
    return Call(kind, data[pos : pos + size], at), pos + size


_DECODERS: dict[int, Callable[[bytes, int, int], tuple[Operation, int]]] = {
    Op.PUT: _decode_put,
    Op.DELETE: _keyed,
    Op.CLEAR: _keyed,
    Op.WRITE: _decode_write,
    Op.RESIZE: _decode_resize,
    Op.TOUCH_FILE: _decode_touch_file,
    Op.DROP_FILE: _decode_drop_file,
    Op.TOUCH_DIR: _decode_touch_dir,
    Op.CALL: _decode_call,
}
