"""Which choice an answer names: by its letter, by its text, or by both where they agree.

An answer is read by its form, not searched for letters: what leads to the letter (“the answer is”), the letter, and what
may follow one (its text, a verdict, a reason). So “A dog”, “D'accord” and “B-52” name no letter; two letters, a denied one,
doubt, and a letter with another choice's text name nothing.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from eval.markup import unwrap
from eval.normalise import ARTICLES, plain
from eval.option_letters import LETTER, MENTION, Letters, letters_of, readable
from eval.phrases import BUT, IT_IS, JOIN, LEAD, NOT, REASON, RIGHT, STATED, WRONG, after, hedges

_FIRST = re.compile(
    rf"\s*(?P<open>[(\[{{（【「『<\"'“„‚‘«*_]*)\s?(?P<letter>{LETTER})(?P<close>\s?[)\]}}）】」』>\"'”“’»*_]+)?"
)
#: What may follow a letter: a dot or comma and a space, a dash between spaces, an opening bracket.
_BREAK = re.compile(r"\s?(?:[.,](?=\s|$|[^\x00-\x7f])|[):;!?。、，；：！？]|\s[-–](?=\s)|—|(?=[(\[]))|\s[-–](?=\s)")
_SIGNS_ONLY = re.compile(r"[^\w+#%&/=<>*@^|~\\-]*")
_OTHER_DENIED = re.compile(
    rf"[(,;\s]{{0,3}}(?:(?:and|und|et|y|и)\s)?(?:rather\s+than\s+|instead\s+of\s+|{NOT.pattern})[(\[]?{LETTER}(?!\w)[)\]]{{0,2}}",
    re.IGNORECASE | re.VERBOSE,
)
_OTHER_TEXT_DENIED = re.compile(rf"[,(;]\s?{NOT.pattern}(?=\w)", re.IGNORECASE | re.VERBOSE)
_LETTER_LAST = re.compile(
    rf"(?P<text>.*\w['\"”»]?)\s?[\s,:(\[-]\s?(?:option\s|choice\s|answer\s)?[(\[]?(?P<letter>{LETTER})[)\].]{{0,3}}",
    re.DOTALL,
)
_SENTENCE = re.compile(r"[.!;,。；，]\s?")
#: Emoji and arrows that lead to an answer, and those that cross one out.
_PICTURES = re.compile(
    "^[\u2190-\u21ff\u2300-\u2426\u2500-\u2775\u2794-\u27bf\u2b00-\u2bff\ufe0f\U0001f18e-\U0001faff\\s]+"
)
_CROSSED = re.compile("[✗✘❌✖❎🚫⛔👎]")
_ARTICLE = re.compile(r"(?:a|an|the|der|die|das|ein|eine|le|la|les|un|une|el|los|las|una|il|lo|o|os|as|um|uma) |l['’]")
#: Choices that are words of any sentence: they contradict a letter only where they come right behind it.
_WORDS = {*ARTICLES, "yes", "no", "true", "false", "none", "both", "all", "other", "it", "is", "not", "in", "on", "one"}
#: A clause behind one of these says it again: “no, it is not”.
_YES_NO = {
    *("yes", "no", "true", "false", "ja", "nein", "oui", "non", "sí", "si", "да", "нет", "是", "不是", "否", "はい")
}
_YES_NO |= {"いいえ", "نعم", "لا", "हाँ", "हां", "नहीं", "sim", "não", "sì"}


class _Choices(NamedTuple):
    """Plain texts of the choices, "" where there is none, and their letters."""

    texts: tuple[str, ...]
    letters: Letters

    def named(self, text: str) -> int | None:
        """The choice whose text this is, but for an article or “it is” before it; None if several are."""
        folded = plain(text)
        for bare in (lambda each: each, _without_article, lambda each: _without_article(IT_IS.sub("", each, count=1))):
            form = bare(folded)
            found = [n for n, each in enumerate(self.texts) if each and form in (each, _without_article(each))]
            if form and found:
                return found[0] if len(found) == 1 else None
        return None

    def mentioned(self, text: str) -> set[int]:
        """The choices whose texts stand in a text as whole words."""
        folded = plain(text)
        return {n for n, each in enumerate(self.texts) if each and _holds(folded, _without_article(each))}

    def lettered(self, text: str) -> set[int]:
        """The choices whose letters stand in a text, articles and pronouns aside."""
        places = (self.letters.place(mark[1]) for mark in MENTION.finditer(text) if _is_letter(text, mark))
        return {place for place in places if place is not None}


def read_choice(text: str, choices: Sequence[str], question: str = "") -> int | None:
    """Which choice a text names (0-based): by its text, by its letter (“B”, “(b)”, “option B”, “B because …”), or by both if they
    agree. `question` shows by which letters it lists the choices, if not by Latin ones.

    None if it names none of them, several, or by its letter one and by its text another, and if it is in doubt.
    """
    among = _Choices(tuple(plain(choice) if choice else "" for choice in choices), letters_of(question, len(choices)))
    if (folded := plain(text)) and folded in among.texts:
        return among.texts.index(folded)
    shown = " ".join(readable(unwrap(text)).split())
    said = _PICTURES.sub("", shown)
    if not said or _CROSSED.search(shown) or _in_doubt(said, among):
        return None
    marks = list(STATED.finditer(said))
    starts = [0, *(mark.end() for mark in marks)]
    ends = [*(mark.start() for mark in marks), len(said)]
    parts = [said[start:end] for start, end in zip(starts, ends, strict=True)]
    found = {_read(part, among, stated=n > 0) for n, part in enumerate(parts)} - {None}
    return found.pop() if len(found) == 1 else None


def _in_doubt(said: str, among: _Choices) -> bool:
    """Whether a text hedges; the words of a choice do not count."""
    if not hedges(said):
        return False
    folded = said.casefold()
    for each in among.texts:
        if each and hedges(each):
            folded = folded.replace(each, " ")
    return hedges(folded)


def _read(text: str, among: _Choices, stated: bool, denied: bool = False) -> int | None:
    """Which choice a statement names."""
    start = after(LEAD, text)
    if NOT.match(text, start) and among.named(text[start:]) is None:
        rest = BUT.search(text, start) or _SENTENCE.search(text, start)
        return None if denied or not rest else _read(text[rest.end() :], among, stated, denied=True)
    core = text[start:]
    reason = REASON.search(core)
    core = core[: reason.start()] if reason else core
    # “the screw, not the lid”
    denial = _OTHER_TEXT_DENIED.search(core)
    if (named := among.named(core[: denial.start()] if denial else core)) is not None:
        return named
    first = _FIRST.match(core)
    place = among.letters.place(first["letter"]) if first else None
    if first is None or place is None:
        return _by_text(core, among)
    quoted = set(first["close"] or "") & set("'\"”“’»") and not first["open"]
    marked = bool(first["open"] or (first["close"] and not quoted))
    tail = core[first.start("close") if quoted else first.end() :]
    if first["letter"].islower() and not (marked or stated or start or _BREAK.match(tail) or not tail.strip()):
        return _by_text(core, among)
    return place if _may_follow(place, tail, marked, among) else _by_text(core, among)


def _may_follow(place: int, tail: str, marked: bool, among: _Choices) -> bool:
    """Whether what comes behind a choice's letter leaves it named."""
    tail = _OTHER_DENIED.sub(" ", tail)
    if _SIGNS_ONLY.fullmatch(tail):
        return True
    behind = tail[join.end() :].lstrip("([ ") if (join := JOIN.match(tail)) else ""
    if (mark := MENTION.match(behind)) and _is_letter(behind, mark) and among.named(tail) != place:
        return False
    if right := RIGHT.match(tail):
        return not among.lettered(tail[right.end() :]) - {place}
    broken = _BREAK.match(tail)
    if not (broken or marked):
        return among.named(tail) == place
    return _agrees(place, tail[after(_BREAK, tail) :].strip(), among)


def _agrees(place: int, rest: str, among: _Choices) -> bool:
    """Whether a text behind a choice's letter does not speak for another choice."""
    if (named := among.named(rest)) is not None:
        return named == place
    if WRONG.match(rest):
        return False
    own = _without_article(among.texts[place])
    mentioned = among.mentioned(rest)
    if place in mentioned:
        rest = re.sub(re.escape(own), " ", rest, flags=re.IGNORECASE)
        mentioned = among.mentioned(rest) if (join := JOIN.match(rest)) and join[0].strip() else set()
    if among.lettered(rest) - {place}:
        return False
    folded = plain(rest)
    return not any(among.texts[n] not in _WORDS or folded.startswith(among.texts[n]) for n in mentioned - {place})


def _by_text(core: str, among: _Choices) -> int | None:
    """The choice named by its text with a verdict, its letter, or a clause behind it."""
    if (last := _LETTER_LAST.fullmatch(core)) and (named := among.named(last["text"])) is not None:
        return named if among.letters.place(last["letter"]) == named else None
    verdicts = [*RIGHT.finditer(core)][-1:]
    if verdicts and verdicts[0].start() and not core[verdicts[0].end() :].strip(" .!。"):
        return among.named(core[: verdicts[0].start()])
    head, _, rest = core.replace("，", ",").replace("、", ",").partition(",")
    if plain(head) in _YES_NO and (named := among.named(head)) is not None:
        return named if _agrees(named, rest, among) else None
    return None


def _is_letter(text: str, mark: re.Match[str]) -> bool:
    """Whether a letter that stands alone is meant as one: not an article, the pronoun I, or a small letter in a sentence."""
    letter, behind = mark[1], text[mark.end() : mark.end() + 2]
    if letter in "AaIАа":
        return not re.match(r"[ '’][^\W\d_A-Z]", behind)
    bracketed = text[mark.start() - 1 : mark.start()] in ("(", "[") or behind[:1] in (")", "]")
    return not letter.islower() or bracketed or not behind.strip(" .!?")


def _holds(text: str, part: str) -> bool:
    """Whether a text holds another as whole words; where no spaces divide words, anywhere."""
    at = text.find(part)
    while at >= 0 and part:
        before, behind = text[at - 1 : at] if at else "", text[at + len(part) : at + len(part) + 1]
        if not (_goes_on(before, part[0]) or _goes_on(behind, part[-1])):
            return True
        at = text.find(part, at + 1)
    return False


def _goes_on(beside: str, end: str) -> bool:
    return beside.isalnum() and end.isalnum() and beside < "\u2e80" and end < "\u2e80"


def _without_article(text: str) -> str:
    return _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text
