"""Makes ``vectors.json`` from docs/format/records.md alone: imports nothing of mimeifs; signs by RFC 8032 in plain Python."""

import hashlib
import json
from pathlib import Path

from blake3 import blake3

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
BASE_Y = 4 * pow(5, -1, P) % P


def base_point() -> tuple[int, int, int, int]:
    square = (BASE_Y * BASE_Y - 1) * pow(D * BASE_Y * BASE_Y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    x = P - x if x & 1 else x
    return (x, BASE_Y, 1, x * BASE_Y % P)


def add(p: tuple[int, int, int, int], q: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar: int, point: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def compress(point: tuple[int, int, int, int]) -> bytes:
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def halves(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little")
    return scalar & ((1 << 254) - 8) | 1 << 254, digest[32:]


def public(seed: bytes) -> bytes:
    return compress(times(halves(seed)[0], base_point()))


def signature(seed: bytes, message: bytes) -> bytes:
    scalar, prefix = halves(seed)
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % L
    big_r = compress(times(r, base_point()))
    k = int.from_bytes(hashlib.sha512(big_r + public(seed) + message).digest(), "little") % L
    return big_r + ((r + k * scalar) % L).to_bytes(32, "little")


def uint(n: int) -> bytes:
    out = []
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    return bytes([*out, n])


def sint(n: int) -> bytes:
    return uint(2 * n if n >= 0 else -2 * n - 1)


def counted(data: bytes) -> bytes:
    return uint(len(data)) + data


def envelope(kind: int, body: bytes, seed: bytes) -> bytes:
    signed = bytes([1, kind]) + body + public(seed)
    return signed + signature(seed, counted(b"mimeifs record v1") + signed)


USER, DEVICE = b"\x01" * 32, b"\x02" * 32  # seeds
MIMEI, OTHER = b"\x11" * 32, b"\x12" * 32
PARENT, SECOND, ROOT = b"\x21" * 32, b"\x22" * 32, b"\x31" * 32
T = 1_790_000_000_123_456_789


def vectors() -> list[dict[str, str]]:
    user, device = public(USER), public(DEVICE)
    texts = counted(b"photos") + counted(b"jpg") + counted(b"\x00\xff") + b"\x02" + counted("Féria".encode())
    rows = [
        ("info", USER, 1, user + texts + sint(T) + b"\x00"),
        ("info of a fork", DEVICE, 1, user + texts + sint(-1) + b"\x01" + OTHER + PARENT),
        ("delegation", USER, 2, user + device + sint(T) + b"\x00" + counted(b"\x01\x02\x03")),
        ("delegation with an end", USER, 2, user + device + sint(T) + b"\x01" + sint(T + 1) + counted(b"\x01")),
        (
            "first version",
            DEVICE,
            3,
            MIMEI + uint(1) + uint(1) + uint(0) + ROOT + uint(0) + uint(0) + sint(0) + counted(b""),
        ),
        (
            "merge",
            DEVICE,
            3,
            MIMEI
            + uint(300)
            + uint(128)
            + uint(2)
            + PARENT
            + SECOND
            + ROOT
            + uint(5)
            + uint(2**62)
            + sint(T)
            + counted(b"both"),
        ),
        ("label", DEVICE, 4, MIMEI + counted(b"before-move") + b"\x01" + PARENT + uint(7) + sint(T)),
        ("release dropped", DEVICE, 4, MIMEI + counted(b"release") + b"\x00" + uint(8) + sint(T)),
        ("reference", DEVICE, 5, MIMEI + OTHER + b"\x01" + PARENT + sint(3) + sint(T) + uint(9)),
        ("reference taken back", DEVICE, 5, MIMEI + OTHER + b"\x00" + sint(-3) + sint(T) + uint(10)),
    ]
    out = []
    for name, seed, kind, body in rows:
        data = envelope(kind, body, seed)
        out.append({"name": name, "seed": seed.hex(), "data": data.hex(), "id": blake3(data).hexdigest()})
    return out


if __name__ == "__main__":
    Path(__file__).with_name("vectors.json").write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n")
