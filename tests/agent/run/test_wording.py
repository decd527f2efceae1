"""Figures as a person would say them."""

import pytest

from agent.run import wording


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (200, "3 min"), (3600 * 2 + 300, "2 h 05 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert wording.duration(seconds) == said


def test_figures() -> None:
    assert wording.percent(0.4567) == "45.7%"
    assert wording.percent(None) == "–"
    assert wording.points(-0.031) == "−3.1"
    assert wording.points(0.27) == "+27.0"
    assert wording.span((0.384, 0.521)) == "38–52%"
    assert wording.p_value(0.0004) == "p < 0.001"
    assert wording.p_value(0.0321) == "p = 0.032"
    assert wording.count(1, "error") == "1 error"
    assert wording.count(2000, "error") == "2,000 errors"
    assert [wording.dollars(cost) for cost in (0, 0.0042, 12.345)] == ["$0.00", "$0.0042", "$12.35"]


def test_an_unknown_reason_stands_for_itself() -> None:
    assert wording.reason("tuning_failed: no memory") == "tuning_failed: no memory"
    assert wording.reason(None) == ""


def test_what_is_left_out_of_a_pool_is_told_by_source() -> None:
    rows = [{"source": "a", "excluded": 1, "of": 1000}, {"source": "", "excluded": 9, "of": 100}]
    more = [{"source": "c", "excluded": 0, "of": 1900}]
    assert wording.left_out(rows + more) == (
        "10 of the pool's 3,000 samples (0.3%) show an item of yours and are left out: "
        "no source 9 of 100 (9.0%), a 1 of 1,000 (0.1%)"
    )
    assert wording.left_out(more) == "0 of the pool's 1,900 samples (0.0%) show an item of yours and are left out"
