"""Changing bytes: the same few things that go wrong on a wire and in a client, at random.

The law of this module: it knows nothing of HTTP. What is worth putting in is handed in as ``words``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["mutate", "noise"]


def noise(rng: random.Random, words: Sequence[bytes], most: int = 12) -> bytes:
    """Words and random bytes in a row."""
    return b"".join(rng.choice(words) if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 4)) for _ in range(rng.randint(0, most)))


def mutate(rng: random.Random, data: bytes, words: Sequence[bytes], times: int) -> bytes:
    """``data`` with so many changes."""
    changed = bytearray(data)
    for _ in range(times):
        at = rng.randint(0, len(changed))
        size = rng.choice((0, 1, 1, 2, 4, 8, 20))
        way = rng.randrange(8)
        if way <= 2:  # something else in the place of something
            changed[at : at + size] = rng.choice(words)
        elif way == 3:  # taken out
            del changed[at : at + max(size, 1)]
        elif way == 4:  # said twice
            piece = bytes(changed[at : at + max(size, 4)])
            changed[at:at] = piece * rng.choice((1, 1, 2, 8))
        elif way == 5:  # moved
            piece = bytes(changed[at : at + size])
            del changed[at : at + size]
            to = rng.randint(0, len(changed))
            changed[to:to] = piece
        elif way == 6 and at < len(changed):  # one bit
            changed[at] ^= 1 << rng.randrange(8)
        elif rng.random() < 0.2:  # the rest never comes
            del changed[at:]
        else:
            changed[at:at] = rng.randbytes(rng.randint(1, 3))
    return bytes(changed)
