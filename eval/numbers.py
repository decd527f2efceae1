"""The one number that an answer holds: right, or none at all."""

import math
import re
import unicodedata
from typing import NamedTuple

from eval.markup import unmarked

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
SMALL = {word: value for value, word in enumerate(_ONES)}
_TENS = {
    word: 10 * value
    for value, word in enumerate(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2)
}
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
#: Words and signs behind a figure that multiply it; a German Billion and a Spanish billón are a thousand English ones.
_SUFFIXES = {
    **_SCALES,
    **dict.fromkeys(
        ("thousands", "k", "tausend", "mille", "mil", "тыс", "тысяч", "тысячи", "тысяча", "हज़ार", "ألف", "千"), 1e3
    ),
    **dict.fromkeys(("万", "萬", "만"), 1e4),
    **dict.fromkeys(("lakh", "lakhs", "लाख"), 1e5),
    **dict.fromkeys(
        ("millions", "mn", "mln", "mio", "millionen", "millón", "millones", "milhão", "milhões", "миллион", "миллиона"),
        1e6,
    ),
    **dict.fromkeys(("миллионов", "млн", "مليون"), 1e6),
    **dict.fromkeys(("crore", "crores", "करोड़"), 1e7),
    **dict.fromkeys(("億", "亿", "억"), 1e8),
    **dict.fromkeys(
        ("billions", "bn", "mrd", "milliarde", "milliarden", "milliard", "milliards", "миллиард", "миллиарда", "млрд"),
        1e9,
    ),
    **dict.fromkeys(("trillions", "tn", "trn", "billionen", "billones", "billón"), 1e12),
}
#: These may be a scale or a unit (300K is 300 kelvin or 300,000): both are kept.
_MAYBE = {"K": 1e3, "M": 1e6, "B": 1e9}
_SPACED = "|".join(sorted((word for word in _SUFFIXES if word not in "千万萬億亿만억"), key=len, reverse=True))
#: Before the sign: a letter would make of the figure a part of a name, but not where words are written without spaces.
_BEGINS = r"(?<![^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])(?<!\.)"
_DIGITS = re.compile(
    rf"{_BEGINS}(?P<sign>[-+−]?|(?i:minus|negative)\s)[$€£¥₹]?\s?"
    r"(?:(?:(?P<whole>\d+)\s+)?(?P<over>\d+)\s?/\s?(?P<under>\d+)(?![\d./])"
    r"|(?P<plain>\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}"  # 1.234,5 and 1.234.567
    r"|(?:\d{1,3}(?:[,'’\u00a0\u202f]\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?P<comma>,(?:\d{1,2}|\d{4,})(?![\d,]))?"  # 3,14
    r"(?:[eE](?P<exponent>[-+]?\d{1,2})(?!\w)|\s?[×x*·]\s?10\s?\^\s?[({]?(?P<power>[-+−]?\d{1,2})[)}]?)?)"
    r"(?![.,]?\d)"
    rf"(?:(?P<maybe>[KMB])\b|\s?(?P<scale>[万萬億亿만억]|千(?![米克瓦])|(?i:{_SPACED})(?![^\W\d_])))?"
    r"(?P<percent>\s?(?:%|٪|(?i:per\s?cent|pct|prozent|pour\s?cent|por\s?ciento|procent|процент\w*)\b))?",
)
_SUPERSCRIPT = re.compile(r"(?<=10)[⁺⁻⁰¹²³⁴-⁹]+")
#: What makes of a number a bound, a range or a denial.
_NOT_JUST = re.compile(
    r"[<>≤≥±]|\b(?:not|never|at (?:least|most)|(?:more|less|fewer|greater|higher|lower) than|no (?:more|less|fewer) than"
    r"|up to|between|over|under|above|below|or|oder|ou|unsure|unknown|mindestens|höchstens|au moins|al menos)\b|n['’]t\b"
    r"|\d\s?\+(?:\s|$)|(?<=\d)\s?[-–—~]\s?(?=\d)",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"\b(?:no|any|every|some|this|that|which|the|another|each)[ -]one\b|\bone(?:['’]s|self)\b"
    r"|\bone (?:of|can|could|should|might|must|another)\b",
    re.IGNORECASE,
)


class Number(NamedTuple):
    """A number found in a text. `bare`: beside it the text holds nothing but one word at most, such as a unit. `scaled`: its
    value if the letter behind it is no unit (300K)."""

    value: float
    percent: bool
    bare: bool
    scaled: float | None = None


def read_number(text: str) -> Number | None:
    """The one number that a text holds, in digits of any script (separators, fractions, powers of ten, scales, percent, a unit
    behind it) or else in English words. None if it holds none or several, or a bound, a range or a denial."""
    text = re.sub(r"[¼-¾⅐-⅞]", lambda m: " " + unicodedata.normalize("NFKC", m[0]).replace("⁄", "/"), unmarked(text))
    text = _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[0]).replace("−", "-"), text)
    text = "".join(map(_in_ascii, text))
    found = list(_DIGITS.finditer(text))
    if _NOT_JUST.search(_PRONOUN.sub("", text)):
        return None
    if not found:
        return _number_in_words(text)
    if len(found) > 1:
        return None
    match = found[0]
    value = _value(match)
    rest = text[: match.start()] + " " + text[match.end() :]
    said = _number_in_words(rest)
    if value is None or (said is not None and said.value != value):
        return None
    scaled = value * _MAYBE[match["maybe"]] if match["maybe"] else None
    return Number(value, bool(match["percent"]), len(re.findall(r"[^\W\d]+", rest)) <= 1, scaled)


def _in_ascii(sign: str) -> str:
    """Digits of all scripts, and what Arabic and full-width text puts between them."""
    if sign.isascii():
        return sign
    if (digit := unicodedata.decimal(sign, None)) is not None:
        return str(digit)
    return {"٫": ".", "٬": ",", "．": ".", "，": ",", "％": "%", "−": "-", "－": "-", "／": "/"}.get(sign, sign)


def _value(match: re.Match[str]) -> float | None:
    if match["over"]:
        under = int(match["under"])
        if under == 0:
            return None
        value = int(match["whole"] or 0) + int(match["over"]) / under
    else:
        figure = _plain_value(match["plain"], match["comma"] or "")
        if figure is None:
            return None
        value = figure * 10.0 ** int((match["exponent"] or match["power"] or "0").replace("−", "-"))
    value *= _SUFFIXES[match["scale"].lower()] if match["scale"] else 1
    return (-value if match["sign"].strip() not in ("", "+") else value) if math.isfinite(value) else None


def _plain_value(plain: str, comma: str) -> float | None:
    """Of a figure, which of its points and commas are the decimal one. None where a decimal comma follows a decimal point."""
    if comma:
        return None if "." in plain else float(re.sub(r"[,'’\s]", "", plain) + comma.replace(",", "."))
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+", plain):
        return float(plain.replace(".", "").replace(",", "."))
    if re.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}", plain):
        return float(plain.replace(".", ""))
    if re.fullmatch(r"0,\d{3}", plain):
        return float(plain.replace(",", "."))
    return float(re.sub(r"[,'’\s]", "", plain))


def _number_in_words(text: str) -> Number | None:
    """“two”, “twenty-one dogs”, “three hundred and five”, “one half”."""
    words = re.findall(r"[^\W\d]+", _PRONOUN.sub(" ", text.casefold()))
    numeric = [word in SMALL or word in _TENS or word in _SCALES for word in words]
    if not any(numeric):
        return None
    start, end = numeric.index(True), len(numeric) - numeric[::-1].index(True)
    total = part = 0.0
    last = math.inf
    for word in words[start:end]:
        if word in _SCALES:
            part, last = (part or 1) * _SCALES[word], math.inf
            if word != "hundred":
                total, part = total + part, 0.0
        elif word in SMALL or word in _TENS:
            value = SMALL.get(word, _TENS.get(word, 0))
            if value >= last or (last < 20):
                return None  # “two three” is two numbers, and so is “ten five”
            part, last = part + value, value
        elif word != "and":
            return None  # two numbers with other words between them
    before = words[:start]
    after = words[end : end + 1]
    if after and re.match(r"hal(?:f|ves)$|thirds?$|quarters?$|fifths?$|tenths?$|point$|dozens?$", after[0]):
        return None  # not the whole of it is read
    sign = -1 if before[-1:] in (["minus"], ["negative"]) else 1
    rest = len(words) - (end - start) - (sign < 0)
    percent = after == ["percent"]
    return Number(sign * (total + part), percent, rest - percent <= 1)
