"""Writes the pack vectors from docs/format/pack.md, sharing no code with mimeifs. Run: python tests/data/packs/encoder.py"""

import json
from pathlib import Path

import zstandard
from blake3 import blake3

HERE = Path(__file__).parent
NUMBER = 42


def big(value: int, width: int) -> bytes:
    return value.to_bytes(width, "big")


def main() -> None:
    text = b"A name that never changes, a past that never vanishes.\n" * 20
    squeezed = zstandard.ZstdCompressor(level=1).compress(text)
    frames = [(1, 0, b"", b""), (1, 0, b"hello, pack", b"hello, pack"), (1, 1, text, squeezed), (2, 0, b"record", b"record")]
    out = bytearray(b"MIMEIPAK" + big(1, 4) + big(NUMBER, 4))
    rows = []
    for kind, flags, plain, stored in frames:
        digest = blake3(plain).digest()
        fields = big(kind, 1) + big(flags, 1) + big(len(plain), 4) + big(len(stored), 4) + digest
        out += fields + blake3(fields).digest()[:8]
        row_flags = flags | (2 if kind == 2 else 0)
        row = big(NUMBER, 4) + big(len(out), 8) + big(len(stored), 4) + big(len(plain), 4) + big(row_flags, 1)
        rows.append(
            {"kind": kind, "flags": flags, "digest": digest.hex(), "offset": len(out), "row": row.hex(), "plain": plain.hex()}
        )
        out += stored
    (HERE / "0000002a.pack").write_bytes(out)
    (HERE / "vectors.json").write_text(json.dumps({"frames": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
