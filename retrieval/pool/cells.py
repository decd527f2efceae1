"""Cells of a user's table, whether they come from JSON, CSV or Parquet: texts, lists, choices, pictures in messages."""

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from string import ascii_uppercase
from typing import Any


def first(fields: dict[str, Any], *names: str) -> Any:
    """The first of the named fields that holds something, None if none does."""
    return next((fields[name] for name in names if not _missing(fields.get(name))), None)


def _missing(value: Any) -> bool:
    return value is None or value == "" or value == [] or (isinstance(value, float) and math.isnan(value))


def text_of(value: Any) -> str:
    """A cell as text, such as can be written as UTF-8; what tables use for a missing value is ""."""
    if _missing(value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, dict):  # VQA's annotations: {"answer": …, "answer_id": …}
        return text_of(value.get("answer", value.get("text")))
    return utf8(str(value)).strip()


def utf8(text: str) -> str:
    """A text as it can be written as UTF-8: half a surrogate pair, which JSON may hold, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def list_of(value: Any) -> list[Any]:
    """A cell as a list: a list, a JSON list, or texts divided by `|`."""
    found = one_or_list(value)
    return found[0].split("|") if len(found) == 1 and found[0] is value and isinstance(value, str) else found


def one_or_list(value: Any) -> list[Any]:
    """A cell as a list, where a `|` is part of a text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):
            value = json.loads(value)
    return value if isinstance(value, list) else [] if _missing(value) else [value]


def choice_texts(value: Any) -> tuple[str, ...]:
    """The texts of a question's choices, in a list or by their letters, without letters of their own; () if there are
    none."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value) if value[key] is not None]
    choices = tuple(text for text in (text_of(part) for part in list_of(value)) if text)
    marks = [re.fullmatch(r"\(?([A-Za-z])[.):]\s+(.+)", choice, re.DOTALL) for choice in choices]
    if choices and all(m and m[1].upper() == letter for m, letter in zip(marks, ascii_uppercase, strict=False)):
        return tuple(mark[2] for mark in marks if mark)  # the letters are already there; we set our own
    return choices


def with_choices(question: str, choices: Sequence[str]) -> str:
    """A question and its choices below it, one a line, lettered."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False)]
    return "\n".join([question, *lines])


def pictures_of(part: dict[str, Any]) -> list[Any] | None:
    """What a part of a chat message names as its picture: [] if it only says that there is one, None if it is no
    picture."""
    kind = part.get("type")
    if kind == "image_url":
        url = part.get("image_url")
        named = url.get("url") if isinstance(url, dict) else url
    elif kind == "image":
        named = first(part, "image", "path", "url")
    else:
        return None
    return [] if _missing(named) else [named]
