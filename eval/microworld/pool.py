"""The pool: LLaVA JSON with image files, as a user would bring it, over all skills.

Ids and file names are neutral, pictures carry no metadata, nothing names a skill. Each source is a mix of several
skills and each gap skill is in at least two sources. 30% of the samples are answered without steps, 5% have no picture;
digits are training scans.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eval.microworld.dice import Dice
from eval.microworld.examples import make_caption, make_example
from eval.microworld.mixture import Sample
from eval.microworld.programs import GAP, KNOWN, RARE, TEXT_GAP, TEXT_KNOWN
from eval.microworld.scene import Scene, render
from retrieval.storage.files import storage_errors, write_text

DIRECT, TEXT_ONLY = 0.3, 0.05  # shares
RARE_CAPTIONS = 0.25  # share of captions that show rings or hearts too
CAPTION_PROGRAM = "caption"
CHUNK = 512  # pictures drawn at a time

SOURCES: dict[str, tuple[str, ...]] = {
    "tabletop_qa": (
        "color_at", "shape_at", "size_at", "empty_at", "corner", "mirror", "rare_at", "find", "rare_find",
        "count_small", "above", "left_of", "caption", "text_mirror", "text_vertical",
    ),
    "counting_sheets": (
        "count_color", "count_shape", "count_digit", "count_all", "count_row", "count_column", "count_small",
        "rare_count", "parity_count", "row_most", "more_color", "fewer_color", "text_parity",
    ),
    "school_math": (
        "digit_at", "largest", "smallest", "largest_row", "smallest_column", "sum", "sum_column", "difference",
        "parity_pick", "parity_count", "text_largest", "text_smallest", "text_sum", "text_difference", "text_parity",
    ),
    "where_is_it": (
        "find", "find_digit", "rare_find", "exists", "above", "below", "left_of", "right_of", "corner", "mirror",
        "odd_one_out", "text_sideways", "text_vertical", "text_mirror",
    ),
    "compare_and_choose": (
        "same_shape", "more_color", "fewer_color", "row_most", "largest", "smallest", "odd_one_out", "difference",
        "largest_row", "parity_pick", "text_largest", "text_smallest", "text_difference",
    ),
    "board_reader": (
        "digit_at", "digit_color", "find_digit", "count_digit", "sum", "sum_column", "smallest_column", "count_column",
        "count_row", "below", "right_of", "caption", "text_sideways", "text_sum",
    ),
    "mixed_instruct": (*KNOWN, *GAP, *RARE, CAPTION_PROGRAM, *TEXT_KNOWN, *TEXT_GAP),
}  # fmt: skip


def _sample(program: str, dice: Dice) -> Sample:
    if program == CAPTION_PROGRAM:
        return Sample(*make_caption(dice, "train", rare=dice.chance(RARE_CAPTIONS)))
    example = make_example(program, dice, "train")
    steps = not dice.chance(DIRECT)
    # The question alone: how to ask for steps is for whoever tunes on the sample to say.
    return Sample(example.scene, example.question, example.reply(steps))


def _draw(dice: Dice) -> tuple[str, Sample]:
    """A source and a sample; all pictured programs are equally frequent, and so are those without a picture."""
    names = (*TEXT_KNOWN, *TEXT_GAP) if dice.chance(TEXT_ONLY) else (*KNOWN, *GAP, *RARE, CAPTION_PROGRAM)
    program = dice.pick(names)
    source = dice.pick([source for source, programs in SOURCES.items() if program in programs])
    return source, _sample(program, dice)


def _record(name: str, source: str, sample: Sample) -> dict[str, Any]:
    picture = {"image": f"images/{name}.png"} if sample.scene is not None else {}
    mark = "<image>\n" if sample.scene is not None else ""
    turns = [{"from": "human", "value": mark + sample.prompt}, {"from": "gpt", "value": sample.reply}]
    return {"id": name, **picture, "conversations": turns, "source": source}


def _write_images(folder: Path, chunk: list[tuple[str, Scene]]) -> None:
    if not chunk:
        return
    pictures = render([scene for _, scene in chunk])
    with storage_errors(folder):
        for (name, _), picture in zip(chunk, pictures, strict=True):
            Image.fromarray(picture).save(folder / f"{name}.png", compress_level=1)


def make_pool(folder: Path, n: int, seed: int) -> Path:
    """Writes `n` samples to folder/pool.json and folder/images; returns the JSON's path. The same seed gives the same
    files.

    The JSON is written last, so a folder that has one is whole. Raises StorageError.
    """
    images = folder / "images"
    with storage_errors(images):
        images.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng((seed, 6))
    dice = Dice(rng.spawn(1)[0])
    names = [f"{number:08x}" for number in rng.choice(2**32, n, replace=False)]
    records, waiting = [], list[tuple[str, Scene]]()
    for name in names:
        source, sample = _draw(dice)
        records.append(_record(name, source, sample))
        if sample.scene is not None:
            waiting.append((name, sample.scene))
        if len(waiting) == CHUNK:
            _write_images(images, waiting)
            waiting = []
    _write_images(images, waiting)
    path = folder / "pool.json"
    write_text(path, json.dumps(records, indent=1))
    return path
