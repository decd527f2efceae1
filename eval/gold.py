"""What the gold answers of items with choices mean: a letter, a choice's text, or its place.

A digit may be all three: of the choices 4, 3, 2, 1, the answer 1 is the last one as a text, the first one as a label, and the
second one as a place that is counted from 0. What one answer leaves open, the others of the file decide, or else the user does;
it is never guessed at, since every reading gives figures that look right.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal, NamedTuple

from eval.choices import read_choice
from eval.normalise import plain
from retrieval.errors import DataError
from retrieval.reading.cells import Choices, short
from retrieval.reading.chats import UnusableError

#: What a gold answer among choices may be; `index` counts from 0.
Meaning = Literal["letter", "text", "index"]
Answers = Literal["auto", "letter", "text", "index"]
_MEANINGS: tuple[Meaning, ...] = ("letter", "text", "index")
#: A meaning that fits fewer of the digits of a file than this share is none that was meant.
_FITS = 0.9
_SEVERAL = re.compile(
    r"[(\[]?[A-Za-z][)\]]?(?:\s*(?:[,;/|&+、，]|and|or|und|oder|et|ou|y|o|e|и|或|和)?\s*[(\[]?[A-Za-z][)\]]?)+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Gold:
    """The gold answers of an item among its choices. `place`: they are known to count from 0, by their field's name."""

    answers: tuple[str, ...]
    choices: Choices
    place: bool = False


class Read(NamedTuple):
    """Which choices are right, by place from 0, and how that was read."""

    places: tuple[int, ...]
    meaning: Meaning


def meaning_of_digits(golds: Sequence[Gold], answers: Answers, name: str) -> Answers:
    """What the digits among a file's gold answers mean, "auto" if it makes no difference. `name` is the file's, for messages.

    Raises DataError where they may mean this or that.
    """
    if answers != "auto":
        return answers
    digits = [(gold, text) for gold in golds if not gold.place for text in gold.answers if _is_open(text, gold.choices)]
    fits = {meaning: [_place(meaning, text, gold.choices) for gold, text in digits] for meaning in _MEANINGS}
    share = {
        meaning: sum(place is not None for place in places) / max(1, len(digits)) for meaning, places in fits.items()
    }
    likely: list[Meaning] = [meaning for meaning in _MEANINGS if share[meaning] >= _FITS]
    if not digits or len({tuple(fits[meaning]) for meaning in likely}) == 1:
        return likely[0] if len(likely) == 1 else "auto"
    gold, text = next(
        (each for each, *places in zip(digits, *fits.values(), strict=True) if len(set(places) - {None}) > 1), digits[0]
    )
    shown = " / ".join(short(choice) for choice in gold.choices.texts)
    raise DataError(
        f"{name}: a gold answer of “{text}” among the choices {shown} may be a place (0 is the first), a letter's number (1 is "
        "the first), or a choice's text; set data.answers to index, letter or text"
    )


def _is_open(text: str, choices: Choices) -> bool:
    # A column A to D names letters; ARC's labels may be figures, and then a digit is one of them.
    return text.isdecimal() and text not in choices.labels


def _place(meaning: Meaning, text: str, choices: Choices) -> int | None:
    """Where the choice is that a gold answer names if it is meant so; None if there is none there."""
    match meaning:
        case "letter":
            place = _lettered(text, choices)
        case "text":
            texts = [plain(choice) for choice in choices.texts]
            place = texts.index(plain(text)) if plain(text) in texts else None
        case "index":
            place = int(text) if text.isdecimal() and len(text) < 4 else None
    return place if place is not None and place < len(choices.texts) and choices.texts[place] else None


def _lettered(text: str, choices: Choices) -> int | None:
    labels = [label.casefold() for label in choices.labels]
    if text.casefold() in labels:
        return labels.index(text.casefold())
    if text.isdecimal() and len(text) < 4:
        return int(text) - 1 if int(text) else None
    return ascii_uppercase.index(text.upper()) if re.fullmatch("[A-Za-z]", text) else None


def read_gold(gold: Gold, answers: Answers) -> Read:
    """Which of its choices an item's gold answers name. Raises UnusableError if one names none, or they name several."""
    found = [_read_one(text, gold, answers) for text in gold.answers]
    places = tuple(dict.fromkeys(read.places[0] for read in found))
    if len(places) > 1:
        raise UnusableError(f"its answer names {len(places)} of its choices; an item has one right choice")
    return Read(places, found[0].meaning)


def _read_one(text: str, gold: Gold, answers: Answers) -> Read:
    choices = gold.choices
    if _SEVERAL.fullmatch(text) and _place("text", text, choices) is None and _all_letters(text, choices):
        raise UnusableError(f"its answer “{short(text)}” names several of its choices; an item has one right choice")
    meanings: tuple[Meaning, ...] = ("index",) if gold.place else _MEANINGS[:2] if answers == "auto" else (answers,)
    if answers == "auto" and not gold.place and not choices.labels:
        place = read_choice(text, choices.texts)
        if place is not None and choices.texts[place]:
            return Read((place,), "text" if plain(text) == plain(choices.texts[place]) else "letter")
    for meaning in meanings:
        if (place := _place(meaning, text, choices)) is not None:
            return Read((place,), meaning)
    if answers != "auto" or gold.place:
        # A file's other answers may still be words.
        words = None if text.isdecimal() else read_choice(text, choices.texts)
        if words is not None:
            return Read((words,), "text")
    how = "by its place" if gold.place or answers == "index" else "by letter or by text"
    raise UnusableError(f"its answer “{short(text)}” is none of its {choices.number} choices, {how}")


def _all_letters(text: str, choices: Choices) -> bool:
    letters = re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", text) or list(text)
    return all(_place("letter", letter, choices) is not None for letter in letters)
