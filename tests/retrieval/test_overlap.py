import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retrieval import Pool, overlap
from retrieval.pool.images import Fingerprint
from retrieval.pool.overlap import wordings
from retrieval.reading.cells import with_choices
from tests.retrieval.conftest import MakePool, draw_scene, llava_row


@pytest.fixture
def pool(make_pool: MakePool, tmp_path: Path) -> Pool:
    return Pool.build(make_pool(30), None, tmp_path / "store")


def test_the_same_file_and_near_copies_are_found_and_nothing_else(pool: Pool, tmp_path: Path) -> None:
    draw_scene(3).resize((160, 160), Image.Resampling.BICUBIC).save(tmp_path / "scaled.png")
    draw_scene(4).save(tmp_path / "compressed.jpg", quality=85)
    draw_scene(1005).save(tmp_path / "new.png")
    names = ("pictures/002.png", "scaled.png", "compressed.jpg", "new.png")
    assert overlap(pool, [tmp_path / name for name in names], []) == {
        "s002": "shows the validation image 002.png",
        "s003": "shows a near-copy of the validation image scaled.png",
        "s004": "shows a near-copy of the validation image compressed.jpg",
    }


def test_other_scenes_are_no_copies_however_alike_their_hashes(pool: Pool, tmp_path: Path) -> None:
    images = []
    for number in range(1, 30):
        draw_scene(number, objects=6).save(path := tmp_path / f"more-{number}.png")
        images.append(path)
    assert overlap(pool, images, []) == {}


def test_a_question_counts_only_for_samples_without_an_image(pool: Pool) -> None:
    found = overlap(pool, [], ["  how many RED objects are in row 2?"])
    assert found == {"s010": "asks a validation question"}


ASKED = with_choices("Which of the two is heavier?", ["iron", "the feather"])
TEXT_ONLY = {
    "its columns": {"question": "Which of the two is heavier?", "choices": ["the feather", "iron"], "answer": "B"},
    "no choices": {"question": "which of the two is  HEAVIER?", "answer": "iron"},
    "choices in the text": {"question": f"{ASKED}\nAnswer with the letter.", "answer": "A"},
    "brackets below a heading": {
        "question": "Which of the two is heavier?\nOptions:\n(a) iron\n(b) lead\n(c) gold",
        "answer": "gold",
    },
    "a later turn": {
        "messages": [
            {"role": role, "content": text}
            for role, text in zip(["user", "assistant"] * 2, ["Hello!", "Hello.", ASKED, "A"], strict=True)
        ]
    },
    "another question": {"question": "Which of the two is lighter?", "choices": ["iron", "the feather"], "answer": "B"},
    "more than the question": {"question": "Which of the two is heavier? And why?", "answer": "iron"},
    "a list that is no choice": {"question": "Which of the two is heavier?\nA. Smith asked this.", "answer": "iron"},
}


@pytest.mark.parametrize("question", ["Which of the two is heavier?", ASKED])
def test_a_question_is_found_in_any_turn_and_with_any_choices(tmp_path: Path, question: str) -> None:
    (tmp_path / "p.json").write_text(json.dumps([{"id": name, **row} for name, row in TEXT_ONLY.items()]))
    pool = Pool.build(tmp_path / "p.json", None, tmp_path / "store")
    assert list(overlap(pool, [], [question])) == list(TEXT_ONLY)[:5]


_LINE = st.text(st.sampled_from("aAbB.) \t\n(?é"), min_size=1).map(str.strip).filter(bool)
_CHOICE = st.text(st.sampled_from("aAbB.) (?é"), min_size=1).map(str.strip).filter(bool)


@given(_LINE, st.lists(_CHOICE, min_size=2, max_size=5), st.lists(_CHOICE, min_size=2, max_size=5))
def test_choices_do_not_hide_a_question(question: str, ours: list[str], theirs: list[str]) -> None:
    asked = [wordings(text) for text in (question, with_choices(question, ours), with_choices(question, theirs))]
    assert all(not one.isdisjoint(other) for one in asked for other in asked)


def test_every_sample_that_shows_the_image_is_found(tmp_path: Path) -> None:
    draw_scene(1).save(tmp_path / "a.png")
    draw_scene(2).save(tmp_path / "b.png")
    rows = [llava_row(number) | {"image": "ab"[number % 2] + ".png"} for number in range(6)]
    rows.append({"id": "two", "question": "q", "answer": "a", "images": ["b.png", "a.png"]})
    (tmp_path / "p.json").write_text(json.dumps(rows))
    pool = Pool.build(tmp_path / "p.json", None, tmp_path / "store")
    assert set(overlap(pool, [tmp_path / "a.png"], [])) == {"s000", "s002", "s004", "two"}


def test_validation_images_that_cannot_be_read_are_passed_over(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    images = [tmp_path / "none.png", tmp_path / "empty.png", tmp_path / "pictures" / "001.png"]
    assert set(overlap(pool, images, [])) == {"s001"}


class _Many:
    """A pool of so many samples, each with an image of its own, that are made as they are asked for."""

    def __len__(self) -> int:
        return 20_000

    def fingerprints(self) -> Iterator[tuple[str, list[Fingerprint], list[str]]]:
        for number in range(20_000):
            yield f"s{number}", [Fingerprint(f"{number:064x}.png", number << 32)], ["What is it?"]


def test_what_does_not_overlap_takes_no_memory(tmp_path: Path) -> None:
    draw_scene(1).save(path := tmp_path / "a.png")
    pool = cast(Pool, cast(Any, _Many()))
    overlap(pool, [path], ["Where is it?"])
    tracemalloc.start()
    try:
        assert overlap(pool, [path], ["Where is it?"]) == {}
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
