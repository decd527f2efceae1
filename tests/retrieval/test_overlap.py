import json
from pathlib import Path

import pytest
from PIL import Image

from retrieval import Pool, overlap
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
