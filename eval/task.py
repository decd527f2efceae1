"""A task: the items of a user's validation set, read from whatever file they come in.

Fields are known by the names that data sets give them (`retrieval.reading.names`): question, gold answer, choices, pictures, id;
or a conversation instead of question and answer. An item that cannot be read is set aside with one sentence that says why; the
rest goes on. Not covered: conversations of several questions, pictures by web address.
"""

import atexit
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from eval.fields import canonical_first, gold_answers, item_choices, read_turn
from eval.gold import Answers, Gold, Meaning, meaning_of_digits, read_gold
from retrieval.errors import DataError, StorageError
from retrieval.pool.formats import Distinct, pictures_named
from retrieval.pool.images import ImageStore, read_image
from retrieval.reading.cells import short, text_of, with_choices
from retrieval.reading.chats import UnusableError, without_markers
from retrieval.reading.image_folder import ImageFolder
from retrieval.reading.inline import picture_of
from retrieval.reading.names import ID, INDEX, QUESTION, Row
from retrieval.reading.records import SetAside, iter_records
from retrieval.reading.sources import image_folder
from retrieval.reading.understood import Columns, no_picture_words, or_none, some_of
from retrieval.storage.files import storage_errors

#: Least number of items of which a share is kept as holdout; of fewer, neither part would show anything.
HOLDOUT_FROM = 300


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a validation set. `answers` are the accepted gold answers, the canonical one first; with
    `choices`, they are texts of choices, which stand in the places of their letters ("" where a letter has none). Annotators'
    answers keep their repetitions, for the `vqa` scorer."""

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
    """The items of a file in its order, what was set aside, and what was understood of the others, in words."""

    items: tuple[Item, ...]
    set_aside: tuple[SetAside, ...]
    understood: str = ""
    warning: str = ""


class _Parsed(NamedTuple):
    """An item but for its gold answer, which may depend on those of the others."""

    item: Item
    gold: Gold
    where: str


def load_items(
    path: Path,
    images: Path | None = None,
    limit: int | None = None,
    anywhere: bool = False,
    answers: Answers = "auto",
    store: Path | None = None,
) -> Items:
    """Read at most `limit` readable items. Image paths are relative to `images`, or else to the folder of the file;
    an item whose image lies outside is set aside, unless `anywhere`. Pictures that the file holds itself are written to `store`,
    by their content; without one, to a folder that goes when this process ends. `answers` says what digits among the gold
    answers of choices are.

    Raises DataError if the file is missing or broken, if none of its items can be read, or if its gold answers may mean this or
    that.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"{images} is no folder; give the folder that image paths are relative to")
    look = _Images(ImageFolder(image_folder(path, images), anywhere, "data.images_anywhere"), store)
    columns, distinct = Columns(), Distinct()
    parsed: list[_Parsed] = []
    aside: list[SetAside] = []
    for number, record in enumerate(iter_records(path), 1):
        if limit is not None and len(parsed) >= limit:
            break
        if isinstance(record, SetAside):
            aside.append(record)
            continue
        row = Row(record.value)
        name = text_of(row.first(*ID)) or f"row-{number}"
        try:
            parsed.append(_parse(name, row, record.where, look))
            columns.add(row.columns(), row.used, row.picture_like())
        except UnusableError as reason:
            aside.append(SetAside(name, record.where, str(reason)))
        except RecursionError:
            aside.append(SetAside(name, record.where, "its lists are nested too deeply"))
    meant = meaning_of_digits([each.gold for each in parsed if each.gold.choices.texts], answers, str(path))
    items, meanings = _settled(parsed, meant, distinct, aside)
    if not items and not aside:
        raise DataError(f"{path} is empty; write one item a row")
    if not items:
        bad = aside[0]
        raise DataError(f"{path}: none of its {len(aside)} items can be read; the first, {bad.where}: {bad.reason}")
    shown = any(item.images for item in items)
    warning = no_picture_words(columns.pictures, "item") if columns.pictures and not shown else ""
    return Items(tuple(items), tuple(aside), _words(items, meanings, columns.unused), warning)


def _settled(
    parsed: list[_Parsed], meant: Answers, distinct: Distinct, aside: list[SetAside]
) -> tuple[list[Item], set[Meaning]]:
    """Items with their gold answers, each with an id of its own, and what the answers of choices are; `aside` gains those whose
    answer means none of them, and those that are there twice."""
    items: list[Item] = []
    meanings: set[Meaning] = set()
    seen: dict[Item, str] = {}
    for item, gold, where in parsed:
        answers = gold.answers
        try:
            if gold.choices.texts:
                read = read_gold(gold, meant)
                answers = tuple(gold.choices.texts[place] for place in read.places)
                meanings.add(read.meaning)
            whole = replace(item, answers=canonical_first(answers))
            if whole in seen:
                raise UnusableError(f"it is {seen[whole]} once more")
        except UnusableError as reason:
            aside.append(SetAside(item.id, where, str(reason)))
            continue
        seen[whole] = where
        items.append(replace(whole, id=distinct(item.id)))
    return items, meanings


def _words(items: Sequence[Item], meanings: set[Meaning], unused: Sequence[str]) -> str:
    """“200 items, 200 with a picture, 4 choices each, answers are letters; not used: hint, split”."""
    pictures = sum(bool(item.images) for item in items)
    parts = [f"{len(items):,} item{'s' * (len(items) > 1)}", f"{or_none(pictures)} with a picture"]
    counts = sorted({sum(map(bool, item.choices)) for item in items if item.choices})
    if counts:
        each = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        chosen = sum(bool(item.choices) for item in items)
        parts.append(f"{each} choices each" if chosen == len(items) else f"{each} choices for {chosen:,} of them")
        names = {"letter": "letters", "text": "texts of choices", "index": "places of choices from 0"}
        parts.append("answers are " + " or ".join(names[meaning] for meaning in names if meaning in meanings))
    return ", ".join(parts) + (f"; not used: {some_of(unused)}" if unused else "")


def split_holdout(items: Sequence[Item], share: float, seed: int) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Split into (validation, holdout), each in the file's order; below `HOLDOUT_FROM` items the holdout is empty.

    Who goes where depends on the seed and the ids alone, not on the order of the items.
    """
    if len(items) < HOLDOUT_FROM:
        return tuple(items), ()
    drawn = sorted(items, key=lambda item: hashlib.sha256(f"{seed}\n{item.id}".encode()).digest())
    held = {item.id for item in drawn[: round(share * len(items))]}
    return tuple(i for i in items if i.id not in held), tuple(i for i in items if i.id in held)


def _parse(name: str, row: Row, where: str, look: "_Images") -> _Parsed:
    """The item of a record. Raises UnusableError."""
    if medium := row.medium():
        raise UnusableError(f"it shows {medium}, and only pictures are read")
    inline: list[Any] = []
    asked, answer = read_turn(row, inline) or (text_of(row.first(*QUESTION, "text")), "")
    named = pictures_named(row) or inline
    question = without_markers(asked, bool(named))
    if not question:
        raise UnusableError(f"its question is missing or empty (its fields: {', '.join(row.columns())})")
    choices = item_choices(row)
    place = row.first(*INDEX) if choices.texts and not answer else None
    golds = [answer] if answer else [text_of(place)] if place is not None else gold_answers(row)
    if not golds:
        raise UnusableError(f"its gold answer is missing or empty (its fields: {', '.join(row.columns())})")
    pictures = tuple(look.path(value) for value in named)
    gold = Gold(tuple(golds), choices, place is not None)
    return _Parsed(Item(name, question, (), choices.texts, pictures), gold, where)


class _Images:
    """Looks at each image once, however many items show it; what the file holds itself is written to `store`."""

    def __init__(self, folder: ImageFolder, store: Path | None) -> None:
        self._folder = folder
        self._store = store
        self._seen: dict[Path, str | None] = {}

    def path(self, value: Any) -> Path:
        """Where an image lies, once it has been seen to be one. Raises UnusableError."""
        picture = picture_of(value)
        if isinstance(picture, bytes):
            return self._kept(picture)
        try:
            path = self._folder.find(str(Path(picture).expanduser())).absolute()
        except RuntimeError:
            raise UnusableError(f"there is no image {short(picture)}, since there is no such user") from None
        except DataError as error:
            raise UnusableError(str(error)) from None
        except (OSError, ValueError) as error:
            raise UnusableError(f"its image {short(picture)} cannot be read: {error}") from None
        if path not in self._seen:
            self._seen[path] = _fault(path)
        if reason := self._seen[path]:
            raise UnusableError(reason)
        return path

    def _kept(self, picture: bytes) -> Path:
        store = ImageStore(self._store or _passing_folder())
        try:
            with storage_errors(store.folder):
                return store.path(store.add(picture).name).absolute()
        except StorageError:
            raise
        except DataError as error:
            raise UnusableError(str(error)) from None


@cache
def _passing_folder() -> Path:
    """A folder for pictures of which nothing is kept."""
    folder = tempfile.TemporaryDirectory(prefix="gaptutor-pictures-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


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
