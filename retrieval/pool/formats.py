"""Formats of pools: in, LLaVA and ShareGPT conversations, `messages` + `images` (TRL), question–answer lists of The
Cauldron, plain rows; out, `messages` + `images`.

Vision-Flan comes as LLaVA conversations. `<image>` markers at either end of a question are dropped (images come first
in every prompt); one inside a sentence becomes "image N", since it is part of what is asked. Not covered: video,
audio, tool calls.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from retrieval.errors import DataError
from retrieval.pool.sample import Sample, Turn
from retrieval.reading.cells import Choices, list_of, one_or_list, read_choices, utf8, with_choices
from retrieval.reading.chats import (
    UnusableError,
    chat_of,
    markers,
    message_text,
    read_chat,
    with_earlier,
    without_markers,
)
from retrieval.reading.image_folder import ImageFolder
from retrieval.reading.inline import picture_of
from retrieval.reading.names import ANSWER, CHOICES, ID, QUESTION, SEVERAL_IMAGES, SOURCE, SYSTEM, Row
from retrieval.reading.records import Record, SetAside, iter_records
from retrieval.reading.sources import image_folder
from retrieval.storage.files import write_jsonl
from retrieval.storage.order import seeded_hash


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A sample as the user's file has it: images are paths, or bytes where the file holds the pictures themselves. `columns` are
    the fields that held something, `used` those of them that were made use of, `picture_like` others that look like a picture."""

    id: str
    where: str
    turns: tuple[Turn, ...]
    images: tuple[Path | bytes, ...]
    source: str
    columns: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    picture_like: tuple[str, ...] = ()


def read_pool(path: Path, images: Path | None = None, anywhere: bool = False) -> Iterator[PoolRow | SetAside]:
    """Samples of a pool file (or folder of files) in its order; what cannot be used comes as SetAside.

    An id that was there before gets a number (`7`, `7#2`, `7#3`): LLaVA's mix calls all conversations about a picture alike.
    `images` is the folder that image paths are relative to, by default that of the file; a sample whose image lies outside
    comes as SetAside, unless `anywhere`. Whether images exist is not looked at here. Raises DataError if the file is missing
    or not what its ending says.
    """
    folder = ImageFolder(image_folder(path, images), anywhere, "pool.images_anywhere")
    distinct = Distinct()
    for number, record in enumerate(iter_records(path), 1):
        row = record if isinstance(record, SetAside) else parse_record(record, folder, f"row-{number:08d}")
        yield replace(row, id=distinct(row.id)) if isinstance(row, PoolRow) else row


class Distinct:
    """Gives each row an id of its own; in memory stand 8 bytes an id, and a count for those that come again."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._counts: dict[int, int] = {}

    def __call__(self, name: str) -> str:
        """The name, or the name with the first number behind it that makes it another."""
        given, key = name, id_key(name)
        while id_key(name) in self._seen:
            self._counts[key] = self._counts.get(key, 1) + 1
            name = f"{given}#{self._counts[key]}"
        self._seen.add(id_key(name))
        return name


def id_key(name: str) -> int:
    """64 bits that stand for a sample's id."""
    return seeded_hash(0, "id", name)


def parse_record(record: Record, folder: ImageFolder, fallback_id: str) -> PoolRow | SetAside:
    """Read one record; `fallback_id` names it if it has no id."""
    row = Row(record.value)
    given = row.first(*ID)
    name = utf8(str(given)) if isinstance(given, str | int) and str(given).strip() else fallback_id
    try:
        if medium := row.medium():
            raise UnusableError(f"it shows {medium}, and only pictures are read")
        inline: list[Any] = []
        pairs = _pairs(row, inline)
        named = pictures_named(row) or inline
        pictures = tuple(_picture(picture, folder) for picture in named)
        turns = _turns(pairs, bool(pictures))
    except UnusableError as error:
        return SetAside(name, record.where, str(error))
    except RecursionError:
        return SetAside(name, record.where, "its lists are nested too deeply")
    source = row.first(*SOURCE)
    kept = utf8(source) if isinstance(source, str) else ""
    columns = tuple(row.columns())
    return PoolRow(name, record.where, turns, pictures, kept, columns, frozenset(row.used), tuple(row.picture_like()))


def pictures_named(row: Row) -> list[Any]:
    """What a row names as its pictures; texts divided by `|` where its name says that there may be several."""
    found = row.images()
    return list_of(found) if row.named(*SEVERAL_IMAGES) is not None else one_or_list(found)


def _pairs(row: Row, inline: list[Any]) -> list[tuple[str, str]]:
    """(question, answer) of every turn, whatever the format; images named inside messages are added to `inline`."""
    if (chat := chat_of(row, inline)) is not None:
        return chat
    if isinstance(texts := row.first("texts"), list):
        turns = [turn for turn in texts if isinstance(turn, dict)]
        return [(message_text(turn.get("user")), message_text(turn.get("assistant"))) for turn in turns]
    question, answer = row.first(*QUESTION), row.first(*ANSWER)
    if isinstance(question, list) and isinstance(answer, list):
        return read_chat([*question, *answer], "prompt", inline)
    if question is None or answer is None:
        fields = ", ".join(row.columns())
        raise UnusableError(f"no conversations, no messages, and no question with an answer (its fields: {fields})")
    pair = _plain_question(row, question), message_text(answer)
    return with_earlier(pair, row.first("history"), row.first(*SYSTEM))


def _plain_question(row: Row, question: Any) -> str:
    lines = [message_text(question)]
    if isinstance(given := row.first("input"), str) and given.strip():
        lines.append(given)
    choices = choices_of(row)
    return with_choices("\n".join(lines), choices.texts)


def choices_of(row: Row) -> Choices:
    """The choices of a row, from a list or from columns of their own; none if it has none. Raises UnusableError."""
    value = row.first(*CHOICES)
    choices = read_choices(value if value is not None else row.choice_columns())
    if choices.number == 1 or len(choices.texts) > len(ascii_uppercase):
        raise UnusableError(f"it has {choices.number} choice(s); 2 to {len(ascii_uppercase)} are understood")
    return choices


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


def _picture(value: Any, folder: ImageFolder) -> Path | bytes:
    picture = picture_of(value)
    try:
        return picture if isinstance(picture, bytes) else folder.find(picture)
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
