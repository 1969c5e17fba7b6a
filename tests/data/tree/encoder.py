"""Writes the vectors of docs/format/tree.md, sharing no code with mimeifs. Run: python tests/data/tree/encoder.py"""

import json
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = {"chunks": 1, "live": 2, "atime": 4, "xattrs": 8, "xattr_blob": 16}
FILE, DIRECTORY, SYMLINK, FIFO, CHARACTER, LINK, HARD = 1, 2, 3, 4, 5, 8, 9


def big(value: int, width: int) -> bytes:
    return value.to_bytes(width, "big", signed=value < 0)


def uint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def counted(value: bytes) -> bytes:
    return uint(len(value)) + value


def head(kind: int, flags: int, mode: int, size: int) -> bytes:
    times = big(1_700_000_000_000_000_001, 8) + big(1_700_000_000_000_000_002, 8)
    return big(kind, 1) + big(flags, 1) + big(mode, 2) + big(1000, 4) + big(100, 4) + times + big(size, 8)


def xattrs(*pairs: tuple[bytes, bytes]) -> bytes:
    return uint(len(pairs)) + b"".join(counted(name) + counted(value) for name, value in pairs)


def main() -> None:
    digest, other = bytes(range(32)), bytes(range(100, 132))
    totals = big(3, 8) + big(1, 4) + big(2, 8)
    directory = head(DIRECTORY, 0, 0o755, 12345) + digest + totals
    entries = {
        "empty file": head(FILE, 0, 0o644, 0),
        "file of one blob": head(FILE, 0, 0o644, 5) + digest,
        "file of chunks": head(FILE, FLAGS["chunks"], 0o4755, 100_000) + digest,
        "file being edited": head(FILE, FLAGS["live"], 0o644, 0) + big(77, 8),
        "file with everything": head(FILE, FLAGS["atime"] | FLAGS["xattrs"], 0o644, 5)
        + digest
        + big(-5, 8)
        + xattrs((b"user.a", b""), (b"user.b", b"value")),
        "file with large attributes": head(FILE, FLAGS["xattr_blob"], 0o644, 5) + digest + other,
        "directory": directory,
        "directory with rows": head(DIRECTORY, FLAGS["live"], 0o2755, 0) + big(12, 8),
        "symbolic link": head(SYMLINK, 0, 0o777, 6) + counted(b"target"),
        "fifo": head(FIFO, 0, 0o600, 0),
        "device": head(CHARACTER, 0, 0o600, 0) + uint(0x501),
        "link to a MiMei": head(LINK, 0, 0o755, 0) + digest + uint(2) + counted(b"release"),
        "hard link": big(HARD, 1) + big(0x1122334455667788, 8),
    }
    linked = big(2, 4) + entries["file of one blob"]
    tree = big(1, 1) + counted(directory) + other + uint(1) + uint(5)
    vectors = {
        "entries": {name: raw.hex() for name, raw in entries.items()},
        "linked": linked.hex(),
        "tree": tree.hex(),
    }
    (HERE / "vectors.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
