"""What a tuning leaves for the canary is what transformers and peft say of the adapter."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel

from retrieval.pool.images import read_image
from training import TuningJob, tune
from training.data.chat import prompt_text
from training.data.rows import process
from training.families.families import load_model, load_processor
from training.lora.probes import PROBES, read_probes


@pytest.fixture
async def tuned(job: TuningJob) -> Path:
    await tune(job)
    return job.out


async def test_probes_hold_the_log_probabilities_of_base_and_adapter(tuned: Path, student: Path) -> None:
    probes = read_probes(tuned)
    assert len(probes) == PROBES
    processor = load_processor(str(student))
    base = load_model(str(student), torch.float32, "eager")
    adapted = PeftModel.from_pretrained(load_model(str(student), torch.float32, "eager"), str(tuned))
    for probe in probes:
        text = prompt_text(processor, probe.prompt, len(probe.images)) + probe.answer
        inputs = process(processor, [text], [[read_image(Path(image)) for image in probe.images]])
        assert processor.tokenizer.decode(probe.tokens) == probe.answer
        for model, kept in ((base, probe.base), (adapted, probe.adapted)):
            with torch.no_grad():
                said = model(**inputs).logits[0].log_softmax(-1)
            ids = inputs["input_ids"][0]
            values = [float(said[place - 1, ids[place]]) for place in range(len(ids) - len(probe.tokens), len(ids))]
            assert values == pytest.approx(kept, abs=1e-3)
        assert sum(probe.adapted) > sum(probe.base)  # it was tuned on them


async def test_probes_whose_images_are_gone_are_left_out(job: TuningJob) -> None:
    await tune(job)
    images = {image for probe in read_probes(job.out) for image in probe.images}
    gone = Path(min(images))
    hidden = gone.rename(gone.with_suffix(".hidden"))
    try:
        left = read_probes(job.out)
    finally:
        hidden.rename(gone)
    assert left
    assert all(str(gone) not in probe.images for probe in left)
    assert read_probes(job.out.parent) == []
