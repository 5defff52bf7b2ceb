"""Damage to bytes: flipped bits, foreign bytes, blocks, cuts, repetitions."""

from __future__ import annotations

import random

_BLOCK = 512


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return `content` with one kind of damage, chosen by `chance`."""
    if not content:
        return chance.randbytes(chance.randint(1, 100))
    result = bytearray(content)
    place = chance.randrange(len(result))
    match chance.randrange(7):
        case 0:
            for _ in range(chance.randint(1, 8)):
                result[chance.randrange(len(result))] ^= 1 << chance.randrange(8)
        case 1:
            for _ in range(chance.choice((1, 10, 100))):
                result[chance.randrange(len(result))] = chance.randrange(256)
        case 2:
            filling = chance.choice((b"\0", b"\xff", b"\x1b", b"{", b"["))
            result[place : place + _BLOCK] = filling * len(result[place : place + _BLOCK])
        case 3:
            del result[place:]
        case 4:
            del result[place : place + chance.randint(1, 20)]
        case 5:
            start = chance.randrange(len(result))
            result[place:place] = result[start : start + chance.randint(1, _BLOCK)]
        case 6:
            result[:] = chance.randbytes(chance.choice((0, 1, 10, 5000)))
    return bytes(result)
