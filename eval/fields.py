"""What the fields of an item's row mean: question, gold answers, choices, conversation. Cells may come from JSON, CSV
or Parquet."""

from collections import Counter
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from eval.normalise import plain, read_choice
from retrieval.pool.cells import choice_texts, first, list_of, one_or_list, text_of
from retrieval.pool.chats import UnusableError, chat_of
from retrieval.pool.rationale import parse_rationale


def gold_answers(fields: dict[str, Any]) -> list[str]:
    """All accepted answers, that of `answer` first."""
    one = [text_of(part) for part in one_or_list(first(fields, "answer"))]
    several = [text_of(part) for part in list_of(first(fields, "answers"))]
    return [gold for gold in [*(gold for gold in one if gold not in several), *several] if gold]


def read_choices(value: Any) -> tuple[str, ...]:
    """The texts of an item's choices, without letters of their own. Raises UnusableError if they cannot be told apart."""
    choices = choice_texts(value)
    if len(choices) == 1 or len(choices) > len(ascii_uppercase):
        raise UnusableError(f"it has {len(choices)} choice(s); 2 to {len(ascii_uppercase)} are understood")
    if len({plain(choice) for choice in choices}) < len(choices):
        raise UnusableError("two of its choices are the same")
    return choices


def within(gold: str, choices: tuple[str, ...]) -> str:
    """The choice that a gold answer means, by letter or by text. Raises UnusableError if it means none."""
    index = read_choice(gold, choices)
    if index is None:
        raise UnusableError(f"its answer “{short(gold)}” is none of its {len(choices)} choices, by letter or by text")
    return choices[index]


def canonical_first(golds: Sequence[str]) -> tuple[str, ...]:
    """Annotators repeat each other; the answer that most of them gave comes first."""
    counts = Counter(plain(gold) for gold in golds)
    return tuple(sorted(golds, key=lambda gold: -counts[plain(gold)]))


def read_turn(fields: dict[str, Any], images: list[Any]) -> tuple[str, str] | None:
    """Question and gold answer of a row's conversation, None if it has none; images named inside it are added to
    `images`. Raises UnusableError if it is not one question with one answer."""
    turns = chat_of(fields, images)
    if turns is None:
        return None
    if len(turns) > 1:
        raise UnusableError(f"its conversation has {len(turns)} questions; an item is one question with one answer")
    question, answer = turns[0]
    return question, parse_rationale(answer).final or answer.strip()


def short(text: str) -> str:
    """A text as a sentence can quote it."""
    return text if len(text) <= 60 else text[:57] + "…"
