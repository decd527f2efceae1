"""A model and an adapter made into one: merged weights, for machines on which an adapter costs more than it should."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from retrieval.errors import TuningError, first_line
from retrieval.files import publish_folder
from training.families import load_config, load_model, load_processor
from training.saving import saving


def compose(model: str, adapter: Path, out: Path, trust_remote_code: bool = False) -> None:
    """Write a whole model folder `out`: the model with the adapter merged in, in the precision it is stored in.

    Tensors keep the names that the model's own files give them, which is what servers look for. Raises ConfigError if
    `model` is no model folder, TuningError if the adapter does not fit it or holds numbers that are not finite,
    StorageError if there is no room.
    """
    processor = load_processor(model, trust_remote_code)
    stored = load_config(model, trust_remote_code).dtype or torch.float32
    base = load_model(model, torch.float32, "eager", trust_remote_code)
    try:
        merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError) as error:
        raise TuningError(f"the adapter in {adapter} cannot be merged into {model}: {first_line(error)}") from error
    with publish_folder(out) as scratch, saving(out):
        merged.to(stored).save_pretrained(scratch)
        processor.save_pretrained(scratch)
        if Path(model).is_dir():
            _restore_names(scratch, _names(Path(model)))


def _names(folder: Path) -> set[str]:
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(str(file), "pt") as tensors:
            names |= set(tensors.keys())
    return names


def _restore_names(folder: Path, known: set[str]) -> None:
    """Give tensors back their original names: transformers drops the `vision_model` level of CLIP towers."""

    def original(name: str) -> str:
        longer = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
        return longer if name not in known and longer in known else name

    for file in folder.glob("*.safetensors"):
        tensors = load_file(str(file))
        if any(original(name) != name for name in tensors):
            save_file({original(name): value for name, value in tensors.items()}, str(file), metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
        listed["weight_map"] = {original(name): file for name, file in listed["weight_map"].items()}
        index.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
