"""The canonical codec: one value, one encoding, for everything that is hashed, signed or stored.

* ``uint``: unsigned LEB128, at most 10 bytes, shortest form only, below 2**64.
* ``int``: zigzag of a signed 64-bit integer, then ``uint``.
* ``bytes``: ``uint`` length, then the bytes. ``text``: the same, holding UTF-8.
* fixed fields are written bare by the caller with ``struct``.

Writers append to a ``bytearray``. :class:`Reader` is strict: a longer form, an early end or bytes left over raise
:class:`~mimeifs.errors.IntegrityError`, so that no two encodings of one value are ever accepted.
Format page: ``docs/format/codec.md``.
"""

from mimeifs.errors import IntegrityError

MAX_UINT = (1 << 64) - 1


def put_uint(out: bytearray, value: int) -> None:
    """Append ``value`` (0 to 2**64-1) as the shortest LEB128."""
    if not 0 <= value <= MAX_UINT:
        raise ValueError(f"not an unsigned 64-bit integer: {value}")
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def put_int(out: bytearray, value: int) -> None:
    """Append a signed 64-bit integer, zigzag first (0, -1, 1, -2 become 0, 1, 2, 3)."""
    put_uint(out, value << 1 if value >= 0 else (-value << 1) - 1)


def put_bytes(out: bytearray, value: bytes) -> None:
    """Append the length and the bytes."""
    put_uint(out, len(value))
    out += value


def put_text(out: bytearray, value: str) -> None:
    """Append text as length-prefixed UTF-8."""
    put_bytes(out, value.encode())


class Reader:
    """Reads one encoded value from front to back; every method raises ``IntegrityError`` when the bytes do not fit."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes | memoryview, pos: int = 0) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data)

    def uint(self) -> int:
        """The next unsigned integer."""
        value = shift = 0
        while True:
            if self.pos >= self.end:
                raise IntegrityError("encoded value ends inside an integer")
            byte = self.data[self.pos]
            self.pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise IntegrityError("encoded integer is longer than 64 bits")
        if (byte == 0 and shift) or value > MAX_UINT:
            raise IntegrityError("encoded integer is not in its shortest form")
        return value

    def sint(self) -> int:
        """The next signed integer."""
        raw = self.uint()
        return (raw >> 1) ^ -(raw & 1)

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes as they are."""
        stop = self.pos + count
        if count < 0 or stop > self.end:
            raise IntegrityError("encoded value ends too early")
        piece = bytes(self.data[self.pos : stop])
        self.pos = stop
        return piece

    def field(self, limit: int = 1 << 32) -> bytes:
        """The next length-prefixed bytes, at most ``limit`` of them."""
        count = self.uint()
        if count > limit:
            raise IntegrityError(f"encoded field of {count} bytes is over its limit of {limit}")
        return self.take(count)

    def text(self, limit: int = 1 << 20) -> str:
        """The next length-prefixed UTF-8 text."""
        try:
            return self.field(limit).decode()
        except UnicodeDecodeError as error:
            raise IntegrityError("encoded text is not UTF-8") from error

    def done(self) -> None:
        """Raise unless everything was read."""
        if self.pos != self.end:
            raise IntegrityError(f"{self.end - self.pos} bytes left over after an encoded value")
