"""Makes ``vectors.json`` from docs/format/ids.md alone: imports nothing of mimeifs, spells base32 out bit by bit."""

import json
from pathlib import Path

from blake3 import blake3

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def show(letter: str, raw: bytes) -> str:
    bits = "".join(f"{byte:08b}" for byte in raw) + "0000"
    return letter + "".join(ALPHABET[int(bits[i : i + 5], 2)] for i in range(0, 260, 5))


def length(data: bytes) -> bytes:
    n, out = len(data), []
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    return bytes([*out, n])


def mimei_id(*parts: bytes) -> bytes:
    return blake3(b"".join(length(p) + p for p in parts), derive_key_context="mimeifs 2026 MiMei ID v1").digest()


def vectors() -> dict[str, list[dict[str, str]]]:
    raws = [bytes(32), b"\xff" * 32, bytes(range(32)), bytes(reversed(range(200, 232)))]
    blobs = [b"", b"hello", b"x" * 2000]
    mimeis = [
        (bytes(range(32)), "", "", b"", "tree"),
        (bytes(range(32)), "photos", "jpg", b"\x00\x01", "file"),
        (b"\x07" * 32, "ünïcode", "é", bytes(200), "database"),
        (b"\x07" * 32, "ab", "c", b"", "tree"),
        (b"\x07" * 32, "a", "bc", b"", "tree"),
    ]
    return {
        "shown": [{"raw": raw.hex(), **{letter: show(letter, raw) for letter in "brkm"}} for raw in raws],
        "blobs": [{"data": data.hex(), "id": blake3(data).hexdigest()} for data in blobs],
        "mimeis": [
            {
                "author": author.hex(),
                "app_type": app_type,
                "extension": extension,
                "mark": mark.hex(),
                "kind": kind,
                "id": mimei_id(author, app_type.encode(), extension.encode(), mark, kind.encode()).hex(),
            }
            for author, app_type, extension, mark, kind in mimeis
        ],
    }


if __name__ == "__main__":
    Path(__file__).with_name("vectors.json").write_text(json.dumps(vectors(), indent=1) + "\n")
