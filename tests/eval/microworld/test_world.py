"""The world keeps its promises: questions lead back to their answers, scans never cross, tasks and pool say nothing of skills."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.microworld.dice import Dice
from eval.microworld.examples import make_caption, make_example
from eval.microworld.pool import CAPTION_PROGRAM, SOURCES, make_pool
from eval.microworld.programs import GAP, GAPS, PROGRAMS, RARE
from eval.microworld.questions import parse
from eval.microworld.scene import RARE_SHAPES, SHAPES, digit_scans, render
from eval.microworld.solving import STEP_SKILLS, UnanswerableError
from eval.microworld.tasks import ConfigError, load_task, task_examples, task_names


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_questions_text_leads_back_to_its_steps(program: str) -> None:
    dice = Dice(1)
    for _ in range(40):
        example = make_example(program, dice, "train")
        call = parse(f"<image>\n{example.prompt(True)}")
        assert call is not None
        assert call.solve(example.scene) == example.solution
        assert all(step.skill in STEP_SKILLS for step in example.solution.steps)
        assert len(example.solution.steps) >= 2


def test_other_text_is_no_question() -> None:
    assert parse("What is the capital of France?") is None
    assert parse("What color is the object at e5?") is None


def test_a_question_that_the_scene_cannot_answer_is_refused() -> None:
    call = parse("Where is the red circle?")
    assert call is not None
    with pytest.raises(UnanswerableError):
        call.solve(None)


def test_gap_answers_cannot_be_guessed_from_their_form() -> None:
    dice = Dice(2)
    for program in (*GAP, *RARE):
        answers = [make_example(program, dice, "train").solution.answer for _ in range(400)]
        limit = 0.6 if program == "rare_at" else 0.45
        assert max(answers.count(answer) for answer in set(answers)) / 400 < limit, program


def test_digit_scans_never_cross() -> None:
    splits = [{scan for scans in digit_scans(split) for scan in scans} for split in ("train", "validation", "test")]
    assert [len(split) for split in splits] == [1197, 300, 300]
    assert len(set.union(*splits)) == 1797
    first = 2 * len(SHAPES)
    dice = Dice(3)
    for split, scans in zip(("train", "validation", "test"), splits, strict=True):
        for _ in range(50):
            scene = make_example("largest", dice, split).scene  # type: ignore[arg-type]
            assert scene is not None
            assert all(t.sprite // 9 - first in scans for t in scene.things.values() if t.is_digit)


def test_pictures_depend_on_the_seed_alone() -> None:
    def draw() -> np.ndarray:
        dice = Dice(5)
        return render([make_caption(dice, "train")[0] for _ in range(8)])

    assert (draw() == draw()).all()
    assert draw().shape == (8, 64, 64, 3)


def test_known_questions_never_show_rare_shapes() -> None:
    dice = Dice(6)
    for program in set(PROGRAMS) - set(RARE):
        for _ in range(20):
            scene = make_example(program, dice, "train").scene
            assert scene is None or not any(t.kind in RARE_SHAPES for t in scene.things.values())


@pytest.mark.parametrize("name", task_names())
def test_a_tasks_parts_share_no_scene_and_come_out_alike(name: str) -> None:
    task = load_task(name)
    parts = {part: task_examples(task, part, 60) for part in ("validation", "holdout", "test")}
    keys = [{str(example.scene) for example in examples} for examples in parts.values()]
    assert not keys[0] & keys[1]
    assert not keys[1] & keys[2]
    assert task_examples(task, "validation", 60) == parts["validation"]


def test_anyone_can_add_a_task(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 5\nprograms: {largest: 1}\nfilters: {answers: [9], min_objects: 4}\n")
    examples = task_examples(load_task(file), "validation", 20)
    assert {example.solution.answer for example in examples} == {"9"}
    assert all(example.scene and len(example.scene.things) >= 4 for example in examples)
    file.write_text("seed: 5\nprograms: {larger: 1}\n")
    with pytest.raises(ConfigError, match="larger"):
        load_task(file)
    with pytest.raises(ConfigError, match="arithmetic"):
        load_task("no_such_task")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: -5\nprograms: {largest: 1}", "seed must be a whole number, 0 or more, not -5"),
        ("seed: true\nprograms: {largest: 1}", "seed must be"),
        ("seed: 5\nprograms: {largest: .nan}", "share of largest"),
        ('seed: 5\nprograms: {largest: 1}\nfilters: {min_objects: "x"}', "min_objects must be a whole number"),
        ("seed: 5\nprograms: {largest: 1}\nfilters: {answers: 5}", "answers must be a list"),
        ("seed: 5\nprograms: {largest: 1}\nname: ../esc", "the name '../esc' will not do"),
        ("seed: 5\nprograms: {largest: 1}\nname: ..", "the name '..' will not do"),
        ("seed: 5\nprograms: {largest: 1\nname: x", "mine.yaml, line 3: not YAML"),
        ("seed: 5\nseed: 6", "mine.yaml, line 2: not YAML"),
    ],
)
def test_a_task_file_that_is_wrong_is_one_sentence_with_its_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml") as caught:
        load_task(file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_pool_is_what_a_user_would_bring(tmp_path: Path) -> None:
    path = make_pool(tmp_path / "a", 1500, 3)
    records = json.loads(path.read_text())
    assert len({record["id"] for record in records}) == 1500
    assert {key for record in records for key in record} == {"id", "image", "conversations", "source"}
    replies = [record["conversations"][1]["value"] for record in records]
    assert 0.25 < np.mean(["Answer:" not in reply for reply in replies]) < 0.4
    assert 0.03 < np.mean(["image" not in record for record in records]) < 0.08
    pictured = next(record for record in records if "image" in record)
    image = Image.open(path.parent / pictured["image"])
    assert image.size == (64, 64)
    assert not image.info
    again = make_pool(tmp_path / "b", 1500, 3)
    assert again.read_bytes() == path.read_bytes()
    assert (again.parent / pictured["image"]).read_bytes() == (path.parent / pictured["image"]).read_bytes()


def test_no_gap_skill_is_confined_to_one_source() -> None:
    assert 6 <= len(SOURCES) <= 8
    for programs in GAPS.values():
        for program in programs:
            assert sum(program in source for source in SOURCES.values()) >= 2, program
    assert all(set(programs) <= {*PROGRAMS, CAPTION_PROGRAM} for programs in SOURCES.values())
