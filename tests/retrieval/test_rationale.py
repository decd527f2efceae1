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
        ("### Answer: B", (), "B"),
        ("1. a\n2. b\n## Final Answer\nB", ("a", "b"), "B"),
        ("**Answer**\nB", (), "B"),
        ("Answer\nthe question", (), None),
        ("1. a\n2. b\n#### 12", ("a", "b"), "12"),
        ("#### Ingredients\n1. eggs\n2. flour", ("eggs", "flour"), None),
        ("1. a\n2. b\n<answer>B</answer>", ("a", "b"), "B"),
        (
            "Step 1: a\nStep 2: so it is \\boxed{\\frac{3}{4}}.",
            ("a", "so it is \\boxed{\\frac{3}{4}}."),
            r"\frac{3}{4}",
        ),
        ("it is \\boxed{B", (), None),
        ("Schritt 1: a\nSchritt 2: b\nDie Antwort ist 7", ("a", "b"), "7"),
        ("Étape 1 : a\nÉtape 2 : b\nRéponse : oui", ("a", "b"), "oui"),
        ("Paso 1: a\nLa respuesta es B", ("a",), "B"),
        ("步骤1：看图\n步骤2：数\n答案：三", ("看图", "数"), "三"),
        ("答案是B", (), "B"),
        ("ステップ1：見る\n答えは3", ("見る",), "3"),
        ("Шаг 1: a\nОтвет: да", ("a",), "да"),
        ("1. a\n정답: B", ("a",), "B"),
        ("चरण 1: a\nउत्तर: नीला", ("a",), "नीला"),
        ("1. a\nالإجابة: ب", ("a",), "ب"),
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


_STEPS = st.lists(st.from_regex(r"[a-z]{1,9}( [a-z]{1,9}){0,4}", fullmatch=True), min_size=2, max_size=6).map(tuple)


@given(_STEPS.map(lambda steps: tuple(f"so {step}" for step in steps)), st.integers())
def test_without_its_final_answer_a_whole_rationale_is_not_whole(steps: tuple[str, ...], final: int) -> None:
    assert parse_rationale(write_rationale(steps, str(final))).whole
    assert not parse_rationale(write_rationale(steps)).whole


@pytest.mark.parametrize(
    "text",
    [
        "1. Melt the butter.\n2. Add flour.\n3. Bake for 20 minutes.",
        "1. Butter schmelzen.\n2. Mehl zugeben.",
        "1. Растопите масло.\n2. Добавьте муку.",
        "1. 融化黄油。\n2. 加入面粉。",
        "Answer:\n1. flour\n2. sugar",
        "Step 1: 3 + 4 = 7\nAnswer: 7",
    ],
)
def test_lists_and_single_steps_are_not_whole(text: str) -> None:
    assert not parse_rationale(text).whole
