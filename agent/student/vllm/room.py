"""What a student's server must be given: room for a list of requests, counted before it starts (what vLLM would refuse later),
and images of a size that it counts as the student's processor does."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from agent.chat.attachments import ENCODED, picture_hash, read_picture
from agent.config.schema import StudentConfig
from agent.student.engine import Request
from agent.student.vllm.server.needs import Needs
from retrieval.errors import ConfigError, DataError
from retrieval.pool.images import picture_size, read_image, scaled_down
from training.data.chat import answer_lead, as_text, prompt_text, special_tokens_missing, tokenise
from training.data.rows import process
from training.families.families import family_of, load_config, load_processor

#: Lengths are rounded up to a multiple of this, so that a later, slightly longer list needs no new server.
STEP = 256


class Ruler:
    """Counts tokens as the student's processor does, images included."""

    def __init__(self, config: StudentConfig) -> None:
        """Raises ConfigError if the model's folder is none."""
        self._config = config
        self._processor = load_processor(config.model, config.trust_remote_code)
        settings = load_config(config.model, config.trust_remote_code)
        self._scaled = family_of(settings).scaled
        text = settings.get_text_config()
        self.holds = int(getattr(text, "max_position_embeddings", 0) or 2**20)
        if config.vllm.max_length is not None:
            self.holds = min(self.holds, config.vllm.max_length)
        self.lead = answer_lead(self._processor)
        #: Whether the tokenizer has to add its special tokens, which a server does not do by itself for a chat.
        self.adds_special = special_tokens_missing(self._processor, prompt_text(self._processor, "a", 0))
        self._counted: dict[tuple[int, int], int] = {}
        self._scales_to: dict[tuple[int, int], tuple[int, int]] = {}

    def as_text(self, request: Request) -> Request:
        """The request with nothing in its texts that the server would take for a special token."""
        prompt, prefix = (as_text(self._processor, text) for text in (request.prompt, request.prefix))
        return replace(request, prompt=prompt, prefix=prefix)

    def lengths(self, requests: Sequence[Request]) -> list[int]:
        """Tokens of each prompt with its images, and of the longest answer; an image that cannot be read counts nothing."""
        return [self._length(request) + self._config.max_new_tokens for request in requests]

    def needs(self, requests: Sequence[Request], lengths: Iterable[int]) -> Needs:
        """The room for those of the requests that the model can hold. Raises ConfigError if it holds none."""
        fitting = [length for length in lengths if length <= self.holds]
        if not fitting:
            raise ConfigError(
                f"the student holds {self.holds} tokens, and no prompt fits with an answer of {self._config.max_new_tokens}; "
                "lower student.max_new_tokens, or raise student.vllm.max_length"
            )
        length = min(self.holds, -(-max(fitting) // STEP) * STEP)
        return Needs(
            self.holds if self._config.vllm.max_length else length, max(1, max(len(r.images) for r in requests))
        )

    def picture(self, path: Path) -> bytes:
        """An image as it is sent: its file, or, where vLLM would otherwise count other tokens than the student's processor
        makes of it, a PNG of what that processor scales it to, made once. Raises DataError if it cannot be read."""
        pixels = self._config.image_pixels
        if not self._scaled and pixels is None:
            return read_picture(path)
        key = (self._config.model, pixels, picture_hash(read_picture(path)))
        return ENCODED.get(key, lambda: self._scaled_picture(path, pixels))

    def _scaled_picture(self, path: Path, pixels: int | None) -> bytes:
        whole = read_image(path)
        image = scaled_down(whole, pixels)
        if not self._scaled:
            return read_picture(path) if image is whole else _png(image)
        if image.size not in self._scales_to:
            inputs = process(self._processor, [prompt_text(self._processor, "a", 1)], [[image]])
            height, width = inputs["image_sizes"][0].tolist()
            self._scales_to[image.size] = (width, height)
        how = Image.Resampling(self._processor.image_processor.resample)
        return _png(image.resize(self._scales_to[image.size], how))

    def _length(self, request: Request) -> int:
        text = prompt_text(self._processor, request.prompt, len(request.images)) + as_text(
            self._processor, request.prefix
        )
        return len(tokenise(self._processor, text)) + sum(self._image(path) for path in request.images)

    def _image(self, path: Path) -> int:
        try:
            size = picture_size(path)
        except DataError:
            return 0  # said when it is asked about
        if size not in self._counted:
            self._counted[size] = self._tokens(path)
        return self._counted[size]

    def _tokens(self, path: Path) -> int:
        """Tokens that an image of this one's size becomes, but for the one that the template writes."""
        text = prompt_text(self._processor, "a", 1)
        try:
            ids: Any = process(self._processor, [text], [[scaled_down(read_image(path), self._config.image_pixels)]])[
                "input_ids"
            ]
        except DataError:
            return 0
        return max(0, int(ids.shape[1]) - len(tokenise(self._processor, text)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
