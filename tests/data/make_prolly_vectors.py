"""Writes prolly_vectors.json from docs/format/prolly.md alone: a slow encoder that shares no code with the package.

Run: python tests/data/make_prolly_vectors.py
"""

import binascii
import json
import random
from pathlib import Path

from blake3 import blake3


def end_of_node(level, key, row_size, node_size, rows):
    """Whether a node of that level, size and number of rows ends after the row just added."""
    if node_size < 512 or (level > 0 and rows < 2):
        return False
    if node_size >= 13312:
        return True
    salted = binascii.crc32(key) ^ ((level + 1) * 0x85EBCA77 % 2**32)
    return salted * 0x9E3779B1 % 2**32 < (node_size - 512) * row_size * 540


def short(number):
    return number.to_bytes(2, "little")


def node_bytes(level, rows):
    """One node; the value of an inner row is (name, rows below)."""
    body, offsets, total = b"", [6 + 4 * len(rows)], 0
    for key, value in rows:
        if level:
            total += value[1]
            value = value[0] + total.to_bytes(8, "little")
        offsets += [offsets[-1] + len(key), offsets[-1] + len(key) + len(value)]
        body += key + value
    return bytes([1, level]) + short(len(rows)) + b"".join(map(short, offsets)) + body


def level_nodes(level, rows):
    """The rows of each node of one level."""
    done, node, size = [], [], 6
    for key, value in rows:
        row_size = 4 + len(key) + (40 if level else len(value))
        node.append((key, value))
        size += row_size
        if end_of_node(level, key, row_size, size, len(node)):
            done.append(node)
            node, size = [], 6
    return [*done, node] if node or not done else done


def tree(rows):
    """(root, names of all nodes by level, bytes of the root)."""
    level, levels = 0, []
    while True:
        parts = level_nodes(level, rows)
        encoded = [node_bytes(level, part) for part in parts]
        names = [blake3(data).digest() for data in encoded]
        levels.append([name.hex() for name in names])
        if len(parts) == 1:
            return names[0], levels, encoded[0]
        below = [len(part) if level == 0 else sum(value[1] for _, value in part) for part in parts]
        rows = [(part[-1][0], (name, n)) for part, name, n in zip(parts, names, below, strict=True)]
        level += 1


def hashed(key, level):
    return (binascii.crc32(key) ^ ((level + 1) * 0x85EBCA77 % 2**32)) * 0x9E3779B1 % 2**32


def cases():
    draw = random.Random(7)
    yield "empty", []
    yield "one row", [(b"name", 0, 5, 0x41)]
    yield "empty key and value", [(b"", 0, 0, 0)]
    yield "three rows", [(b"a", 0, 1, 1), (b"b", 0, 0, 0), (b"c", 0, 2, 2)]
    yield "numbered", [(b"n%06d" % i, 0, 30, i % 256) for i in range(900)]
    yield "mixed sizes", [(b"k%08x" % (i * 2654435761 % 2**32), 0, draw.randrange(300), i % 256) for i in range(500)]
    yield "long keys", [(b"%05d" % i, 395, 3, 9) for i in range(400)]
    yield "large values", [(b"%03d" % i, 0, 16384 if i % 3 else 10, 7) for i in range(12)]
    never = [key for key in (b"x%06d" % i for i in range(60000)) if hashed(key, 0) > 0.97 * 2**32]
    yield "keys that never end a leaf", [(key, 0, 20, 3) for key in never[:900]]
    always = [key for key in (b"y%06d" % i for i in range(20000)) if hashed(key, 0) < 0.02 * 2**32]
    yield "keys that always end a leaf", [(key, 0, 200, 4) for key in always[:150]]


def main():
    out = []
    for name, recipe in cases():
        recipe.sort()
        rows = [(key + b"p" * pad, bytes([fill]) * length) for key, pad, length, fill in recipe]
        root, levels, data = tree(rows)
        out.append(
            {
                "name": name,
                "rows": [[key.hex(), pad, length, fill] for key, pad, length, fill in recipe],
                "root": root.hex(),
                "levels": [len(names) for names in levels],
                "nodes": blake3("".join(sorted(name for names in levels for name in names)).encode()).hexdigest(),
                "root_bytes": data.hex() if len(data) < 200 else None,
            }
        )
    text = ",\n".join(json.dumps(case) for case in out)
    Path(__file__).with_name("prolly_vectors.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
