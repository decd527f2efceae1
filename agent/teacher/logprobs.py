"""A choice between lettered options, read from the log-probabilities of a chat reply's first tokens.

The reply's letter alone says too little: a judge at 0.55 and one at 0.99 write the same letter. Models write " A", "A"
or "**A" for one option, so what a token is worth is added up over its spellings.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

#: How many of the most likely tokens are asked for: the most that every provider gives.
TOP = 5
#: Longest reply to a choice, in tokens: room for a mark or a line break before the letter.
CHOICE_TOKENS = 8
_AROUND = " \t\n\r▁Ġ\"'`*([{)]}.:,"

Top = tuple[tuple[str, float], ...]
"""The most likely tokens at one place of a reply with their log-probabilities (nats)."""


def read_top(choice: Any) -> tuple[Top, ...] | None:
    """The top log-probabilities of each token in a choice of a chat completion, None if it has none.

    Every field may be missing or of another type; what is no token with a log-probability is left out.
    """
    logprobs = choice.get("logprobs") if isinstance(choice, Mapping) else None
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(content, list):
        return None
    found = tuple(_top_of(place) for place in content[:CHOICE_TOKENS])
    return found if any(found) else None


def _top_of(place: Any) -> Top:
    listed = place.get("top_logprobs") if isinstance(place, Mapping) else None
    rows = [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
    pairs = [(row.get("token"), row.get("logprob")) for row in rows]
    return tuple((token, float(value)) for token, value in pairs if isinstance(token, str) and _is_log(value))


def _is_log(value: Any) -> TypeGuard[float]:
    """Whether it can be a log-probability; some providers give −9999 for "never", and a rounded one may pass 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e5 < value <= 1e-3


def option_odds(places: tuple[Top, ...], letters: Collection[str]) -> dict[str, float] | None:
    """Probability of each option's letter, renormalised over the options, at the first place where one of them is among
    the most likely tokens; None if there is no such place.

    An option that is not listed there is no likelier than the last that is: it gets that probability.
    """
    for top in places:
        spelled = {letter: [value for token, value in top if token.strip(_AROUND) == letter] for letter in letters}
        if not any(spelled.values()):
            continue
        least = min(value for _, value in top)
        highest = max(value for _, value in top)
        weights = {
            letter: math.fsum(math.exp(value - highest) for value in values or [least])
            for letter, values in spelled.items()
        }
        total = math.fsum(weights.values())
        return {letter: weight / total for letter, weight in weights.items()}
    return None
