import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import DiagnosisConfig
from agent.student.engine import Request
from agent.teacher.client import Teacher
from agent.teacher.diagnosis import Diagnosis
from agent.teacher.locate import make_locator, single_pass, switch_point, switch_requests, wrong_probabilities
from eval.answers import Answer
from eval.task import Item
from tests.endpoint import Scripted, chat

MakeTeacher = Callable[..., Teacher]
ITEM = Item("q7", "What is the sum?", ("11",), ("11", "14"))
WRONG = Answer("q7", "…", ("two tickets", "6 and 8", "6 + 8 = 14"), "14", False, "wrong")
UNPARSED = Answer("q7", "It is fourteen, I think", (), None, False, "format")
SAID = {"wrong_step": 2, "why": "it shows 5", "should_say": "6 and 5", "skill": "reading printed numbers"}

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


class Judge:
    """A student that gives scripted scores, and remembers what it was asked."""

    def __init__(self, scores: Sequence[Sequence[float]]) -> None:
        self.scores = [list(row) for row in scores]
        self.asked: list[tuple[Sequence[Request], Sequence[Sequence[str]], str | None]] = []

    async def score(
        self, requests: Sequence[Request], continuations: Sequence[Sequence[str]], adapter: str | None = None
    ) -> list[list[float]]:
        self.asked.append((requests, continuations, adapter))
        return self.scores


def locator(teacher: Teacher, student: Any, name: Any = "answer_switch") -> Any:
    config = DiagnosisConfig(locator=name, delta=0.1, window=1)
    return make_locator(config, teacher, student, "{question} Think in steps.", "r01")


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


async def test_single_pass_takes_everything_from_one_reply(ask_at: MakeTeacher, tmp_path: Path, picture: bytes) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    item = Item(ITEM.id, ITEM.question, ITEM.answers, ITEM.choices, (tmp_path / "a.png",))
    endpoint = Scripted(then=SAID)
    found = await single_pass(ask_at(endpoint), 1, item, WRONG)
    assert found == Diagnosis(
        "r01-q7", "q7", "diagnosed", "single_pass", 2, "it shows 5", "6 and 5", "reading printed numbers"
    )
    assert endpoint.requests[0].images == [picture]
    assert endpoint.requests[0].data == {
        "question": "What is the sum?",
        "choices": ["11", "14"],
        "gold": "11",
        "answer": "14",
        "steps": ["two tickets", "6 and 8", "6 + 8 = 14"],
    }
    assert Diagnosis.from_row(found.to_row()) == found


@pytest.mark.parametrize("step", [-1, 4, 10**30])
async def test_a_step_that_is_not_there_is_repaired_then_set_aside(ask_at: MakeTeacher, step: int) -> None:
    endpoint = Scripted(then={**SAID, "wrong_step": step})
    found = await single_pass(ask_at(endpoint), 1, ITEM, WRONG)
    assert (found.state, found.skill) == ("set_aside", None)
    assert "malformed" in (found.reason or "")
    assert len(endpoint.requests) == 2


async def test_right_steps_and_a_wrong_answer_still_lack_a_skill(ask_at: MakeTeacher) -> None:
    found = await single_pass(ask_at(Scripted(then={**SAID, "wrong_step": 0})), 1, ITEM, WRONG)
    assert (found.state, found.step, found.skill) == ("diagnosed", None, "reading printed numbers")


async def test_no_skill_named_is_not_located(ask_at: MakeTeacher) -> None:
    found = await single_pass(ask_at(Scripted(then={**SAID, "wrong_step": 0, "skill": ""})), 1, ITEM, WRONG)
    assert (found.state, found.skill) == ("not_located", None)


async def test_an_answer_that_cannot_be_parsed_is_diagnosed_by_its_text(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then={**SAID, "wrong_step": 0})
    found = await locator(ask_at(endpoint), Judge([]))(1, ITEM, UNPARSED)
    assert (found.state, found.locator, found.step) == ("diagnosed", "single_pass", None)
    assert endpoint.requests[0].data["answer"] == UNPARSED.text


async def test_answer_switch_lets_the_student_find_and_the_teacher_name(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then={key: SAID[key] for key in ("why", "should_say", "skill")})
    student = Judge([(-2, -2), (-2, -1), (-1, -2), (-0.1, -3)])
    found = await locator(ask_at(endpoint), student)(2, ITEM, WRONG)
    assert (found.id, found.state, found.locator, found.step) == ("r02-q7", "diagnosed", "answer_switch", 2)
    assert endpoint.of("name_gap")[0].data["wrong_step"] == 2
    requests, continuations, adapter = student.asked[0]
    assert adapter == "r01"
    assert [request.prefix for request in requests] == [
        "Answer:",
        "Step 1: two tickets\nAnswer:",
        "Step 1: two tickets\nStep 2: 6 and 8\nAnswer:",
        "Step 1: two tickets\nStep 2: 6 and 8\nStep 3: 6 + 8 = 14\nAnswer:",
    ]
    assert requests[0].prompt == "What is the sum?\nA. 11\nB. 14 Think in steps."
    assert continuations[0] == (" 14", " 11")


@pytest.mark.parametrize(
    ("final", "compared"), [("B", "14"), ("(b)", "14"), ("B. 14", "14"), ("14", "14"), ("fifteen", "fifteen")]
)
def test_both_answers_are_compared_as_texts_of_choices(final: str, compared: str) -> None:
    answer = Answer("q7", "…", ("two tickets",), final, False, "wrong")
    assert switch_requests(ITEM, answer, "{question}")[1] == [(f" {compared}", " 11")] * 2


async def test_no_switch_is_not_located_and_costs_no_teacher(ask_at: MakeTeacher) -> None:
    endpoint = Scripted()
    found = await locator(ask_at(endpoint), Judge([(-2, -2)] * 4))(1, ITEM, WRONG)
    assert found.state == "not_located"
    assert endpoint.requests == []


async def test_a_student_without_probabilities_is_no_gap(ask_at: MakeTeacher) -> None:
    found = await locator(ask_at(Scripted()), Judge([(math.nan, math.nan)] * 4))(1, ITEM, WRONG)
    assert found.state == "set_aside"


@pytest.mark.parametrize("reply", [chat("", refusal="no"), chat("{", finish="length"), chat("?")])
@pytest.mark.parametrize("name", ["single_pass", "answer_switch"])
async def test_the_teachers_fault_is_set_aside_and_never_a_gap(ask_at: MakeTeacher, reply: Any, name: str) -> None:
    student = Judge([(-2, -2), (-1, -3), (-1, -3), (-1, -3)])
    found = await locator(ask_at(Scripted(then=reply)), student, name)(1, ITEM, WRONG)
    assert (found.state, found.skill, found.locator) == ("set_aside", None, name)
    assert found.reason
