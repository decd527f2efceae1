"""What the name of a skill means: which operation, on what, in which direction. Names mean the same skill if these agree.

A name is read as a person would read it: it is folded to stems, phrases that mislead are removed ("adding up", "noting down"),
and its concepts (see `lexicon`) are looked at in order of how much they say: a mirror, an odd one out or a sum settles what the
skill is about; "finding" or "object" hardly does. Names about none of the micro-world's matters are compared word by word.
"""

import re
from functools import lru_cache

from eval.microworld.expert.lexicon import FOREIGN, STOP, WORDS, pattern, stem

#: Words of an unknown matter that two names must share: intersection over union.
OVERLAP = 0.6
_OPPOSITES = (
    {"left", "right"}, {"abov", "below"}, {"up", "down"}, {"upper", "lower"}, {"larg", "small"}, {"largest", "smallest"}, {"more", "fewer"},
    {"more", "less"}, {"highest", "lowest"}, {"add", "subtract"}, {"row", "column"}, {"odd", "even"}, {"same", "different"},
    {"first", "last"}, {"befor", "after"}, {"insid", "outsid"}, {"most", "least"}, {"maximum", "minimum"}, {"biggest", "smallest"},
)  # fmt: skip
_PARTICLES = re.compile(
    r"\b(add|sum|count|pick|end|com|tot|wind|set|writ|not|jot|put|break|track|narrow|hunt|run|pin|tally|total|mak|look|check|point|bring"
    r"|speed|carry|tak|go|tak|hand|turn|wrap|read|mull|round|line) (up|down|over|off)(?= (?:to|the|which|where|what|how|in|a|an|all|every|each|two|from|into|on|with|that|and|of|its|thing|object|item|digit|number|result)\b|$)"
)
_SIDEWAYS = re.compile(r"\b(left (?:to|and|or|from|with|for|versus|vs) (?:the )?right|right (?:to|and|or|from) (?:the )?left)\b")
_GETTING_RIGHT = re.compile(r"\b(get|got|answer|do) (.*) right$|\bright (answer|number|on|result|count|value|digit|color|shape|object|cell (?!of|to)|item|thing|place|on)\b(?! of)")
_LEFT = re.compile(r"\b(left|leftward|leftwards|west|western)\b")
_RIGHT = re.compile(r"\b(right|rightward|rightwards|east|eastern)\b")
_UP = re.compile(r"\b(abov|up|upward|upwards|over|atop|on top|top|upper|overhead|north|northern|higher|overly|overlay)\b")
_DOWN = re.compile(r"\b(below|beneath|under|underneath|down|downward|downwards|lower|bottom|south|southern|beneeth)\b")


class Reading:
    """A name's stems, and which concepts its words stand for."""

    def __init__(self, name: str) -> None:
        folded = re.sub(r"[^a-z0-9]+", " ", name.lower().replace("non-empty", "nonempty")).split()
        text = " ".join(stem(word) for word in folded)
        self.text = _GETTING_RIGHT.sub(r"\1 \2 \3", _PARTICLES.sub(r"\1", text))
        self.raw = " ".join(folded)
        self.concepts = {concept for concept in WORDS if pattern(concept).search(self.text)}

    def has(self, *concepts: str) -> bool:
        """Whether all of these are there."""
        return self.concepts.issuperset(concepts)

    def any(self, *concepts: str) -> bool:
        """Whether one of these is there."""
        return not self.concepts.isdisjoint(concepts)

    def says(self, regex: str) -> bool:
        """Whether the text of stems matches."""
        return re.search(regex, self.text) is not None


@lru_cache(maxsize=8192)
def meaning_of(name: str) -> str | None:
    """A short form of what a name means, None for matters that are none of the micro-world's."""
    reading = Reading(name)
    if FOREIGN & set(reading.text.split()):
        return None
    for rule in (_special, _arithmetic, _direction, _line, _presence, _comparison, _appearance, _rest):
        if found := rule(reading):
            return found
    return None


def same_skill(one: str, other: str) -> bool:
    """Whether two names mean the same skill; if in doubt, not."""
    first, second = meaning_of(one), meaning_of(other)
    if first is not None or second is not None:
        return first == second
    mine, theirs = _content(one), _content(other)
    if any(len(pair & mine) == 1 and len(pair & theirs) == 1 and pair & mine != pair & theirs for pair in _OPPOSITES):
        return False
    return bool(mine | theirs) and len(mine & theirs) / len(mine | theirs) >= OVERLAP


def _content(name: str) -> set[str]:
    return {word for word in Reading(name).text.split() if word not in STOP} - {"find", "tell", "identify", "read", "see", "know"}


def _special(r: Reading) -> str | None:
    """Matters that one word settles."""
    if r.has("DESCRIBE") and not r.says(r"\b(fit|match|from|by) (a|an|it|the|to) descri|describ(ed)? (object|item|thing)|find|locat|exist") and "described" not in r.raw:
        return "describe"
    if r.has("MIRROR"):
        return "mirror"
    if r.has("ODDONE") and not r.says(r"odd look") and not r.has("PARITY", "DIGIT"):
        return "odd_one_out"
    if r.has("CORNER"):
        return "corner"
    if r.has("PARITY") and not r.says(r"odd look|odd one|even (if|when|though|out)|even count"):
        return "parity"
    if r.has("COPY") and not r.any("HAND", "SUBTRACT", "MAX", "MIN", "COLOR") and (r.any("DIGIT") or r.says("question|text|prompt|word|given|stat")):
        return "copy"
    return None


def _arithmetic(r: Reading) -> str | None:
    if r.has("COLOR") or r.any("ROW"):
        return None
    place = " in a column" if r.has("COLUMN") else ""
    if r.has("SUBTRACT") and not r.says(r"pick|locat|list|spot|tell|shape|figur|object|different from") :
        return "subtract" + place
    if r.has("SUBTRACT") and r.says(r"subtract|minus|differenc"):
        return "subtract" + place
    if r.has("CONCLUDE") and not r.has("DIGIT"):
        return None
    if r.has("ADD") and not r.says(r"count|tally|how many"):
        return "add" + place
    if r.has("TOTAL") and r.says(r"(two|pair of|both|the) (handwritten )?(digit|numeral|number)|numeral|digit") and not r.says("number of"):
        return "add" + place
    return None


def _direction(r: Reading) -> str | None:
    """One cell on, in one of four directions."""
    if r.any("COLUMN", "ROW") or _SIDEWAYS.search(r.text):
        return None
    found = [way for way, regex in (("left", _LEFT), ("right", _RIGHT), ("up", _UP), ("down", _DOWN)) if regex.search(r.text)]
    if len(found) != 1 or r.any("DIGIT", "COLOR", "COUNT") and not r.has("NEIGHBOR"):
        return None
    if found[0] in ("up", "down") and r.says(r"\b(lower|higher|upper|top|bottom|up|down|over|under)\b") and r.any("DIGIT", "COUNT") and not r.says("neighbor|adjacent|cell"):
        return None
    return f"go {found[0]}"


def _line(r: Reading) -> str | None:
    """Rows and columns."""
    if r.has("ROW") == r.has("COLUMN"):
        return None
    if r.any("MAX", "MIN") and r.has("DIGIT") and not r.says(r"number of|count"):
        extreme = "smallest" if r.has("MIN") else "largest"
        return f"{extreme} in a {'row' if r.has('ROW') else 'column'}"
    line = "row" if r.has("ROW") else "column"
    if r.has("FULLEST") or r.any("MAX") or r.says(r"\b(more|larger|greater|higher|most|compar|rank)\b"):
        return f"fullest {line}"
    if r.has("EACH") and not r.says(r"(every|each|all) (the )?(object|item|thing|cell|symbol|element)") or r.says(r"rows\b") or re.search(r"\brows\b", r.raw):
        return f"count per {line}"
    return f"within a {line}"


def _presence(r: Reading) -> str | None:
    """Is something there, is a cell empty."""
    cell = r.says(r"(at|in|of) (a|an|the|some|given|one|that|certain)? ?(given |certain |particular |single )?(cell|place|position|spot|location|slot|squar|tile|field|box)")
    if r.has("EMPTY"):
        return "empty"
    if r.has("OCCUPIED"):
        return "find objects" if r.has("ALL") or r.says(r"\b(list|mark|collect|gather|find|locat|scan)\b") else "empty"
    if r.any("WHETHER") and r.has("EXIST") and not (r.any("SAME") and r.any("PAIR")) and not r.has("MORE"):
        if cell and r.says("anything|something") and not r.says("match|describ"):
            return "empty"
        if not r.says(r"which color|what color"):
            return "exists"
    return None


def _comparison(r: Reading) -> str | None:
    """Larger and smaller, more and fewer, the same."""
    fewer = r.says(r"\boutnumbered by\b|outnumber by") or (r.has("FEWER") and not r.says(r"\b(more|majority|larger|greater|bigger)\b"))
    numerous = r.any("MORE", "FEWER")
    groups = r.any("COLOR") or r.says(r"\b(group|set|kind|class|categor|side|count)\b")
    if numerous and groups and not r.says(r"(largest|smallest|biggest|lowest|highest|greatest|least|maximum|minimum) (digit|numeral|value|number(?! of))") and not r.any("SHAPE", "RARE"):
        if r.says(r"\b(common|familiar|usual)\b") and not r.says(r"\b(color|two|which)\b"):
            return None
        return "fewer" if fewer else "more"
    if r.says(r"\b(small\w* size|lesser size)"):
        return None
    if r.any("SHAPE") and not r.has("DIGIT") and r.any("MAX", "MIN"):
        return None
    if r.has("MIN") or (r.says(r"\b(smaller|lesser|lower)\b") and r.has("DIGIT")):
        return "smallest"
    if r.says(r"\b(largest|biggest|greatest|highest|maximum|maximal|max|maxima|peak|topmost)\b") or (r.says(r"\b(larger|bigger|greater|higher)\b") and r.has("DIGIT")):
        return "largest"
    if r.has("SAME") and (r.any("PAIR") or r.says("whether|if|equal|compar")) and not r.any("COLOR", "WANTED", "DIGIT"):
        return "same"
    return None


def _finds(r: Reading) -> bool:
    """Whether a name speaks of finding (several, somewhere) and not of seeing what one thing is."""
    if r.says(r"\b(which|what) (common |basic |kind of |sort of )?(color|shape|figur|form|digit|number|numeral|size|hue|tint)\b"):
        return False
    finds, reads = pattern("FIND").search(r.text), pattern("READ").search(r.text)
    if r.any("ALL", "WHERE") or r.says(r"\b(cell|place)s? (with|that|hold|contain)"):
        return True
    return finds is not None and (reads is None or finds.start() <= reads.start())


def _appearance(r: Reading) -> str | None:
    """Colour, shape, size, digits: found or seen."""
    finds = _finds(r) or r.has("COUNT")
    if r.says(r"hollow circl"):
        r.concepts |= {"RARE", "SHAPE"}
    if r.has("COLOR", "SHAPE") and r.says(r"shape|form|outlin"):
        return "locate" if finds or r.has("WANTED") else "describe"
    if r.has("SIZE") or (r.has("SMALL") and r.has("LARGE")):
        return "find small" if r.has("SMALL") and not r.has("LARGE") and _finds(r) else "size"
    if r.has("SMALL") and not r.has("DIGIT"):
        return "find small"
    if r.says(r"\b(large|larg|big)\b") and r.any("SHAPE", "OBJECT") and not r.has("DIGIT"):
        return "size" if r.says("how|whether|if") else "find large"
    if r.has("RARE") and not r.any("COLOR", "DIGIT"):
        return "find rare shape" if finds else "see rare shape"
    if r.has("COLOR"):
        return _of_color(r)
    if r.any("HAND", "DIGIT") and not r.says(r"^(?!.*(digit|numeral|handwrit)).*number of"):
        return _of_digit(r, finds)
    if r.has("SHAPE"):
        return _of_shape(r)
    return None


_ATTRIBUTE = (
    r"\b(of|in|with|have|by|share|has|for|match|bear) (an?|the|one|some|same|certain|given|particular|name|single|ask|specific|request|chosen|choos|"
    r"target|their|it|that|want|common|or| )*(color|hue|tint|shade|tone)\b|(one|single|certain|given|specific|particular|same|ask) (color|hue)|"
    r"(color|hue) (occur|appear)|(object|item|thing|everything) by (their )?(color|hue)"
)
_SEEN_COLOR = (
    r"\b(color|hue|tint|shade|tone) (of|at|in|that|from|apart|an?|recogn|percept|identif|nam|shown)\b|(object|item|thing|cell|it|figur|symbol) s? ?(color|hue|tint|shade)|"
    r"(which|what) (color|hue|tint|shade)|(see|nam|name|recogniz|identify|tell|stat|perceiv|distinguish|determin|read|judg|discern|differentiat|discriminat) (an?|the|individual|different|between|basic| )*(color|hue|tint|shade)"
)


def _of_color(r: Reading) -> str:
    if r.says(r"(color|hue) (occur|appear)") or (r.has("ALL") and r.says(_ATTRIBUTE) and not r.says(r"(which|what) (color|hue|tint)|color of (each|every)")):
        return "find color"
    if r.says(_SEEN_COLOR):
        return "see color"
    return "find color" if r.says(_ATTRIBUTE) or _finds(r) or r.has("COUNT") else "see color"


def _of_digit(r: Reading, finds: bool) -> str:
    if r.says(r"(name|given|specif|certain|particular|ask|describ\w*|mention) (digit|numeral|number)") and finds and not r.any("ALL"):
        return "locate"
    if r.has("COUNT") and not r.says(r"(digit|numeral)"):
        return "count"
    if r.says(r"(digit|numeral|number) (from|among|amid|apart from|amongst|versus) (the |other |all )*(object|shape|figur|other|symbol|thing|item|form)") or r.says(r"cell with (digit|numeral|number)"):
        return "find digits"
    if finds and not r.says(r"\b(find|work) out (which|what)"):
        return "find digits"
    return "read digit"


def _of_shape(r: Reading) -> str | None:
    if r.has("WANTED") and not r.says(r"(certain|given|particular|specif\w*|ask|name|want|request) (kind of )?(shape|form|figur|outlin)"):
        return "locate" if _finds(r) else None
    if r.has("COUNT") and not r.says("of (one|a|the)|certain|given|particular|specific|same|common|familiar"):
        return "count"
    attribute = r.says(r"\b(of|with|have|by|share|has|for|in) (an?|the|one|same|certain|given|particular|name|single|ask|specific|their|it|every|basic|common|familiar|everyday|kind of| )*(shape|form|outlin|figur)\b")
    seen = r.says(r"(shape|form|outlin|kind|type) (of (an?|the|some|each|individual) (object|item|thing|figur|symbol|cell|shap)|at|apart|from)|(object|item|thing|it|figur) s? ?(shape|form|outlin)")
    if seen and not r.has("ALL"):
        return "see shape"
    return "find shape" if _finds(r) or (attribute and not r.has("READ")) or r.has("COUNT") else "see shape"


def _rest(r: Reading) -> str | None:
    """What only general words are left for."""
    if r.any("COUNT", "TOTAL") and not r.has("CONCLUDE"):
        return "count"
    if r.has("WANTED"):
        return "locate"
    if r.has("CONCLUDE"):
        return "conclude"
    if r.has("OBJECT") and r.any("ALL"):
        return "find objects"
    if r.any("FIND", "WHERE") and r.has("OBJECT"):
        plural = re.search(r"\b(objects|items|things|elements|symbols|everything|contents)\b", r.raw)
        return "find objects" if plural else "locate"
    return None
