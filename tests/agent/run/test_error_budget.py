"""The error budget: one rule for items, answers and the teacher's requests."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.schema import TeacherConfig
from agent.run.error_budget import A_FEW, check_answers, check_read, check_teacher, check_verdicts, is_within
from agent.teacher.asked import Lost
from agent.teacher.client import Teacher
from eval.answers import Answer
from eval.task import Item, Items
from retrieval.errors import DataError, StudentError, TeacherError
from retrieval.reading.records import SetAside


def answers(lost: int) -> list[Answer]:
    good = [Answer(f"i{n:03d}", "Answer: 1", (), "1", True, "right") for n in range(lost, 100)]
    return [*(Answer(f"i{n:03d}", "", (), None, False, "error", "cut") for n in range(lost)), *good]


def items(lost: int) -> Items:
    whole = tuple(Item(f"i{n}", "q", ("a",)) for n in range(100 - lost))
    return Items(whole, tuple(SetAside(f"x{n}", f"items.jsonl, line {n}", "no answer") for n in range(lost)))


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    return Teacher(TeacherConfig(model="none"), tmp_path / "teacher.jsonl")


def test_four_percent_pass_and_six_stop_the_run(teacher: Teacher) -> None:
    cut = [Lost("cut", f"the reply ran into teacher.max_tokens ({limit})") for limit in range(16, 21)]
    check_teacher(teacher, cut[:4], 100, 0.05)
    told = (
        r"^teacher_error_rate 6% > 5%: 6 of 100 requests came to nothing \(5 cut, 1 refused\), most often: the reply ran into "
        r"teacher.max_tokens \(16\); see right.jsonl; "
    )
    with pytest.raises(TeacherError, match=told):
        check_teacher(teacher, [Lost("refused", "no"), *cut], 100, 0.05, Path("right.jsonl"))
    with pytest.raises(TeacherError, match=r"see .*teacher\.jsonl; "):
        check_teacher(teacher, [Lost(None, "no")] * 6, 100, 0.05)
    check_read(Path("items.jsonl"), items(4), 0.05)
    with pytest.raises(
        DataError, match=r"6 of 100 items cannot be read, .* 6 set aside, the first items\.jsonl, line 0"
    ):
        check_read(Path("items.jsonl"), items(6), 0.05)
    check_answers(answers(4), 0.05)
    with pytest.raises(StudentError, match=r"^student_error_rate 6% > 5%: 6 of 100 .* the first \(i000\): cut"):
        check_answers(answers(6), 0.05)


@pytest.mark.parametrize(
    ("lost", "total", "within"),
    [(1, 19, True), (A_FEW, 19, True), (A_FEW + 1, 19, False), (1, 2, True), (1, 1, False), (2, 3, False)],
)
def test_a_few_may_be_lost_of_however_small_a_set_but_not_most_of_it(lost: int, total: int, within: bool) -> None:
    assert is_within(lost, total, 0.05, A_FEW) == within
    assert not is_within(lost, total, 0.0, A_FEW), "a budget of nothing is one"


def test_a_verdict_that_is_missing_is_the_teachers_fault(teacher: Teacher) -> None:
    unjudged = Answer("i", "Answer: 1", (), "1", False, "unjudged").judged(None, "the teacher gave no verdict (cut)")
    lost = [replace(unjudged, item=f"i{number}") for number in range(10)]
    check_answers(lost, 0.05)
    with pytest.raises(TeacherError, match=r"^teacher_error_rate 100% .*no verdict \(cut\); see answers\.jsonl"):
        check_verdicts(teacher, lost, 0.05, Path("answers.jsonl"))


@given(st.integers(0, 50), st.integers(1, 50), st.floats(0, 1))
def test_nothing_lost_is_always_within_and_more_never_becomes_less(lost: int, more: int, budget: float) -> None:
    total = 100
    assert is_within(0, total, budget)
    assert is_within(lost, total, budget) or not is_within(lost + more, total, budget)
