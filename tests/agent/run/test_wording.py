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
