"""Whether a tuning made twice gives the same bytes on this machine, and what that costs:
`python -m benchmarks.repeats [--large]`.

Each family's small model is tuned twice as the run's child process does it; the table says whether all operations had a
deterministic form and whether the two adapters are the same bytes. `--large`, for a GPU: a Qwen2.5-VL of 3B's shape with random
weights in bfloat16, a picture of 448×448 in each sample, timed with deterministic operations, without them, and with new tensors
filled as torch does by default.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from training.child.job import child_environment

# As the child has them, before torch reads them.
os.environ |= child_environment()

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

from retrieval.storage.files import file_digest, read_json, read_jsonl, write_json, write_jsonl
from tests.small_models.making import make_small_model
from tests.small_models.shapes import SMALL
from training import TuningJob
from training.lora.tuning import run

#: The published shape of Qwen2.5-VL-3B.
LARGE_TEXT = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "max_position_embeddings": 32768,
    "vocab_size": 151936,
}
LARGE_ROPE = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]}
LARGE_VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 2048,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}


def make_samples(folder: Path, count: int, side: int) -> Path:
    """Samples of one picture and an answer of a few steps."""
    rows = []
    for number in range(count):
        picture = folder / f"{number}.png"
        Image.effect_noise((side, side), 20 + number).convert("RGB").save(picture)
        answer = (
            "\n".join(f"Step {step}: the picture is grey, {number * step}." for step in range(1, 9)) + "\nAnswer: grey"
        )
        rows.append({"id": str(number), "turns": [["What colour is it?", answer]], "images": [str(picture)]})
    write_jsonl(folder / "samples.jsonl", rows)
    return folder / "samples.jsonl"


def make_large(folder: Path) -> Path:
    """The small model's folder with weights of the large shape."""
    make_small_model("qwen2.5-vl", folder)
    config = read_json(folder / "config.json")
    config["text_config"] |= {**LARGE_TEXT, "rope_parameters": LARGE_ROPE, "layer_types": ["full_attention"] * 36}
    config["vision_config"] |= LARGE_VISION
    write_json(folder / "config.json", config)
    pictures = folder / "preprocessor_config.json"
    write_json(pictures, {**read_json(pictures), "max_pixels": 448 * 448})
    with torch.device("cuda"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    print(f"{sum(each.numel() for each in model.parameters()) / 1e9:.2f}B parameters", flush=True)
    model.save_pretrained(folder)
    return folder


def tuned(job: TuningJob, strict: bool = True) -> tuple[bool, str]:
    """Tune; whether all was deterministic, and the adapter's digest."""
    job.work.mkdir(parents=True, exist_ok=True)
    try:
        assert run(job, lambda: False, strict)
    except RuntimeError as error:
        if not strict or "deterministic" not in str(error):
            raise
        print(f"  {job.out.name}: {str(error).splitlines()[0][:150]}", flush=True)
        return False, tuned(job, False)[1]
    return strict, file_digest(job.work / "adapter" / "adapter_model.safetensors")


def families(folder: Path) -> None:
    """The table of the families."""
    samples = make_samples(folder, 8, 56)
    print("| family | all deterministic | twice the same |\n|---|---|---|")
    for family in SMALL:
        model = make_small_model(family, folder / family)
        settings: dict[str, Any] = {"rank": 4, "alpha": 8, "epochs": 2, "learning_rate": 1e-2, "batch_size": 4}
        made = [
            tuned(
                TuningJob(
                    model=str(model), samples=samples, out=folder / f"{family}-{number}", dtype="auto", **settings
                )
            )
            for number in (1, 2)
        ]
        print(
            f"| {family} | {'yes' if made[0][0] else 'no'} | {'yes' if made[0][1] == made[1][1] else 'no'} |",
            flush=True,
        )


@contextmanager
def filled() -> Iterator[None]:
    """New tensors are filled, as torch does by default where operations are deterministic."""
    real = torch.use_deterministic_algorithms

    class Filling:
        fill_uninitialized_memory = True

        def __setattr__(self, name: str, value: object) -> None:
            pass

    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined,unused-ignore]
    with patch("torch.utils.deterministic", Filling()):
        yield
    assert torch.use_deterministic_algorithms is real


@contextmanager
def undeterministic() -> Iterator[None]:
    """Operations in whatever form is quickest."""
    torch.use_deterministic_algorithms(False)
    with patch("torch.use_deterministic_algorithms"):
        yield


@contextmanager
def as_it_is() -> Iterator[None]:
    """Nothing changed."""
    yield


def large(folder: Path) -> None:
    """The table of the large model, each way twice."""
    model, samples = make_large(folder / "large"), make_samples(folder, 128, 448)
    print("| way | seconds a step | peak GB | digest |\n|---|---|---|---|")
    for name, way in (("as it is", as_it_is), ("filled", filled), ("not deterministic", undeterministic)) * 2:
        out = folder / f"{name}-{time.monotonic()}"
        job = TuningJob(
            model=str(model),
            samples=samples,
            out=out,
            batch_size=16,
            micro_batch_size=8,
            dtype="bfloat16",
            log=out.with_suffix(".jsonl"),
        )
        torch.cuda.reset_peak_memory_stats()
        with way():
            found = tuned(job)
        rows = read_jsonl(job.log_path)
        step = (rows[-1]["seconds"] - rows[1]["seconds"]) / (rows[-1]["step"] - rows[1]["step"])
        peak = torch.cuda.max_memory_allocated() / 1e9
        print(f"| {name} | {step:.3f} | {peak:.1f} | {found[1][:12]} |", flush=True)


def main() -> None:
    """Print where this is and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(json.dumps({"device": where, "torch": torch.__version__}))
    with tempfile.TemporaryDirectory() as folder:
        (large if options.large else families)(Path(folder))


if __name__ == "__main__":
    main()
