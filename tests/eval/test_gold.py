"""What gold answers mean, and what a file is said to hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eval import Items, load_items
from eval.gold import Answers
from retrieval.errors import DataError

FOUR = ["lid", "screw", "handle", "foot"]


def read(tmp_path: Path, *rows: dict[str, Any], answers: Answers = "auto") -> Items:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps({"question": f"Which, {n}?", **row}) + "\n" for n, row in enumerate(rows)))
    return load_items(path, answers=answers)


def golds(found: Items) -> list[str]:
    return [item.answers[0] for item in found.items]


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"choices": FOUR, "answer": "B"}, "screw"),
        ({"choices": FOUR, "answer": "(b)"}, "screw"),
        ({"choices": FOUR, "answer": "Screw"}, "screw"),
        ({"choices": FOUR, "answer": "\\boxed{B}"}, "screw"),
        ({"choices": FOUR, "answer": "B. The screw, because it is loose."}, "screw"),
        ({"A": "lid", "B": "screw", "C": "handle", "D": "foot", "answer": "C"}, "handle"),
        ({"choices": {"text": FOUR, "label": ["A", "B", "C", "D"]}, "answerKey": "D"}, "foot"),
        ({"choices": {"text": FOUR, "label": ["1", "2", "3", "4"]}, "answerKey": "2"}, "screw"),
        ({"choices": {"text": ["4", "3", "2", "1"], "label": ["1", "2", "3", "4"]}, "answerKey": "2"}, "3"),
        ({"choices": FOUR, "correct_choice_idx": 0}, "lid"),
        ({"choices": ["lid", None, "handle"], "answer": "C"}, "handle"),
        ({"choices": {"A": None, "B": "screw", "C": "handle"}, "answer": "B"}, "screw"),
        ({"choices": ["10", "20", "30"], "answer": 20}, "20"),
    ],
)
def test_what_is_plain_is_read(tmp_path: Path, row: dict[str, Any], gold: str) -> None:
    assert golds(read(tmp_path, row)) == [gold]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"choices": FOUR, "answer": "A, C"}, "names several of its choices"),
        ({"choices": FOUR, "answer": "B;D"}, "names several of its choices"),
        ({"choices": FOUR, "answer": "AC"}, "names several of its choices"),
        ({"choices": FOUR, "answer": "A and C"}, "names several of its choices"),
        ({"choices": FOUR, "answer": "A or C"}, "names several of its choices"),
        ({"choices": FOUR, "answer": ["A", "C"]}, "names 2 of its choices"),
        ({"choices": ["lid", "", "foot"], "answer": "B"}, "none of its 2 choices"),
        ({"choices": FOUR, "correct_choice_idx": 4}, "none of its 4 choices, by its place"),
    ],
)
def test_what_names_several_or_none_is_set_aside(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    found = read(tmp_path, row, {"choices": FOUR, "answer": "A"})
    assert len(found.items) == 1
    assert reason in found.set_aside[0].reason


OPEN = [{"choices": ["1", "2", "3", "4"], "answer": 2}, {"choices": ["lid", "foot"], "answer": 1}]


def test_digits_that_may_mean_this_or_that_are_refused_until_the_user_says(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"a gold answer of “2” among the choices 1 / 2 / 3 / 4 may be .*; set data.answers to"
    ):
        read(tmp_path, *OPEN)
    assert golds(read(tmp_path, *OPEN, answers="index")) == ["3", "foot"]
    assert golds(read(tmp_path, *OPEN, answers="letter")) == ["2", "lid"]
    assert golds(read(tmp_path, OPEN[0], {"choices": FOUR, "answer": "B"}, answers="text")) == ["2", "screw"]


def test_the_other_answers_of_a_file_show_what_digits_are(tmp_path: Path) -> None:
    """ScienceQA counts from 0: no letter has the number 0, and hardly a choice is a digit."""
    rows = [{"choices": FOUR, "answer": n % 4} for n in range(20)]
    found = read(tmp_path, *rows, {"choices": ["0", "1", "2"], "answer": 1})
    assert golds(found)[:4] == FOUR
    assert golds(found)[-1] == "1"
    assert "answers are places of choices from 0" in found.understood
    numbers = [{"choices": ["12", "3", str(n), "40"], "answer": n} for n in range(50, 70)]
    assert golds(read(tmp_path, *numbers)) == [str(n) for n in range(50, 70)]


def test_what_was_understood_is_said(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    choices = {"choices": FOUR, "answer": "A", "split": "dev", "hint": "Look."}
    found = read(tmp_path, *({**choices, "image": "a.png"} for _ in range(3)))
    assert found.understood == "3 items, 3 with a picture, 4 choices each, answers are letters; not used: split, hint"
    assert found.warning == ""
    found = read(tmp_path, *({**choices, "scan": "a.png"} for _ in range(2)))
    assert found.understood.startswith("2 items, none with a picture, 4 choices each")
    assert found.warning == "warning: no item has a picture, though `scan` may name one: name the files in `image`"


def test_the_same_id_on_other_items_is_made_another(tmp_path: Path) -> None:
    found = read(tmp_path, {"id": 7, "answer": "a"}, {"id": 7, "answer": "b"})
    assert [item.id for item in found.items] == ["7", "7#2"]
