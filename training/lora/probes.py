"""What an adapter does to a few fixed answers, kept beside it, so that an engine that serves it can show that it does the same.

An engine may load an adapter without any error and not apply it (keys that match none of its layers, a part of the model that it
does not adapt, weights lost in sleep).
"""

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from retrieval.errors import DataError
from retrieval.pool.images import read_image, scaled_down
from retrieval.storage.files import read_json, write_json
from training.data.chat import answer_lead, as_text, common_length, prompt_text, tokenise
from training.data.rows import process
from training.families.fused import unfuse

FILE = "canary.json"
#: Answers that are looked at, and tokens of each.
PROBES, TOKENS = 6, 48


@dataclass(frozen=True, slots=True)
class Probe:
    """An answer to a prompt with its images (absolute paths); log-probabilities (nats) of its last len(tokens) tokens under
    the student as it came and with the adapter, by transformers and peft."""

    prompt: str
    images: list[str]
    answer: str
    tokens: list[int]
    base: list[float]
    adapted: list[float]


def write_probes(
    model: PeftModel, processor: Any, rows: list[dict[str, Any]], folder: Path, image_pixels: int | None = None
) -> None:
    """Probe a model that has just been tuned, on PROBES of its samples (rows as `TuningJob.samples` holds them)."""
    unfuse(model)
    model.eval()
    drawn = random.Random(0).sample(rows, min(PROBES, len(rows)))
    probes = [_probe(model, processor, row, image_pixels) for row in drawn]
    write_json(folder / FILE, {"schema": 1, "probes": [asdict(probe) for probe in probes]})


def read_probes(folder: Path) -> list[Probe]:
    """The probes of an adapter whose images are still there; none for an adapter that was tuned elsewhere."""
    path = folder / FILE
    if not path.is_file():
        return []
    probes = [Probe(**row) for row in read_json(path)["probes"]]
    return [probe for probe in probes if all(Path(image).is_file() for image in probe.images)]


def _probe(model: PeftModel, processor: Any, row: dict[str, Any], image_pixels: int | None) -> Probe:
    (prompt, answer), images = row["turns"][0], row["images"]
    lead = answer_lead(processor)
    given = prompt_text(processor, prompt, len(images))
    answer = _shortened(processor, as_text(processor, answer))
    tail = _tail(processor, given, lead + answer)
    pictures = [scaled_down(read_image(Path(image)), image_pixels) for image in images]
    inputs = process(processor, [given + lead + answer], [pictures], [len(tail)])
    moved = {name: value.to(model.device) for name, value in inputs.items()}
    moved = {name: value.to(model.dtype) if value.is_floating_point() else value for name, value in moved.items()}
    if inputs["input_ids"][0, -len(tail) :].tolist() != tail:
        raise DataError(f"sample {row['id']}: its images are placed after the first answer")
    adapted = _score(model, moved, tail)
    with model.disable_adapter():
        base = _score(model, moved, tail)
    return Probe(prompt, images, answer, tail, base, adapted)


def _shortened(processor: Any, answer: str) -> str:
    ids = processor.tokenizer(answer, add_special_tokens=False).input_ids
    kept: str = processor.tokenizer.decode(ids[:TOKENS]) if len(ids) > TOKENS else answer
    return kept.strip()


def _tail(processor: Any, given: str, said: str) -> list[int]:
    """The tokens of `said` after `given` that do not depend on what is before it, which may join the first of them."""
    before, whole = tokenise(processor, given), tokenise(processor, given + said)
    return whole[common_length(before, whole) :]


@torch.no_grad()
def _score(model: Any, inputs: dict[str, Any], tail: list[int]) -> list[float]:
    logits = model(**inputs, logits_to_keep=len(tail) + 1, use_cache=False).logits[0, :-1].float()
    chosen = logits.log_softmax(-1).gather(-1, torch.tensor(tail, device=logits.device)[:, None])
    return [round(value, 5) for value in chosen.flatten().tolist()]
