"""A picture to try an endpoint with: a house on a meadow, drawn here, as a PNG file."""

from __future__ import annotations

import struct
import zlib
from functools import cache

__all__ = ["example_picture"]

SIDE = 96
SKY, MEADOW, WALL, ROOF, SUN = (148, 197, 233), (104, 158, 84), (196, 78, 60), (112, 52, 44), (250, 214, 94)


@cache
def example_picture() -> bytes:
    """The file."""
    rows = b"".join(b"\0" + bytes(sum((_color(x, y) for x in range(SIDE)), ())) for y in range(SIDE))
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _color(x: int, y: int) -> tuple[int, ...]:
    if (x - 78) ** 2 + (y - 16) ** 2 < 81:
        return SUN
    if 30 <= x < 68 and 48 <= y < 80:
        return WALL
    if 24 <= y < 48 and abs(x - 49) <= y - 24:
        return ROOF
    return SKY if y < 66 else MEADOW
