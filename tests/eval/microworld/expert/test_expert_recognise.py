import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eval.microworld.canvas import Canvas
from eval.microworld.dice import Dice
from eval.microworld.expert.recognise import PictureError, decode, recognise
from eval.microworld.scene import RARE_SHAPES, Scene, Split, render
from tests.eval.microworld.expert.asking import noisy, png


def scenes(count: int, seed: int, split: Split) -> list[Scene]:
    """Full of everything, rare shapes too."""
    dice, made = Dice(seed), []
    for _ in range(count):
        canvas = Canvas(dice, split)
        canvas.put(dice.pick(RARE_SHAPES))
        canvas.fill(0, 13)
        made.append(canvas.scene())
    return made


def facts(scene: Scene) -> dict[int, tuple[str, str, str]]:
    return {cell: (thing.kind, thing.color, thing.size) for cell, thing in scene.things.items()}


def test_every_scene_with_training_digits_is_recognised_wholly() -> None:
    made = scenes(200, 1, "train")
    found = recognise(render(made))
    assert [facts(seen.scene) for seen in found] == [facts(scene) for scene in made]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_unseen_handwriting_is_read_and_all_else_is_certain(split: Split) -> None:
    made = scenes(300, 2, split)
    digits = right = 0
    for truth, seen in zip(made, recognise(render(made)), strict=True):
        assert set(truth.things) == set(seen.scene.things)
        for cell, thing in truth.things.items():
            other = seen.scene.things[cell]
            assert (thing.color, thing.size, thing.is_digit) == (other.color, other.size, other.is_digit)
            digits += thing.is_digit
            right += thing.is_digit and thing.kind == other.kind
            assert thing.is_digit or thing.kind == other.kind
    assert right / digits > 0.98


def test_more_noise_than_the_world_has_does_not_blind_it() -> None:
    made = scenes(100, 3, "train")
    found = recognise(noisy(render(made), 4))
    same = sum(facts(seen.scene) == facts(scene) for seen, scene in zip(found, made, strict=True))
    assert same >= 98


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_what_is_seen_does_not_depend_on_the_other_pictures(seed: int) -> None:
    made = scenes(4, seed, "validation")
    together = recognise(render(made))
    for scene, seen in zip(made, together, strict=True):
        (alone,) = recognise(render([scene]))
        assert alone.scene == seen.scene
        assert [doubt.lead for doubt in alone.doubts] == pytest.approx([doubt.lead for doubt in seen.doubts], abs=1e-4)


def test_an_empty_scene_is_empty() -> None:
    assert recognise(render([Scene({})]))[0].scene.things == {}


def test_enlarged_pictures_and_other_formats_are_read_too() -> None:
    (scene,) = scenes(1, 5, "train")
    big = Image.open(io.BytesIO(png(scene))).resize((128, 128), Image.Resampling.NEAREST).convert("RGBA")
    buffer = io.BytesIO()
    big.save(buffer, "PNG")
    assert facts(recognise(decode(buffer.getvalue())[None])[0].scene) == facts(scene)


@pytest.mark.parametrize("data", [b"", b"no picture", png(Scene({}))[:60]])
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(PictureError, match="not a picture"):
        decode(data)


def test_black_and_white_pictures_are_no_reason_to_fail() -> None:
    plain = np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
    assert len(recognise(plain)) == 2
