"""The one number that an answer gives, whatever it writes it with; several, a bound or a range give none.

1,234 is a thousand and more, 3,14 is three and a bit: a comma before exactly three digits divides thousands. 1.234 is taken as a
decimal, 1.234,5 and 1.234.567 are not. Not covered: roots, powers other than of ten, times of day, dates, feet and inches.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from eval.markup import unwrap
from eval.number_words import (
    ALONE,
    CHINESE,
    ENGLISH_SCALES,
    PHRASES,
    SCALES,
    SMALL,
    TENS,
    chinese,
    english,
    key,
)
from eval.phrases import NOT, REASON, STATED, WRONG, hedges


class Number(NamedTuple):
    """A number found in a text. `bare`: beside it the text holds nothing but one word at most, such as a unit."""

    value: float
    percent: bool
    bare: bool


_SCALE_WORDS = "|".join(re.escape(word) for word in sorted(SCALES, key=len, reverse=True))
_PERCENT = (
    r"\s?(?:%|per\s?cent\b|prozent\b|pour\s?cent\b|por\s?cien(?:to)?\b|per\s?cento\b|процент\w*|パーセント|प्रतिशत"
    r"|(?:في\s|ب)ال(?:مئة|مائة)|퍼센트)"
)
_PLAIN = (
    r"(?:0,\d+|\d{4,},\d+|\d{1,3}(?:['’]\d{3})+(?:[.,]\d+)?|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?"
    r"|\d{1,3}(?:\.\d{3})+,(?:\d{1,2}|\d{4,})|\d{1,3}(?:\.\d{3}){2,}|\d{1,3}(?:\s\d{3}){2,}(?:[.,]\d+)?|\d{1,3}(?:\s\d{3})+,\d+"
    r"|\d+,(?:\d{1,2}|\d{4,})|\d+(?:\.\d+)?|\.\d+)"
)
_POWER = r"\s?[×xX*·]\s?10\s?\^\s?\(?(?P<power>[-+−]?\d{1,3})\)?"
_DIGITS = re.compile(
    rf"(?<![A-Za-zÀ-ɏЀ-ӿ\d_.,/^{{])(?<![A-Za-zÀ-ɏ][-‐])(?P<sign>[-+−]?)[$€£¥₹]?\s?"
    rf"(?:(?:(?P<whole>\d+)\s+)?(?P<over>\d+(?:\.\d+)?)\s?/\s?(?P<under>\d+(?:\.\d+)?)(?!\s?/)"
    rf"|10\^\(?(?P<ten>[-+−]?\d{{1,3}})\)?"
    rf"|(?P<plain>{_PLAIN})(?:[eE](?P<exponent>[-+]?\d{{1,2}})(?!\w)|{_POWER})?)"
    rf"(?![.,]?\d|\^|\s?/\s?[\d(\\]|\s?[×xX*·÷]\s?\d|[-‐]?[dD]\b|(?-i:\s[kKMBT]\b|[tT]\b))"
    rf"(?:(?-i:(?P<letter>[kKMBmb])(?![\w'’]))|(?:\s?(?P<scale>{_SCALE_WORDS})(?![^\W\d_])\.?)(?:\s(?P<more>thousand|million|billion|crore|करोड़)\b)?)?"
    rf"(?P<percent>{_PERCENT})?",
    re.IGNORECASE,
)
_LETTERS = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "m": 1.0}  # 5m are metres, $5m millions
_LETTERS_OF_MONEY = _LETTERS | {"m": 1e6, "b": 1e9}
_BOUND_BEFORE = re.compile(
    r"""(?:(?:more|less|fewer|greater|larger|smaller|higher|lower)\s+than|\bover|\bunder|\babove|\bbelow|at\s+(?:least|most)|up\s+to|\bbetween
    |[<>≤≥≠±]=?|mehr\s+als|weniger\s+als|mindestens|höchstens|über|unter|bis\s+zu|plus\s+d['e’]|moins\s+d['e’]|au\s+moins|au\s+plus|jusqu['’]à
    |más\s+de|menos\s+de|al\s+menos|como\s+(?:mucho|máximo)|hasta|(?:более|больше|менее|меньше|свыше|до)|超过|超過|至少|至多|不到|多于|少于|大于|小于|少なくとも
    |أكثر\s+من|أقل\s+من|على\s+الأقل|कम\s+से\s+कम)\s*(?:about\s|of\s)?$""",
    re.IGNORECASE | re.VERBOSE,
)
_BOUND_BEHIND = re.compile(
    r"""\s?(?:\+|or\s+(?:more|less|fewer)|and\s+(?:more|above|over)|oder\s+(?:mehr|weniger)|ou\s+(?:plus|moins)|o\s+(?:más|menos)|или\s+(?:более|больше|менее)
    |以上|以下|以内|未満|余|多(?!边)|से\s+(?:अधिक|कम|ज्यादा)|(?:\w+\s+)?below\s+zero|unter\s+null)""",
    re.IGNORECASE | re.VERBOSE,
)
_DENIED = re.compile(rf"(?:{NOT.pattern})$", re.IGNORECASE | re.VERBOSE)
_MINUS = re.compile(r"(?:minus|negative|moins|menos|meno|минус|负|負|マイナス|سالب|ناقص|ऋण)\s*$", re.IGNORECASE)
_BEYOND = re.compile(r"√|π|∞|∫|∑|‰|\\[A-Za-z]|\bsqrt\b")
_DECADE = re.compile(r"\d{3}0s\b")
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f\u0900-\u0903\u093a-\u094f])*")
_FRACTIONS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fifth": 5, "fifths": 5}
_FRACTIONS |= {"fourth": 4, "fourths": 4, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10}
_VAGUE = {"few", "several", "some", "many", "couple", "dozens", "hundreds", "thousands", "millions", "billions"}
#: Before “one”, these leave it a number; others make it a pronoun: “the red one”.
_BEFORE_ONE = {"is", "are", "only", "just", "exactly", "about", "approximately", "there", "see", "least", "be", "s"}
_JOINS = {
    "cent",
    "cents",
    "demi",
    "demie",
    "medio",
    "media",
    "halb",
    "einhalb",
    "половиной",
    "oder",
    "ou",
    "o",
    "u",
    "y",
    "e",
    "et",
    "und",
    "и",
    "или",
    "bis",
    "à",
    "pas",
    "أو",
    "या",
    "vel",
}
_COUNTED = (
    "个個只隻条條张張本匹人名位台辆輛颗顆块塊歳岁元円圆度米厘公斤克里年天日时時分秒つ"
    "枚頭羽件层層次朵片杯瓶把种種棵座所家架艘根倍冊足回階です"
)
_CHINESE = re.compile(
    rf"(?P<under>{CHINESE}|(?<!\d)\d{{1,9}})分[之の](?P<over>{CHINESE}|\d{{1,9}}(?!\d))|(?P<one>{CHINESE})(?:[点點](?P<point>[〇零一二三四五六七八九]+))?"
)


def read_number(text: str) -> Number | None:
    """The one number that a text holds, in digits (of any script; thousands separators, fractions, powers of ten, scales,
    percent, a unit behind it) or else in words.

    None if it holds none or several, if it gives a bound (“more than 5”), denies it, or is in doubt. Where the text states an
    answer (“the answer is 5”) or ends an equation, that is read.
    """
    said = _digits_alike(unwrap(text))
    if not said or hedges(said):
        return None
    marks = list(STATED.finditer(said))
    if marks:
        ends = [*(mark.start() for mark in marks[1:]), len(said)]
        found = [_statement(said[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]
        values = {(number.value, number.percent): number for number in found if number}
        if values:
            return next(iter(values.values())) if len(values) == 1 else None
    return _statement(said)


def _digits_alike(text: str) -> str:
    """A text with the digits, signs and spaces of all scripts as ASCII has them; raised digits as powers."""
    text = re.sub(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))", "’", text)
    text = re.sub(r"(?<=\d)٬(?=\d)", ",", text.replace("٫", ".").replace("٪", "%"))
    text = re.sub(r"[¼-¾⅐-⅞]", lambda m: " " + unicodedata.normalize("NFKC", m[0]).replace("⁄", "/"), text)
    text = re.sub(r"[⁰¹²³⁴-⁹⁺⁻]+", lambda m: "^" + unicodedata.normalize("NFKC", m[0]), text)
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    text = re.sub(r"[^\W\D]", lambda m: str(unicodedata.decimal(m[0], m[0])) if m[0] > "\x7f" else m[0], text)
    return re.sub(r"(?<=[^\W\d_])\^\(?[-−+]?\d\)?", "", text)  # m², s^-1


def _statement(text: str) -> Number | None:
    """The number of one statement: the right side of its equation, if it is one."""
    if NOT.match(text):
        return None
    if (reason := REASON.search(text)) and text[: reason.start()].strip(" ,;:.-"):
        text = text[: reason.start()]
    left, equals, right = text.rpartition("=")
    if equals and not re.search(r"[,;<>!]|\band\b", left):
        text = right
    if _BEYOND.search(text) or _DECADE.search(text):
        return None
    number = _chinese(text) if _CHINESE.search(text) else None
    return number or (
        None if re.search(CHINESE, text) and re.search(rf"\d\s?(?:{CHINESE})|(?:{CHINESE})\d", text) else _western(text)
    )


def _western(text: str) -> Number | None:
    found = list(_DIGITS.finditer(text))
    if not found:
        return None if re.search(r"\d", text) else _in_words(text)
    if len(found) > 1:
        return None
    match = found[0]
    before, behind = text[: match.start()], text[match.end() :]
    value = _value(match)
    words = [*_WORD.findall(before), *_WORD.findall(behind)]
    if (
        value is None
        or _bounded(before, behind)
        or WRONG.match(behind)
        or _DENIED.search(before[-40:])
        or _other_words(words, value)
        or re.search(r"\d", behind + before)
    ):
        return None
    if _MINUS.search(before[-20:]):
        value, words = -value, words[1:]
    return Number(value, bool(match["percent"]), len(words) <= 1)


def _bounded(before: str, behind: str) -> bool:
    return _BOUND_BEFORE.search(before[-40:]) is not None or _BOUND_BEHIND.match(behind[:40]) is not None


def _other_words(words: Sequence[str], value: float) -> bool:
    """Whether number words beside a figure say another number; “one” and fractions may be anything."""
    folded = [word.casefold() for word in words]
    return any(SMALL.get(word, TENS.get(word, value)) != value for word in folded if word != "one")


def _value(match: re.Match[str]) -> float | None:
    try:
        value = _figure(match)
    except (OverflowError, ValueError):
        return None
    for scale in (match["scale"], match["more"]):
        value *= SCALES[scale.casefold()] if scale else 1
    if match["letter"]:
        money = re.search("[$€£¥₹]", match[0]) is not None
        value *= (_LETTERS_OF_MONEY if money else _LETTERS).get(match["letter"], math.nan)
    return (-value if match["sign"] in ("-", "−") else value) if math.isfinite(value) else None


def _figure(match: re.Match[str]) -> float:
    if match["over"]:
        under = float(match["under"])
        return int(match["whole"] or 0) + float(match["over"]) / under if under else math.nan
    if match["ten"]:
        return 10.0 ** int(match["ten"].replace("−", "-"))
    plain = re.sub(r"['’\s]", "", match["plain"])
    comma, dot = plain.rfind(","), plain.rfind(".")
    if comma >= 0 and (dot > comma or re.fullmatch(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}", plain)):
        plain = plain.replace(",", "")
    elif comma >= 0 or plain.count(".") > 1:
        plain = plain.replace(".", "").replace(",", ".")
    return float(plain) * 10.0 ** int((match["exponent"] or match["power"] or "0").replace("−", "-"))


def _in_words(text: str) -> Number | None:
    """“two”, “twenty-one dogs”, “three hundred and five”, “half”, “dos perros”."""
    words = [word.casefold() for word in _WORD.findall(text)]
    known = [word in SMALL or word in TENS or word in ENGLISH_SCALES or word in ("hundred", "dozen") for word in words]
    if set(words) & _FRACTIONS.keys() and words[-3:] != ["and", "a", "half"]:
        return _fraction_in_words(words)
    if any(known):
        return _english(words, known)
    return None if set(words) & _VAGUE else _phrase(text)


def _english(words: list[str], known: list[bool]) -> Number | None:
    start, end = known.index(True), len(known) - known[::-1].index(True)
    if words[end : end + 3] == ["and", "a", "half"]:
        end += 3
    if start and words[start - 1] == "a" and (words[start] in ENGLISH_SCALES or words[start] in ("hundred", "dozen")):
        start -= 1
    before, behind = words[:start], words[end:]
    value = english(words[start:end])
    sign = -1 if before[-1:] in (["minus"], ["negative"]) else 1
    pronoun = words[start:end] == ["one"] and ((bool(before) and before[-1] not in _BEFORE_ONE) or behind[:1] == ["of"])
    if value is None or pronoun or set(before) & _VAGUE or _bounded(" ".join(before), " ".join(behind)):
        return None
    if {"not", "isn", "aren"} & set(before) or set(behind) & _VAGUE:
        return None
    percent = behind[:1] == ["percent"] or behind[:2] == ["per", "cent"]
    rest = len(before) + len(behind) - (sign < 0) - percent
    return Number(sign * value, percent, rest <= 1)


def _fraction_in_words(words: list[str]) -> Number | None:
    """“half”, “a third”, “three quarters”: the fraction is all there is."""
    words = words[:-1] if words[-1:] == ["of"] else words
    if words == ["half"]:
        return Number(0.5, False, True)
    if len(words) != 2 or words[1] not in _FRACTIONS:
        return None
    over = 1 if words[0] == "a" else SMALL.get(words[0], 0)
    return Number(over / _FRACTIONS[words[1]], False, True) if over else None


def _phrase(text: str) -> Number | None:
    """A number in the words of another language, and two words behind it at most."""
    words = [each for word in key(text).split() if (each := word.strip(".,;:!?\"'()[]«»“”。"))]
    for size in range(min(4, len(words)), 0, -1):
        value, rest = PHRASES.get(" ".join(words[:size])), words[size:]
        if value is None:
            continue
        if rest and (" ".join(words[:size]) in ALONE or len(rest) > 2 or any(_numeric(word) for word in rest)):
            return None
        scale = SCALES.get(rest[0]) if rest else None
        percent = re.match(_PERCENT, " ".join(rest)) is not None
        return Number(value * (scale or 1), percent, len(rest) - (scale is not None) <= 1)
    return None


def _numeric(word: str) -> bool:
    return word in PHRASES or word in _JOINS or word in SMALL or word in TENS


def _chinese(text: str) -> Number | None:
    """A number in Chinese numerals, alone or before what it counts."""
    found = list(_CHINESE.finditer(text))
    if len(found) != 1:
        return None
    match = found[0]
    before, behind = text[: match.start()], text[match.end() :]
    percent = match["under"] == "百"
    figures = [
        None if part is None else float(part) if part.isdigit() else chinese(part)
        for part in match.group("under", "over", "one")
    ]
    under, over, one = figures
    if re.search(r"\d", before + behind) or _bounded(before, behind) or WRONG.match(behind):
        return None
    if match["one"] is None:
        value = over if percent else over / under if over is not None and under else None
    else:
        loose = not (
            re.fullmatch(r".*[是有为為约約共了がは:、,.\s「(]|", before)
            and (not behind or behind[0] in _COUNTED or not behind[0].isalpha())
        )
        value = None if one is None or (loose and not re.search(r"\d", match["one"])) or text == "十分" else one
        if value is not None and match["point"]:
            value = float(f"{int(value)}.{int(chinese('〇' + match['point']) or 0):0{len(match['point'])}d}")
    if value is None:
        return None
    sign = -1 if _MINUS.search(before[-10:]) else 1
    return Number(sign * value, percent or re.match(_PERCENT, behind) is not None, len(before) + len(behind) <= 2)
