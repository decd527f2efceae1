"""The error budget: one rule for items, answers and the teacher's requests."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.run.error_budget import check_answers, check_read, check_teacher, is_within
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


def test_four_percent_pass_and_six_stop_the_run() -> None:
    check_teacher(4, 100, 0.05)
    with pytest.raises(
        TeacherError, match=r"^teacher_error_rate 6% > 5%: 6 of 100 requests .*\(5 timeout, 1 refused\)"
    ):
        check_teacher(6, 100, 0.05, ["timeout"] * 5 + ["refused"])
    check_read(Path("items.jsonl"), items(4), 0.05)
    with pytest.raises(
        DataError, match=r"6 of 100 items cannot be read, .* 6 set aside, the first items\.jsonl, line 0"
    ):
        check_read(Path("items.jsonl"), items(6), 0.05)
    check_answers(answers(4), 0.05)
    with pytest.raises(StudentError, match=r"^student_error_rate 6% > 5%: 6 of 100 .* the first \(i000\): cut"):
        check_answers(answers(6), 0.05)


@given(st.integers(0, 50), st.integers(1, 50), st.floats(0, 1))
def test_nothing_lost_is_always_within_and_more_never_becomes_less(lost: int, more: int, budget: float) -> None:
    total = 100
    assert is_within(0, total, budget)
    assert is_within(lost, total, budget) or not is_within(lost + more, total, budget)
