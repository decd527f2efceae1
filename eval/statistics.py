"""What chance can do: intervals, paired tests, and the rule by which a run stops.

scipy is imported where it is used, because importing it takes longer than most commands.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def wilson(right: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share (0 to 1); everything is possible if n is 0."""
    if n == 0:
        return Interval(0.0, 1.0)
    from scipy.stats import binomtest

    found = binomtest(right, n).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


class Comparison(NamedTuple):
    """Answers to the same `n` items, before and after: how many became right (`gained`) and wrong (`lost`), the
    change of the share that is right with its interval, and the probability of so good a result without any true gain
    (`p_value`)."""

    n: int
    gained: int
    lost: int
    difference: float
    interval: Interval
    p_value: float


def compare(before: Mapping[str, bool], after: Mapping[str, bool], confidence: float = 0.95) -> Comparison:
    """Compare two evaluations, item id -> right or not, on the items that both have.

    One-sided exact test of McNemar (1947): of the items that changed, as many should become wrong as right if nothing
    was gained. Interval of the paired difference after Agresti and Min (2005): half an item added to each of the four
    cells.
    """
    from scipy.stats import binomtest, norm

    both = [item for item in before if item in after]
    gained = sum(after[item] and not before[item] for item in both)
    lost = sum(before[item] and not after[item] for item in both)
    changed = gained + lost
    p_value = float(binomtest(gained, changed, alternative="greater").pvalue) if changed else 1.0
    difference = (gained - lost) / len(both) if both else 0.0
    n = len(both) + 2
    middle = (gained - lost) / n
    spread = float(norm.ppf((1 + confidence) / 2)) * math.sqrt((changed + 1) / n - middle**2) / math.sqrt(n)
    interval = Interval(max(-1.0, middle - spread), min(1.0, middle + spread))
    return Comparison(len(both), gained, lost, difference, interval, p_value)


def significant(p_value: float, alpha: float, patience: int) -> bool:
    """Whether a round is better than the best so far. Each of `patience` rounds is tested at alpha / patience, so
    that at most a share `alpha` of the runs without any true gain claims one (Bonferroni)."""
    return p_value <= alpha / patience


def least_gain(lost: int, alpha: float, patience: int) -> int:
    """How many items must become right at least, where `lost` become wrong, for a round to be shown better by the test of
    `compare` under the rule of `significant`. Without any lost it is the smallest gain that can be shown at all, by however
    many items. Raises ValueError unless `alpha` is above 0."""
    if alpha <= 0:
        raise ValueError(f"alpha is {alpha:g}; it must be above 0, or no gain can be shown")
    from scipy.stats import binomtest

    gained = lost + 1
    while not significant(float(binomtest(gained, gained + lost, alternative="greater").pvalue), alpha, patience):
        gained += 1
    return gained


class Plateau(NamedTuple):
    """Where a run stands: its best round so far (0: nothing better than the student as it came), the test of each round
    against the best before it (None for round 0), and whether to stop."""

    best_round: int
    tests: tuple[Comparison | None, ...]
    stop: bool


def plateau(rounds: Sequence[Mapping[str, bool]], alpha: float, patience: int) -> Plateau:
    """The rule by which a run goes on or stops, from each round's item id -> right or not, round 0 first."""
    best = 0
    tests: list[Comparison | None] = [None]
    for number in range(1, len(rounds)):
        test = compare(rounds[best], rounds[number])
        tests.append(test)
        if significant(test.p_value, alpha, patience):
            best = number
    return Plateau(best, tuple(tests[: len(rounds)]), len(rounds) - 1 - best >= patience)


def mean_interval(values: Sequence[float], confidence: float = 0.95, seed: int = 0) -> Interval:
    """Bootstrap interval (percentiles of 9,999 resamples) of the mean over tasks. Raises ValueError for fewer than
    two."""
    if len(values) < 2:
        raise ValueError("an interval over tasks needs two tasks or more")
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        confidence_level=confidence,
        n_resamples=9999,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))
