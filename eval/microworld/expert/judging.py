"""Marking open answers, and choosing between options by what a student's steps say."""

import math
import re
from collections.abc import Mapping, Sequence

from eval.microworld.scene import CELL_INDEX, COLORS, SHAPES, SIZES

_NUMBER_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {name: str(value) for value, name in enumerate(_NUMBER_NAMES)}
_SAME = {"colour": "color", "colored": "color", "coloured": "color", "yeah": "yes", "nope": "no", "grey": "gray"}
_FILLER = re.compile(
    r"(?:an?|the|is|are|was|it|its|it's|there|that|this|answer|color|shape|digit|number|size|cell|row|column|at|in|of|"
    r"so|to|be|final|count|total|objects?|i|think|would|say|has|have|which|what|and|with|as)"
)
#: Log-odds that a step which ends on an option's text gives to it.
STEP_WEIGHT = 1.5


def words(text: str) -> list[str]:
    """The words that carry an answer: numbers as figures, without filler."""
    found = re.findall(r"[a-z]+'?[a-z]*|\d+(?:\.\d+)?", text.lower())
    plain = [_NUMBERS.get(word, _SAME.get(word, word)) for word in found]
    return [word for word in plain if not _FILLER.fullmatch(word)] or plain


def judged_correct(answer: str, gold: Sequence[str]) -> bool:
    """Whether an answer says what one of the correct ones says: all its words, and nothing that contradicts or hedges.

    Not here: true paraphrases; the micro-world's answers are a word, a number or a cell.
    """
    said = words(answer)
    if not said or {"or", "maybe", "either", "perhaps"} & set(re.findall(r"[a-z]+", answer.lower())):
        return False
    return any(_says(said, words(each)) for each in gold if words(each))


def _says(said: list[str], wanted: list[str]) -> bool:
    if said == wanted:
        return True
    negated = {"not", "no", "never", "isn't", "aren't", "none"}
    if (negated & set(said)) != (negated & set(wanted)):
        return False
    rivals = [word for word in said if word not in wanted and _kind(word) == _kind(wanted[-1]) != "word"]
    return set(wanted) <= set(said) and not rivals


def _kind(word: str) -> str:
    """Number, cell, colour and so on: an answer that names two of a kind names several possibilities."""
    if word[0].isdigit():
        return "number"
    kinds = {"color": COLORS, "shape": SHAPES, "cell": CELL_INDEX, "size": SIZES, "verdict": ("yes", "no")}
    return next((kind for kind, known in kinds.items() if word in known), "word")


def choice_odds(options: Mapping[str, str], steps: Sequence[str], prior: Mapping[str, object]) -> dict[str, float]:
    """Probability of each option's letter. A step that ends on an option's text speaks for it, the last one most."""
    given = {letter: float(p) for letter, p in prior.items() if isinstance(p, int | float) and 0 < p < 1}
    rest = max(1 - sum(given.values()), 1e-6) / max(len(options) - len(given), 1)
    log_odds = {letter: math.log(given.get(letter, rest)) for letter in options}
    for age, step in enumerate(reversed(steps)):
        said = words(step)
        for letter, text in options.items():
            wanted = words(text)
            if wanted and said[-len(wanted) :] == wanted:
                log_odds[letter] += STEP_WEIGHT / (1 + age)
    highest = max(log_odds.values())
    weights = {letter: math.exp(value - highest) for letter, value in log_odds.items()}
    return {letter: weight / sum(weights.values()) for letter, weight in weights.items()}
