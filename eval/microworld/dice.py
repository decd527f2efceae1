"""Cheap random draws from a seeded numpy Generator.

A scene takes about thirty small draws; one call of a Generator costs 1-3 µs, so uniforms are drawn by the block.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
BLOCK = 4096


class Dice:
    """Draws that depend on the seed alone (the same on every platform)."""

    def __init__(self, seed: int | np.random.Generator) -> None:
        self._rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
        self._block: list[float] = []

    def real(self) -> float:
        """Uniform in [0, 1)."""
        if not self._block:
            self._block = self._rng.random(BLOCK).tolist()
        return self._block.pop()

    def below(self, n: int) -> int:
        return int(self.real() * n)

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int(self.real() * (high - low + 1))

    def chance(self, p: float) -> bool:
        return self.real() < p

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.real() * len(choices))]

    def sample(self, choices: Sequence[T], k: int) -> list[T]:
        """k different elements in random order (k <= len(choices))."""
        pool = list(choices)
        for i in range(k):
            j = i + int(self.real() * (len(pool) - i))
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def weighted(self, weights: dict[str, float]) -> str:
        """A key, with probability proportional to its weight."""
        left = self.real() * sum(weights.values())
        for name, weight in weights.items():
            left -= weight
            if left < 0:
                return name
        return next(reversed(weights))
