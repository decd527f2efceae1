"""The canary: does an adapter do on the server what it does under peft?

Log-probabilities differ a little between engines, so shifts are compared: what the adapter adds to an answer token's
log-probability, here and there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.lora.probes import Probe

#: Least correlation of the two shifts; bounds of the slope of the server's over peft's.
CORRELATION, SLOPE = 0.9, (0.5, 2.0)
#: Where the wanted shift varies by less than this share of its size, or over fewer tokens, it is compared whole: what little it
#: varies by drowns in the last digits.
SPREAD, TOKENS = 0.25, 8
#: Log-probabilities (nats) below this count as this: engines disagree about the impossible.
FLOOR = -12.0
#: A shift (root mean square, nats) smaller than this, or than so many times the noise of the server, is none.
LEAST, NOISE = 0.02, 3.0


class Scored(NamedTuple):
    """A probe's answer on the server: token ids and their log-probabilities (nats)."""

    tokens: list[int]
    values: list[float]


class Shift(NamedTuple):
    """What an adapter adds to the log-probabilities (nats) of the probes' tokens: root mean square under peft (`wanted`), on
    the server (`found`), and of what two runs without it differ by there (`noise`); correlation of the first two (NaN where
    one is the same for all tokens), and slope of the server's over peft's."""

    wanted: float
    found: float
    noise: float
    correlation: float
    slope: float

    def __str__(self) -> str:
        return f"correlation {self.correlation:.4f}, slope {self.slope:.3f}"


def measure_shift(
    probes: Sequence[Probe], adapted: Sequence[Scored], plain: Sequence[Sequence[Scored]] | None
) -> Shift:
    """The shift under peft and on the server; arguments as in `check_shift`. Of a shift that is about the same for all tokens
    the correlation is that about zero (the cosine)."""
    base = _flat([probe.base for probe in probes])
    wanted, noise = _flat([probe.adapted for probe in probes]) - base, 0.0
    if plain is not None:
        first, second = (_flat([scored.values for scored in run]) for run in plain)
        base, noise = (first + second) / 2, _size(first - second)
    found = _flat([scored.values for scored in adapted]) - base
    varies = wanted.std() >= SPREAD * _size(wanted) and wanted.size >= TOKENS
    one, other = (wanted - wanted.mean(), found - found.mean()) if varies else (wanted, found)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = one @ other / np.sqrt((one @ one) * (other @ other))
        slope = wanted @ found / (wanted @ wanted)
    return Shift(_size(wanted), _size(found), noise, float(correlation), float(slope))


def check_shift(
    probes: Sequence[Probe], adapted: Sequence[Scored], plain: Sequence[Sequence[Scored]] | None
) -> str | None:
    """Why the adapter is refused, None if it acts as under peft.

    `adapted`: each probe through the adapter on the server; `plain`: twice each through the base model there, None where merged
    weights are served and the server has no base: then peft's base stands in for it.
    """
    for probe, scored in zip(probes, adapted, strict=True):
        if probe.tokens != scored.tokens:
            return (
                "the server reads an answer as other tokens than the student's own tokenizer; check that it serves the student's "
                "model with its own chat template"
            )
    shift = measure_shift(probes, adapted, plain)
    if shift.wanted < LEAST:
        return f"under peft too it changes nothing (shift {shift.wanted:.4f} nats)"
    if shift.found < max(LEAST, NOISE * shift.noise):
        return f"the server does not apply it (shift {shift.found:.4f} nats, {shift.wanted:.4f} under peft)"
    if not (shift.correlation >= CORRELATION and SLOPE[0] <= shift.slope <= SLOPE[1]):
        return f"the server applies it otherwise than peft ({shift})"
    return None


def _flat(rows: Sequence[Sequence[float]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.maximum(np.array([value for row in rows for value in row], dtype=np.float64), FLOOR)


def size_of(one: Sequence[float], other: Sequence[float]) -> float:
    """Root mean square (nats) of what two rows of log-probabilities differ by."""
    return _size(_flat([one]) - _flat([other]))


def _size(shift: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(np.sqrt(np.mean(shift**2))) if shift.size else 0.0
