"""What answers say, row by row (`sayings.jsonl`): read as a person would read it, or not at all.

A row has the scorer, the language, what is said, what is to be read in it (a choice's letter, a number, or null for nothing; for
the scorers that compare, `gold` and whether it is right), and why.
"""

import json
from collections import Counter
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.choices import read_choice
from eval.markup import unmarked
from eval.numbers import read_number
from eval.scorers import make_scorer
from eval.task import Item

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "sayings.jsonl").read_text("utf-8").splitlines()
]


def by_scorer(*names: str) -> list[Any]:
    return [pytest.param(row, id=f"{row['lang']}-{row['saying'][:40]!a}") for row in ROWS if row["scorer"] in names]


def right(row: dict[str, Any], *golds: str) -> bool | None:
    item = Item("1", "?", golds, choices=tuple(row.get("choices", ())))
    return make_scorer(row["scorer"], [item]).score(item, row["saying"])


@pytest.mark.parametrize("row", by_scorer("choice"))
def test_a_choice_is_read_or_none(row: dict[str, Any]) -> None:
    read = read_choice(row["saying"], row["choices"])
    assert (None if read is None else ascii_uppercase[read]) == row["expected"], row["why"]
    scored = {ascii_uppercase[place] for place, gold in enumerate(row["choices"]) if right(row, gold)}
    assert scored == {row["expected"]} - {None}


@pytest.mark.parametrize("row", by_scorer("number"))
def test_a_number_is_read_or_none(row: dict[str, Any]) -> None:
    read = read_number(row["saying"])
    if row["expected"] is None:
        assert read is None, row["why"]
    else:
        assert read is not None
        assert read.value == pytest.approx(row["expected"], rel=1e-9), row["why"]
        assert right(row, str(row["expected"]))
        assert not right(row, str(row["expected"] * 3 + 7))


@pytest.mark.parametrize("row", by_scorer("exact", "vqa"))
def test_an_answer_is_the_gold_one_or_not(row: dict[str, Any]) -> None:
    assert right(row, row["gold"]) is row["expected"], row["why"]


def test_the_table_covers_what_it_is_to_cover() -> None:
    assert len(ROWS) >= 300
    assert len({row["lang"] for row in ROWS}) >= 5
    assert all(row["why"] for row in ROWS)
    seen = Counter((row["scorer"], row["saying"], row.get("gold"), tuple(row.get("choices", ()))) for row in ROWS)
    assert [row for row, times in seen.items() if times > 1] == []


WRAPS = [
    r"\boxed{%s}",
    "$%s$",
    r"\text{%s}",
    "**%s**",
    "`%s`",
    "<answer>%s</answer>",
    "(%s)",
    "The answer is %s",
    "%s.",
]


@given(st.sampled_from("ABCD"), st.lists(st.sampled_from(WRAPS), max_size=3, unique=True))
def test_a_letter_is_read_whatever_it_is_wrapped_in(letter: str, wraps: list[str]) -> None:
    said = letter
    for wrap in wraps:
        said = wrap % said
    assert read_choice(said, ("one", "two", "three", "four")) == "ABCD".index(letter)


@given(st.permutations("ABCD"), st.sampled_from([" or ", "/", " & ", ", ", " and ", "; ", " oder ", " ou "]))
def test_two_letters_are_no_answer_however_they_are_joined(letters: list[str], joined: str) -> None:
    assert read_choice(joined.join(letters[:2]), ("one", "two", "three", "four")) is None


@given(st.text(max_size=300))
def test_any_text_is_read_without_trouble(text: str) -> None:
    unmarked(text), read_number(text), read_choice(text, ("one", "two"))


@pytest.mark.parametrize("piece", ["*a ", "\\boxed{", "$", "the answer is ", "1,", "one ", "(", "<b>", "a or ", " "])
def test_a_long_text_takes_no_long_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    unmarked(text), read_number(text), read_choice(text, ("one", "two"))
