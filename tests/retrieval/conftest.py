"""Small pools of real PNG scenes, as a user would bring them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image, ImageDraw

from retrieval import Embedder

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

COLOURS = [(220, 40, 40), (40, 60, 220), (40, 180, 60), (230, 220, 50), (150, 50, 190), (240, 140, 30)]


def draw_scene(seed: int, objects: int = 5, size: int = 64) -> Image.Image:
    """A dark picture with a few coloured shapes and some noise; the same seed gives the same picture."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), (25, 25, 25))
    pen = ImageDraw.Draw(image)
    cell = size // 4
    for place in rng.permutation(16)[:objects].tolist():
        left, top = (place % 4) * cell + 2, (place // 4) * cell + 2
        box = (left, top, left + cell - 4, top + cell - 4)
        colour = COLOURS[int(rng.integers(len(COLOURS)))]
        (pen.ellipse if rng.integers(2) else pen.rectangle)(box, fill=colour)
    noisy = np.asarray(image, dtype=np.int16) + rng.integers(-6, 7, (size, size, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def llava_row(number: int, question: str = "", image: bool = True) -> dict[str, Any]:
    question = question or f"How many red objects are in row {number % 4}?"
    row: dict[str, Any] = {
        "id": f"s{number:03d}",
        "conversations": [
            {"from": "human", "value": f"<image>\n{question}" if image else question},
            {"from": "gpt", "value": f"Step 1: look.\nStep 2: count.\nAnswer: {number}"},
        ],
    }
    return row | ({"image": f"pictures/{number:03d}.png"} if image else {})


MakePool = Callable[..., Path]


@pytest.fixture
def make_pool(tmp_path: Path) -> MakePool:
    """Writes a LLaVA pool of so many samples, each tenth without an image, and returns its file."""

    def make(count: int = 30, name: str = "pool.json") -> Path:
        (tmp_path / "pictures").mkdir(exist_ok=True)
        rows = [llava_row(number, image=number % 10 != 0) for number in range(count)]
        for number, row in enumerate(rows):
            if "image" in row:
                draw_scene(number).save(tmp_path / "pictures" / f"{number:03d}.png")
        path = tmp_path / name
        if name.endswith(".json"):
            path.write_text(json.dumps(rows))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return make


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The packaged model, loaded once."""
    return Embedder()
