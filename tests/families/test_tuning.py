"""Every family in small: what is tuned, and that training sees what it should."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from retrieval.storage.files import read_json
from tests.small_models import SMALL
from tests.small_models.fixtures import Made, tuning_job
from training import tune
from training.data.batches import Encoded
from training.data.chat import ChatFormat, as_text
from training.data.collate import Collator
from training.data.rows import prepare
from training.families.families import (
    GENERAL,
    family_of,
    load_config,
    load_model,
    load_processor,
    stop_tokens,
    target_pattern,
)
from training.lora.checks import check_student


@pytest.fixture
def loaded(family: str, made: Made) -> tuple[Any, Any]:
    return load_model(str(made(family)), torch.float32, "eager"), load_processor(str(made(family)))


def test_the_pattern_takes_the_language_models_linear_layers_and_no_other(family: str, loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    assert type(model).__name__ == SMALL[family].architecture
    pattern = target_pattern(model, family_of(model.config))
    taken = {name for name, _ in model.named_modules() if re.fullmatch(pattern, name)}
    decoder = model.get_decoder()
    language = {part for part in decoder.modules() if isinstance(part, nn.Linear)}
    assert {model.get_submodule(name) for name in taken} == language
    assert len(taken) == 14
    assert family_of(model.config) is not GENERAL
    assert pattern == target_pattern(model, GENERAL)


def test_an_adapter_touches_the_language_layers_only(family: str, made: Made, tuned: Made) -> None:
    work = tuned(family)
    weights = load_file(work / "adapter" / "adapter_model.safetensors")
    path = family_of(load_config(str(made(family)))).language
    assert path is not None
    assert {name.partition(".layers.")[0] for name in weights} == {f"base_model.model.{path}"}
    assert sum("lora_A" in name for name in weights) == 14
    assert all(bool(value.any()) for name, value in weights.items() if "lora_B" in name)
    result = read_json(work / "result.json")["result"]
    assert (result["samples"], result["steps"]) == (4, 2)


@pytest.mark.slow
async def test_the_child_process_makes_the_same_adapter(made: Made, samples: Path, tuned: Made, tmp_path: Path) -> None:
    job = tuning_job(made("qwen2.5-vl"), samples, tmp_path / "adapter")
    assert (await tune(job)).samples == 4
    weights = load_file(job.out / "adapter_model.safetensors")
    for name, value in load_file(tuned("qwen2.5-vl") / "adapter" / "adapter_model.safetensors").items():
        torch.testing.assert_close(weights[name], value)


def encoded(loaded: tuple[Any, Any], samples: Path, tmp_path: Path) -> list[Encoded]:
    model, processor = loaded
    chat = ChatFormat(processor, stop_tokens(model, processor))
    return prepare(samples, model, processor, chat, GENERAL, 512, tmp_path / "features").samples


@torch.no_grad()
def logits(loaded: tuple[Any, Any], batch: list[Encoded]) -> list[torch.Tensor]:
    """Of each sample's tokens, as training computes them."""
    model, processor = loaded
    inputs = Collator(processor, None)(batch)
    del inputs["labels"]
    out = model(**inputs).logits
    return [row[: len(sample.ids)] for row, sample in zip(out, batch, strict=True)]


def test_a_sample_gets_the_same_logits_in_a_batch_as_alone(
    family: str, loaded: tuple[Any, Any], samples: Path, tmp_path: Path
) -> None:
    batch = encoded(loaded, samples, tmp_path)
    for sample, together in zip(batch, logits(loaded, batch), strict=True):
        torch.testing.assert_close(together, logits(loaded, [sample])[0], atol=1e-4, rtol=1e-4)


def test_no_text_holds_a_special_token(loaded: tuple[Any, Any]) -> None:
    """Not even where a user writes about one."""
    _, processor = loaded
    tokenizer = processor.tokenizer
    special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert special
    text = as_text(processor, " and ".join(special.values()) + "".join(special.values()))
    assert not special.keys() & set(tokenizer(text, add_special_tokens=False).input_ids)


def test_no_word_of_an_answer_sees_those_after_it(
    family: str, loaded: tuple[Any, Any], samples: Path, tmp_path: Path
) -> None:
    first = encoded(loaded, samples, tmp_path)[0]
    other = samples.read_text().replace("it is red.\\nAnswer: red", "it is red.\\nAnswer: blue")
    (tmp_path / "other.jsonl").write_text(other)
    second = encoded(loaded, tmp_path / "other.jsonl", tmp_path)[0]
    same = int((first.ids[: len(second.ids)] == second.ids[: len(first.ids)]).int().cumprod(0).sum())
    assert int((first.labels[:same] != -100).sum()) > 3
    one, two = logits(loaded, [first])[0][:same], logits(loaded, [second])[0][:same]
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_the_picture_is_seen(family: str, loaded: tuple[Any, Any], samples: Path, tmp_path: Path) -> None:
    sample = encoded(loaded, samples, tmp_path)[0]
    before = logits(loaded, [sample])[0][-1]
    Image.new("RGB", (32, 32), (250, 240, 10)).save(tmp_path / "other.png")
    swapped = Encoded(sample.id, sample.text, (tmp_path / "other.png",), sample.ids, sample.labels)
    assert float((logits(loaded, [swapped])[0][-1] - before).abs().max()) > 1e-3


def test_it_can_be_a_student(family: str, made: Made) -> None:
    check_student(str(made(family)))
