from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.microworld.dice import Dice
from eval.microworld.examples import Example, make_example
from eval.microworld.expert.check import Verdict, check, check_at, solve
from eval.microworld.expert.recognise import Doubt, Seen
from eval.microworld.programs import PROGRAMS
from eval.microworld.questions import parse
from eval.microworld.scene import CELL_INDEX, Scene, Thing


def scene(**things: str) -> Scene:
    """scene(a1="red circle", b2="blue 7"); shapes are large."""
    made = {}
    for name, words in things.items():
        color, kind = words.split()
        made[CELL_INDEX[name]] = Thing(kind, color, "" if kind.isdigit() else "large")
    return Scene(dict(sorted(made.items())))


def verdict(question: str, there: Scene, *steps: str) -> Verdict:
    call = parse(question)
    assert call is not None
    return check(call.solve(there), there, steps)


def examples() -> Iterator[Example]:
    dice = Dice(11)
    for name in PROGRAMS:
        yield make_example(name, dice, "train")


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.program)
def test_canonical_rationales_have_no_wrong_step_and_any_spoilt_step_is_found(example: Example) -> None:
    texts = [step.text for step in example.solution.steps]
    there = example.scene or Scene({})
    assert check(example.solution, there, texts).step is None
    for index, step in enumerate(example.solution.steps):
        spoilt = [*texts[:index], "the moon is green.", *texts[index + 1 :]]
        assert check(example.solution, there, spoilt)[:3] == (index, step, step.skill)


@given(st.sampled_from(sorted(PROGRAMS)), st.integers(0, 500), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_stopping_early_is_no_wrong_step_but_the_next_one_is_missing(program: str, seed: int, kept: int) -> None:
    example = make_example(program, Dice(seed), "train")
    texts = [step.text for step in example.solution.steps][:kept]
    found = check(example.solution, example.scene or Scene({}), texts)
    assert found.step is None
    assert found.expected == example.solution.steps[min(kept, len(example.solution.steps) - 1)]


DIGITS = scene(a1="red 3", c2="blue 8", d4="green 5", b1="red star")


def test_places_may_be_listed_in_any_order_and_digits_then_follow_it() -> None:
    assert verdict("What is the smallest digit?", DIGITS, "digits at d4 a1 c2.", "they are 5 3 8.").step is None
    assert verdict("What is the smallest digit?", DIGITS, "digits at d4 a1 c2.", "they are 3 8 5.").step == 1


@pytest.mark.parametrize(
    ("steps", "wrong", "skill"),
    [
        (["digits at a1 c2."], 0, "find_digits"),
        (["digits at a1 c2 d4.", "they are 3 6 5."], 1, "read_digit"),
        (["digits at a1 c2 d4.", "they are 3 8 5.", "the smallest is 8."], 2, "smallest"),
        (["digits at a1 c2 d4.", "they are 3 8 5.", "the largest is 8."], 2, "smallest"),
    ],
)
def test_the_skill_is_that_of_the_wrong_step(steps: list[str], wrong: int, skill: str) -> None:
    found = verdict("What is the smallest digit?", DIGITS, *steps)
    assert (found.step, found.skill) == (wrong, skill)


@pytest.mark.parametrize(
    ("said", "skill"),
    [
        ("b4 holds a red cross.", "read_color"),
        ("b4 holds a green star.", "read_shape"),
        ("b4 holds nothing.", "see_empty"),
        ("b3 holds a green cross.", "read_shape"),
    ],
)
def test_a_step_about_colour_and_kind_is_blamed_on_what_is_false(said: str, skill: str) -> None:
    there = scene(b1="blue circle", b4="green cross")
    first = "the mirror cell of b1 is b4."
    found = verdict("What color is the object in the mirror cell of b1?", there, first, said)
    assert (found.step, found.skill) == (1, skill)


def test_what_is_true_but_leads_elsewhere_is_wrong() -> None:
    there = scene(b1="blue circle", b4="green cross")
    found = verdict("What color is the object in the mirror cell of b1?", there, "b1 holds a blue circle.")
    assert (found.step, found.skill) == (0, "mirror")


def test_a_step_found_by_others_is_named_by_its_place_on_the_way() -> None:
    call = parse("What is the smallest digit?")
    assert call is not None
    steps = ["digits at a1 c2.", "they are 3 8.", "the smallest is 8."]
    skills = [check_at(call.solve(DIGITS), DIGITS, steps, index).skill for index in range(3)]
    assert skills == ["find_digits", "read_digit", "smallest"]


def test_gold_decides_a_doubtful_digit_and_nothing_else() -> None:
    call = parse("What is the largest digit?")
    assert call is not None
    seen = Seen(DIGITS, (Doubt(CELL_INDEX["c2"], "9", 0.1),))
    doubted, trusted, neither = (solve(call, seen, gold) for gold in ("9", "8", "1"))
    assert doubted is not None
    assert doubted[0].answer == "9"
    assert trusted is not None
    assert trusted[0].answer == "8"
    assert neither is not None
    assert neither[0].answer == "8"
