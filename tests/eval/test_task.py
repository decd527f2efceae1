"""Items from the files that users bring."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eval import Item, Items, load_items, split_holdout
from retrieval import PoolRow, SetAside, read_pool
from retrieval.errors import DataError
from retrieval.pool.images import read_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    (tmp_path / "torn.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def jsonl(folder: Path, *rows: Any) -> Path:
    path = folder / "items.jsonl"
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def reasons(items: Items) -> list[tuple[str, str, str]]:
    return [(row.id, row.where, row.reason) for row in items.set_aside]


GOOD = {"id": "good", "question": "What colour?", "answer": "red", "image": "a.png"}


def test_every_format_gives_the_same_items(folder: Path) -> None:
    rows = [
        {"id": "x1", "image": "a.png", "question": "What colour?", "answer": "red", "choices": ["red", "blue"]},
        {"id": "x2", "image": "b.png", "question": "How, precisely?", "answer": "blue", "choices": ["red", "blue"]},
    ]
    lines = jsonl(folder, *rows)
    (folder / "items.json").write_text(json.dumps(rows))
    (folder / "wrapped.json").write_text(json.dumps({"version": 2, "data": rows}))
    with open(folder / "items.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "choices": "red|blue"} for row in rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    expected = load_items(lines).items
    assert [item.id for item in expected] == ["x1", "x2"]
    assert expected[0].images == (folder / "a.png",)
    for name in ("items.json", "wrapped.json", "items.csv", "items.parquet"):
        assert load_items(folder / name).items == expected, name


def test_conversations_give_question_image_and_final_answer(folder: Path) -> None:
    llava = {
        "id": "l",
        "image": "a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nHow many?"},
            {"from": "gpt", "value": "Step 1: three red.\nStep 2: two blue.\nAnswer: 5"},
        ],
    }
    trl = {
        "images": ["a.png", "b.png"],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Alike?"}, {"type": "image"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
        ],
    }
    inline = {
        "messages": [
            {"role": "user", "content": [{"type": "image", "image": "b.png"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": "a square"},
        ]
    }
    first, second, third = load_items(jsonl(folder, llava, trl, inline)).items
    assert (first.question, first.answers, first.images) == ("How many?", ("5",), (folder / "a.png",))
    assert (second.id, second.question, second.answers) == ("row-2", "Be brief.\nAlike?", ("yes",))
    assert second.images == (folder / "a.png", folder / "b.png")
    assert third.images == (folder / "b.png",)


def test_a_marker_inside_a_question_stays_part_of_what_is_asked(folder: Path) -> None:
    row = {"question": "<image>\n<image> Is <image> like image 1?<image>", "answer": "no", "images": ["a.png"] * 4}
    assert load_items(jsonl(folder, row)).items[0].question == "image 2 Is image 3 like image 1?image 4"
    text = {"question": "Is <image> a tag?", "answer": "yes"}
    assert load_items(jsonl(folder, text)).items[0].question == "Is <image> a tag?"


def said(asker: str, asked: Any, replier: str = "gpt", replied: Any = "a star") -> list[dict[str, Any]]:
    return [{"from": asker, "value": asked}, {"from": replier, "value": replied}]


CONVERSATIONS: list[dict[str, Any]] = [
    {"image": "a.png", "conversations": said("human", "<image>\nWhat is this?")},
    {"image": "a.png", "conversations": said("user", "What is this?\n<image>", "chatgpt")},
    {"image": "a.png", "conversations": said("human", "Is <IMAGE> a star?", "bing", 5.0)},
    {"image": "a.png", "conversations": json.dumps(said("human", "<image>\nWhat is this?"))},
    {"image": "a.png", "conversations": [{"from": "system", "value": "Be brief."}, *said("human", "<image>\nWhat?")]},
    {"conversations": None, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": True}]},
    {"messages": [{"role": "user", "content": "half \ud800"}, {"role": "assistant", "content": "a"}]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "image", "image": "b.png"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "a star"}]},
        ]
    },
    {"conversations": said("human", "<image>\nWhat is this?")},
    {"conversations": said("human", [{"type": "audio", "audio": "a.wav"}])},
    {"conversations": said("robot", "What is this?")},
    {"conversations": said("human", "What is this?")[:1]},
    {"conversations": said("human", None)},
    {"conversations": "What is this?"},
    {"conversations": "[" * 100_000},
    {"conversations": ["What is this?"]},
]


@pytest.mark.parametrize("row", CONVERSATIONS)
def test_a_conversation_is_read_as_a_pool_reads_it(folder: Path, row: dict[str, Any]) -> None:
    path = jsonl(folder, row, GOOD)
    sample = next(iter(read_pool(path)))
    found = load_items(path)
    if isinstance(sample, SetAside):
        assert [reason for _, _, reason in reasons(found)] == [sample.reason]
    else:
        item = found.items[0]
        assert isinstance(sample, PoolRow)
        assert [(item.question, item.answers[0])] == [(turn.question, turn.answer) for turn in sample.turns]
        assert item.images == sample.images


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"question": "broken', "not JSON"),
        ("[1, 2]", "not a JSON object but a list"),
        ("null", "not a JSON object but null"),
        ('"red"', "not a JSON object but a text"),
        ("7", "not a JSON object but a number"),
        ({**GOOD, "question": "  "}, "question is missing or empty"),
        ({"id": "bad", "words": "?", "answer": "x"}, "fields: id, words, answer"),
        ({**GOOD, "answer": ""}, "answer is missing or empty"),
        ({**GOOD, "answer": "green", "choices": ["red", "blue"]}, "“green” is none of its 2 choices"),
        ({**GOOD, "answer": "C", "choices": ["red", "blue"]}, "“C” is none of its 2 choices"),
        ({**GOOD, "choices": ["red"]}, "1 choice(s)"),
        ({**GOOD, "choices": ["red", "Red"]}, "two of its choices are the same"),
        ({**GOOD, "image": "nowhere.png"}, "there is no image"),
        ({**GOOD, "image": "torn.png"}, "torn.png"),
        ({**GOOD, "image": "text.png"}, "not an image"),
        ({**GOOD, "image": "https://example.org/a.png"}, "download it"),
        ({**GOOD, "image": "~nosuchuser/a.png"}, "no such user"),
        ({**GOOD, "image": "a" * 5000}, "File name too long"),
        ({**GOOD, "choices": "[" * 50_000}, "nested too deeply"),
        ({**GOOD, "id": "first"}, "it is items.jsonl, line 1 once more"),
        ({"id": "c", "conversations": [{"from": "human", "value": "?"}]}, "last question has no answer"),
        (
            {"id": "c", "conversations": [{"from": "robot", "value": "?"}] * 2},
            "a message is of 'robot'",
        ),
        ({"id": "c", "conversations": [{"from": w, "value": w} for w in ("user", "gpt") * 2]}, "has 2 questions"),
        ({"id": "c", "conversations": ["hello"]}, "no list of messages"),
        ({"question": "<image>\nWhat?", "answer": "x"}, "names no image"),
    ],
)
def test_a_bad_item_is_set_aside_with_a_reason_and_the_rest_goes_on(folder: Path, row: Any, words: str) -> None:
    found = load_items(jsonl(folder, {**GOOD, "id": "first"}, row, GOOD))
    assert [item.id for item in found.items] == ["first", "good"]
    ((_, where, reason),) = reasons(found)
    assert where == "items.jsonl, line 2"
    assert words in reason
    assert "\n" not in reason


def test_pictures_inside_a_table_are_written_to_files(folder: Path) -> None:
    held = (folder / "b.png").read_bytes()
    rows = [
        {"question": "q", "answer": "a", "image": {"bytes": b"PNG", "path": None}},
        {"question": "q", "answer": "a", "image": {"bytes": None, "path": "a.png"}},
        {"question": "q", "answer": "a", "image": {"bytes": held, "path": "away/b.png"}},
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    found = load_items(folder / "items.parquet", store=folder / "kept")
    assert [item.id for item in found.items] == ["row-2", "row-3"]
    assert "not an image" in found.set_aside[0].reason
    (kept,) = found.items[1].images
    assert kept.read_bytes() == held
    assert kept.is_relative_to(folder / "kept")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("items.txt", b"hello", "items.txt"),
        ("items.parquet", b"hello", "not a Parquet file"),
        ("items.json", b'[{"question": "a"', "not JSON"),
        ("items.csv", b"picture,label\na.png,red\n", "fields: picture, label"),
        ("items.csv", b"question,answer\n\xff\xfe,red\n", "UTF-8"),
        ("items.csv", b"question,answer,Answer,answer\nHow many?,3,4,5\n", "two columns called 'answer'"),
        ("items.json", b'{"data": ' + b"[" * 200_000, "line 1: not JSON"),
        ("items.jsonl", b"", "is empty"),
        ("items.jsonl", b"{}\n{}\n", "none of its 2 items can be read; the first, items.jsonl, line 1"),
    ],
)
def test_a_file_without_a_readable_item_is_an_error_in_one_sentence(
    folder: Path, name: str, content: bytes, words: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=r".") as caught:
        load_items(folder / name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_missing_image_folder_are_errors(folder: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_items(folder / "none.jsonl")
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        load_items(folder / ("a" * 300 + ".jsonl"))
    with pytest.raises(DataError, match="is no folder"):
        load_items(jsonl(folder, GOOD), folder / "pictures")


@pytest.mark.parametrize("gold", ["B", "b.", "(B)", "blue", " Blue ", "B. blue"])
def test_a_gold_answer_may_be_the_letter_or_the_text(folder: Path, gold: str) -> None:
    row = {**GOOD, "answer": gold, "options": ["A. red", "B. blue"]}
    item = load_items(jsonl(folder, row)).items[0]
    assert item.choices == ("red", "blue")
    assert item.answers == ("blue",)
    assert item.prompt_text == "What colour?\nA. red\nB. blue"


def test_values_that_are_no_text_are_read_as_a_person_would_write_them(folder: Path) -> None:
    rows = [{"id": 7, "question": "q", "answer": value} for value in (0, 2.0, 2.5, True)]
    items = load_items(jsonl(folder, *({**row, "id": index} for index, row in enumerate(rows)))).items
    assert [item.answers for item in items] == [("0",), ("2",), ("2.5",), ("true",)]
    assert [item.id for item in items] == ["0", "1", "2", "3"]


def test_annotators_answers_keep_their_repetitions_with_the_commonest_first(folder: Path) -> None:
    row = {"question": "q", "answers": [{"answer": "navy"}, {"answer": "blue"}, {"answer": "Blue"}]}
    assert load_items(jsonl(folder, row)).items[0].answers == ("blue", "Blue", "navy")


def test_limit_counts_readable_items(folder: Path) -> None:
    rows = [{**GOOD, "id": "bad", "question": ""}, *({**GOOD, "id": f"g{n}"} for n in range(5))]
    found = load_items(jsonl(folder, *rows), limit=2)
    assert [item.id for item in found.items] == ["g0", "g1"]
    assert len(found.set_aside) == 1


ids = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), unique=True, min_size=300, max_size=320)


@given(ids, st.integers(0, 5), st.randoms())
def test_the_split_covers_all_items_and_does_not_depend_on_their_order(
    names: list[str], seed: int, random: Any
) -> None:
    items = [Item(name, "q", ("a",)) for name in names]
    validation, holdout = split_holdout(items, 0.3, seed)
    assert len(holdout) == round(0.3 * len(items))
    assert sorted(items, key=lambda i: i.id) == sorted(validation + holdout, key=lambda i: i.id)
    random.shuffle(items)
    assert set(split_holdout(items, 0.3, seed)[1]) == set(holdout)


def test_few_items_keep_no_holdout() -> None:
    items = [Item(str(n), "q", ("a",)) for n in range(299)]
    assert split_holdout(items, 0.3, 0) == (tuple(items), ())


@pytest.mark.parametrize("name", ["items.json", "wrapped.json", "items.jsonl"])
def test_a_number_of_thousands_of_digits_is_read_as_its_text(folder: Path, name: str) -> None:
    rows = [GOOD, {**GOOD, "id": "long", "answer": 0}]
    text = {
        "items.json": json.dumps(rows),
        "wrapped.json": json.dumps({"data": rows}),
        "items.jsonl": "\n".join(map(json.dumps, rows)),
    }[name]
    (folder / name).write_text(text.replace('"answer": 0', f'"answer": {"9" * 5000}'))
    assert [item.answers for item in load_items(folder / name).items] == [("red",), ("9" * 5000,)]


def test_a_reason_names_the_image_once(folder: Path) -> None:
    (folder / "empty.png").write_bytes(b"")
    reason = load_items(jsonl(folder, GOOD, {**GOOD, "id": "e", "image": "empty.png"})).set_aside[0].reason
    assert reason == f"{folder / 'empty.png'}: the image file is empty"


@pytest.mark.parametrize("how", ["absolute", "dots", "a link", "through a linked folder", "its own folder"])
def test_a_picture_outside_the_image_folder_is_read_only_if_that_is_said(folder: Path, how: str) -> None:
    """Else a downloaded file could name what was never meant to leave the machine."""
    inside = folder / "inside"
    inside.mkdir()
    (inside / "link.png").symlink_to(folder / "a.png")
    (inside / "linked").symlink_to(folder)
    named = {
        "absolute": str(folder / "a.png"),
        "dots": "../a.png",
        "a link": "link.png",
        "through a linked folder": "linked/a.png",
        "its own folder": f"../{inside.name}/../a.png",
    }[how]
    shutil.copy(folder / "b.png", inside / "b.png")
    good = [{**GOOD, "id": name, "image": name} for name in ("b.png", "./b.png", str(inside / "b.png"))]
    path = jsonl(inside, {**GOOD, "id": "private", "image": named}, *good)
    found = load_items(path)
    assert [item.id for item in found.items] == ["b.png", "./b.png", str(inside / "b.png")]
    assert [each.id for each in found.set_aside] == ["private"]
    assert "data.images_anywhere" in found.set_aside[0].reason
    assert len(load_items(path, anywhere=True).items) == 4
    rows = [row for row in read_pool(path) if isinstance(row, PoolRow)]
    assert [row.id for row in rows] == [item.id for item in found.items]
    assert len([row for row in read_pool(path, anywhere=True) if isinstance(row, PoolRow)]) == 4
    (linked := folder.parent / f"{folder.name}-linked").symlink_to(inside)
    assert len(load_items(linked / path.name).items) == 3, "the folder itself may be a link"


def test_a_pipe_is_no_picture_and_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    (aside,) = load_items(jsonl(folder, {**GOOD, "id": "pipe", "image": "pipe.png"}, GOOD)).set_aside
    assert "pipe.png" in aside.reason
    with pytest.raises(DataError, match="not a file"):
        read_image(folder / "pipe.png")
