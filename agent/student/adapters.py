"""LoRA adapters on a loaded model, several at a time, through peft."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError, safe_open

from retrieval.errors import ConfigError, DataError, StudentError, first_line
from retrieval.storage.files import read_json


def check_adapter(path: Path) -> None:
    """Raise ConfigError if the folder is no adapter. Quick: nothing but its heads is read."""
    for needed in ("adapter_config.json", "adapter_model.safetensors"):
        if not (path / needed).is_file():
            raise ConfigError(f"{path} is not an adapter folder: it has no {needed}")
    try:
        settings = read_json(path / "adapter_config.json")
        with safe_open(str(path / "adapter_model.safetensors"), "pt"):
            pass
    except (DataError, UnicodeDecodeError, OSError, SafetensorError) as error:
        raise ConfigError(f"{path} is not an adapter folder: {error}") from None
    if not isinstance(settings, dict) or "peft_type" not in settings:
        raise ConfigError(f"{path} is not an adapter folder: its adapter_config.json names no peft_type")


def add_adapter(model: Any, name: str, path: Path) -> Any:
    """The model with one more adapter (peft's model around it if this is the first). `name` must not hold a dot.

    Raises ConfigError if the folder is no adapter, StudentError if it does not fit the model: one that matches nothing
    would change nothing, without any error.
    """
    check_adapter(path)
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(path), name, autocast_adapter_dtype=False)
        else:
            model = PeftModel.from_pretrained(model, str(path), name, autocast_adapter_dtype=False)
        with safe_open(str(path / "adapter_model.safetensors"), "pt") as file:
            stored = len(list(file.keys()))
    except (RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise StudentError(f"the adapter in {path} does not fit the student: {first_line(error)}") from error
    placed = sum(f".{name}." in parameter for parameter, _ in model.named_parameters())
    if placed != stored or not stored:
        raise StudentError(
            f"the adapter in {path} does not fit the student: {stored} weights, {placed} places for them"
        )
    return model.eval()


def remove_adapter(model: Any, name: str) -> Any:
    """The model without that adapter; the bare model again when it was the last."""
    if len(model.peft_config) == 1:
        return model.unload()
    model.delete_adapter(name)
    return model


@contextmanager
def using(model: Any, name: str | None) -> Iterator[Any]:
    """The model with this adapter at work, or with none."""
    if not isinstance(model, PeftModel):
        yield model
    elif name is None:
        with model.disable_adapter():
            yield model.get_base_model()
    else:
        model.set_adapter(name, inference_mode=True)
        yield model.get_base_model()
