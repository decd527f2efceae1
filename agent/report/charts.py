"""Accuracy by round, as coordinates that the template draws. Lengths are in the units of a view box of 440 × 250."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from agent.report.headline import figures
from agent.run import wording
from agent.run.reading import RunRecords
from eval.statistics import wilson

WIDTH, HEIGHT = 440.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 14.0, 16.0, 34.0


class Point(NamedTuple):
    """One round's figure: where it stands, where its interval ends, what it says. `label` is drawn beside it, if not
    empty."""

    x: float
    y: float
    low: float
    high: float
    title: str
    label: str
    kept: bool


class Tick(NamedTuple):
    """A line of the grid and its label."""

    at: float
    label: str


class Panel(NamedTuple):
    """A chart: one set of items, the student's rounds and the controls."""

    title: str
    student: list[Point]
    control: list[Point]
    rounds: list[Tick]
    shares: list[Tick]

    @property
    def line(self) -> str:
        """The student's points joined."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.student)

    @property
    def rises(self) -> bool:
        """Whether the line goes up from its first point, whose label then belongs below it."""
        return len(self.student) > 1 and self.student[1].y < self.student[0].y


class _Value(NamedTuple):
    round: int
    right: int
    n: int


def accuracy_panels(run: RunRecords) -> list[Panel]:
    """The holdout's chart and the validation set's, on one scale; those without figures are left out."""
    wanted = (("Holdout, never diagnosed", "holdout"), ("Validation set, by which rounds are judged", None))
    series = []
    for title, key in wanted:
        own = _values([(each.number, _part(each.evaluation, key)) for each in run.rounds])
        control = _values([(each.number, _part(each.control.evaluation, key)) for each in run.rounds])
        if own:
            series.append((title, own, control))
    values = [value for _, own, control in series for value in (*own, *control)]
    if not values:
        return []
    last = max(1, *(value.round for value in values))
    bounds = [wilson(value.right, value.n) for value in values]
    low = max(0.0, math.floor(10 * min(bound.low for bound in bounds)) / 10)
    high = min(1.0, math.ceil(10 * max(bound.high for bound in bounds)) / 10)
    scale = _Scale(last, low, high)
    return [
        Panel(title, scale.points(own, run.best), scale.points(control, None), scale.rounds(), scale.shares())
        for title, own, control in series
    ]


def _part(evaluation: Any, key: str | None) -> Any:
    return evaluation.get(key) if key else evaluation


def _values(found: Sequence[tuple[int, Any]]) -> list[_Value]:
    return [_Value(number, *pair) for number, value in found if (pair := figures(value))]


class _Scale(NamedTuple):
    last: int
    low: float
    high: float

    def x(self, number: int) -> float:
        return round(_LEFT + 12 + (WIDTH - _LEFT - _RIGHT - 24) * number / self.last, 1)

    def y(self, share: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (self.high - share) / (self.high - self.low), 1)

    def points(self, values: Sequence[_Value], best: int | None) -> list[Point]:
        return [self._point(value, value in (values[0], values[-1]), best) for value in values]

    def _point(self, value: _Value, outer: bool, best: int | None) -> Point:
        share, bound = value.right / value.n, wilson(value.right, value.n)
        kept = bool(best) and value.round == best
        interval = f"{value.right} of {value.n}, 95% interval {wording.span(bound)}"
        title = f"Round {value.round}: {wording.percent(share)}, {interval}"
        label = wording.percent(share) if kept or outer or self.last <= 6 else ""
        return Point(self.x(value.round), self.y(share), self.y(bound.low), self.y(bound.high), title, label, kept)

    def rounds(self) -> list[Tick]:
        step = max(1, math.ceil((self.last + 1) / 12))
        return [Tick(self.x(number), str(number)) for number in range(0, self.last + 1, step)]

    def shares(self) -> list[Tick]:
        count = round(10 * (self.high - self.low))
        step = 1 if count <= 5 else 2
        first = round(10 * self.low)
        return [Tick(self.y(tenth / 10), f"{10 * tenth}%") for tenth in range(first, first + count + 1, step)]
