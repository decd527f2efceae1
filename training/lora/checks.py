"""Whether a model can be a student, found out from its files before anything is answered, paid or tuned."""

from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoModelForImageTextToText

from retrieval.errors import ConfigError, DataError, TuningError, first_line
from training.data.chat import prompt_text, tokenise
from training.data.rows import process
from training.families.families import GENERAL, family_of, load_config, load_processor, target_pattern
from training.families.processors import missing_package

_CURE = "take another model; docs/families.md lists those that are tested"


def check_student(model: str, trust_remote_code: bool = False) -> None:
    """Raise ConfigError if the model does not answer questions about images, if its language layers cannot be told from
    the rest, or if its processor makes no tokens of an image. No weights are read."""
    config = load_config(model, trust_remote_code)
    processor = load_processor(model, trust_remote_code)
    known = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    remote = trust_remote_code and "AutoModelForImageTextToText" in (getattr(config, "auto_map", None) or {})
    if not known and not remote:
        raise ConfigError(f"{model} answers no questions about images (model_type {config.model_type}); {_CURE}")
    if known and family_of(config) is GENERAL:
        _check_language(model, config)
    _check_images(model, config, processor)


def _check_language(model: str, config: Any) -> None:
    try:
        with torch.device("meta"):
            target_pattern(AutoModelForImageTextToText.from_config(config), GENERAL)
    except TuningError as error:
        raise ConfigError(f"{model} cannot be tuned: {error}; {_CURE}") from error
    except ImportError as error:
        raise ConfigError(f"{model} needs {missing_package(error) or first_line(error)}, then run again") from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ConfigError(f"{model} cannot be built as its config.json says: {first_line(error)}; {_CURE}") from error


def _check_images(model: str, config: Any, processor: Any) -> None:
    none = f"{model} gives no image tokens"
    picture = Image.new("RGB", (64, 64), "grey")
    try:
        text, plain = (prompt_text(processor, "What is this?", images) for images in (1, 0))
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{none}: its chat template fails on a question about an image ({first_line(error)}); put one that places "
            "images into chat_template.jinja"
        ) from error
    try:
        ids = process(processor, [text], [[picture]])["input_ids"][0].tolist()
    except DataError as error:
        raise ConfigError(f"{none}: {error}; see to its chat template and its processor's settings") from error
    token = getattr(config, "image_token_id", None)
    if len(ids) <= len(tokenise(processor, plain)) or (token is not None and token not in ids):
        raise ConfigError(
            f"{none}: its chat template or its processor leaves the images of a question out; put one that places them "
            "into chat_template.jinja"
        )
