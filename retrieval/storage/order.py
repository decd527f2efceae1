"""Orders that look random and yet depend on nothing but a seed and the things ordered.

Every draw and every tie in retrieval goes by `seeded_hash`: it is the same on every machine, whatever the order of
the input, and a thing that joins or leaves does not disturb the order of the others.
"""

import hashlib
from collections.abc import Iterable, Sequence


def seeded_hash(seed: int | str, purpose: str, name: str) -> int:
    """64 bits of a hash of the three; `purpose` keeps draws for different ends independent."""
    text = f"{seed}\0{purpose}\0{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def shuffled(names: Iterable[str], seed: int | str, purpose: str) -> list[str]:
    """The distinct names in seeded order."""
    return sorted(set(names), key=lambda name: (seeded_hash(seed, purpose, name), name))


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Split `total` in proportion to weights ≥ 0 by largest remainder; the earlier wins a tie. Sums to `total` unless
    all weights are 0, then all parts are 0."""
    weight = sum(weights)
    if total <= 0 or weight <= 0:
        return [0] * len(weights)
    exact = [total * part / weight for part in weights]
    parts = [int(part) for part in exact]
    by_remainder = sorted(range(len(weights)), key=lambda index: (-round(exact[index] - parts[index], 9), index))
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts
