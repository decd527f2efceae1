"""Every family in small: merged weights, and the embedded engine, say what the adapter says."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from PIL import Image

from agent.config.schema import StudentConfig
from agent.student.embedded import EmbeddedStudent
from agent.student.engine import Request
from retrieval.pool.images import read_image
from tests.small_models.fixtures import Made
from training.data.chat import answer_lead, prompt_text, tokenise
from training.data.rows import process
from training.families.families import load_model, load_processor
from training.lora.merge import merge


def test_merged_weights_load_again_and_say_what_the_adapter_says(
    family: str, made: Made, tuned: Made, pictures: list[Path], tmp_path: Path
) -> None:
    model, adapter, merged = str(made(family)), tuned(family) / "adapter", tmp_path / "merged"
    merge(model, adapter, merged)
    processor = load_processor(str(merged))
    text = prompt_text(processor, "What colour is it?", 1)
    inputs = process(processor, [text], [[read_image(pictures[2])]])
    base = load_model(model, torch.float32, "eager")
    with torch.no_grad():
        plain = base(**inputs).logits
        adapted = PeftModel.from_pretrained(base, str(adapter))(**inputs).logits
        found = load_model(str(merged), torch.float32, "eager")(**inputs).logits
    torch.testing.assert_close(found, adapted, atol=1e-4, rtol=1e-4)
    assert float((found - plain).abs().max()) > 0.05


def engine(folder: Path, batch_size: int) -> EmbeddedStudent:
    return EmbeddedStudent(StudentConfig(model=str(folder), dtype="float32", batch_size=batch_size, max_new_tokens=6))


async def answers(student: EmbeddedStudent, requests: list[Request], adapter: str | None = None) -> dict[str, Any]:
    replies = {reply.id: reply async for reply in student.answer(requests, adapter)}
    assert all(reply.error is None for reply in replies.values())
    return {name: reply.text for name, reply in replies.items()}


#: Two parts of an answer.
BEGUN, REST = "Step 1:", " it is red"


async def chained(student: EmbeddedStudent, request: Request) -> float:
    """The log-probability of BEGUN + REST, asked for in two parts."""
    ((first,),) = await student.score([request], [[BEGUN]])
    ((second,),) = await student.score([replace(request, prefix=BEGUN)], [[REST]])
    begun, rest = tokens(student)
    return begun * first + rest * second


async def whole(student: EmbeddedStudent, request: Request) -> float:
    """And at once."""
    ((mean,),) = await student.score([request], [[BEGUN + REST]])
    return sum(tokens(student)) * mean


def tokens(student: EmbeddedStudent) -> tuple[int, int]:
    """Of BEGUN and of REST."""
    processor = load_processor(student.config.model)
    given, lead = prompt_text(processor, "a", 1), answer_lead(processor)
    counts = [len(tokenise(processor, given + text)) for text in ("", lead + BEGUN, lead + BEGUN + REST)]
    return counts[1] - counts[0], counts[2] - counts[1]


async def test_an_image_that_the_processor_refuses_is_an_error_of_its_request_only(
    made: Made, pictures: list[Path], tmp_path: Path
) -> None:
    Image.new("RGB", (400, 1)).save(tmp_path / "narrow.png")
    requests = [Request("narrow", "What?", (tmp_path / "narrow.png",)), Request("good", "What?", (pictures[0],))]
    student = engine(made("qwen2.5-vl"), 2)
    replies = {reply.id: reply async for reply in student.answer(requests)}
    assert "aspect ratio" in (replies["narrow"].error or "")
    assert replies["good"].error is None
    (lost,), (found,) = await student.score(requests, [["red"], ["red"]])
    assert math.isnan(lost)
    assert math.isfinite(found)
    await student.close()


async def test_the_embedded_engine_answers_with_and_without_the_adapter(
    family: str, made: Made, tuned: Made, pictures: list[Path]
) -> None:
    red, blue, green = pictures
    requests = [
        Request("one", "What colour is it?", (red,)),
        Request("two", "What colours are these? Look well.", (green, blue)),
        Request("none", "What?"),
        Request("begun", "What colour is it?", (blue,), "Step 1: it is"),
    ]
    continuations = [["red", " blue and green", ""]] * len(requests)
    together, alone = engine(made(family), 12), engine(made(family), 1)
    plain = await answers(together, requests)
    assert plain == await answers(alone, list(reversed(requests)))
    scores = await together.score(requests, continuations)
    for one, other in zip(scores, await alone.score(requests, continuations), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert await chained(together, requests[0]) == pytest.approx(await whole(together, requests[0]), abs=1e-3)
    await together.load_adapter("tuned", tuned(family) / "adapter")
    shifted = await together.score(requests, continuations, "tuned")
    gaps = [abs(a - b) for row, other in zip(scores, shifted, strict=True) for a, b in zip(row, other, strict=True)]
    assert max(gaps) > 0.01
    await answers(together, requests, "tuned")
    assert await answers(together, requests) == plain
    await together.close()
    await alone.close()
