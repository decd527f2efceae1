"""Model families, known by architecture, and how their models are loaded.

Those in FAMILIES are tested one by one (docs/families.md). Any other image-text-to-text model of transformers goes the
general way: its language model is found through `get_decoder()`, its processor is trusted to place the images, and nothing
is computed ahead. Not covered: experts that are fused into one parameter (no linear layer to adapt).
"""

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from httpx import HTTPError
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForImageTextToText, PreTrainedConfig
from transformers.utils import logging as transformers_logging

from retrieval.errors import ConfigError, TuningError, first_line
from training.child.memory import is_lack_of_memory
from training.families.processors import missing_package, read_processor

transformers_logging.disable_progress_bar()

#: Lines of Python that a chat template may take for one short question; those of the families take a few hundred.
_TEMPLATE_STEPS = 1_000_000
#: Seconds that the hub gets to say whether it has a model.
HUB_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Family:
    """What an architecture's models have in common.

    `model_type` is the configuration's, and `vision` its vision part's where the first leaves it open. `language` is the
    path of the language model inside the model, None where `get_decoder()` has to tell. `plain` says that images enter the
    language model as embeddings in the place of image tokens and nowhere else, all of one size, and that positions count
    tokens: then an image's features may be computed once, and decoding may be done step by step on token ids. Of vLLM,
    `scaled` says that it counts an image's tokens rightly only where the image has the size that the processor would give it,
    `unserved` why it cannot serve the family at all.
    """

    name: str
    model_type: str
    language: str | None
    vision: str | None = None
    plain: bool = False
    scaled: bool = False
    unserved: str = ""


_LANGUAGE = "model.language_model"
LLAVA = Family("LLaVA-1.5", "llava", _LANGUAGE, plain=True)
GENERAL = Family("general", "", None)
#: Where several fit, the first counts.
FAMILIES = (
    Family("Pixtral", "llava", _LANGUAGE, vision="pixtral"),
    LLAVA,
    Family("LLaVA-NeXT", "llava_next", _LANGUAGE),
    Family("Qwen2-VL", "qwen2_vl", _LANGUAGE),
    Family("Qwen2.5-VL", "qwen2_5_vl", _LANGUAGE),
    Family("Qwen3-VL", "qwen3_vl", _LANGUAGE),
    Family("InternVL", "internvl", _LANGUAGE),
    Family("Gemma 3", "gemma3", _LANGUAGE),
    Family("Idefics3", "idefics3", "model.text_model"),
    Family("SmolVLM2", "smolvlm", "model.text_model"),
    Family(
        "PaliGemma",
        "paligemma",
        _LANGUAGE,
        unserved="it puts a line break behind every prompt, begun answers too, and reads the question word by word",
    ),
    Family("Mistral 3", "mistral3", _LANGUAGE, scaled=True),
)


def family_of(config: Any) -> Family:
    """The family of a model's configuration; the general one if it is not known."""
    vision = getattr(getattr(config, "vision_config", None), "model_type", None)
    fitting = (family for family in FAMILIES if family.model_type == config.model_type)
    return next((family for family in fitting if family.vision in (None, vision)), GENERAL)


def target_pattern(model: Any, family: Family) -> str:
    """A full-path pattern of every linear layer of the language model but its output layer, and of no other.

    Plain suffixes would hit the vision tower's layers too, which vLLM then drops. Raises TuningError if the language
    model cannot be told from the rest.
    """
    path = family.language or _decoder_path(model)
    language: nn.Module = model.get_submodule(path)
    output = model.get_output_embeddings()
    linear = [name for name, part in language.named_modules() if isinstance(part, nn.Linear) and part is not output]
    names = {re.sub(r"\b\d+\b", r"\\d+", name.replace(".", r"\.")) for name in linear}
    if not names:
        raise TuningError(f"the language model at {path} has no linear layers to adapt; tune another model")
    return rf"{re.escape(path)}\.(?:{'|'.join(sorted(names))})"


def _decoder_path(model: Any) -> str:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    path: str | None = next((name for name, part in model.named_modules() if part is decoder and name), None)
    seeing = [name for name, part in model.named_modules() if any(word in type(part).__name__ for word in _VISION)]
    if path is None or decoder is None or any(name.startswith(f"{path}.") for name in seeing):
        raise TuningError(
            f"its language layers cannot be told from the rest ({type(model).__name__} is in none of our families)"
        )
    return path


_VISION = ("CLIP", "Siglip", "Vision", "PatchEmbed")


def resolve_dtype(name: str) -> torch.dtype:
    """`auto` is bfloat16 where the machine multiplies it natively (a GPU that can, a CPU with AVX512-BF16 or AMX)."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    capable = torch.cpu.get_capabilities()
    quick = capable.get("avx512_bf16") or capable.get("amx_bf16")
    return torch.bfloat16 if quick else torch.float32


class HubAwayError(ConfigError):
    """Whether the hub has a model cannot be told from here."""


def check_model(model: str) -> None:
    """Raise ConfigError if `model` is no model folder and no name of a model that was fetched before or that the hub has."""
    path = Path(model)
    named_like_path = path.is_absolute() or model.startswith((".", "~")) or len(path.parts) > 2
    if not path.exists():
        if named_like_path:
            raise ConfigError(f"{model} is not a model folder: it does not exist; set student.model to one")
        _check_on_hub(model)
        return
    if not path.is_dir():
        raise ConfigError(f"{model} is not a model folder: it is a file; set student.model to the folder")
    if not (path / "config.json").is_file():
        raise ConfigError(f"{model} is not a model folder: it has no config.json; set student.model to one that has")


@cache
def _check_on_hub(model: str) -> None:
    # Asked once and at once: loading would try for minutes before it gave up on a machine without network.
    try:
        if not try_to_load_from_cache(model, "config.json"):
            HfApi().model_info(model, timeout=HUB_SECONDS)
    except (RepositoryNotFoundError, HFValidationError):
        raise ConfigError(
            f"{model} is neither a folder here nor a model on the hub (or a private one: set HF_TOKEN); set student.model to one"
        ) from None
    except (OSError, HTTPError) as error:
        raise HubAwayError(
            f"{model} is no folder here and was not fetched before, and the hub cannot be asked ({first_line(error)}); "
            "set student.model to a model folder"
        ) from None


def load_config(model: str, trust_remote_code: bool = False) -> Any:
    """The model's configuration. Raises ConfigError."""
    check_model(model)
    try:
        kind = PreTrainedConfig.get_config_dict(model)[0].get("model_type")
        if kind and kind not in CONFIG_MAPPING and not trust_remote_code:
            raise ConfigError(
                f"{model} is of a family that transformers {transformers.__version__} does not know (model_type {kind}); "
                "take another model, or set student.trust_remote_code if it brings its own code and you trust it"
            )
        return AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, ImportError) as error:
        needed = missing_package(error)
        if needed:
            raise ConfigError(f"the configuration of {model} needs {needed}, then run again") from error
        raise ConfigError(f"{model} is not a model folder: {first_line(error)}") from error


def load_processor(model: str, trust_remote_code: bool = False) -> Any:
    """The model's processor (tokenizer and image processor), for texts and images only. Raises ConfigError."""
    check_model(model)
    try:
        processor = read_processor(model, trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        needed = missing_package(error)
        if needed:
            raise ConfigError(f"the processor of {model} needs {needed}, then run again") from error
        raise ConfigError(
            f"{model} is not a model folder: its processor cannot be read ({first_line(error)})"
        ) from error
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        raise ConfigError(
            f"{model} is not the folder of a vision-language model: it has no processor for text and images"
        )
    if not processor.chat_template:
        raise ConfigError(f"{model} is not usable as a student: it has no chat template; add chat_template.jinja to it")
    _check_template(model, processor)
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _check_template(model: str, processor: Any) -> None:
    """Raise ConfigError if the chat template does not come to an end with one short question; what else is wrong with it shows
    where it is used."""
    counted = 0

    def count(frame: Any, event: str, arg: Any) -> Any:
        nonlocal counted
        counted += 1
        if counted > _TEMPLATE_STEPS:
            raise _EndlessError
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        processor.apply_chat_template([{"role": "user", "content": [{"type": "text", "text": "a"}]}], tokenize=False)
    except (_EndlessError, MemoryError, RecursionError):
        raise ConfigError(
            f"{model} is not usable as a student: its chat template does not come to an end; see to chat_template.jinja"
        ) from None
    except Exception:
        return
    finally:
        sys.settrace(before)


class _EndlessError(BaseException):
    """Raised in a template that goes on for too long."""


def load_model(model: str, dtype: torch.dtype, attention: str, trust_remote_code: bool = False) -> Any:
    """The model in evaluation mode, in the class that is served, from safetensors only. Raises ConfigError."""
    load_config(model, trust_remote_code)
    try:
        loaded = AutoModelForImageTextToText.from_pretrained(
            model,
            dtype=dtype,
            attn_implementation=attention,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if is_lack_of_memory(error):
            raise
        needed = missing_package(error)
        if needed:
            raise ConfigError(f"the model {model} needs {needed}, then run again") from error
        raise ConfigError(f"{model} is not a model folder: its weights cannot be read ({first_line(error)})") from error
    return loaded.eval()


def stop_tokens(model: Any, processor: Any) -> frozenset[int]:
    """Ids that end an answer."""
    named = model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return frozenset(i for i in (*ids, processor.tokenizer.eos_token_id) if i is not None)
