"""What the teacher is asked: a question, and the chat request that is made of it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from agent.chat.attachments import data_url, picture_hash, read_picture, sent_size
from agent.config.schema import TeacherConfig
from agent.teacher.logprobs import TOP
from agent.teacher.prompts.own import Prompts
from agent.teacher.prompts.replies import as_data, json_schema
from retrieval.storage.files import digest


class Question(NamedTuple):
    """`data` is a JSON object, `schema` what a reply must look like; without one, it is a choice between lettered options."""

    kind: str
    data: Mapping[str, Any]
    schema: type[BaseModel] | None
    images: Sequence[Path | bytes] = ()


class ChatRequest:
    """One question as it is sent: its key in the journal, its messages and its size. Raises DataError if an image cannot be
    read."""

    def __init__(self, question: Question, config: TeacherConfig, prompts: Prompts) -> None:
        data, images = question.data, question.images
        if images and not config.see_images:
            data, images = {**data, "images_not_shown": len(images)}, ()
        self.kind, self.schema = question.kind, question.schema
        self._prompt, self._longest = prompts[question.kind], config.image_size
        self._model, self._data = config.model, as_data(data)
        self._effort = [] if config.reasoning_effort is None else [f"reasoning effort {config.reasoning_effort}"]
        self._images = [read_picture(image) for image in images]
        self._keys: dict[str, str] = {}

    @property
    def pictures(self) -> int:
        """How many are sent."""
        return len(self._images)

    def key(self, more: Sequence[Mapping[str, Any]] = ()) -> str:
        """Hash of everything that the reply depends on; `more` is what was said since (a repair). The endpoint's address is
        not in it: the model is who answers."""
        said = json.dumps(list(more))
        if said not in self._keys:
            shape: Any = json_schema(self.schema) if self.schema else f"top {TOP}"
            parts = [self._model, self._prompt, self._data, self._hashes, shape, list(more), *self._effort]
            self._keys[said] = digest(parts)
        return self._keys[said]

    @cached_property
    def _hashes(self) -> list[str]:
        """Of the pictures, which may be large, and of the size at which they are sent."""
        hashes = [picture_hash(image) for image in self._images]
        return [*hashes, f"at most {self._longest} pixels"] if hashes and self._longest is not None else hashes

    def messages(self) -> list[dict[str, Any]]:
        """The prompt, then the images and one text part with the data. Raises DataError if an image is none."""
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": data_url(image, self._longest)}} for image in self._images
        ]
        parts.append({"type": "text", "text": self._data})
        return [{"role": "system", "content": self._prompt}, {"role": "user", "content": parts}]

    async def encoded(self) -> list[dict[str, Any]]:
        """`messages`, made beside the event loop where there are images: a photo takes a second."""
        return await asyncio.to_thread(self.messages) if self._images else self.messages()

    def text_bytes(self, more: Sequence[Mapping[str, Any]] = ()) -> int:
        """Bytes of all that is sent as text, the schema (which may be sent twice) included."""
        shape = json.dumps(json_schema(self.schema)) * 2 if self.schema else ""
        texts = [self._prompt, self._data, shape, json.dumps(list(more))]
        return sum(len(text.encode()) for text in texts)

    def image_sizes(self) -> list[tuple[int, int]]:
        """Width and height (pixels) of each image as it is sent. Raises DataError if one is none."""
        return [sent_size(image, self._longest) for image in self._images]
