"""A task: the items of a user's validation set, read from whatever file they come in.

Fields understood: `question`; `answer` or `answers`; `choices` (or `options`); `image` or `images`; `id` (or
`question_id`). Or a conversation instead of question and answer: LLaVA's `conversations`, or `messages` as chat
models take them. An item that cannot be read is set aside with one sentence that says why; the rest goes on. Not
covered: conversations of several questions, pictures by web address, pictures stored inside a Parquet table.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from eval.fields import canonical_first, gold_answers, read_choices, read_turn, short, within
from retrieval.errors import DataError
from retrieval.pool.cells import first, list_of, one_or_list, text_of, with_choices
from retrieval.pool.chats import UnusableError, without_markers
from retrieval.pool.image_folder import ImageFolder
from retrieval.pool.images import read_image
from retrieval.pool.records import Record, SetAside, iter_records

#: Least number of items of which a share is kept as holdout; of fewer, neither part would show anything.
HOLDOUT_FROM = 300


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a validation set. `answers` are the accepted gold answers, the canonical one first; with
    `choices`, they are texts of choices. Annotators' answers keep their repetitions, for the `vqa` scorer."""

    id: str
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()

    @property
    def prompt_text(self) -> str:
        """The question, and the choices below it, one a line, lettered."""
        return with_choices(self.question, self.choices)

    def to_row(self) -> dict[str, Any]:
        """The item as items.jsonl holds it."""
        return {
            "schema": 1,
            "id": self.id,
            "question": self.question,
            "answers": list(self.answers),
            "choices": list(self.choices),
            "images": [str(path) for path in self.images],
        }


class Items(NamedTuple):
    """The items of a file in its order, and what was set aside."""

    items: tuple[Item, ...]
    set_aside: tuple[SetAside, ...]


def load_items(path: Path, images: Path | None = None, limit: int | None = None, anywhere: bool = False) -> Items:
    """Read at most `limit` readable items. Image paths are relative to `images`, or else to the folder of the file;
    an item whose image lies outside is set aside, unless `anywhere`.

    Raises DataError if the file is missing or broken, or if none of its items can be read.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"{images} is no folder; give the folder that image paths are relative to")
    look = _Images(ImageFolder(images or path.parent, anywhere, "data.images_anywhere"))
    items: list[Item] = []
    aside: list[SetAside] = []
    taken: dict[str, str] = {}
    for number, record in enumerate(_rows(path), 1):
        if limit is not None and len(items) >= limit:
            break
        if isinstance(record, SetAside):
            aside.append(record)
            continue
        name = text_of(first(record.value, "id", "question_id")) or f"row-{number}"
        try:
            if name in taken:
                raise UnusableError(f"its id is already that of {taken[name]}; ids must differ")
            items.append(_item(name, record.value, look))
            taken[name] = record.where
        except UnusableError as reason:
            aside.append(SetAside(name, record.where, str(reason)))
        except RecursionError:
            aside.append(SetAside(name, record.where, "its lists are nested too deeply"))
    if not items and not aside:
        raise DataError(f"{path} is empty; write one item a row")
    if not items:
        bad = aside[0]
        raise DataError(f"{path}: none of its {len(aside)} items can be read; the first, {bad.where}: {bad.reason}")
    return Items(tuple(items), tuple(aside))


def _rows(path: Path) -> Iterator[Record | SetAside]:
    """`iter_records`; a path that the system will not look up is a DataError too."""
    try:
        yield from iter_records(path)
    except OSError as error:
        raise DataError(f"{short(str(path))} cannot be read: {error.strerror or error}") from None


def split_holdout(items: Sequence[Item], share: float, seed: int) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Split into (validation, holdout), each in the file's order; below `HOLDOUT_FROM` items the holdout is empty.

    Who goes where depends on the seed and the ids alone, not on the order of the items.
    """
    if len(items) < HOLDOUT_FROM:
        return tuple(items), ()
    drawn = sorted(items, key=lambda item: hashlib.sha256(f"{seed}\n{item.id}".encode()).digest())
    held = {item.id for item in drawn[: round(share * len(items))]}
    return tuple(i for i in items if i.id not in held), tuple(i for i in items if i.id in held)


def _item(name: str, fields: dict[str, Any], look: "_Images") -> Item:
    """The item of a record. Raises UnusableError."""
    inline: list[Any] = []
    asked, answer = read_turn(fields, inline) or (text_of(fields.get("question")), "")
    named = list_of(first(fields, "images")) or one_or_list(first(fields, "image")) or inline
    question = without_markers(asked, bool(named))
    if not question:
        raise UnusableError(f"its question is missing or empty (its fields: {', '.join(fields)})")
    golds = [answer] if answer else gold_answers(fields)
    if not golds:
        raise UnusableError(f"its gold answer is missing or empty (its fields: {', '.join(fields)})")
    choices = read_choices(first(fields, "choices", "options"))
    if choices:
        golds = [within(gold, choices) for gold in golds]
    return Item(name, question, canonical_first(golds), choices, tuple(look.path(value) for value in named))


class _Images:
    """Looks at each image once, however many items show it."""

    def __init__(self, folder: ImageFolder) -> None:
        self._folder = folder
        self._seen: dict[Path, str | None] = {}

    def path(self, value: Any) -> Path:
        """Where a named image lies, once it has been seen to be one. Raises UnusableError."""
        if isinstance(value, dict):
            if value.get("bytes") and not value.get("path"):
                raise UnusableError("its picture is stored inside the table; write it to a file and give its path")
            value = value.get("path")
        name = text_of(value)
        if not name:
            raise UnusableError("its image path is empty")
        if re.match(r"(https?|data):", name):
            raise UnusableError(f"its image is an address ({short(name)}); download it and give a file")
        try:
            path = self._folder.find(str(Path(name).expanduser())).absolute()
        except RuntimeError:
            raise UnusableError(f"there is no image {short(name)}, since there is no such user") from None
        except DataError as error:
            raise UnusableError(str(error)) from None
        except (OSError, ValueError) as error:
            raise UnusableError(f"its image {short(name)} cannot be read: {error}") from None
        if path not in self._seen:
            self._seen[path] = _fault(path)
        if reason := self._seen[path]:
            raise UnusableError(reason)
        return path


def _fault(path: Path) -> str | None:
    """Why an image cannot be used, None if it can; it is decoded whole, so that a truncated one shows here and not in
    a run."""
    try:
        if not path.is_file():
            return f"there is no image {path}"
        read_image(path)
    except DataError as error:
        return str(error)
    except OSError as error:
        return f"its image {short(str(path))} cannot be read: {error.strerror or error}"
    return None
