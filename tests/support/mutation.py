"""Bytes that chance has changed."""

from __future__ import annotations

import random


def changed(rng: random.Random, frame: bytes) -> bytes:
    """Return a frame with something done to it, or nothing."""
    data = bytearray(frame)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(7):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + rng.randrange(4)]
            case 4:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 5:
                data += data[at:]
            case 6:
                data[:at] = rng.randbytes(at)
    return bytes(data)
