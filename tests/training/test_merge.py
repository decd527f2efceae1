"""Merged weights say what the adapter says, in the files that the model had."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from retrieval.errors import StudentError
from training.data.rows import process
from training.families.families import LLAVA, load_model, load_processor, target_pattern
from training.lora.merge import merged_folder


@pytest.fixture
def adapter(student: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = load_model(str(student), torch.float32, "eager")
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=target_pattern(model, LLAVA)))
    for name, value in tuned.named_parameters():
        if "lora_B" in name:
            value.data.normal_(std=0.3)
    tuned.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


async def test_merged_weights_say_what_the_adapter_says(student: Path, adapter: Path, tmp_path: Path) -> None:
    merged = await merged_folder(str(student), adapter, tmp_path / "work", False)
    processor = load_processor(str(merged))
    inputs = process(processor, ["<user>What colour is it?<assistant>"], [[]])
    base = load_model(str(student), torch.float32, "eager")
    plain = base(**inputs).logits
    adapted = PeftModel.from_pretrained(base, str(adapter))(**inputs).logits
    found = load_model(str(merged), torch.float32, "eager")(**inputs).logits
    assert torch.allclose(found, adapted, atol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-2)
    before, after = (load_file(folder / "model.safetensors") for folder in (student, merged))
    assert {name: (value.shape, value.dtype) for name, value in before.items()} == {
        name: (value.shape, value.dtype) for name, value in after.items()
    }


async def test_it_is_made_once_and_the_last_one_goes(student: Path, adapter: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = await merged_folder(str(student), adapter, work, False)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert await merged_folder(str(student), adapter, work, False) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    second = await merged_folder(str(student), adapter, work, False)
    assert [path.name for path in work.iterdir()] == [second.name] != [first.name]


async def test_an_adapter_of_another_model_gives_the_reason_and_nothing_else(
    student: Path, adapter: Path, tmp_path: Path
) -> None:
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**settings, "target_modules": ["no_such_layer"]}))
    with pytest.raises(StudentError, match=r"could not be merged: .*no_such_layer"):
        await merged_folder(str(student), adapter, tmp_path / "work", False)
    assert not list((tmp_path / "work").glob("*"))
