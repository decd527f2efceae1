"""The canary tells an adapter that acts as under peft from one that does not, whatever the engine's own digits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.student.vllm.canary import Scored, check_shift
from training.lora.probes import Probe

COUNT, TOKENS = 6, 20


def world(seed: int, shift: float, drift: float, noise: float) -> tuple[list[Probe], list[Scored], list[list[Scored]]]:
    """An adapter with a shift (nats) per token; a server whose figures drift from peft's, and whose runs differ by noise."""
    draw = np.random.default_rng(seed)
    base = -draw.exponential(2, (COUNT, TOKENS))
    adapted = base + draw.normal(0, shift, (COUNT, TOKENS))
    away = draw.normal(0, drift, (COUNT, TOKENS))
    tokens = list(range(TOKENS))
    probes = [Probe("q", [], "a", tokens, list(b), list(a)) for b, a in zip(base, adapted, strict=True)]
    runs = [base + away + draw.normal(0, noise, base.shape) for _ in range(2)]
    served = adapted + away + draw.normal(0, noise, base.shape)
    return probes, scored(served), [scored(run) for run in runs]


def scored(rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[Scored]:
    return [Scored(list(range(TOKENS)), list(row)) for row in rows]


@given(st.integers(0, 10**6), st.floats(0.2, 3), st.floats(0, 2))
def test_an_adapter_that_is_applied_passes_however_the_engines_differ(seed: int, shift: float, drift: float) -> None:
    probes, adapted, plain = world(seed, shift, drift, noise=0.02)
    assert check_shift(probes, adapted, plain) is None


@given(st.integers(0, 10**6), st.floats(0.2, 3), st.floats(0, 2), st.floats(0, 0.1))
def test_one_that_is_not_applied_is_refused(seed: int, shift: float, drift: float, noise: float) -> None:
    probes, _, plain = world(seed, shift, drift, noise)
    assert "does not apply it" in (check_shift(probes, plain[0], [plain[0], plain[1]]) or "")


@given(st.integers(0, 10**6), st.floats(1, 3), st.sampled_from([-1.0, 0.3, 3.0]))
def test_one_that_is_applied_too_weakly_too_strongly_or_the_wrong_way_round_is_refused(
    seed: int, shift: float, factor: float
) -> None:
    probes, adapted, plain = world(seed, shift, 0, 0)
    base, served = (np.array([row.values for row in rows]) for rows in (plain[0], adapted))
    # Far from the floor, so that it is the factor that is seen.
    kept = [Probe(p.prompt, p.images, p.answer, p.tokens, [b / 10 for b in p.base],
                  [b / 10 + (a - b) / 10 for a, b in zip(p.adapted, p.base, strict=True)]) for p in probes]  # fmt: skip
    wrong = scored(base / 10 + factor * (served - base) / 10)
    assert "otherwise than peft" in (check_shift(kept, wrong, [scored(base / 10)] * 2) or "")


def test_zeros_other_adapters_and_other_tokens_are_refused() -> None:
    probes, adapted, plain = world(1, 1.0, 0.1, 0.01)
    nothing = [Probe(p.prompt, p.images, p.answer, p.tokens, p.base, p.base) for p in probes]
    assert "under peft too" in (check_shift(nothing, adapted, plain) or "")
    _, other, _ = world(2, 1.0, 0.1, 0.01)
    mixed = [
        Scored(a.tokens, list(np.array(p.base) + np.array(o.values) + 2))
        for a, p, o in zip(adapted, probes, other, strict=True)
    ]
    assert "otherwise than peft" in (check_shift(probes, mixed, plain) or "")
    shifted = [Scored([token + 1 for token in row.tokens], row.values) for row in adapted]
    assert "other tokens" in (check_shift(probes, shifted, plain) or "")


@pytest.mark.parametrize("tokens", [1, 40])
def test_a_shift_that_is_about_the_same_everywhere_is_compared_whole(tokens: int) -> None:
    base = [-3.0] * tokens
    probe = Probe("?", [], "a", list(range(tokens)), base, [-2.0] * tokens)
    noise = [0.01 * (-1) ** n for n in range(tokens)]
    plain = [
        [Scored(probe.tokens, base)],
        [Scored(probe.tokens, [b + n / 10 for b, n in zip(base, noise, strict=True)])],
    ]
    good = Scored(probe.tokens, [-2.0 + n for n in noise])
    assert check_shift([probe], [good], plain) is None
    weak = Scored(probe.tokens, [-2.8 + n for n in noise])
    assert "otherwise than peft" in (check_shift([probe], [weak], plain) or "")


def test_merged_weights_are_held_against_peft() -> None:
    probes, adapted, _ = world(3, 1.0, 0.05, 0)
    assert check_shift(probes, adapted, None) is None
    assert "does not apply it" in (check_shift(probes, [Scored(p.tokens, p.base) for p in probes], None) or "")
