"""Chance without a random number generator. Every draw is a hash of given values, so order and time do not matter."""

from __future__ import annotations

import math
from hashlib import blake2b


def _draw(parts: tuple[object, ...]) -> bytes:
    return blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def digest(*parts: object) -> str:
    """Returns the digest of `parts`: 32 hexadecimal digits, equal in every process."""
    return _draw(parts).hex()


def unit(*parts: object) -> float:
    """Returns a draw from the uniform distribution over [0, 1), always the same draw for the same `parts`."""
    return int.from_bytes(_draw(parts)[:8], "big") / 2**64


def normal(*parts: object) -> float:
    """Returns a draw from the standard normal distribution, always the same draw for the same `parts`."""
    drawn = _draw(parts)
    first = (int.from_bytes(drawn[:8], "big") + 1) / (2**64 + 1)
    second = int.from_bytes(drawn[8:], "big") / 2**64
    return math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)


def below(limit: int, *parts: object) -> int:
    """Returns a draw from the integers 0 .. `limit` - 1, always the same draw for the same `parts`."""
    return int(unit(*parts) * limit)
