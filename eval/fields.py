"""What the fields of a user's row mean: question, gold answers, choices, conversations. Cells may come from JSON, CSV
or Parquet."""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from string import ascii_uppercase
from typing import Any, NamedTuple

from eval.normalise import plain, read_choice
from retrieval.rationale import parse_rationale


class Unreadable(Exception):  # noqa: N818 - not an error of the run: a reason to set an item aside
    """Why an item is set aside."""


class Chat(NamedTuple):
    """A conversation of one question: the question, its gold answer, the images named inside it."""

    question: str
    answer: str
    images: list[Any]


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
    return str(value).encode("utf-8", "replace").decode().strip()


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


def gold_answers(fields: dict[str, Any]) -> list[str]:
    """All accepted answers, that of `answer` first."""
    one = [text_of(part) for part in one_or_list(first(fields, "answer"))]
    several = [text_of(part) for part in list_of(first(fields, "answers"))]
    return [gold for gold in [*(gold for gold in one if gold not in several), *several] if gold]


_EDGES = re.compile(r"^(?:\s*<image \d+>)+\s*|(?:\s*<image \d+>)+\s*$")


def without_markers(question: str) -> str:
    """A question without `<image>` markers at its ends (images come first in every prompt); one inside is part of
    what is asked and becomes “image N”."""
    count = itertools.count(1)
    numbered = re.sub(r"<image>", lambda _: f"<image {next(count)}>", question)
    return re.sub(r"<image (\d+)>", r"image \1", _EDGES.sub("", numbered)).strip()


def read_choices(value: Any) -> tuple[str, ...]:
    """The texts of an item's choices, without letters of their own. Raises Unreadable if they cannot be told apart."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value) if value[key] is not None]
    choices = tuple(text for text in (text_of(part) for part in list_of(value)) if text)
    marks = [re.fullmatch(r"\(?([A-Za-z])[.):]\s+(.+)", choice, re.DOTALL) for choice in choices]
    if choices and all(m and m[1].upper() == letter for m, letter in zip(marks, ascii_uppercase, strict=False)):
        choices = tuple(mark[2] for mark in marks if mark)  # the letters are already there; we set our own
    if len(choices) == 1 or len(choices) > len(ascii_uppercase):
        raise Unreadable(f"it has {len(choices)} choice(s); 2 to {len(ascii_uppercase)} are understood")
    if len({plain(choice) for choice in choices}) < len(choices):
        raise Unreadable("two of its choices are the same")
    return choices


def within(gold: str, choices: tuple[str, ...]) -> str:
    """The choice that a gold answer means, by letter or by text. Raises Unreadable if it means none."""
    index = read_choice(gold, choices)
    if index is None:
        raise Unreadable(f"its answer “{short(gold)}” is none of its {len(choices)} choices, by letter or by text")
    return choices[index]


def canonical_first(golds: Sequence[str]) -> tuple[str, ...]:
    """Annotators repeat each other; the answer that most of them gave comes first."""
    counts = Counter(plain(gold) for gold in golds)
    return tuple(sorted(golds, key=lambda gold: -counts[plain(gold)]))


_USER = {"human", "user"}
_STUDENT = {"gpt", "assistant", "model"}


def read_chat(fields: dict[str, Any]) -> Chat | None:
    """The conversation of a row, None if it has none. Raises Unreadable if it is not one question with one answer."""
    turns = first(fields, "conversations", "messages")
    if turns is None:
        return None
    turns = one_or_list(turns)
    if not all(isinstance(turn, dict) for turn in turns):
        raise Unreadable("its conversation is not a list of turns, each with a speaker and a text")
    said: dict[str, list[str]] = {"system": [], "user": [], "student": []}
    images: list[Any] = []
    for turn in turns:
        speaker = text_of(turn.get("from", turn.get("role"))).lower()
        role = "user" if speaker in _USER else "student" if speaker in _STUDENT else speaker
        if role not in said:
            raise Unreadable(f"its conversation has an unknown speaker “{short(speaker)}”")
        said[role].append(_content(turn.get("value", turn.get("content")), images))
    if len(said["user"]) != 1 or len(said["student"]) != 1:
        counts = f"{len(said['user'])} question(s) and {len(said['student'])} answer(s)"
        raise Unreadable(f"its conversation has {counts}; an item is one question with one answer")
    answer = said["student"][0]
    question = "\n".join([*said["system"], *said["user"]])
    return Chat(question, parse_rationale(answer).final or answer.strip(), images)


def _content(value: Any, images: list[Any]) -> str:
    """The text of a chat message; images named among its parts are added to `images`."""
    if not isinstance(value, list):
        return text_of(value)
    texts = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(text_of(part.get("text")))
        elif kind == "image_url":
            url = part.get("image_url")
            images.append(url.get("url") if isinstance(url, dict) else url)
        elif kind == "image" and (found := first(part, "image", "path", "url")):
            images.append(found)
    return "\n".join(texts)


def short(text: str) -> str:
    """A text as a sentence can quote it."""
    return text if len(text) <= 60 else text[:57] + "…"
