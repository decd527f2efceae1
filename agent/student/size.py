"""How large a student is, and an adapter of it, without its weights."""

import re
from dataclasses import dataclass

import torch
from transformers import AutoModelForImageTextToText

from agent.config.schema import RunConfig
from training.families.families import family_of, load_config, target_pattern


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters of a student and of an adapter of the configuration's rank."""

    student: int
    adapter: int


def measure(config: RunConfig) -> Size:
    """Count parameters on a model without weights. Raises ConfigError, TuningError."""
    settings = load_config(config.student.model, config.student.trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(settings, trust_remote_code=config.student.trust_remote_code)
    pattern = target_pattern(model, family_of(settings))
    layers = [part for name, part in model.named_modules() if re.fullmatch(pattern, name)]
    adapter = sum(config.tuning.rank * (part.in_features + part.out_features) for part in layers)
    return Size(sum(weight.numel() for weight in model.parameters()), adapter)
