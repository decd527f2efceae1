"""What the name of a skill means: which operation, on what, in which direction. Names mean the same skill if these
agree.

A name is read as a person would read it: it is folded to stems, phrases that mislead are removed ("adding up",
"noting down"), and its concepts (see `lexicon`) are looked at in order of how much they say: a mirror, an odd one out
or a sum settles what a skill is about; "finding" or "object" hardly does. Names about none of the micro-world's
matters are compared word by word.

Regular expressions here are written with plain words; `stemmed` folds them like the text.
"""

import re
from functools import lru_cache

from eval.microworld.expert import looks
from eval.microworld.expert.lexicon import stem, stemmed, words
from eval.microworld.expert.wording import Wording

#: Words of an unknown matter that two names must share: intersection over union.
OVERLAP = 0.6
_OPPOSITES = tuple(frozenset(map(stem, pair.split("/"))) for pair in words()["OPPOSITES"])
_DIRECTIONS = {
    "left": stemmed(r"\b(left|leftward|leftwards|lefthand|west|western|westward|westwards)\b"),
    "right": stemmed(
        r"\b(rightward|rightwards|righthand|east|eastern|eastward|eastwards)\b|(?<!the )\bright\b|"
        r"\bthe right( (of|hand|side|neighbor|adjacent|next|cell|place)|$)"
    ),
    "up": stemmed(
        r"\b(above|up|upward|upwards|over (?=an?|the|another|it|some|one)|atop|on top|top|upper|overhead|north|"
        r"northern|northward|northwards|higher|ascend|ascent|climb)\b"
    ),
    "down": stemmed(
        r"\b(below|beneath|under|underneath|down|downward|downwards|lower|bottom|south|southern|southward|southwards|"
        r"descend|descent)\b"
    ),
}
_SIDEWAYS = stemmed(
    r"\b(left (?:to |and |or |from |with |versus )?(?:the )?right|right (?:to |and |or |from )?(?:the )?left)\b"
)
_STEP = r"\b(go|move|step|shift|jump|advance|climb|ascend|descend|slide|hop|travel|pass|proceed|nudge) "
#: Rows and columns that lie one further.
_NEXT_LINE = (
    rf"{_STEP}.*\b(one|an?|single|1|next|adjacent|neighbor) ((upper|lower|higher) )?(row|column)\b|"
    r"\b(next|adjacent|adjoining|neighboring|neighbor) ((upper|lower|higher) )?(row|column)\b|"
    r"\b(up|down) (by )?(one|a|single) (row|column)\b|"
    r"\b(one|a|single) (row|column) (up|down|above|below|over|upward|downward|higher|lower|further|left|right)\b|"
    r"\b(one|a|single) (row|column) (to the (left|right)|(left|right)ward)\b|"
    r"\b(row|column) (directly |immediately )?(above|below|beneath|underneath)\b"
)
#: A row's or column's number or letter, and what is done to it.
_INDEX = (
    r"\b(row|column) (number|index|letter|label|coordinate)\b|"
    r"\b(number|index|letter|coordinate) of (the|its|a) (row|column)\b"
)
_ONE_MORE = r"\b(increment|increase|raise|plus|add|next|follow|subsequent|succeed|one more|one further|advance)\b"
_ONE_LESS = r"\b(decrement|decrease|reduce|lower|minus|subtract|previous|precede|prior|one less)\b"
_DIFFERENT = (
    r"\b(the|a) (only |single |one |lone |sole )*(different|deviate|deviant|distinct|dissimilar|differ|divergent) "
    r"(one|shape|object|item|figure|thing|element|member|symbol)\b|"
    r"\b(not|differ|different|deviate|depart|unlike|diverge) .*\b(rest|others?|remaining|remainder|majority)\b"
)
_A_CELL = r"(cell|place|position|spot|location|slot|square|tile|field|box)"


def same_skill(one: str, other: str) -> bool:
    """Whether two names mean the same skill; if in doubt, not."""
    first, second = meaning_of(one), meaning_of(other)
    if first is not None or second is not None:
        return first == second
    mine, theirs = _content(one), _content(other)
    if any(len(pair & mine) == 1 and len(pair & theirs) == 1 and pair & mine != pair & theirs for pair in _OPPOSITES):
        return False
    return bool(mine | theirs) and len(mine & theirs) / len(mine | theirs) >= OVERLAP


def _content(name: str) -> frozenset[str]:
    return frozenset(Wording(name).text.split()) - {stem(word) for word in words()["STOP"]}


@lru_cache(maxsize=8192)
def meaning_of(name: str) -> str | None:
    """What a name means: a skill of the micro-world or a near relation (a sum in a column), None for other matters."""
    wording = Wording(name)
    if found := _given_or_whole(wording) or _place(wording):
        return found
    if wording.has("FOREIGN"):
        return None
    for rule in (_special, _index, _arithmetic, _direction, _line, _presence, _comparison, looks.meaning_of, _rest):
        if found := rule(wording):
            return found
    return None


def _given_or_whole(w: Wording) -> str | None:
    """Describing a whole picture, repeating what a text gives; both may speak of words and texts."""
    described = "described" in w.raw or w.says(
        r"\b(fit|match|from|by|its) (an?|it|the|to)? ?description|describe (object|item|thing)"
    )
    if w.has("DESCRIBE") and not described and not w.any("COLOR", "SHAPE", "SIZE", "DIGIT", "WHETHER"):
        return "describe"
    if not w.has("COPY") or w.any(
        "SUBTRACT", "MAX", "MIN", "COLOR", "SHAPE", "ADD", "WHERE", "ROW", "COLUMN", "PARITY"
    ):
        return None
    repeated = w.says(r"copy|repeat|restate|reproduce|quote|echo|transfer")
    given = w.says(r"question|text|prompt|wording|stated") or (w.has("DIGIT") and w.says("provide|supply|given"))
    return "copy" if given or (repeated and w.has("DIGIT")) else None


def _place(w: Wording) -> str | None:
    """Corners and mirrors."""
    if w.has("CORNER") or w.says(r"\b(top|bottom|upper|lower) (most )?(left|right)"):
        return "corner"
    return "mirror" if w.has("MIRROR") else None


def _special(w: Wording) -> str | None:
    """Matters that one word settles."""
    odd = r"odd look|odd(ly|ball)|odd (one|object|item|thing|shape|figure|man) out|even (if|when|though|out)"
    parity = (
        w.has("PARITY") and not w.says(odd) and not (w.says("odd one") and not w.any("DIGIT") and not w.says("even"))
    )
    differs = w.says(_DIFFERENT) and not w.any("COLOR", "MORE", "RARE")
    if not parity and (w.has("ODDONE") or differs) and not w.has("DIGIT"):
        return "odd_one_out"
    return "parity" if parity else None


def _index(w: Wording) -> str | None:
    """One on from a column's number (1 is leftmost) or a row's letter (a is topmost)."""
    more, less = w.says(_ONE_MORE), w.says(_ONE_LESS)
    if not w.says(_INDEX) or more == less or w.has("ROW") == w.has("COLUMN"):
        return None
    ways = ("right", "left") if w.has("COLUMN") else ("down", "up")
    return f"go_{ways[less]}"


def _arithmetic(w: Wording) -> str | None:
    """Sums and differences."""
    if w.any("COLOR", "ROW"):
        return None
    place = " in a column" if w.has("COLUMN") else ""
    plain = w.says(
        "subtract|subtraction|minus|difference|deduct|take away|"
        r"how much (larger|bigger|greater|more|less|smaller)|how much .*exceed"
    )
    apart = (w.has("SUBTRACT") or w.says(r"how far .*apart")) and w.says(
        "digit|numeral|number|value|smaller|lesser|larger"
    )
    if plain or (apart and not w.any("SHAPE", "OBJECT", "EACH")):
        return "subtract" + place
    if w.has("CONCLUDE") and not w.has("DIGIT"):
        return None
    total = w.has("TOTAL") and w.says(r"digit|numeral|\b(two|both) (.* )?(number|value)") and not w.says("number of")
    if total or (w.has("ADD") and not w.says("count|tally|how many|number of|list")):
        return "add" + place
    return None


def _direction(w: Wording) -> str | None:
    """One cell on, in one of four directions."""
    found = [way for way, regex in _DIRECTIONS.items() if regex.search(w.text)]
    if len(found) == 2 and "up" in found and w.says(r"\bover\b") and not w.says("above|upper|upward|top"):
        found.remove("up")  # "over to the right"
    if len(found) != 1 or _SIDEWAYS.search(w.text):
        return None
    if w.any("COLUMN", "ROW"):
        return f"go_{found[0]}" if w.says(_NEXT_LINE) and not w.any("COUNT", "MAX", "MIN") else None
    near = w.says("neighbor|adjacent|cell|place|object|item|next|lie|beside")
    amount = w.says(r"\b(lower|higher|upper|top|bottom) (value|number|count|digit|numeral|total)")
    return None if amount or (w.any("DIGIT", "COUNT", "COLOR") and not near) else f"go_{found[0]}"


def _line(w: Wording) -> str | None:
    """Rows and columns."""
    if w.has("ROW") == w.has("COLUMN"):
        return None
    line = "row" if w.has("ROW") else "column"
    if w.any("MAX", "MIN") and w.has("DIGIT") and not w.says("number of|count"):
        return f"{'smallest' if w.has('MIN') else 'largest'} in a {line}"
    if w.any("FULLEST", "MAX") or w.says(r"\b(more|larger|greater|higher|most|compare|comparison|rank)\b"):
        return f"most_{line}"
    each_thing = w.says(r"\b(each|every|all) (the |of the )?(single )?(object|item|thing|cell|symbol|element|entry)\b")
    per_line = re.search(r"\b(rows|columns|(row|column) (totals|counts|sums|tallies|numbers|quantities))\b", w.raw)
    wise = re.search(r"\b(row|column) ?wise\b", w.raw) and (w.any("COUNT", "TOTAL") or not w.has("FIND"))
    each = w.has("EACH") and not each_thing and not re.search(r"\bwise\b", w.raw)
    return f"count_{line}s" if each or per_line or wise else f"find_{line}"


def _presence(w: Wording) -> str | None:
    """Is something there, is a cell empty."""
    if w.has("EMPTY"):
        return "see_empty"
    if w.has("OCCUPIED") and not w.any("DIGIT", "COLOR", "ROW", "COLUMN"):
        many = w.has("ALL") or looks.finds(w) or re.search(r"\b(places|cells|squares|positions)\b", w.raw)
        return "find_objects" if many and not w.has("WHETHER") else "see_empty"
    if (
        not (w.has("WHETHER", "EXIST") or w.says("presence|absence|existence"))
        or w.has("MORE")
        or w.says("without miss")
    ):
        return None
    if (
        w.has("SAME", "PAIR")
        or w.has("SAME", "SHAPE")
        or w.says("(which|what) color|how (big|large)|(small|big|large|little) or")
    ):
        return None
    one = rf"(an?|the|some|given|one|that|certain) ?(given|certain|particular|single)? ?{_A_CELL}"
    cell, holder = w.says(rf"(at|in|of|on) {one}"), w.says(rf"(whether|if) {one}")
    filled = holder or (cell and w.says("anything|something"))
    return "see_empty" if filled and not w.says("match|describe|fit") else "exists"


def _comparison(w: Wording) -> str | None:
    """Larger and smaller, more and fewer, the same."""
    numbers = w.says(
        r"(largest|smallest|biggest|lowest|highest|greatest|least|maximum|minimum) (digit|numeral|value|number(?! of))"
    )
    groups = w.has("COLOR") or w.says(r"\b(group|set|kind|class|category|count|side)\b")
    if w.any("MORE", "FEWER") and groups and not numbers and not w.has("SIZE") and not w.has("RARE", "SHAPE"):
        fewer = "outnumbered" in w.raw or (w.has("FEWER") and not w.says(r"\b(more|majority|larger|greater|bigger)\b"))
        return "fewer" if fewer else "more"
    if (w.has("SHAPE") and not w.has("DIGIT") and w.any("MAX", "MIN")) or w.says(r"\bsmall(er)? size|lesser size"):
        return None
    if w.has("MIN") or (w.says(r"\b(smaller|lesser|lower)\b") and w.has("DIGIT")):
        return "smallest"
    largest = w.says(
        r"\b(top|uppermost|supreme|leading|most valuable) (value|digit|numeral|number|figure)\b|"
        r"\b(largest|biggest|greatest|highest|maximum|maximal|max|argmax|maxima|peak|topmost)\b"
    )
    if largest or (w.says(r"\b(larger|bigger|greater|higher)\b") and w.has("DIGIT")):
        return "largest"
    alike = w.has("PAIR") or w.says(
        r"\b(same or different|whether|if|compare|identical|identity|alike|equality|sameness|coincide|equal)\b"
    )
    differ = w.says(r"\b(whether|if|compare) .*\b(differ|different)\b") and w.has("PAIR")
    return "same" if ((w.has("SAME") and alike) or differ) and not w.any("COLOR", "WANTED", "DIGIT", "SIZE") else None


def _rest(w: Wording) -> str | None:
    """What only general words are left for."""
    if w.any("COUNT", "TOTAL") and not w.has("CONCLUDE"):
        return "count"
    if w.has("WANTED"):
        return "locate"
    if w.has("CONCLUDE"):
        return "conclude"
    if w.says(r"\b(inventory|stock|itemize|catalog|roll call)\b"):
        return "find_objects"
    if not w.has("OBJECT"):
        whole = w.says(r"\b(scene|picture|image|board|grid|canvas)\b") and w.says(
            r"\b(scan|sweep|survey|comb|search)\b"
        )
        return "find_objects" if whole else None
    plural = re.search(r"\b(objects|items|things|elements|symbols|everything|anything|contents)\b", w.raw)
    if w.has("ALL") or (w.any("FIND", "WHERE") and plural):
        return "find_objects"
    if w.says(r"\b(anything|everything)\b"):
        return "find_objects"
    return "locate" if w.any("FIND", "WHERE") else None
