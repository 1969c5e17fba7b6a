"""Writes the vectors of docs/format/overlay.md, sharing no code with mimeifs. Run: python tests/data/overlay/encoder.py"""

import json
from pathlib import Path

HERE = Path(__file__).parent
DIGEST = bytes(range(32))


def big(value: int, width: int) -> bytes:
    return value.to_bytes(width, "big", signed=value < 0)


def joined(parts: list[tuple[int, int]], *, digest: bytes, at: int) -> str:
    """Numbers and their widths in a row, the digest put before part ``at``."""
    pieces = [big(value, width) for value, width in parts]
    return b"".join([*pieces[:at], digest, *pieces[at:]]).hex()


def file_row(kind: int, digest: bytes, base: int, size: int, mtime: int, ctime: int, folded: int) -> dict[str, object]:
    fields = {
        "kind": kind,
        "digest": digest.hex(),
        "base": base,
        "size": size,
        "mtime": mtime,
        "ctime": ctime,
        "folded": folded,
    }
    parts = [(kind, 1), (base, 8), (size, 8), (mtime, 8), (ctime, 8), (folded, 8)]
    return {"fields": fields, "bytes": joined(parts, digest=digest or bytes(32), at=1)}


def dir_row(files: int, size: int, subdirs: int, links: int, mtime: int, ctime: int, now: int) -> dict[str, object]:
    fields = {"files": files, "size": size, "subdirs": subdirs, "links": links, "mtime": mtime, "ctime": ctime, "now": now}
    parts = [(files, 8), (size, 8), (subdirs, 4), (links, 8), (mtime, 8), (ctime, 8), (now, 4)]
    return {"fields": {"base": DIGEST.hex(), **fields}, "bytes": joined(parts, digest=DIGEST, at=0)}


def main() -> None:
    vectors = {
        "files": [
            file_row(0, b"", 0, 0, 0, 0, 0),
            file_row(1, DIGEST, 65536, 70000, 1_700_000_000_000_000_000, -1, 0),
            file_row(2, DIGEST, 65537, 5, -(2**63), 2**63 - 1, (3 << 25) + 32),
        ],
        "directories": [dir_row(0, 0, 0, 0, 0, 0, 0), dir_row(5, 2**40, 2, 7, 1_700_000_000_000_000_000, -1, 3)],
    }
    (HERE / "vectors.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
