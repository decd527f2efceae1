"""The letters that choices go by: A B C D, and those of other scripts.

Choices are shown with Latin letters, so a letter of another script names a choice only if it can name but one: Б is the second
choice, but В may be the third or, looking like B, the second. Where the question shows its choices by letters of that script,
they are meant.
"""

import re
import unicodedata
from string import ascii_uppercase
from typing import NamedTuple

#: Orders in which letters of other scripts count choices.
ORDERS = (
    "АБВГДЕЖЗИК",
    "ΑΒΓΔΕΖΗΘ",
    "אבגדהוזח",
    "أبجدهوز",
    "ابجدهوز",
    "أبتثجحخد",
    "कखगघङच",
    "अबसद",
    "কখগঘঙ",
    "กขคงจ",
    "アイウエオカキク",
    "イロハニホヘト",
    "ㄱㄴㄷㄹㅁ",
    "가나다라마바사",
    "甲乙丙丁戊己",
)
_CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩"
#: Latin letters in circles and squares that NFKC leaves as they are.
_FRAMED = {chr(start + n): ascii_uppercase[n] for start in (0x1F150, 0x1F170) for n in range(26)}
_LOOKS_LIKE = dict(zip("АВЕКМНОРСТХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTXABEZHIKMNOPTYX", strict=True))
# NFKC makes ① a 1. It is kept as a private character until the text is read.
_KEPT = {ord(sign): 0xE000 + n for n, sign in enumerate(_CIRCLED)} | {
    ord(sign): ord(to) for sign, to in _FRAMED.items()
}
_PRIVATE = "".join(chr(0xE000 + n) for n in range(len(_CIRCLED)))
_SCRIPTS = (
    ("A-Za-z", "A-Za-z0-9À-ɏ"),
    ("А-ИКМНОРСТХа-икмнорстх", "Ѐ-ӿ"),
    ("Α-Ωα-ω", "Ͱ-Ͽ"),
    ("א-ח", "\u0590-\u05ff"),
    ("أابجدهوزتثحخ", "\u0600-\u06ff"),
    ("कखगघङचअबसद", "\u0900-\u097f"),
    ("কখগঘঙ", "\u0980-\u09ff"),
    ("กขคงจ", "\u0e00-\u0e7f"),
    ("ア-クロハニホヘト", "\u30a1-\u30ff"),
    ("ㄱ-ㅁ가나다라마바사", "\u3131-\u318e\uac00-\ud7a3"),
    ("甲乙丙丁戊己", "甲乙丙丁戊己"),
    (_PRIVATE, _PRIVATE),
)
#: One letter that stands alone: no letter of its script beside it.
LETTER = "(?:" + "|".join(f"(?<![{beside}])[{letters}](?![{beside}])" for letters, beside in _SCRIPTS) + ")"
# Nor an apostrophe or hyphen that makes a word of it (D'accord, B-52).
_ALONE = LETTER + r"(?![’'‘][^\W\d_]|[-‐‑]\w|[_^#]|\+\+)"
_SHOWN = re.compile(r"(?:^|(?<=[\s(\[（]))(" + LETTER + r")(?=[.):、\]）．])", re.MULTILINE)
MENTION = re.compile(r"(?<![-‐'’_&+#])(" + _ALONE + ")")


def readable(text: str) -> str:
    """NFKC, in which ① stays itself and 🅱 is B."""
    return unicodedata.normalize("NFKC", text.translate(_KEPT))


class Letters(NamedTuple):
    """The letters of a question with `number` choices; `order` is the one its text shows, "" for the Latin one."""

    number: int
    order: str = ""

    def place(self, letter: str) -> int | None:
        """Which choice a letter names (0-based), None if none or it may be several."""
        letter = letter.upper()
        if self.order and letter in self.order:
            places = {self.order.index(letter)}
        elif letter in ascii_uppercase:
            places = {ascii_uppercase.index(letter)}
        else:
            places = {order.index(letter) for order in (*ORDERS, _PRIVATE) if letter in order}
            places |= {ascii_uppercase.index(_LOOKS_LIKE[letter])} if letter in _LOOKS_LIKE else set()
        places = {place for place in places if place < self.number}
        return places.pop() if len(places) == 1 else None


def letters_of(question: str, number: int) -> Letters:
    """The letters by which a question itself lists its choices, the Latin ones if it does not."""
    shown = "".join(dict.fromkeys(_SHOWN.findall(readable(question))))
    found = [order for order in ORDERS if number > 1 and order[:number] and order[: min(number, 4)] in shown]
    return Letters(number, found[0] if len(found) == 1 else "")
