"""Rationales are read the way students write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.pool.rationale import parse_rationale, write_rationale


@pytest.mark.parametrize(
    ("text", "steps", "final"),
    [
        ("Step 1: a\nStep 2: b\nAnswer: 7", ("a", "b"), "7"),
        ("1. a\n2) b\n\nThe final answer is 7.", ("a", "b"), "7."),
        ("**Step 1:** a\n**Answer:** 7", ("a",), "7"),
        ("**Step 1**\nStep 2:4 red\n**Answer**: 7", ("4 red",), "7"),
        ("1. it is\n3.5 m long\n10:30 is the time\nAnswer: yes", ("it is\n3.5 m long\n10:30 is the time",), "yes"),
        ("Answer the question first.\n1. a", ("a",), None),
        ("Answers differ", (), None),
        ("Answer: 3\nno, wait\nAnswer: 4", (), "4"),
        ("just words", (), None),
        ("Answer:", (), None),
        ("", (), None),
    ],
)
def test_steps_and_answer_are_found(text: str, steps: tuple[str, ...], final: str | None) -> None:
    assert parse_rationale(text) == (steps, final)


lines = st.text(st.characters(categories=("Lu", "Ll")), min_size=1, max_size=12).filter(
    lambda text: not text.lower().startswith(("answer", "step", "the", "final"))
)


@given(st.lists(lines, max_size=5).map(tuple), st.none() | lines)
def test_what_was_written_is_read_back(steps: tuple[str, ...], final: str | None) -> None:
    assert parse_rationale(write_rationale(steps, final)) == (steps, final)


@given(st.text(max_size=200))
def test_no_text_upsets_the_reader(text: str) -> None:
    parse_rationale(text)
