"""Cells of a user's table, whether they come from JSON, CSV or Parquet: texts, lists, choices, pictures in messages."""

import ast
import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from string import ascii_uppercase
from typing import Any, NamedTuple

#: Characters of a list in a text; a longer text is one.
_LONGEST_LIST = 1 << 16


def first(fields: dict[str, Any], *names: str) -> Any:
    """The first of the named fields that holds something, None if none does."""
    return next((fields[name] for name in names if not is_missing(fields.get(name))), None)


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing, whatever its table writes for that."""
    return value is None or value == "" or value == [] or (isinstance(value, float) and math.isnan(value))


def text_of(value: Any) -> str:
    """A cell as text, such as can be written as UTF-8; what tables use for a missing value is ""."""
    if is_missing(value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(
        value, dict
    ):  # VQA's annotations: {"answer": …, "answer_id": …}, or a choice: {"label": …, "text": …}
        return text_of(value.get("answer", value.get("text", value.get("value"))))
    return utf8(str(value)).strip()


def utf8(text: str) -> str:
    """A text as it can be written as UTF-8, lines ending as they do here: half a surrogate pair, which JSON may hold, becomes a
    question mark."""
    return text.encode("utf-8", "replace").decode().replace("\r\n", "\n")


def short(text: str) -> str:
    """A text as a sentence can quote it."""
    return text if len(text) <= 60 else text[:57] + "…"


def list_of(value: Any) -> list[Any]:
    """A cell as a list: a list, a JSON list, or texts divided by `|`."""
    found = one_or_list(value)
    return found[0].split("|") if len(found) == 1 and found[0] is value and isinstance(value, str) else found


def one_or_list(value: Any) -> list[Any]:
    """A cell as a list, where a `|` is part of a text: a list, or one in a text as JSON or Python write it."""
    if isinstance(value, str) and value.lstrip().startswith("[") and len(value) < _LONGEST_LIST:
        for read in (json.loads, ast.literal_eval):  # MMMU's options are Python's
            with suppress(ValueError, SyntaxError, MemoryError):
                return one_or_list(found) if isinstance(found := read(value.strip()), list) else [value]
    return value if isinstance(value, list) else [] if is_missing(value) else [value]


class Choices(NamedTuple):
    """Choices in the places of their letters, "" where a letter has none; `labels` are what the row itself calls them, () if it
    does not."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """How many there are, gaps left out."""
        return sum(bool(text) for text in self.texts)


def read_choices(value: Any) -> Choices:
    """A question's choices: a list of texts, or of objects with label and text (CommonsenseQA), lists of both (ARC), or texts
    by label. Letters written before all of the texts are taken off, since we set our own."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(ValueError):
            value = json.loads(value)
    texts, labels = _labelled(value)
    texts = [text_of(text) for text in texts]
    while texts and not texts[-1]:
        texts.pop()
    marks = [re.fullmatch(r"\(?([A-Za-z])[.):]\s+(.+)", text, re.DOTALL) for text in texts]
    if texts and all(mark and mark[1].upper() == letter for mark, letter in zip(marks, ascii_uppercase, strict=False)):
        return Choices(tuple(mark[2] for mark in marks if mark))
    return Choices(tuple(texts), tuple(labels[: len(texts)]) if len(labels) >= len(texts) else ())


def _labelled(value: Any) -> tuple[list[Any], list[str]]:
    """Texts and labels of choices."""
    if isinstance(value, dict):
        folded = {str(key).casefold(): part for key, part in value.items()}
        if isinstance(texts := folded.get("text", folded.get("texts")), list):
            return texts, [text_of(label) for label in list_of(folded.get("label", folded.get("labels")))]
        keys = sorted(value, key=lambda key: (int(key) if str(key).isdecimal() else -1, str(key)))
        if keys and all(re.fullmatch("[A-Za-z]", str(key)) for key in keys):
            by = {str(key).upper(): value[key] for key in keys}
            return [by.get(letter) for letter in ascii_uppercase], list(ascii_uppercase)
        return [value[key] for key in keys], [str(key) for key in keys]
    parts = list_of(value)
    if parts and all(isinstance(part, dict) for part in parts):
        return parts, [text_of(part.get("label", part.get("key"))) for part in parts]
    return parts, []


def with_choices(question: str, choices: Sequence[str]) -> str:
    """A question and its choices below it, one a line, lettered; a letter without a choice is passed over."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False) if choice]
    return "\n".join([question, *lines])


def pictures_of(part: dict[str, Any]) -> list[Any] | None:
    """What a part of a chat message names as its picture: [] if it only says that there is one, None if it is no
    picture."""
    kind = part.get("type")
    if kind == "image_url":
        url = part.get("image_url")
        named = url.get("url") if isinstance(url, dict) else url
    elif kind == "image":
        named = first(part, "image", "path", "url", "bytes")
    else:
        return None
    return [] if is_missing(named) else [named]
