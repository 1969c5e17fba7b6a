"""Cuts contents as docs/format/content.md says, sharing no code with mimeifs or fastcdc; needs the openssl command.

Run: python tests/data/content/encoder.py
"""

import json
import struct
import subprocess
from pathlib import Path

from blake3 import blake3

MIN, AVERAGE, MAX = 65536, 262144, 1048576


def gear() -> list[int]:
    """The keystream of AES-256-CTR under a zero key and counter, as 32-bit numbers without their highest bit."""
    command = ["openssl", "enc", "-aes-256-ctr", "-K", "00" * 32, "-iv", "00" * 16]
    stream = subprocess.run(command, input=bytes(1024), capture_output=True, check=True).stdout
    return [value & 0x7FFFFFFF for value in struct.unpack(">256I", stream)]


GEAR = gear()


def cut(data: bytes, start: int) -> int:
    grid = (start // MAX + 1) * MAX
    if len(data) >= grid and not any(data[start:grid]):
        return grid
    pattern = 0
    for place in range(start + MIN, min(start + MAX, len(data))):
        pattern = (pattern >> 1) + GEAR[data[place]]
        bits = 19 if place - start < AVERAGE - MIN - MIN // 2 else 17
        if pattern % 2**bits == 0:
            return place + 1
    return min(start + MAX, len(data))


def content(recipe: list[list[object]]) -> bytes:
    """Pieces one behind the other: ["random", label, size] is BLAKE3's extended output, ["repeat", hex, times] is that."""
    out = b""
    for kind, what, number in recipe:
        assert isinstance(what, str)
        assert isinstance(number, int)
        out += blake3(what.encode()).digest(number) if kind == "random" else bytes.fromhex(what) * number
    return out


RECIPES: list[list[list[object]]] = [
    [],
    [["random", "a", 1]],
    [["random", "b", 65536]],
    [["random", "b", 65537]],
    [["random", "c", 2500000]],
    [["repeat", "00", 2500000]],
    [["random", "d", 300001], ["repeat", "00", 3000000], ["random", "e", 500000]],
    [["repeat", "00", 1048575], ["repeat", "ff", 1200000]],
    [["repeat", "6d696d65690a", 300000]],
]


def main() -> None:
    vectors = []
    for recipe in RECIPES:
        data = content(recipe)
        rows, start = [], 0
        while len(data) > 65536 and start < len(data):
            stop = cut(data, start)
            digest = blake3(data[start:stop]).digest()
            rows.append([start.to_bytes(8, "big").hex(), digest.hex() + (stop - start).to_bytes(4, "big").hex()])
            start = stop
        kind = 2 if rows else int(bool(data))
        vectors.append({"recipe": recipe, "size": len(data), "kind": kind, "whole": blake3(data).hexdigest(), "rows": rows})
    path = Path(__file__).parent / "vectors.json"
    path.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
