import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.config.schema import DiagnosisConfig
from agent.diagnosis.diagnosis import Diagnosis
from agent.diagnosis.locate import make_locator, single_pass
from agent.student.engine import Request
from agent.teacher.client import Teacher
from eval.answers import Answer
from eval.task import Item
from tests.endpoint import Scripted, Seen, chat, chosen

MakeTeacher = Callable[..., Teacher]
ITEM = Item("q7", "What is the sum?", ("11",), ("11", "14"))
WRONG = Answer("q7", "…", ("two tickets", "6 and 8", "6 + 8 = 14"), "14", False, "wrong")
UNPARSED = Answer("q7", "It is fourteen, I think", (), None, False, "format")
NAMED = {"why": "it shows 5", "should_say": "6 and 5", "skill": "reading printed numbers"}
SAID = {"wrong_step": 2, **NAMED}


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


def locator(teacher: Teacher, student: Any, name: Any = "answer_switch", judge: Any = "student", seed: int = 0) -> Any:
    config = DiagnosisConfig(locator=name, judge=judge, delta=0.1, window=1)
    return make_locator(config, teacher, student, "{question} Think in steps.", "r01", seed)


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
    endpoint = Scripted(then=NAMED)
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


@pytest.mark.parametrize("first_wrong", [1, 2, 3])
async def test_per_step_asks_until_the_first_step_that_is_not_right(
    ask_at: MakeTeacher, tmp_path: Path, picture: bytes, first_wrong: int
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    item = Item(ITEM.id, ITEM.question, ITEM.answers, ITEM.choices, (tmp_path / "a.png",))

    def verdict(seen: Seen) -> Any:
        return {"correct": seen.data["step"] < first_wrong} if seen.kind == "step_right" else NAMED

    endpoint = Scripted(then=verdict)
    found = await locator(ask_at(endpoint), Judge([]), "per_step")(1, item, WRONG)
    assert (found.state, found.locator, found.step, found.skill) == (
        "diagnosed",
        "per_step",
        first_wrong,
        "reading printed numbers",
    )
    asked = endpoint.of("step_right")
    assert [seen.data["steps"] for seen in asked] == [list(WRONG.steps[:k]) for k in range(1, first_wrong + 1)]
    assert all(seen.images == [picture] and "answer" not in seen.data for seen in asked)
    assert [seen.data["wrong_step"] for seen in endpoint.of("name_gap")] == [first_wrong]


async def test_per_step_without_a_wrong_step_is_not_located(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then={"correct": True})
    found = await locator(ask_at(endpoint), Judge([]), "per_step")(1, ITEM, WRONG)
    assert (found.state, found.step) == ("not_located", None)
    assert len(endpoint.requests) == len(WRONG.steps)


async def test_a_step_without_a_verdict_is_set_aside_and_the_next_is_not_asked_for(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then=chat("", refusal="no"), steps=[{"correct": True}])
    found = await locator(ask_at(endpoint), Judge([]), "per_step")(1, ITEM, WRONG)
    assert (found.state, found.locator) == ("set_aside", "per_step")
    assert len(endpoint.requests) == 2


async def test_a_random_step_is_the_same_for_the_same_seed_and_item(ask_at: MakeTeacher) -> None:
    async def steps(seed: int) -> list[int | None]:
        locate = locator(ask_at(Scripted(then=NAMED)), Judge([]), "random_step", seed=seed)
        items = [Item(f"i{number}", ITEM.question, ITEM.answers) for number in range(40)]
        return [(await locate(1, item, WRONG)).step for item in items]

    first = await steps(3)
    assert first == await steps(3) != await steps(4)
    assert set(first) == {1, 2, 3}


def choosing(p_wrong: dict[int, float], favour_first: float = 0.0) -> Any:
    """A judge that gives the wrong answer ("14") these probabilities after k steps, more if it is option A."""

    def reply(seen: Seen) -> Any:
        if seen.kind != "choose":
            return NAMED
        first_is_wrong = seen.data["options"]["A"] == "14"
        wrong = p_wrong[len(seen.data["steps"])]
        first = (wrong if first_is_wrong else 1 - wrong) + favour_first
        return chosen({"A": math.log(first), "B": math.log(1 - first)})

    return reply


async def test_the_teacher_as_judge_sees_both_orders_the_prior_and_no_image(
    ask_at: MakeTeacher, tmp_path: Path, picture: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    item = Item(ITEM.id, ITEM.question, ITEM.answers, ITEM.choices, (tmp_path / "a.png",))
    endpoint = Scripted(then=choosing({1: 0.5, 2: 0.6, 3: 0.8}, favour_first=0.15))
    found = await locator(ask_at(endpoint), Judge([]), judge="teacher")(1, item, WRONG)
    assert (found.state, found.locator, found.step) == ("diagnosed", "answer_switch", 2)
    asked = endpoint.of("choose")
    assert len(asked) == 2 * len(WRONG.steps)
    assert all(seen.images == [] and seen.body["logprobs"] and seen.form == "text" for seen in asked)
    assert asked[0].data == {
        "question": "What is the sum?",
        "choices": ["11", "14"],
        "options": {"A": "14", "B": "11"},
        "prior": {"B": 0.6},
        "steps": ["two tickets"],
    }
    assert (asked[1].data["options"], asked[1].data["prior"]) == ({"A": "11", "B": "14"}, {"A": 0.6})
    assert endpoint.of("name_gap")[0].images == [picture]


async def test_choices_are_journalled_with_their_log_probabilities(ask_at: MakeTeacher) -> None:
    first, second = (Scripted(then=choosing({1: 0.3, 2: 0.9, 3: 0.9})) for _ in range(2))
    found = [await locator(ask_at(each), Judge([]), judge="teacher")(1, ITEM, WRONG) for each in (first, second)]
    assert found[0] == found[1]
    assert found[0].step == 2
    assert second.requests == [], "a later process reads the choices from the journal"


async def test_a_choice_that_fails_is_set_aside(ask_at: MakeTeacher) -> None:
    def reply(seen: Seen) -> Any:
        lost = seen.kind == "choose" and len(seen.data["steps"]) == 2
        return chat("", refusal="no") if lost else choosing({1: 0.9, 3: 0.9})(seen)

    endpoint = Scripted(then=reply)
    found = await locator(ask_at(endpoint), Judge([]), judge="teacher")(1, ITEM, WRONG)
    assert (found.state, found.locator) == ("set_aside", "answer_switch")
    assert "refused" in (found.reason or "")
    assert endpoint.of("name_gap") == []
