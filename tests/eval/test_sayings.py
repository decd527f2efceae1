"""What models say, and how it is read: a table of sayings (sayings.jsonl), and what holds for any text.

A row has `scorer`, `language`, what is said (`say`), what is expected and `why`. `expect` is the place of a choice (among
`choices`, shown as in `question` where that matters), a number, or whether the saying is right by the answers in `gold`;
null where a person would take no answer from it.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import Item, make_scorer, read_answer
from eval.choices import read_choice
from eval.markup import unwrap
from eval.normalise import plain, vqa_form
from eval.numbers import read_number

SAYINGS = [
    json.loads(line) for line in Path(__file__).with_name("sayings.jsonl").read_text(encoding="utf-8").splitlines()
]
PARTS = ("lid", "screw", "handle", "foot")


def sayings(*scorers: str) -> pytest.MarkDecorator:
    rows = [row for row in SAYINGS if row["scorer"] in scorers]
    return pytest.mark.parametrize("row", rows, ids=[f"{row['language']}: {row['say']!r}" for row in rows])


def right(
    scorer: str, say: str, gold: tuple[str, ...], choices: tuple[str, ...] = (), question: str = "q"
) -> bool | None:
    item = Item("i", question, gold, choices)
    judge = make_scorer(scorer, [item])
    answered = read_answer(item, f"Step 1: I look.\nAnswer: {say}", judge)
    assert answered.final != say or answered.correct is judge.score(item, say)
    return judge.score(item, say)


@sayings("choice")
def test_the_choice_that_is_named_is_right_and_no_other(row: dict[str, Any]) -> None:
    choices, question = tuple(row["choices"]), row.get("question", "q")
    found = [place for place, gold in enumerate(choices) if right("choice", row["say"], (gold,), choices, question)]
    assert found == ([] if row["expect"] is None else [row["expect"]]), row["why"]


@sayings("number")
def test_the_number_that_is_given_is_right_and_no_other(row: dict[str, Any]) -> None:
    found, expected = read_number(row["say"]), row["expect"]
    if expected is None:
        assert found is None, row["why"]
        assert not any(right("number", row["say"], (str(n),)) for n in range(13)), row["why"]
    else:
        assert found is not None, row["why"]
        assert found.value == pytest.approx(expected, rel=1e-9), row["why"]
        assert right("number", row["say"], (repr(expected),)) is True
        assert not any(
            right("number", row["say"], (repr(other),))
            for other in {expected * 1.01 + 1, expected * 2, -expected} - {expected}
        )


@sayings("exact", "any_of", "vqa")
def test_a_saying_is_right_as_a_person_would_judge_it(row: dict[str, Any]) -> None:
    gold = tuple(row["gold"])
    assert right(row["scorer"], row["say"], gold) is row["expect"], row["why"]
    assert not right(row["scorer"], row["say"], ("something else",))


HEDGES = [row for row in SAYINGS if row["expect"] in (None, False) and row["why"].startswith(("doubt", "no answer"))]


@pytest.mark.parametrize("row", HEDGES, ids=[repr(row["say"]) for row in HEDGES])
def test_no_scorer_takes_a_hedge_for_an_answer(row: dict[str, Any]) -> None:
    say, choices = row["say"], tuple(row.get("choices", PARTS))
    assert not any(right("choice", say, (gold,), choices) for gold in choices)
    assert read_number(say) is None
    for scorer in ("exact", "any_of", "vqa"):
        assert not any(right(scorer, say, (gold,)) for gold in ("A", "B", "3", "red", "crimson", *choices))


WRAPPINGS: list[Callable[[str], str]] = [
    lambda text: rf"\boxed{{{text}}}",
    lambda text: rf"\text{{{text}}}",
    lambda text: rf"\mathbf{{{text}}}",
    lambda text: f"${text}$",
    lambda text: rf"\({text}\)",
    lambda text: f"**{text}**",
    lambda text: f"*{text}*",
    lambda text: f"`{text}`",
    lambda text: f"<answer>{text}</answer>",
    lambda text: f"<b>{text}</b>",
    lambda text: f"({text})",
    lambda text: f"[{text}]",
    lambda text: f"{text}.",
]


@given(st.sampled_from("ABCD"), st.lists(st.sampled_from(WRAPPINGS), max_size=4))
def test_a_letter_in_any_markup_is_that_letter(letter: str, wrappings: list[Callable[[str], str]]) -> None:
    said = letter
    for wrap in wrappings:
        said = wrap(said)
    assert read_choice(said, PARTS) == "ABCD".index(letter)


@given(st.integers(0, 10**9), st.lists(st.sampled_from(WRAPPINGS[:10]), max_size=4))
def test_a_number_in_any_markup_is_that_number(value: int, wrappings: list[Callable[[str], str]]) -> None:
    said = str(value)
    for wrap in wrappings:
        said = wrap(said)
    found = read_number(said)
    assert found is not None
    assert found.value == value


@given(st.sampled_from([row for row in SAYINGS if row["scorer"] == "choice"]), st.text(" \t\n", max_size=3))
def test_spaces_around_a_saying_change_nothing(row: dict[str, Any], spaces: str) -> None:
    choices, question = tuple(row["choices"]), row.get("question", "")
    assert read_choice(spaces + row["say"] + spaces, choices, question) == read_choice(row["say"], choices, question)


@given(
    st.lists(st.sampled_from("ABCD"), min_size=2, max_size=4, unique=True),
    st.sampled_from([", ", "/", " or ", " and ", " & ", "、", " oder ", "或"]),
)
def test_several_letters_name_nothing(letters: list[str], between: str) -> None:
    assert read_choice(between.join(letters), PARTS) is None


PIECES = [
    *(
        "A",
        "B",
        "b",
        "(B)",
        "screw",
        "lid",
        "5",
        "3,14",
        "two",
        "五",
        "ب",
        "Б",
        "not",
        "or",
        "because",
        "the answer is",
        "答案是",
    ),
    *(
        "**",
        "$",
        "`",
        "\\boxed{",
        "\\frac{",
        "}",
        "{",
        "^",
        "<answer>",
        "</answer>",
        "\n",
        " ",
        ".",
        ",",
        ":",
        "-",
        "=",
        "%",
        "\\",
    ),
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)))
def test_any_text_is_read_without_an_error_and_unwrapped_text_alike(text: str) -> None:
    vqa_form(text), read_number(text), read_choice(text, PARTS)
    assert plain(text) == plain(f"  {text}\n") or not text.strip()
    assert read_choice(text, PARTS) in (None, 0, 1, 2, 3)
    assert isinstance(unwrap(text), str)


#: What a long text may be made of.
UNITS = (
    r"a¦A ¦B, ¦(¦ ¦.¦1¦1 ¦1,¦1.¦1/¦*¦**a ¦_¦$a¦`¦\¦\frac{¦{¦}¦\boxed{B}¦\boxed{¦<b>¦<answer>B</answer>¦the answer is ¦the ¦not B "
    r"¦です¦三¦万 ¦one ¦hundred and ¦point ¦- ¦# ¦因为¦or ¦①¦½¦٣¦^{¦10^¦so ¦'¦5=¦screw "
)


@pytest.mark.parametrize("unit", UNITS.split("¦"))
def test_a_long_text_is_read_in_time_that_grows_with_its_length(unit: str) -> None:
    """Four times the text may take twelve times as long; were the time quadratic, it would be sixteen."""
    short, long = (_seconds(unit * (size // len(unit))) for size in (10_000, 40_000))
    assert long < 12 * short + 0.5


def _seconds(text: str) -> float:
    start = time.process_time()
    read_choice(text, PARTS), read_number(text), vqa_form(text)
    return time.process_time() - start
