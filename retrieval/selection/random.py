"""Samples drawn at random: the control, and the rehearsal of a targeted selection."""

import heapq
from collections.abc import Collection, Iterable

from retrieval.selection.needs import Selected
from retrieval.storage.order import seeded_hash


def draw(ids: Iterable[str], count: int, seed: int | str, purpose: str) -> list[str]:
    """`count` of the distinct ids (all if there are fewer), every set of them as likely, in seeded order."""
    return heapq.nsmallest(count, set(ids), key=lambda name: (seeded_hash(seed, purpose, name), name))


def select_random(
    ids: Iterable[str], budget: int, excluded: Collection[str] = (), seed: int | str = 0
) -> list[Selected]:
    """`budget` samples of the pool, none of them excluded, whatever they teach.

    A larger budget adds samples to those of a smaller one with the same seed.
    """
    barred = set(excluded)
    names = (name for name in ids if name not in barred)
    return [Selected(name, "random") for name in draw(names, budget, seed, "random")]
