"""Formats of pools: in, LLaVA and ShareGPT conversations, `messages` + `images` (TRL), question–answer lists of The
Cauldron, plain rows; out, `messages` + `images`.

Vision-Flan comes as LLaVA conversations. `<image>` markers at either end of a question are dropped (images come first
in every prompt); one inside a sentence becomes "image N", since it is part of what is asked. Not covered: video,
audio, tool calls.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from retrieval.errors import DataError
from retrieval.pool.cells import choice_texts, first, list_of, one_or_list, utf8, with_choices
from retrieval.pool.chats import UnusableError, chat_of, markers, message_text, read_chat, without_markers
from retrieval.pool.image_folder import ImageFolder
from retrieval.pool.records import Record, SetAside, iter_records
from retrieval.pool.sample import Sample, Turn
from retrieval.storage.files import write_jsonl

_QUESTION = ("question", "prompt", "instruction", "query")
_ANSWER = ("answer", "response", "completion", "output")
_SOURCE = ("source", "task_name", "dataset", "data_source")


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A sample as the user's file has it: images are paths, or bytes where the file holds the pictures themselves."""

    id: str
    where: str
    turns: tuple[Turn, ...]
    images: tuple[Path | bytes, ...]
    source: str


def read_pool(path: Path, images: Path | None = None, anywhere: bool = False) -> Iterator[PoolRow | SetAside]:
    """Samples of a pool file (or folder of files) in its order; what cannot be used comes as SetAside.

    `images` is the folder that image paths are relative to, by default that of the file; a sample whose image lies outside
    comes as SetAside, unless `anywhere`. Whether images exist is not looked at here. Raises DataError if the file is missing
    or not what its ending says.
    """
    folder = ImageFolder(image_folder(path, images), anywhere, "pool.images_anywhere")
    for number, record in enumerate(iter_records(path), 1):
        yield record if isinstance(record, SetAside) else parse_record(record, folder, f"row-{number:08d}")


def image_folder(path: Path, images: Path | None) -> Path:
    """The folder that a pool's image paths are relative to."""
    return images if images is not None else (path if path.is_dir() else path.parent)


def parse_record(record: Record, folder: ImageFolder, fallback_id: str) -> PoolRow | SetAside:
    """Read one record; `fallback_id` names it if it has no id."""
    value = record.value
    given = value.get("id")
    name = utf8(str(given)) if isinstance(given, str | int) and str(given).strip() else fallback_id
    try:
        inline: list[Any] = []
        pairs = _pairs(value, inline)
        named = list_of(first(value, "images")) or one_or_list(first(value, "image")) or inline
        pictures = tuple(_picture(picture, folder) for picture in named)
        turns = _turns(pairs, bool(pictures))
    except UnusableError as error:
        return SetAside(name, record.where, str(error))
    except RecursionError:
        return SetAside(name, record.where, "its lists are nested too deeply")
    source = next((utf8(value[key]) for key in _SOURCE if isinstance(value.get(key), str)), "")
    return PoolRow(name, record.where, turns, pictures, source)


def _pairs(value: dict[str, Any], inline: list[Any]) -> list[tuple[str, str]]:
    """(question, answer) of every turn, whatever the format; images named inside messages are added to `inline`."""
    if (chat := chat_of(value, inline)) is not None:
        return chat
    if isinstance(value.get("texts"), list):
        turns = [turn for turn in value["texts"] if isinstance(turn, dict)]
        return [(message_text(turn.get("user")), message_text(turn.get("assistant"))) for turn in turns]
    question = next((value[key] for key in _QUESTION if key in value), None)
    answer = next((value[key] for key in _ANSWER if key in value), None)
    if isinstance(question, list) and isinstance(answer, list):
        return read_chat([*question, *answer], "prompt", inline)
    if question is None or answer is None:
        raise UnusableError("no conversations, no messages, and no question with an answer")
    return [(_plain_question(value, question), message_text(answer))]


def _plain_question(value: dict[str, Any], question: Any) -> str:
    lines = [message_text(question)]
    if isinstance(value.get("input"), str) and value["input"].strip():
        lines.append(value["input"])
    choices = choice_texts(first(value, "choices", "options"))
    if len(choices) == 1 or len(choices) > len(ascii_uppercase):
        raise UnusableError(f"it has {len(choices)} choice(s); 2 to {len(ascii_uppercase)} are understood")
    return with_choices("\n".join(lines), choices)


def _turns(pairs: list[tuple[str, str]], has_images: bool) -> tuple[Turn, ...]:
    turns, count = [], 0
    for question, answer in pairs:
        clean = without_markers(question, has_images, count)
        count += markers(question)
        if not clean:
            raise UnusableError("an empty question")
        if not answer.strip():
            raise UnusableError("an empty answer")
        turns.append(Turn(clean, answer.strip()))
    if not turns:
        raise UnusableError("a sample without turns")
    return tuple(turns)


def _picture(picture: Any, folder: ImageFolder) -> Path | bytes:
    if isinstance(picture, dict):
        picture = picture.get("bytes") or picture.get("path")
    if isinstance(picture, bytes):
        return picture
    if not isinstance(picture, str) or not picture or "\0" in picture:
        raise UnusableError("an image is neither a path nor a picture")
    if picture.startswith(("http://", "https://", "data:")):
        raise UnusableError("an image is an address, and those are not fetched; download the images and name files")
    try:
        return folder.find(utf8(picture))
    except DataError as error:
        raise UnusableError(str(error)) from None


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
