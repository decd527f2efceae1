import csv
import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import PoolRow, Sample, SetAside, Turn, read_pool, write_trl
from retrieval.pool.importing import FORMAT
from retrieval.storage.files import digest
from tests.retrieval.conftest import draw_scene


def _one(tmp_path: Path, row: dict[str, Any], **options: Any) -> PoolRow | SetAside:
    path = tmp_path / "pool.jsonl"
    path.write_text(json.dumps(row))
    return next(iter(read_pool(path, **options)))


def _good(found: PoolRow | SetAside) -> PoolRow:
    assert isinstance(found, PoolRow), found
    return found


_ASKED = {"from": "human", "value": "<image>\nWhat is this?"}
_SAID = {"from": "gpt", "value": "A star."}


def _shown(part: dict[str, Any]) -> dict[str, Any]:
    """A conversation whose question holds this part."""
    asked = {"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]}
    return {"messages": [asked, {"role": "assistant", "content": "A star."}]}


SHAPES: dict[str, dict[str, Any]] = {
    "LLaVA": {"image": "a.png", "conversations": [_ASKED, _SAID]},
    "ShareGPT": {
        "images": ["a.png"],
        "conversations": [{"from": "user", "value": "What is this?"}, {"from": "assistant", "value": "A star."}],
    },
    "messages": {
        "images": ["a.png"],
        "messages": [{"role": "user", "content": "What is this?"}, {"role": "assistant", "content": "A star."}],
    },
    "parts": {
        "images": ["a.png"],
        "messages": [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "A star."}]},
        ],
    },
    "parts that name their image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": "a.png", "text": None},
                    {"type": "text", "image": None, "text": "What is this?"},
                ],
            },
            {"role": "assistant", "content": "A star."},
        ],
    },
    "prompt and completion": {
        "image": "a.png",
        "prompt": [{"role": "user", "content": "What is this?"}],
        "completion": [{"role": "assistant", "content": "A star."}],
    },
    "texts": {
        "images": [{"path": "a.png", "bytes": None}],
        "texts": [{"user": "What is this?", "assistant": "A star."}],
    },
    "plain": {"image": "a.png", "question": "What is this?", "answer": "A star."},
    "Vision-Flan": {"image": "a.png", "task_name": "shapes", "conversations": [_ASKED, _SAID]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_format_gives_the_same_sample(tmp_path: Path, shape: str) -> None:
    row = _good(_one(tmp_path, {"id": "x", **SHAPES[shape]}))
    assert row.turns == (Turn("What is this?", "A star."),)
    assert row.images == (tmp_path / "a.png",)
    assert row.id == "x"


def test_later_turns_systems_choices_and_sources_are_kept(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}] + [
        {"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True)
    ]
    row = _good(_one(tmp_path, {"messages": chat, "source": "chats"}))
    assert row.turns == (Turn("Be brief.\na", "b"), Turn("c", "d"))
    assert (row.images, row.source, row.id) == ((), "chats", "row-00000001")
    asked = _good(_one(tmp_path, {"id": 7, "question": "Which?", "choices": ["red", "blue"], "answer": "A"}))
    assert asked.turns == (Turn("Which?\nA. red\nB. blue", "A"),)
    assert asked.id == "7"


@pytest.mark.parametrize("choices", ["red|blue", '["red", "blue"]', '["A. red", "B. blue"]'])
def test_choices_of_a_csv_are_shown_as_those_of_items_are(tmp_path: Path, choices: str) -> None:
    with open(tmp_path / "pool.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["question", "options", "answer", "images"], ["Which?", choices, "B", "a.png|b.png"]]
        )
    row = _good(next(iter(read_pool(tmp_path / "pool.csv"))))
    assert row.turns == (Turn("Which?\nA. red\nB. blue", "B"),)
    assert row.images == (tmp_path / "a.png", tmp_path / "b.png")


def test_markers_go_from_the_ends_and_become_words_inside_a_sentence(tmp_path: Path) -> None:
    row = {"images": ["a.png", "b.png"], "question": "Compare <image> with <image>.", "answer": "Same."}
    assert _good(_one(tmp_path, row)).turns[0].question == "Compare image 1 with image 2."
    row["question"] = "Is <IMAGE> the first?\n<image>"
    assert _good(_one(tmp_path, row)).turns[0].question == "Is image 1 the first?"
    row["question"] = "<image>\nIs <Image> the second?"
    assert _good(_one(tmp_path, row)).turns[0].question == "Is image 2 the second?"
    row["question"] = "<image><image>\nSame?\n"
    assert _good(_one(tmp_path, row)).turns[0].question == "Same?"
    plain = {"question": "Is <image> a tag?", "answer": "no"}
    assert _good(_one(tmp_path, plain)).turns[0].question == "Is <image> a tag?"


def test_images_are_counted_over_all_turns(tmp_path: Path) -> None:
    asked = ["<image> What?", "And <image>?", "Is <image> last?"]
    chat = [{"role": role, "content": text} for ask in asked for role, text in (("user", ask), ("assistant", "a"))]
    row = _good(_one(tmp_path, {"images": ["a.png", "b.png", "c.png"], "messages": chat}))
    assert [turn.question for turn in row.turns] == ["What?", "And image 2?", "Is image 3 last?"]


def test_image_paths_are_relative_to_the_folder_given(tmp_path: Path) -> None:
    assert _good(_one(tmp_path, SHAPES["LLaVA"], images=tmp_path / "z")).images == (tmp_path / "z" / "a.png",)


def test_pictures_inside_a_parquet_file_come_as_bytes(tmp_path: Path) -> None:
    buffer = BytesIO()
    draw_scene(1).save(buffer, "PNG")
    table = pa.table({"image": [{"bytes": buffer.getvalue(), "path": None}], "question": ["q"], "answer": ["a"]})
    pq.write_table(table, tmp_path / "pool.parquet")
    assert _good(next(iter(read_pool(tmp_path / "pool.parquet")))).images == (buffer.getvalue(),)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "hello"}, "no conversations"),
        ({"conversations": []}, "no conversations"),
        ({"conversations": [{"from": "system", "value": "Be brief."}]}, "in which nothing is asked"),
        ({"conversations": "[" * 100_000}, "nested too deeply"),
        ({"question": "q", "choices": "[" * 50_000, "answer": "a"}, "nested too deeply"),
        ({"question": "q", "answer": math.nan}, "no question with an answer (its fields: id, question)"),
        ({"conversations": "hello"}, "no list of messages"),
        ({"conversations": [_ASKED]}, "has no answer"),
        ({"image": "a.png", "conversations": [_SAID, _ASKED]}, "has no answer"),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "tool", "content": "x"}]}, "a message of a tool"),
        ({"messages": [{"role": "user", "content": 1.5j.imag}, {"role": "assistant", "content": None}]}, "no text"),
        ({"conversations": [_ASKED, _SAID]}, "names no image"),
        ({"question": " ", "answer": "a"}, "empty question"),
        ({"image": "a.png", "question": "<image>", "answer": "a"}, "empty question"),
        ({"question": "q", "answer": " "}, "empty answer"),
        ({"question": "q", "answer": "a", "image": 3}, "neither a path nor a picture"),
        ({"question": "q", "answer": "a", "image": "https://example.org/a.png"}, "download"),
        ({"texts": [{}, 3]}, "no text"),
        ({"question": "q", "choices": ["one"], "answer": "one"}, "1 choice"),
        (_shown({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}), "not fetched"),
        (_shown({"type": "image_url", "image_url": "data:image/png;base64,AAAAA"}), "in base64 is cut off or damaged"),
        (_shown({"type": "image_url", "image_url": None}), "names no image"),
        (_shown({"type": "video", "video": "a.mp4"}), "it shows a video"),
    ],
)
def test_what_is_no_sample_is_set_aside_with_the_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    found = _one(tmp_path, {"id": "bad", **row})
    assert isinstance(found, SetAside)
    assert reason in found.reason
    assert (found.id, found.where) == ("bad", "pool.jsonl, line 1")


def test_the_images_column_goes_before_what_messages_name(tmp_path: Path) -> None:
    row = _shown({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}})
    assert _good(_one(tmp_path, {**row, "images": ["b.png"]})).images == (tmp_path / "b.png",)


PINNED: list[dict[str, Any]] = [
    *SHAPES.values(),
    {"id": 7, "question": "Which?", "choices": ["A. red", "B. blue"], "answer": "A", "source": "s"},
    {"question": "Which?", "options": "red|blue", "answer": True},
    {"instruction": "Translate.", "input": "Hund", "output": "dog"},
    {"images": "a.png|b.png", "query": "Is <IMAGE> like <image>?\n<image>", "response": 3.5},
    {"conversations": json.dumps([{"from": "system", "value": "Be brief."}, {"from": "human", "value": "q"}, _SAID])},
    {"messages": [{"role": "user", "content": "q"}]},
    {"question": "<image>?", "answer": "a"},
    {"question": "q", "choices": ["one"], "answer": "one"},
    {"conversations": None, "messages": [], "question": "q", "answer": 5.0},
    {"image": "a.png", "conversations": [{"from": "system", "value": "Be brief."}, _ASKED, _SAID]},
    {"question": "half \ud800", "answer": "a", "id": "\ud800", "source": "\ud800"},
    {
        "id": 7,
        "image_path": "a.png",
        "query": "<image> is older than <image 2>?",
        "response": "no",
        "history": [["q", "a"]],
    },
    {
        "id": 7,
        "Image_1": "a.png",
        "image_2": "b.png",
        "prompt": "Which?",
        "A": "left",
        "B": None,
        "C": "right",
        "answer": "C",
    },
]


def test_records_are_read_as_the_version_in_the_pools_key_says(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PINNED))
    rows = [
        [
            row.id,
            [[turn.question, turn.answer] for turn in row.turns],
            [Path(str(p)).name for p in row.images],
            row.source,
        ]
        if isinstance(row, PoolRow)
        else row.reason
        for row in read_pool(path)
    ]
    assert (FORMAT, digest(rows)[:16]) == (4, "9d10772876f2b0c2"), (
        "records are read otherwise than before: raise FORMAT, so that no pool of the old reading is found again, "
        "and write the new pair here"
    )


# A sample holds no line ends of Windows: they are those of Unix once a record is read.
_TEXT = (
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
    .map(str.strip)
    .filter(lambda text: text and "\r\n" not in text)
)
_PLAIN = _TEXT.filter(lambda text: "<image>" not in text.lower())


@given(st.lists(st.lists(st.builds(Turn, _PLAIN, _PLAIN), min_size=1, max_size=3), max_size=4), st.integers(0, 2))
def test_what_is_written_for_trl_reads_back(
    tmp_path_factory: pytest.TempPathFactory, chats: list[list[Turn]], images: int
) -> None:
    folder = tmp_path_factory.mktemp("trl")
    names = tuple(f"{number}.png" for number in range(images))
    samples = [Sample(f"s{number}", tuple(turns), names, "src") for number, turns in enumerate(chats)]
    write_trl(samples, folder / "out.jsonl", lambda name: folder / name)
    back = [_good(row) for row in read_pool(folder / "out.jsonl")]
    assert [(row.id, row.turns, row.source) for row in back] == [(one.id, one.turns, "src") for one in samples]
    assert all(row.images == tuple(folder.resolve() / name for name in names) for row in back)
