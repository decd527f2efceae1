"""Number words: English by its grammar, other languages up to a hundred by a table, Chinese and Japanese numerals by theirs.

A word that means something else as well (once, sei, null, cent) is left out: an answer with it is unread rather than misread.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
SMALL = {word: value for value, word in enumerate(_ONES)}
TENS = {
    word: 10 * value
    for value, word in enumerate(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2)
}
ENGLISH_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
#: Scale words that stand behind digits; those that differ by language (German Billion, Spanish billón) only in a form that one
#: language has.
SCALES = {
    **ENGLISH_SCALES,
    **{"hundred": 1e2, "thousands": 1e3, "millions": 1e6, "bn": 1e9, "mn": 1e6, "tn": 1e12},
    **{"lakh": 1e5, "lakhs": 1e5, "lac": 1e5, "crore": 1e7, "crores": 1e7, "dozen": 12.0},
    **{"hundert": 1e2, "tausend": 1e3, "mio": 1e6, "million": 1e6, "millionen": 1e6, "mrd": 1e9, "milliarde": 1e9},
    **{
        "milliarden": 1e9,
        "billionen": 1e12,
        "mille": 1e3,
        "milliard": 1e9,
        "milliards": 1e9,
        "mil millones": 1e9,
        "mil": 1e3,
    },
    **{
        "millón": 1e6,
        "millon": 1e6,
        "millones": 1e6,
        "billones": 1e12,
        "milione": 1e6,
        "milioni": 1e6,
        "miliardi": 1e9,
    },
    **{"milhão": 1e6, "milhões": 1e6, "bilhões": 1e9, "duizend": 1e3, "miljoen": 1e6, "miljard": 1e9},
    **{"тыс": 1e3, "тысяч": 1e3, "тысячи": 1e3, "тысяча": 1e3, "млн": 1e6, "миллион": 1e6, "миллиона": 1e6},
    **{"миллионов": 1e6, "млрд": 1e9, "миллиард": 1e9, "миллиарда": 1e9, "миллиардов": 1e9, "трлн": 1e12},
    **{"ألف": 1e3, "آلاف": 1e3, "مليون": 1e6, "ملايين": 1e6, "مليار": 1e9},
    **{"हजार": 1e3, "हज़ार": 1e3, "लाख": 1e5, "करोड़": 1e7, "अरब": 1e9, "만": 1e4, "천": 1e3, "억": 1e8},
}


def key(text: str) -> str:
    """A phrase as the tables hold it: small, without accents on Latin letters and without hyphens."""
    folded = unicodedata.normalize("NFD", text.casefold().replace("-", " "))
    return unicodedata.normalize("NFC", re.sub("(?<=[a-z])[\u0300-\u036f]+|[\u064b-\u0652]", "", folded))


def _compounds(small: str, tens: str, joined: str) -> dict[str, int]:
    """Words from 0 on and the tens from 20 on; `joined` says how 21 is put together, as in “{tens} {one}”."""
    words = small.split()
    table = {word: value for value, word in enumerate(words) if word != "."}
    for ten, word in enumerate(tens.split(), 2):
        table[word] = 10 * ten
        for one in range(1, 10) if joined else ():
            if words[one] != ".":
                table[joined.format(tens=word, one=words[one])] = 10 * ten + one
    return table


def _german() -> dict[str, int]:
    small = (
        ". . zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
        "achtzehn neunzehn"
    )
    table = _compounds(small, "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig", "{one}und{tens}")
    table |= {f"einund{word}": value + 1 for word, value in table.items() if value in range(20, 100, 10)}
    hundreds = {"": 100, "ein": 100, "zwei": 200, "drei": 300, "vier": 400, "fünf": 500, "sechs": 600, "sieben": 700}
    table |= {f"{word}hundert": value for word, value in (hundreds | {"acht": 800, "neun": 900}).items()}
    return table | {"eins": 1, "tausend": 1000, "dreissig": 30}


def _french() -> dict[str, int]:
    small = (
        "zéro . deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept dix-huit "
        "dix-neuf"
    )
    words = small.split()
    table = _compounds(small, "vingt trente quarante cinquante soixante", "{tens}-{one}")
    table |= {f"{word} et un": value + 1 for word, value in table.items() if value in range(20, 70, 10)}
    table |= {f"soixante-{words[n]}": 60 + n for n in range(10, 20)} | {"soixante et onze": 71, "quatre-vingts": 80}
    table |= {f"quatre-vingt-{words[n]}": 80 + n for n in range(2, 20)} | {"quatre-vingt-un": 81}
    return table | {"septante": 70, "huitante": 80, "nonante": 90}


def _spanish() -> dict[str, int]:
    small = (
        "cero . dos tres cuatro cinco seis siete ocho nueve diez . doce trece catorce quince dieciséis diecisiete "
        "dieciocho diecinueve"
    )
    words = [*small.split()[2:10]]
    table = _compounds(small, "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa", "{tens} y {one}")
    table |= {f"veinti{word}": 22 + n for n, word in enumerate(words)} | {"veintiuno": 21, "veintiún": 21, "cien": 100}
    return table | {f"{word} y uno": value + 1 for word, value in table.items() if value in range(30, 100, 10)}


def _russian() -> dict[str, int]:
    small = (
        "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать тринадцать четырнадцать "
        "пятнадцать шестнадцать семнадцать восемнадцать девятнадцать"
    )
    tens = "двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто"
    return _compounds(small, tens, "{tens} {one}") | {"одна": 1, "одно": 1, "две": 2, "сто": 100, "двести": 200}


#: Phrase (see `key`) -> value.
PHRASES: dict[str, int] = {
    key(word): value
    for table in (
        _german(),
        _french(),
        _spanish(),
        _russian(),
        _compounds(
            ". . . . quattro cinque . . otto nove dieci undici dodici tredici quattordici quindici", "venti trenta", ""
        ),
        _compounds(
            ". . dois três quatro . seis . oito . dez . doze treze . quinze", "vinte trinta quarenta cinquenta", ""
        ),
        _compounds(". . twee drie vier vijf zes zeven . negen tien . twaalf", "twintig dertig veertig vijftig", ""),
        _compounds("zero . dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć", "", ""),
        _compounds(
            "صفر واحد اثنان ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة عشرة",
            "عشرون ثلاثون أربعون خمسون ستون سبعون ثمانون تسعون",
            "",
        ),
        {
            "واحدة": 1,
            "اثنين": 2,
            "اثنتان": 2,
            "ثلاث": 3,
            "أربع": 4,
            "خمس": 5,
            "ست": 6,
            "سبع": 7,
            "ثماني": 8,
            "تسع": 9,
            "عشر": 10,
            "مئة": 100,
        },
        _compounds(
            "शून्य एक दो तीन चार पाँच छह सात आठ नौ दस ग्यारह बारह तेरह चौदह पंद्रह सोलह सत्रह अठारह उन्नीस",
            "बीस तीस चालीस पचास साठ सत्तर अस्सी नब्बे",
            "",
        ),
        {"पांच": 5, "छः": 6, "सौ": 100, "पच्चीस": 25},
        {"하나": 1, "둘": 2, "셋": 3, "넷": 4, "다섯": 5, "여섯": 6, "일곱": 7, "여덟": 8, "아홉": 9, "열": 10},
        {
            "ひとつ": 1,
            "ふたつ": 2,
            "みっつ": 3,
            "よっつ": 4,
            "いつつ": 5,
            "むっつ": 6,
            "ななつ": 7,
            "やっつ": 8,
            "ここのつ": 9,
        },
        {"un": 1, "une": 1, "uno": 1, "una": 1, "ein": 1, "eine": 1},
    )
    for word, value in table.items()
}
#: Words of PHRASES that are articles: a number only where nothing stands beside them.
ALONE = {"un", "une", "uno", "una", "ein", "eine", "एक", "elf", "otto", "nove", "neuf"}


def english(words: Sequence[str]) -> float | None:
    """The value of number words that follow each other, None if they are not one number: “three hundred and five”, “two
    and a half”, “three point one four”; not “two three” or “nineteen ninety”."""
    half = 0.0
    if words[-3:] == ["and", "a", "half"]:
        words, half = words[:-3], 0.5
    if "point" in words:
        at = words.index("point")
        digits = [SMALL.get(word, 99) for word in words[at + 1 :]]
        whole = english(words[:at]) if at else 0.0
        if whole is None or not digits or max(digits) > 9:
            return None
        return float(f"{int(whole)}.{''.join(map(str, digits))}")
    if words[-1:] == ["dozen"]:
        dozens = english(words[:-1]) if words[:-1] not in ([], ["a"]) else 1.0
        return None if dozens is None else 12 * (dozens + half)
    total, last, group = 0.0, float("inf"), list[str]()
    for word in [*words, ""]:
        if word and word not in ENGLISH_SCALES:
            group.append(word)
            continue
        part = _below_thousand(group, first=last == float("inf"), alone=not word)
        scale = ENGLISH_SCALES.get(word, 1.0)
        if part is None or scale >= last:
            return None
        total, last, group = total + part * scale, scale, []
        if not word:
            break
    return total + half if words else None


def _below_thousand(words: list[str], first: bool, alone: bool) -> int | None:
    """A group of number words below a thousand. `first`: nothing comes before it; `alone`: no scale comes behind it."""
    if not words:
        return (0 if alone else 1) if alone != first else None
    if words[0] == "and" and not first:
        words = words[1:]
    value, rest = 0, words
    if "hundred" in words:
        at = words.index("hundred")
        count = 1 if words[:at] in ([], ["a"]) else SMALL.get(words[0], 0) if at == 1 else 0
        if not count:
            return None
        value, rest = 100 * count, words[at + 1 :]
        rest = rest[1:] if rest[:1] == ["and"] else rest
        if not rest:
            return value if words[-1] == "hundred" else None
    elif words == ["a"] and not alone:
        return 1
    if len(rest) == 1 and (rest[0] in SMALL or rest[0] in TENS):
        return value + SMALL.get(rest[0], TENS.get(rest[0], 0))
    if len(rest) == 2 and rest[0] in TENS and 0 < SMALL.get(rest[1], 99) < 10:
        return value + TENS[rest[0]] + SMALL[rest[1]]
    return None


_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_MYRIADS = {"万": 1e4, "萬": 1e4, "億": 1e8, "亿": 1e8, "兆": 1e12}
_CHARS = "零〇一二三四五六七八九两兩十百千万萬億亿兆"
#: A numeral with at least one Chinese character, digits among them or not; of bounded length, since it is searched for.
CHINESE = rf"(?:\d[\d,.]{{0,30}})?[{_CHARS}](?:[{_CHARS}]|\d[\d,.]{{0,30}}){{0,30}}"


def chinese(numeral: str) -> float | None:
    """The value of a Chinese or Japanese numeral: 三百二十五, 3万5千, 1.2億, 二〇二四; None where it is not one (三四)."""
    if all(char in _DIGITS for char in numeral):
        if len(numeral) > 1 and len(numeral) != 4 and not set(numeral) & set("〇零"):
            return None
        return float("".join(str(_DIGITS[char]) for char in numeral))
    total, section, number = 0.0, 0.0, None
    scales, units = [float("inf")], [float("inf")]
    for token in re.findall(r"\d[\d,.]*|.", numeral):
        if token in _MYRIADS:
            if section == 0 and number is None:
                return None
            total += (section + (number or 0)) * _MYRIADS[token]
            scales.append(_MYRIADS[token])
            section, number, units = 0.0, None, [float("inf")]
        elif token in _UNITS:
            section += (1 if number is None else number) * _UNITS[token]
            units.append(_UNITS[token])
            number = None
        elif number is not None and number != 0:
            return None
        else:
            number = _DIGITS[token] if token in _DIGITS else _arabic(token)
            if number is None:
                return None
    descending = all(before > behind for each in (scales, units) for before, behind in pairwise(each))
    return total + section + (number or 0) if descending else None


def _arabic(token: str) -> float | None:
    if not re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?", token):
        return None
    return float(token.replace(",", ""))
