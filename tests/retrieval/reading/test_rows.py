"""Fields under the names that data sets give them, choices, markers, turns: what a row says."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import PoolRow, SetAside, read_pool
from retrieval.reading.cells import Choices, read_choices, with_choices
from retrieval.reading.chats import UnusableError, without_markers
from retrieval.reading.names import Row
from retrieval.reading.understood import Columns, commonest


@pytest.mark.parametrize("name", ["Image Path", "image_path", "imagePath", "IMAGE-PATH"])
def test_a_field_is_found_whatever_its_spelling(name: str) -> None:
    row = Row({name: "a.png"})
    assert row.images() == "a.png"
    assert row.used == {name}


def test_pictures_in_several_columns_come_in_the_order_of_their_numbers() -> None:
    row = Row({"image_2": "b", "image_10": "c", "image_1": "a", "image_3": None})
    assert row.images() == ["a", "b", "c"]
    assert row.used == {"image_1", "image_2", "image_10"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"A": "lid", "B": "screw", "C": None}, {"a": "lid", "b": "screw", "c": None}),
        ({"option_a": "lid", "option_b": "screw"}, {"a": "lid", "b": "screw"}),
        ({"choice1": "lid", "choice2": "screw"}, {"1": "lid", "2": "screw"}),
        ({"Option 0": "lid", "Option 1": "screw"}, {"0": "lid", "1": "screw"}),
        ({"A": "only"}, {}),
        ({"B": "not", "C": "the first"}, {}),
        ({"1": "a table's", "2": "own numbers"}, {}),
    ],
)
def test_choices_may_have_a_column_each(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Row(fields).choice_columns() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["lid", "screw"], Choices(("lid", "screw"))),
        ("lid|screw", Choices(("lid", "screw"))),
        ('["lid", "a|b"]', Choices(("lid", "a|b"))),
        ("['lid', 'it\\'s']", Choices(("lid", "it's"))),
        (["A. lid", "B. screw"], Choices(("lid", "screw"))),
        (["lid", "", "foot", None, ""], Choices(("lid", "", "foot"))),
        ({"text": ["lid", "foot"], "label": ["1", "2"]}, Choices(("lid", "foot"), ("1", "2"))),
        ([{"label": "A", "text": "lid"}, {"label": "B", "text": "foot"}], Choices(("lid", "foot"), ("A", "B"))),
        ({"B": "foot", "A": None, "D": "lid"}, Choices(("", "foot", "", "lid"), ("A", "B", "C", "D"))),
        ({"10": "tenth", "9": "ninth"}, Choices(("ninth", "tenth"), ("9", "10"))),
        (None, Choices(())),
    ],
)
def test_choices_keep_the_places_of_their_letters(value: Any, expected: Choices) -> None:
    assert read_choices(value) == expected


def test_a_letter_without_a_choice_is_not_shown() -> None:
    assert with_choices("Which?", ("lid", "", "foot")) == "Which?\nA. lid\nC. foot"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("<image>\nWhat is it?", "What is it?"),
        ("<image>What is it?", "What is it?"),
        ("<image> What is it?", "What is it?"),
        ("<image> what is it", "what is it"),
        ("<image><image>\n<image>\nWhat differs?", "What differs?"),
        ("What is it?\n<image>", "What is it?"),
        ("Describe it. <image>", "Describe it."),
        ("What is it?<image>", "What is it?"),
        ("Is <image> older than <image>?", "Is image 1 older than image 2?"),
        ("What differs between <image> and <image>", "What differs between image 1 and image 2"),
        ("<image> shows the part before, <image> after.", "image 1 shows the part before, image 2 after."),
        ("<image>\nIs <image> like it?", "Is image 2 like it?"),
        ("<image>和<image>有什么不同？", "image 1和image 2有什么不同？"),
        ("<image>这是什么？", "这是什么？"),
        ("In <image 2>, what is at <image_1>?", "In image 2, what is at image 1?"),
        ("<IMAGE>\nWhat?", "What?"),
        ("<image>", ""),
    ],
)
def test_markers_are_taken_out_where_they_are_no_part_of_a_sentence(question: str, expected: str) -> None:
    assert without_markers(question, True) == expected


@given(
    st.lists(st.sampled_from(["<image>", "<image 2>", "\n", " ", "What", "is", "?", "it."]), max_size=9).map("".join)
)
def test_no_marker_is_left_and_no_word_is_lost(question: str) -> None:
    found = without_markers(question, True)
    assert "<image" not in found
    words = question.replace("<image 2>", "").replace("<image>", "").split()
    assert "".join(words) in "".join(found.split()) or "image" in found
    try:
        bare = without_markers(question, False)
    except UnusableError:
        assert "<image" in question
    else:
        assert bare == question.strip()


def one(tmp_path: Path, row: dict[str, Any]) -> PoolRow | SetAside:
    (tmp_path / "pool.jsonl").write_text(json.dumps(row) + "\n")
    return next(iter(read_pool(tmp_path / "pool.jsonl")))


ASKED, SAID = {"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A box."}


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"conversations": [{"from": "gpt", "value": "Hello!"}, ASKED, SAID]}, [("What is it?", "A box.")]),
        ({"conversations": [ASKED, SAID], "system": "Be short."}, [("Be short.\nWhat is it?", "A box.")]),
        (
            {
                "messages": [
                    {"role": "developer", "content": "Be short."},
                    *({"role": r, "content": r} for r in ("user", "assistant")),
                ]
            },
            [("Be short.\nuser", "assistant")],
        ),
        (
            {"instruction": "And now?", "output": "Red.", "history": [["What?", "A cup."]], "system": "Be short."},
            [("Be short.\nWhat?", "A cup."), ("And now?", "Red.")],
        ),
        ({"query": "q", "response": "a", "history": []}, [("q", "a")]),
        ({"problem": "q", "answer": "B", "A": "lid", "B": "foot"}, [("q\nA. lid\nB. foot", "B")]),
    ],
)
def test_turns_are_read_whole(tmp_path: Path, row: dict[str, Any], turns: list[tuple[str, str]]) -> None:
    found = one(tmp_path, row)
    assert isinstance(found, PoolRow), found
    assert [(turn.question, turn.answer) for turn in found.turns] == turns


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
            "two messages of the user follow each other",
        ),
        ({"conversations": [ASKED, SAID, SAID]}, "two messages of the assistant follow each other"),
        ({"conversations": [ASKED, SAID], "video": "a.mp4"}, "it shows a video, and only pictures are read"),
        ({"question": "q", "answer": "a", "audios": ["a.wav"]}, "it shows a sound, and only pictures are read"),
        (
            {"question": "q", "answer": "a", "history": ["loose"]},
            "`history` is no list of questions with their answers",
        ),
    ],
)
def test_what_cannot_be_read_says_what_is_wrong(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    found = one(tmp_path, row)
    assert isinstance(found, SetAside)
    assert reason in found.reason


def test_an_id_that_comes_again_gets_a_number(tmp_path: Path) -> None:
    rows = [{"id": name, "question": str(n), "answer": "a"} for n, name in enumerate(["7", "7", "7#2", "7", 7])]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ids = [row.id for row in read_pool(tmp_path / "pool.jsonl")]
    assert ids == ["7", "7#2", "7#2#2", "7#3", "7#4"]


def test_columns_that_nothing_was_made_of_are_named_and_those_that_look_like_pictures() -> None:
    columns = Columns()
    for fields in ({"question": "q", "hint": "h", "scan": "a.PNG"}, {"question": "q", "image_id": 3}):
        row = Row(fields)
        row.first("question")
        columns.add(row.columns(), row.used, row.picture_like())
    assert columns.unused == ["hint", "scan", "image_id"]
    assert columns.pictures == ["scan", "image_id"]


def test_reasons_are_counted_by_what_they_say_and_not_by_what_they_quote() -> None:
    rows = [SetAside("", f"line {n}", f"there is no image /a/{n}.png") for n in range(5)] + [
        SetAside("", "line 9", "an empty answer")
    ]
    assert [(count, row.where) for count, row in commonest(rows)] == [(5, "line 0"), (1, "line 9")]
