import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.diagnosis.switch import (
    TOGETHER,
    StudentJudge,
    TeacherJudge,
    both_orders,
    switch_point,
    switch_requests,
    wrong_probabilities,
)
from agent.student.engine import Request
from agent.teacher.asked import Asked
from agent.teacher.client import Teacher
from eval.answers import Answer
from eval.task import Item
from retrieval.errors import TeacherError
from tests.endpoint import Scripted, Seen, chosen, fail

ITEM = Item("q7", "What is the sum?", ("11",), ("11", "14"))
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@settings(deadline=None)
@given(probabilities, st.floats(0, 1), st.integers(0, 5))
def test_the_switch_is_the_first_step_from_which_the_wrong_answer_leads(
    p_wrong: list[float], delta: float, window: int
) -> None:
    steps = len(p_wrong) - 1

    def leads(m: int) -> bool:
        return all(2 * p_wrong[j] - 1 >= delta for j in range(m, min(m + window, steps) + 1))

    found = switch_point(p_wrong, delta, window)
    if found is None:
        assert not any(leads(m) for m in range(1, steps + 1))
    else:
        assert 1 <= found <= steps
        assert leads(found)
        assert not any(leads(m) for m in range(1, found))


@settings(deadline=None)
@given(probabilities, st.floats(0, 1), st.integers(0, 5))
def test_a_longer_window_or_a_larger_lead_never_finds_an_earlier_step(
    p_wrong: list[float], delta: float, window: int
) -> None:
    found = switch_point(p_wrong, delta, window) or math.inf
    assert (switch_point(p_wrong, delta, window + 1) or math.inf) >= found
    assert (switch_point(p_wrong, min(1.0, delta + 0.1), window) or math.inf) >= found


@pytest.mark.parametrize(
    ("p_wrong", "window", "step"),
    [
        ([0.4, 0.3, 0.9, 0.9], 1, 2),
        ([0.4, 0.9, 0.3, 0.9], 1, 3),
        ([0.4, 0.9, 0.3, 0.9], 0, 1),
        ([0.4, 0.3, 0.2, 0.5], 1, None),
        ([0.9], 1, None),
        ([0.4, 0.55], 1, 1),
    ],
)
def test_switch_points_by_hand(p_wrong: list[float], window: int, step: int | None) -> None:
    assert switch_point(p_wrong, 0.0999, window) == step


scores = st.lists(st.tuples(st.floats(-800, 0), st.floats(-800, 0)), min_size=1, max_size=8)


@settings(deadline=None)
@given(scores)
def test_before_any_step_the_gold_answer_has_the_priors_probability(pairs: list[tuple[float, float]]) -> None:
    p_wrong = wrong_probabilities(pairs)
    assert p_wrong[0] == pytest.approx(0.4)
    assert all(0 <= p <= 1 for p in p_wrong)


@settings(deadline=None)
@given(scores, st.floats(-50, 50))
def test_what_an_answer_is_worth_by_itself_does_not_count(pairs: list[tuple[float, float]], shift: float) -> None:
    shifted = [(wrong + shift, gold) for wrong, gold in pairs]
    assert wrong_probabilities(shifted) == pytest.approx(wrong_probabilities(pairs), abs=1e-9)


@pytest.mark.parametrize(
    ("final", "compared"), [("B", "14"), ("(b)", "14"), ("B. 14", "14"), ("14", "14"), ("fifteen", "fifteen")]
)
def test_both_answers_are_compared_as_texts_of_choices(final: str, compared: str) -> None:
    answer = Answer("q7", "…", ("two tickets",), final, False, "wrong")
    assert switch_requests(ITEM, answer, "{question}")[1] == (f" {compared}", " 11")


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 0.5))
def test_a_liking_for_one_letter_does_not_count(p_wrong: list[float], liking: float) -> None:
    asked = []
    for p in p_wrong:
        for letter, own in (("A", p + liking), ("B", p - liking)):
            odds = {letter: own, "BA"["AB".index(letter)]: 1 - own}
            asked.append(Asked(odds, "ok"))
    assert both_orders(asked) == pytest.approx(p_wrong, abs=1e-9)


class ByText:
    """A student whose scores depend on the prefix alone; it remembers how many requests came together."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    async def score(
        self, requests: Sequence[Request], continuations: Sequence[Sequence[str]], adapter: str | None = None
    ) -> list[list[float]]:
        self.calls.append(len(requests))
        pairs = zip(requests, continuations, strict=True)
        return [[-((len(request.prefix) * len(text)) % 7) / 3 for text in texts] for request, texts in pairs]


def errors_of(count: int) -> list[tuple[Item, Answer]]:
    found = []
    for number in range(count):
        steps = tuple(f"step {'x' * (number + k)}" for k in range(number % 4))  # every fourth has none
        item = Item(f"i{number}", "What is it?", (str(number),))
        found.append((item, Answer(item.id, "…", steps, "no", False, "wrong")))
    return found


async def test_errors_scored_together_come_out_as_each_by_itself() -> None:
    errors = errors_of(2 * TOGETHER)
    able = [error for error in errors if error[1].steps]
    together, alone = ByText(), ByText()
    judge = StudentJudge(together, "{question}", None, errors)  # type: ignore[arg-type]
    by_itself = StudentJudge(alone, "{question}", None)  # type: ignore[arg-type]
    assert [await judge(*error) for error in able] == [await by_itself(*error) for error in able]
    assert len(together.calls) == math.ceil(len(able) / TOGETHER)
    assert len(alone.calls) == len(able)


async def test_what_is_scored_together_does_not_depend_on_what_is_left_to_do() -> None:
    errors = [error for error in errors_of(4 * TOGETHER) if error[1].steps]
    whole, resumed = ByText(), ByText()
    for student, left in ((whole, errors), (resumed, errors[TOGETHER + 3 : TOGETHER + 5])):
        judge = StudentJudge(student, "{question}", None, errors)  # type: ignore[arg-type]
        for error in left:
            await judge(*error)
    assert resumed.calls == whole.calls[1:2], "one group, whole, and no other"


class Endless(ByText):
    """Scoring does not end by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False

    async def score(self, *args: Any, **kwargs: Any) -> list[list[float]]:
        self.calls.append(len(args[0]))
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True
        return []


async def test_scoring_goes_on_as_long_as_somebody_waits_for_it_and_no_longer() -> None:
    errors = [error for error in errors_of(8) if error[1].steps]
    student = Endless()
    judge = StudentJudge(student, "{question}", None, errors)  # type: ignore[arg-type]
    waiting = [asyncio.ensure_future(judge(*error)) for error in errors]
    while not student.calls:
        await asyncio.sleep(0)
    for last, each in zip([False] * (len(waiting) - 1) + [True], waiting, strict=True):
        assert not student.ended
        each.cancel()
        await asyncio.gather(each, return_exceptions=True)
        assert student.ended == last
    assert len(student.calls) == 1


async def test_choices_about_one_error_end_together(ask_at: Callable[..., Teacher]) -> None:
    """One is refused its key while the others are on their way: none is asked after that."""

    async def refuses(seen: Seen) -> Any:
        if seen.number > 1:
            await asyncio.sleep(0.2)
        return fail(401, "no") if seen.number == 1 else chosen({"A": -1.0, "B": -0.5})

    endpoint = Scripted(then=refuses)
    item, answer = errors_of(4)[3]
    steps = tuple(f"step {number}" for number in range(10))
    with pytest.raises(TeacherError, match="HTTP 401"):
        await TeacherJudge(ask_at(endpoint, concurrency=4))(item, replace(answer, steps=steps))
    asked = len(endpoint.requests)
    await asyncio.sleep(0.3)
    assert len(endpoint.requests) == asked < 20
