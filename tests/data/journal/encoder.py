"""Writes the vectors of docs/format/journal.md, sharing no code with mimeifs. Run: python tests/data/journal/encoder.py"""

import json
from pathlib import Path

from blake3 import blake3

HERE = Path(__file__).parent
SEGMENT = 32 << 20
NUMBER = 3
SECRET = bytes(range(32))
KEY = blake3(b"mimeifs journal frames", key=SECRET).digest()


def little(value: int, width: int) -> bytes:
    return value.to_bytes(width, "little", signed=value < 0)


def frame(at: int, payload: bytes) -> bytes:
    return little(len(payload), 4) + blake3(little(at, 8) + payload, key=KEY).digest()[:8] + payload


def main() -> None:
    key, value = b"\0\0\0\0\0\0\0\7name", b"row"
    operations = [
        (
            "PUT",
            {"table": 2, "key": key.hex(), "value": value.hex()},
            [(1, 1), (2, 1), (len(key), 2), (len(value), 4)],
            key + value,
        ),
        ("DELETE", {"table": 2, "key": key.hex()}, [(2, 1), (2, 1), (len(key), 2)], key),
        ("WRITE", {"file": 7, "start": 100, "time_ns": -5, "length": 5}, [(3, 1), (7, 8), (100, 8), (-5, 8), (5, 4)], b"hello"),
        ("RESIZE", {"file": 7, "size": 2, "time_ns": 6}, [(4, 1), (7, 8), (2, 8), (6, 8)], b""),
        ("TOUCH_FILE", {"file": 7, "mtime_ns": 1, "ctime_ns": 2}, [(5, 1), (7, 8), (1, 8), (2, 8)], b""),
        ("DROP_FILE", {"file": 7}, [(6, 1), (7, 8)], b""),
        (
            "TOUCH_DIR",
            {"directory": 9, "mtime_ns": 1, "ctime_ns": 2, "subdirs": 3},
            [(7, 1), (9, 8), (1, 8), (2, 8), (3, 4)],
            b"",
        ),
        ("CLEAR", {"table": 2, "prefix": key[:8].hex()}, [(8, 1), (2, 1), (8, 2)], key[:8]),
        ("CALL", {"kind": 2, "payload": b"record".hex()}, [(9, 1), (2, 1), (6, 4)], b"record"),
    ]
    rows, encoded = [], {}
    for name, fields, parts, tail in operations:
        encoded[name] = b"".join(little(number, width) for number, width in parts) + tail
        rows.append({"operation": name, "fields": fields, "bytes": encoded[name].hex()})
    segment = bytearray(b"mimeijnl" + little(1, 4) + little(NUMBER, 8)).ljust(32, b"\0")
    frames = []
    for payload in (encoded["PUT"] + encoded["TOUCH_DIR"], encoded["WRITE"]):
        at = NUMBER * SEGMENT + len(segment)
        frames.append({"at": at, "payload": payload.hex()})
        segment += frame(at, payload)
    at = NUMBER * SEGMENT + len(segment)
    segment += b"\xff" * 4 + blake3(little(at, 8) + b"end", key=KEY).digest()[:8]
    vectors = {
        "secret": SECRET.hex(),
        "number": NUMBER,
        "segment": segment.hex(),
        "frames": frames,
        "end": at,
        "operations": rows,
    }
    (HERE / "vectors.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
