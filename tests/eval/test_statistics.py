"""Intervals, paired tests, and the rule by which a run stops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import compare, mean_interval, plateau, significant, wilson
from eval.statistics import Interval

Round = dict[str, bool]


def rounds_of(*rows: str) -> list[Round]:
    return [{str(index): mark == "1" for index, mark in enumerate(row)} for row in rows]


def test_wilson_gives_the_textbook_interval() -> None:
    assert wilson(45, 100) == pytest.approx((0.3561, 0.5476), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0, 0) == Interval(0.0, 1.0)


@given(st.integers(1, 400), st.data())
def test_wilson_holds_the_share_and_narrows_with_n(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    low, high = wilson(right, n)
    assert 0 <= low <= right / n + 1e-12
    assert right / n - 1e-12 <= high <= 1
    wider = wilson(right * 4, n * 4)
    assert wider.high - wider.low <= high - low


def test_mcnemar_counts_only_the_items_that_changed() -> None:
    before, after = rounds_of("1" * 50 + "0" * 10, "1" * 50 + "1" * 9 + "0")
    test = compare(before, after)
    assert (test.n, test.gained, test.lost) == (60, 9, 0)
    assert test.p_value == pytest.approx(0.5**9)
    assert test.difference == pytest.approx(9 / 60)
    assert test.interval.low > 0


def test_mcnemar_looks_only_for_gains_and_only_at_items_in_both() -> None:
    worse = compare(*rounds_of("1111111111", "0000000000"))
    assert worse.p_value == 1.0
    assert worse.interval.high < 0
    before, after = {"a": True, "b": False}, {"b": True, "c": True}
    assert compare(before, after).n == 1
    assert compare({}, {"a": True}).p_value == 1.0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_a_comparison_turned_around_mirrors_itself(pairs: list[tuple[bool, bool]]) -> None:
    before = {str(i): a for i, (a, _) in enumerate(pairs)}
    after = {str(i): b for i, (_, b) in enumerate(pairs)}
    there, back = compare(before, after), compare(after, before)
    assert (there.gained, there.lost) == (back.lost, back.gained)
    assert there.interval == pytest.approx((-back.interval.high, -back.interval.low))
    assert there.interval.low - 0.05 <= there.difference <= there.interval.high + 0.05


def test_paired_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        before = random.random(150) < 0.5
        after = np.where(before, random.random(150) < 0.9, random.random(150) < 0.4)
        truth = 0.5 * 0.4 - 0.5 * 0.1
        low, high = compare(dict(enumerate(before)), dict(enumerate(after))).interval  # type: ignore[arg-type]
        hits += low <= truth <= high
    assert hits / 400 >= 0.92


def test_each_round_is_tested_at_alpha_over_patience() -> None:
    assert significant(0.025, 0.05, 2)
    assert not significant(0.026, 0.05, 2)


def test_a_run_goes_on_while_rounds_get_better_and_stops_after_patience() -> None:
    first, better, best = "0" * 40, "1" * 15 + "0" * 25, "1" * 35 + "0" * 5
    assert plateau(rounds_of(first), 0.05, 2).stop is False
    now = plateau(rounds_of(first, better, best), 0.05, 2)
    assert (now.best_round, now.stop) == (2, False)
    end = plateau(rounds_of(first, better, best, better, best), 0.05, 2)
    assert (end.best_round, end.stop) == (2, True)
    assert end.tests[0] is None
    assert [test.n for test in end.tests[1:] if test] == [40] * 4


def test_each_round_is_compared_with_the_best_before_it() -> None:
    result = plateau(rounds_of("0" * 20, "1" * 12 + "0" * 8, "1" * 13 + "0" * 7), 0.05, 2)
    assert result.best_round == 1
    assert result.tests[2] is not None
    assert (result.tests[2].gained, result.tests[2].lost) == (1, 0)


@pytest.mark.parametrize("n", [100, 200, 500])
def test_without_true_gain_runs_stop_early_and_seldom_claim_one(n: int) -> None:
    """A thousand runs of rounds that differ by chance alone: each item keeps its chance of being right."""
    random = np.random.default_rng(n)
    claims = early = 0
    for _ in range(1000):
        chances = random.beta(1.0, 1.0, n)
        rounds: list[Round] = []
        while True:
            rounds.append({str(i): bool(mark) for i, mark in enumerate(random.random(n) < chances)})
            state = plateau(rounds, 0.05, 2)
            if state.stop or len(rounds) > 12:
                break
        claims += state.best_round > 0
        early += len(rounds) - 1 <= 3
    assert early >= 900
    assert claims <= 50


def test_a_true_gain_is_found() -> None:
    random = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        rounds = [{str(i): bool(m) for i, m in enumerate(random.random(200) < share)} for share in (0.45, 0.65)]
        found += plateau(rounds, 0.05, 2).best_round
    assert found / 200 >= 0.9


def test_mean_over_tasks_has_a_repeatable_interval() -> None:
    values = [0.42, 0.12, 0.27, 0.49, 0.2, 0.33, 0.3]
    low, high = mean_interval(values)
    assert low < sum(values) / len(values) < high
    assert mean_interval(values) == (low, high)
    with pytest.raises(ValueError, match="two tasks"):
        mean_interval([0.5])
