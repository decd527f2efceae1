"""Formats of pools: in, LLaVA and ShareGPT conversations, `messages` + `images` (TRL), question–answer lists of The
Cauldron, plain rows; out, `messages` + `images`.

Vision-Flan comes as LLaVA conversations. `<image>` markers at either end of a question are dropped (images come first
in every prompt); one inside a sentence becomes "image N", since it is part of what is asked. Not covered: video,
audio, tool calls.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from retrieval.cells import choice_texts, first, list_of, one_or_list, pictures_of, with_choices
from retrieval.files import write_jsonl
from retrieval.records import Record, SetAside, iter_records
from retrieval.sample import Sample, Turn

_USER = {"human", "user"}
_STUDENT = {"gpt", "assistant", "model", "chatgpt", "bing", "bard"}
_QUESTION = ("question", "prompt", "instruction", "query")
_ANSWER = ("answer", "response", "completion", "output")
_SOURCE = ("source", "task_name", "dataset", "data_source")
_MARKER = re.compile("<image>", re.IGNORECASE)
_EDGE = re.compile(r"^(?:\s*<image>)+\s*|(?:\s*<image>)+\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A sample as the user's file has it: images are paths, or bytes where the file holds the pictures themselves."""

    id: str
    where: str
    turns: tuple[Turn, ...]
    images: tuple[Path | bytes, ...]
    source: str


class _UnusableError(ValueError):
    """Why a record is no sample."""


def read_pool(path: Path, images: Path | None = None) -> Iterator[PoolRow | SetAside]:
    """Samples of a pool file (or folder of files) in its order; what cannot be used comes as SetAside.

    `images` is the folder that image paths are relative to, by default that of the file. Whether images exist is not
    looked at here. Raises DataError if the file is missing or not what its ending says.
    """
    folder = images if images is not None else (path if path.is_dir() else path.parent)
    for number, record in enumerate(iter_records(path), 1):
        yield record if isinstance(record, SetAside) else parse_record(record, folder, f"row-{number:08d}")


def parse_record(record: Record, folder: Path, fallback_id: str) -> PoolRow | SetAside:
    """Read one record; `fallback_id` names it if it has no id."""
    value = record.value
    given = value.get("id")
    name = str(given) if isinstance(given, str | int) and str(given).strip() else fallback_id
    try:
        inline: list[Any] = []
        pairs = _pairs(value, inline)
        named = list_of(first(value, "images")) or one_or_list(first(value, "image")) or inline
        pictures = tuple(_picture(picture, folder) for picture in named)
        turns = _turns(pairs, bool(pictures))
    except _UnusableError as error:
        return SetAside(name, record.where, str(error))
    source = next((str(value[key]) for key in _SOURCE if isinstance(value.get(key), str)), "")
    return PoolRow(name, record.where, turns, pictures, source)


def _pairs(value: dict[str, Any], inline: list[Any]) -> list[tuple[str, str]]:
    """(question, answer) of every turn, whatever the format; images named inside messages are added to `inline`."""
    for key in ("conversations", "messages"):
        if key in value:
            return _alternate(_messages(value[key], key, inline))
    if isinstance(value.get("texts"), list):
        turns = [turn for turn in value["texts"] if isinstance(turn, dict)]
        return [(_text(turn.get("user")), _text(turn.get("assistant"))) for turn in turns]
    question = next((value[key] for key in _QUESTION if key in value), None)
    answer = next((value[key] for key in _ANSWER if key in value), None)
    if isinstance(question, list) and isinstance(answer, list):
        return _alternate(_messages([*question, *answer], "prompt", inline))
    if question is None or answer is None:
        raise _UnusableError("no conversations, no messages, and no question with an answer")
    return [(_plain_question(value, question), _text(answer))]


def _plain_question(value: dict[str, Any], question: Any) -> str:
    lines = [_text(question)]
    if isinstance(value.get("input"), str) and value["input"].strip():
        lines.append(value["input"])
    choices = choice_texts(first(value, "choices", "options"))
    if len(choices) == 1 or len(choices) > len(ascii_uppercase):
        raise _UnusableError(f"it has {len(choices)} choice(s); 2 to {len(ascii_uppercase)} are understood")
    return with_choices("\n".join(lines), choices)


def _messages(messages: Any, key: str, inline: list[Any]) -> list[tuple[str, str]]:
    """(role, text) of each message, in either wording."""
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except ValueError:
            raise _UnusableError(f"`{key}` is no list of messages") from None
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise _UnusableError(f"`{key}` is no list of messages")
    return [
        (
            str(message.get("from", message.get("role", ""))).lower(),
            _content(message.get("value", message.get("content")), inline),
        )
        for message in messages
    ]


def _content(content: Any, inline: list[Any]) -> str:
    """Text of a message whose content is a text or a list of parts, with a marker where a part is an image."""
    if not isinstance(content, list):
        return _text(content)
    texts = []
    for part in content:
        pictures = pictures_of(part) if isinstance(part, dict) else None
        if pictures is not None:
            inline += pictures
            texts.append("<image>")
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise _UnusableError("a part of a message is neither text nor an image")
    return "\n".join(texts)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, bool | int | float):
        return str(content)
    raise _UnusableError("a message has no text")


def _alternate(messages: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pair questions with answers; a system message joins the first question."""
    system = "\n".join(text for role, text in messages if role == "system" and text.strip())
    rest = [(role, text) for role, text in messages if role != "system"]
    if not rest:
        raise _UnusableError("a conversation without messages")
    if len(rest) % 2:
        raise _UnusableError("the last question has no answer")
    pairs = []
    for (asker, question), (replier, answer) in zip(rest[::2], rest[1::2], strict=True):
        if asker not in _USER or replier not in _STUDENT:
            raise _UnusableError(f"messages should alternate between user and assistant, not {asker!r} and {replier!r}")
        pairs.append((question, answer))
    return [(f"{system}\n{pairs[0][0]}" if system else pairs[0][0], pairs[0][1]), *pairs[1:]]


def _turns(pairs: list[tuple[str, str]], has_images: bool) -> tuple[Turn, ...]:
    turns, count = [], 0
    for question, answer in pairs:
        if _EDGE.search(question) and not has_images:
            raise _UnusableError("a question shows <image> but the sample names no image")
        clean = _EDGE.sub("", question)
        count += len(_MARKER.findall(question)) - len(_MARKER.findall(clean))
        while has_images and _MARKER.search(clean):
            count += 1
            clean = _MARKER.sub(f"image {count}", clean, count=1)
        if not clean.strip():
            raise _UnusableError("an empty question")
        if not answer.strip():
            raise _UnusableError("an empty answer")
        turns.append(Turn(clean.strip(), answer.strip()))
    if not turns:
        raise _UnusableError("a sample without turns")
    return tuple(turns)


def _picture(picture: Any, folder: Path) -> Path | bytes:
    if isinstance(picture, dict):
        picture = picture.get("bytes") or picture.get("path")
    if isinstance(picture, bytes):
        return picture
    if not isinstance(picture, str) or not picture or "\0" in picture:
        raise _UnusableError("an image is neither a path nor a picture")
    if picture.startswith(("http://", "https://", "data:")):
        raise _UnusableError("an image is an address, and those are not fetched; download the images and name files")
    return folder / picture


def write_trl(samples: Iterable[Sample], path: Path, image_path: Callable[[str], Path]) -> None:
    """Write samples as `messages` + `images` JSONL, as TRL's trainers and `read_pool` take them.

    `image_path` finds an image by its name (`Pool.image_path`); the file names images by absolute path.
    """
    write_jsonl(path, (_trl_row(sample, image_path) for sample in samples))


def _trl_row(sample: Sample, image_path: Callable[[str], Path]) -> dict[str, Any]:
    messages = []
    for turn in sample.turns:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    pictures = [str(image_path(name).resolve()) for name in sample.images]
    row: dict[str, Any] = {"id": sample.id, "messages": messages, "images": pictures}
    return {**row, "source": sample.source} if sample.source else row
