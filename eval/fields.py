"""What the fields of a user's row mean: question, gold answers, choices, conversations. Cells may come from JSON, CSV
or Parquet."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple

from eval.normalise import plain, read_choice
from retrieval.cells import choice_texts, first, list_of, one_or_list, pictures_of, text_of
from retrieval.rationale import parse_rationale


class Unreadable(Exception):  # noqa: N818 - not an error of the run: a reason to set an item aside
    """Why an item is set aside."""


class Chat(NamedTuple):
    """A conversation of one question: the question, its gold answer, the images named inside it."""

    question: str
    answer: str
    images: list[Any]


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
    choices = choice_texts(value)
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
        if not isinstance(part, dict):
            continue
        if part.get("type") == "text":
            texts.append(text_of(part.get("text")))
        images += pictures_of(part) or []
    return "\n".join(texts)


def short(text: str) -> str:
    """A text as a sentence can quote it."""
    return text if len(text) <= 60 else text[:57] + "…"
