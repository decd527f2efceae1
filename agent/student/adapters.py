"""LoRA adapters on a loaded model, several at a time, through peft."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from retrieval.errors import ConfigError, DataError, StudentError, first_line
from retrieval.storage.files import read_json


def check_adapter(path: Path) -> None:
    """Raise ConfigError if the folder is no adapter, or one that is cut, not finite, or changes nothing. All of its weights
    are read."""
    for needed in ("adapter_config.json", "adapter_model.safetensors"):
        if not (path / needed).is_file():
            raise ConfigError(f"{path} is not an adapter folder: it has no {needed}")
    try:
        settings = read_json(path / "adapter_config.json")
        weights = load_file(path / "adapter_model.safetensors")
    except (DataError, UnicodeDecodeError, OSError, SafetensorError) as error:
        raise ConfigError(
            f"{path} is not an adapter folder: {first_line(error)}; copy it again, or tune it again"
        ) from None
    if not isinstance(settings, dict) or "peft_type" not in settings:
        raise ConfigError(f"{path} is not an adapter folder: its adapter_config.json names no peft_type")
    if not all(bool(each.isfinite().all()) for each in weights.values() if each.is_floating_point()):
        raise ConfigError(f"the adapter in {path} holds numbers that are not finite; tune it again")
    seconds = [each for name, each in weights.items() if "lora_B" in name]
    if seconds and not any(bool(each.any()) for each in seconds):
        raise ConfigError(f"the adapter in {path} is all zeros, and changes nothing; tune it again")
    named = settings.get("target_modules")
    if isinstance(named, str) and may_hang(named):
        raise ConfigError(
            f"the adapter in {path} names its layers by a pattern that may take forever to match; write target_modules as a "
            "list in its adapter_config.json"
        )


def is_sound(path: Path) -> bool:
    """Whether a folder holds an adapter that `check_adapter` lets pass."""
    try:
        check_adapter(path)
    except ConfigError:
        return False
    return True


def may_hang(pattern: str) -> bool:
    """Whether a regular expression repeats what is itself repeated, or one of several: `(a+)+`, `(a|a)*`. On a text that it
    does not fit, such a pattern may be tried in more ways than there is time for."""
    # Whether each group that is open holds a repetition or an alternative.
    groups, closed = [False], False
    for sign in re.sub(
        r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[:=!]?", lambda found: "(" if found[0][0] == "(" else "x", pattern
    ):
        if sign == "(":
            groups.append(False)
        elif sign == "|":
            groups[-1] = True
        elif sign in "*+{":
            if closed:
                return True
            groups[-1] = True
        if sign == ")" and len(groups) > 1:
            closed = groups.pop()
            groups[-1] |= closed
        else:
            closed = False
    return False


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
