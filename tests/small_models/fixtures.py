"""Fixtures of the tests that run on every family: each family's small model, made once, and an adapter tuned on it by the
product's own code in this process. A folder's conftest.py imports those that its tests ask for."""

import gc
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from retrieval.storage.files import read_json
from tests.small_models.making import make_small_model
from tests.tiny_student import write_rows
from training import TuningJob
from training.lora.tuning import run

Made = Callable[[str], Path]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two squares and a broad one."""
    folder = tmp_path_factory.mktemp("pictures")
    drawn = {"red": ((220, 30, 30), (32, 32)), "blue": ((40, 60, 220), (32, 32)), "green": ((30, 200, 40), (60, 40))}
    paths = [folder / f"{name}.png" for name in drawn]
    for path, (colour, size) in zip(paths, drawn.values(), strict=True):
        Image.new("RGB", size, colour).save(path)
    return paths


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Makes a family's small model, once."""
    folder = tmp_path_factory.mktemp("small")
    return cache(lambda family: make_small_model(family, folder / family))


@pytest.fixture(scope="session")
def samples(pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image, two of different shapes, none, and a conversation: two steps of two micro-batches that mix them."""
    red, blue, green = map(str, pictures)
    rows: list[dict[str, object]] = [
        {"id": "one", "turns": [["What colour is it?", "Step 1: it is red.\nAnswer: red"]], "images": [red]},
        {"id": "two", "turns": [["What colours are these? Look.", "Answer: blue and green"]], "images": [blue, green]},
        {"id": "none", "turns": [["What?", "none"]], "images": []},
        {"id": "turns", "turns": [["What colour is it?", "green"], ["And now?", "green"]], "images": [green]},
    ]
    return write_rows(tmp_path_factory.mktemp("samples") / "samples.jsonl", rows)


def tuning_job(model: Path, samples: Path, out: Path) -> TuningJob:
    """Two steps of four samples."""
    return TuningJob(
        model=str(model), samples=samples, out=out, rank=4, alpha=8, epochs=2, learning_rate=1e-2, batch_size=4,
        micro_batch_size=2, dtype="float32",
    )  # fmt: skip


@pytest.fixture(scope="session")
def tuned(made: Made, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Tunes a family's small model, once; the work folder with adapter, log and result."""
    folder = tmp_path_factory.mktemp("tuned")
    gc.freeze()  # the Trainer collects garbage when it starts, seconds where everything imported is looked at again

    @cache
    def tune(family: str) -> Path:
        job = tuning_job(made(family), samples, folder / family)
        job.work.mkdir()
        assert run(job, lambda: False)
        assert read_json(job.work / "result.json")["set_aside"] == []
        return job.work

    return tune
