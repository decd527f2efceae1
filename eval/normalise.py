"""What two texts have in common once spelling is put aside: plain text, VQA's normal form, numbers, choices."""

import math
import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

_ENDS = " \t\n.,;:!?\"'`*_()[]{}<>«»“”‘’…"
_ARTICLES = {"a", "an", "the"}
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_SMALL = {word: value for value, word in enumerate(_ONES)}
_TENS = {
    word: 10 * value
    for value, word in enumerate(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2)
}
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}


def plain(text: str) -> str:
    """Case, spaces and punctuation at the ends put aside; signs that mean something (-, %, $, +, °) stay."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(_ENDS) or folded


def vqa_form(text: str) -> str:
    """Normal form in the spirit of the VQA evaluation (Antol et al. 2015): articles and punctuation away, number
    words up to ten as digits, contractions alike with or without their apostrophe; decimal points and minus signs
    stay."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)|['’`]", "", plain(text))
    words = re.findall(r"(?:(?<!\w)-(?=\d))?\w+(?:\.\d+)*%?", text)
    kept = [str(_SMALL[word]) if _SMALL.get(word, 99) <= 10 else word for word in words if word not in _ARTICLES]
    return " ".join(kept) or text.strip()


class Number(NamedTuple):
    """A number found in a text. `bare`: beside it the text holds nothing but one word at most, such as a unit."""

    value: float
    percent: bool
    bare: bool


_DIGITS = re.compile(
    r"(?<![\w.])(?P<sign>[-+−]?)[$€£¥]?\s?"
    r"(?:(?:(?P<whole>\d+)\s+)?(?P<over>\d+)\s?/\s?(?P<under>\d+)"
    r"|(?P<plain>(?:\d{1,3}(?:[,'’\u00a0\u202f]\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE](?P<exponent>[-+]?\d{1,2})(?!\w))?)"
    r"(?!\.?\d)(?:\s?(?P<scale>hundred|thousand|million|billion|trillion)\b)?(?P<percent>\s?(?:%|per\s?cent\b))?",
    re.IGNORECASE,
)


def read_number(text: str) -> Number | None:
    """The one number that a text holds, in digits (thousands separators, fractions, percent, a unit behind it) or
    else in words; None if it holds none or several."""
    text = re.sub(r"[¼-¾⅐-⅞]", lambda m: " " + unicodedata.normalize("NFKC", m[0]).replace("⁄", "/"), text)
    found = list(_DIGITS.finditer(text))
    if not found:
        return _number_in_words(text)
    if len(found) > 1:
        return None
    match = found[0]
    value = _value(match)
    rest = text[: match.start()] + text[match.end() :]
    return None if value is None else Number(value, bool(match["percent"]), len(re.findall(r"[^\W\d]+", rest)) <= 1)


def _value(match: re.Match[str]) -> float | None:
    if match["over"]:
        under = int(match["under"])
        if under == 0:
            return None
        value = int(match["whole"] or 0) + int(match["over"]) / under
    else:
        value = float(re.sub(r"[,'’\s]", "", match["plain"])) * 10 ** int(match["exponent"] or 0)
    value *= _SCALES[match["scale"].lower()] if match["scale"] else 1
    return (-value if match["sign"] in ("-", "−") else value) if math.isfinite(value) else None


def _number_in_words(text: str) -> Number | None:
    """“two”, “twenty-one dogs”, “three hundred and five”."""
    words = re.findall(r"[^\W\d]+", text.casefold())
    numeric = [word in _SMALL or word in _TENS or word in _SCALES for word in words]
    if not any(numeric):
        return None
    start, end = numeric.index(True), len(numeric) - numeric[::-1].index(True)
    total = part = 0.0
    for word in words[start:end]:
        if word in _SCALES:
            part = (part or 1) * _SCALES[word]
            if word != "hundred":
                total, part = total + part, 0.0
        elif word in _SMALL or word in _TENS:
            part += _SMALL.get(word, _TENS.get(word, 0))
        elif word != "and":
            return None  # two numbers with other words between them
    before = words[:start]
    sign = -1 if before[-1:] in (["minus"], ["negative"]) else 1
    rest = len(words) - (end - start) - (sign < 0)
    after = words[end : end + 1] == ["percent"]
    return Number(sign * (total + part), after, rest - after <= 1)


_LETTER = re.compile(
    r"(?:the )?(?:(?:correct |final )?(?:answer|option|choice)(?: is)?:? ?)?"  # “option”, “the answer is”
    r"[(\[]?([a-z])\b[)\].:,]*(?: ?- ?)?(.*)",  # “(b)”, “b. dog”, “b - dog”
    re.DOTALL,
)


def read_choice(text: str, choices: Sequence[str]) -> int | None:
    """Which choice a text names (0-based): by its text, by its letter (“B”, “(b)”, “option B”), or by both if they
    agree.

    None if it names none of them, or by its letter one and by its text another.
    """
    folded = plain(text)
    texts = [plain(choice) for choice in choices]
    if folded in texts:
        return texts.index(folded)
    letter = _LETTER.fullmatch(folded)
    index = ascii_uppercase.lower().index(letter[1]) if letter else len(texts)
    rest = plain(letter[2]) if letter else ""
    if index < len(texts):
        delimited = letter is not None and folded[letter.end(1) : letter.end(1) + 1] != " "
        if not rest or rest == texts[index] or (delimited and rest not in texts):
            return index
    without = folded.split(" ", 1)[-1] if folded.split(" ", 1)[0] in _ARTICLES else ""
    return texts.index(without) if without in texts else None
