"""A model's processor, for texts and images only.

transformers gives the processors of many families a part for videos, which wants torchvision; we have no use for it, and
torchvision comes in builds that have to fit torch's. So that part is left out, whether torchvision is there or not. Image
processors have a PIL version, which transformers takes where torchvision is absent.
"""

import importlib
import re
from functools import cache
from types import FunctionType
from typing import Any
from unittest.mock import patch

import torch
from transformers import AutoProcessor, ProcessorMixin
from transformers.models import idefics3, smolvlm
from transformers.models.auto import processing_auto
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

# Comments in these two speak of torchvision, from which transformers takes it that they need it, and would hide them.
idefics3.Idefics3ImageProcessorPil = Idefics3ImageProcessorPil
smolvlm.SmolVLMImageProcessorPil = SmolVLMImageProcessorPil

_VIDEOS = "video_processor"


def read_processor(model: str, trust_remote_code: bool) -> Any:
    """The processor as `AutoProcessor` finds it, without its part for videos. Raises what transformers raises."""
    return _from_pretrained(AutoProcessor, model, trust_remote_code=trust_remote_code)


def _class_named(name: str) -> Any:
    return _without_videos(processing_auto.processor_class_from_name(name))


# AutoProcessor's own way, where a class is looked up by its name in ours: what other threads see of transformers stays as it is.
_from_pretrained = FunctionType(
    AutoProcessor.from_pretrained.__func__.__code__,
    {**vars(processing_auto), "processor_class_from_name": _class_named},
)


@cache
def _without_videos(kind: Any) -> Any:
    """A processor's class with no place for a video processor, under the same name, which `save_pretrained` writes."""
    if kind is None:
        return None
    if kind.__name__ == "PixtralProcessor":
        return _pixtral()
    if kind.__name__ == "PaliGemmaProcessor":
        return _paligemma(kind)
    if _VIDEOS not in kind.get_attributes():
        return kind

    class ForImages(kind):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [part for part in kind.get_attributes() if part != _VIDEOS]

        @classmethod
        def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **rest: Any) -> Any:
            return super().from_args_and_dict(args, {**processor_dict, _VIDEOS: None}, **rest)

    if issubclass(kind, processing_smolvlm.SmolVLMProcessor):
        # Its own asks the video processor for a frame rate, and it wants a package to spell numbers of frames with.
        ForImages.apply_chat_template = ProcessorMixin.apply_chat_template
        processing_smolvlm.num2words = processing_smolvlm.num2words or str
    ForImages.__name__ = kind.__name__
    return ForImages


def _pixtral() -> Any:
    """Pixtral's processor has no part for videos, but its module imports a function from torchvision's image processor,
    only to tell vLLM how many tokens an image takes; it is not imported where vision is said to be absent."""
    name = "transformers.models.pixtral.processing_pixtral"
    try:
        return importlib.import_module(name).PixtralProcessor
    except Exception:  # no torchvision, or one that does not fit torch: then no one else can use that function either
        with patch("transformers.utils.is_vision_available", return_value=False):
            return importlib.import_module(name).PixtralProcessor


def _paligemma(kind: Any) -> Any:
    """PaliGemma's processor with the end of the prompt where the chat template puts it: its own takes everything for the
    prompt, the model's words too. Its checkpoints have no template; this one, with the images' tokens and the start token in
    front, is the format they were trained in."""

    class Chatting(kind):  # type: ignore[misc]
        #: The model sees its prompt whole and its own words one after the other; `process` tells it which is which.
        prompt_seen_whole = True

        def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
            super().__init__(image_processor, tokenizer, chat_template or _PALIGEMMA)

        def prepare_inputs_layout(self, images: Any = None, text: Any = None, **rest: Any) -> Any:
            images, texts, *none = ProcessorMixin.prepare_inputs_layout(self, images=images, text=text, **rest)
            marks = [self.image_token * len(some) for some in images or [[]] * len(texts)]
            start = self.tokenizer.bos_token
            return images, [mark + start + each for mark, each in zip(marks, texts, strict=True)], *none

        validate_inputs = ProcessorMixin.validate_inputs  # its own wants an image

    Chatting.__name__ = kind.__name__
    return Chatting


_PALIGEMMA = (
    "{% for message in messages %}{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}{{ '\n' if message.role == 'user' else eos_token }}{% endfor %}"
)
_NEEDS = re.compile(
    r"requires the (\S+) library|[Pp]ackages? `?([\w-]+)`?|`(\w+)` to be installed|No module named '(\w+)'"
)


def missing_package(error: Exception) -> str | None:
    """What to install, in words, if that is what transformers complains about."""
    said = str(error)
    if "torchvision" in said.lower():
        return f"torchvision: install it in the build that fits torch {torch.__version__}"
    found = _NEEDS.search(said) if isinstance(error, ImportError) else None
    name = next((each for each in found.groups() if each), None) if found else None
    return f"{name.lower()}: pip install {name.lower()}" if name else None
