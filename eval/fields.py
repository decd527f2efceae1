"""What the fields of an item's row mean: question, gold answers, choices, conversation. Cells may come from JSON, CSV
or Parquet."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from eval.normalise import plain
from retrieval.pool.formats import choices_of
from retrieval.pool.rationale import parse_rationale
from retrieval.reading.cells import Choices, list_of, one_or_list, text_of
from retrieval.reading.chats import UnusableError, chat_of
from retrieval.reading.names import ALL_GOLD, GOLD, Row


def gold_answers(row: Row) -> list[str]:
    """All accepted answers, that of the field of one answer first."""
    one = [text_of(part) for part in one_or_list(row.first(*GOLD))]
    several = [text_of(part) for part in list_of(row.first(*ALL_GOLD))]
    return [gold for gold in [*(gold for gold in one if gold not in several), *several] if gold]


def item_choices(row: Row) -> Choices:
    """An item's choices in the places of their letters. Raises UnusableError if they cannot be told apart."""
    choices = choices_of(row)
    texts = [plain(choice) for choice in choices.texts if choice]
    if len(set(texts)) < len(texts):
        raise UnusableError("two of its choices are the same")
    return choices


def canonical_first(golds: Sequence[str]) -> tuple[str, ...]:
    """Annotators repeat each other; the answer that most of them gave comes first."""
    counts = Counter(plain(gold) for gold in golds)
    return tuple(sorted(golds, key=lambda gold: -counts[plain(gold)]))


def read_turn(row: Row, images: list[Any]) -> tuple[str, str] | None:
    """Question and gold answer of a row's conversation, None if it has none; images named inside it are added to
    `images`. Raises UnusableError if it is not one question with one answer."""
    turns = chat_of(row, images)
    if turns is None:
        return None
    if len(turns) > 1:
        raise UnusableError(f"its conversation has {len(turns)} questions; an item is one question with one answer")
    question, answer = turns[0]
    return question, parse_rationale(answer).final or answer.strip()
