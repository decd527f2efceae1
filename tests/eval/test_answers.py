"""Answers and the figures of a round."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import Answer, Evaluation, Item, correctness, evaluate_answers, make_scorer, read_answer

ITEM = Item("i", "How many?", ("7",))
SCORER = make_scorer("number", [ITEM])


@pytest.mark.parametrize(
    ("text", "kind", "final", "steps"),
    [
        ("Step 1: four red.\nStep 2: three blue.\nAnswer: 7", "right", "7", ("four red.", "three blue.")),
        ("Step 1: four red.\nAnswer: 6", "wrong", "6", ("four red.",)),
        ("Step 1: four red.\nStep 2: and", "format", None, ("four red.", "and")),
        ("seven", "format", None, ()),
        ("", "format", None, ()),
        ("Answer:", "format", None, ()),
    ],
)
def test_a_text_is_read_into_steps_answer_and_kind(
    text: str, kind: str, final: str | None, steps: tuple[str, ...]
) -> None:
    answer = read_answer(ITEM, text, SCORER)
    assert (answer.kind, answer.final, answer.steps) == (kind, final, steps)
    assert answer.correct is (kind == "right")


def test_no_answer_is_counted_apart_and_never_wrong() -> None:
    lost = read_answer(ITEM, "", SCORER, error="the image is truncated")
    figures = evaluate_answers([lost, read_answer(ITEM, "Answer: 7", SCORER)])
    assert (figures.n, figures.right, figures.errors, figures.accuracy) == (1, 1, 1, 1.0)
    assert correctness([lost]) == {}


def test_an_open_answer_waits_for_the_teachers_verdict() -> None:
    open_item = Item("o", "Why?", ("it rains",))
    answer = read_answer(open_item, "Answer: because of the rain", make_scorer("teacher", [open_item]))
    assert answer.kind == "unjudged"
    assert answer.judged(True).kind == "right"
    assert answer.judged(False).kind == "wrong"
    lost = answer.judged(None, "the teacher refused")
    assert (lost.kind, lost.correct, lost.error) == ("error", False, "the teacher refused")
    assert correctness([answer, lost]) == {}


def test_figures_of_a_small_set() -> None:
    texts = ["Step 1: a\nStep 2: b\nAnswer: 7", "Answer: 7", "Step 1: a\nStep 2: b\nAnswer: 1", "no idea"]
    figures = evaluate_answers(read_answer(ITEM, text, SCORER) for text in texts)
    assert (figures.n, figures.right, figures.accuracy, figures.format) == (4, 2, 0.5, 1)
    assert figures.with_steps == 0.5
    assert figures.interval == pytest.approx((0.1500, 0.8500), abs=1e-4)


def test_no_answers_at_all_leave_everything_possible() -> None:
    figures = evaluate_answers([])
    assert (figures.n, figures.accuracy, figures.interval) == (0, 0.0, (0.0, 1.0))


texts = st.text(st.characters(codec="utf-8"), max_size=30)
answers = st.builds(
    lambda text, error, cut: read_answer(ITEM, f"Step 1: {text}\nAnswer: {text}", SCORER, cut, error),
    texts,
    st.none() | texts,
    st.booleans(),
)


@given(st.lists(answers, max_size=8), st.none() | st.lists(answers, max_size=4))
def test_answers_and_evaluations_survive_their_files(rows: list[Answer], held: list[Answer] | None) -> None:
    for row in rows:
        assert Answer.from_row(json.loads(json.dumps(row.to_row()))) == row
    holdout = None if held is None else evaluate_answers(held)
    evaluation = Evaluation(3, evaluate_answers(rows), holdout, "rounds/03/adapter", 1.5)
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation


@given(st.lists(answers, max_size=20))
def test_figures_add_up(rows: list[Answer]) -> None:
    figures = evaluate_answers(rows)
    assert figures.n + figures.errors == len(rows)
    assert figures.right + figures.format <= figures.n
    assert figures.interval[0] - 1e-12 <= figures.accuracy <= figures.interval[1] or figures.n == 0
