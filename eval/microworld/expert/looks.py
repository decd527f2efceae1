"""Names of skills about how things look (colour, shape, size, digits), and whether they speak of finding or of
seeing."""

import re

from eval.microworld.expert.lexicon import pattern
from eval.microworld.expert.wording import Wording

_COLOR, _SHAPE = r"(color|hue|tint|shade|tone)", r"(shape|form|outline|figure)"
_PLACES = r"(cell|place|square|position|spot)"
_WHICH = rf"\b(which|what) (common |basic |kind of |sort of |type of )?({_COLOR}|{_SHAPE}|digit|number|numeral|size)\b"
_CELLS = rf"\b{_PLACES} (with|that|which|hold|contain)|(which|what) {_PLACES}"
#: What lies at a place that is given is looked at, not found.
_AT_A_PLACE = (
    r"\b(at|in|on|within) (an?|the|one|this|that|some|single|given|particular|certain|specific) (\w+ )?"
    r"(cell|place|position|spot|location|slot|tile|box|coordinate)$"
)
_THIS = r"(one|single|same|certain|given|particular|specific|specify|target)"
_CHOSEN = (
    rf"(an?|the|some|{_THIS}|ask|request|choose|their|its|that|want|common|basic|every|everyday|familiar|standard|"
    r"kind of|type of| )*"
)
_BY_COLOR = (
    rf"\b(of|in|with|have|by|share|for|match|bear|be) {_CHOSEN}{_COLOR}\b|{_THIS} {_COLOR}|{_COLOR} (occur|appear)|"
    rf"(object|item|thing|everything) by (their )?{_COLOR}|{_COLOR} (filter|select|search)"
)
_SEE = r"(see|name|recognize|identify|tell|state|perceive|distinguish|determine|read|judge|discern|differentiate)"
_SEES_COLOR = (
    rf"\b{_COLOR} (of|at|in|that|from|apart|an?|recognition|perception|identification|naming|shown)\b|"
    rf"(object|item|thing|cell|it|figure|symbol) s? ?{_COLOR}|(which|what) {_COLOR}|"
    rf"{_SEE} (an?|the|individual|different|between|basic| )*{_COLOR}"
)
_COLOR_NAMES = r"(red|green|blue|yellow|orange|purple|cyan|white)"
_SHAPE_NAMES = r"(circle|square|triangle|diamond|star|cross)"
#: One thing by its colour and shape: the blue star, the star of a given colour.
_BOTH = (
    rf"\b{_COLOR_NAMES} (small |large |little |big )?{_SHAPE_NAMES}\b|"
    rf"\b{_SHAPE_NAMES} (of|in|with) {_CHOSEN}({_COLOR}|{_COLOR_NAMES})\b"
)
_BY_SHAPE = rf"\b(of|with|have|by|share|for|in) {_CHOSEN}{_SHAPE}\b"
_SEES_SHAPE = (
    rf"{_SHAPE} (of (an?|the|one|some|each|individual) (object|item|thing|symbol|cell)|at|apart|from)|"
    rf"{_SHAPE} (recognition|identification)|"
    rf"(object|item|thing|it|figure|cell) s? ?{_SHAPE}"
)


def finds(w: Wording) -> bool:
    """Whether a name speaks of finding (several, somewhere) and not of seeing what one thing is."""
    if w.says(_WHICH) and not w.says(r"which of (the )?"):
        return False
    if w.any("ALL", "WHERE") or w.says(_CELLS):
        return True
    if w.says(_AT_A_PLACE):
        return False
    found, read = pattern("FIND").search(w.text), pattern("READ").search(w.text)
    return found is not None and (read is None or found.start() <= read.start())


def meaning_of(w: Wording) -> str | None:
    """What a name about the look of things means, None if it is about something else."""
    if w.says("hollow circle"):
        w.concepts |= {"RARE", "SHAPE"}
    if w.says(
        r"\b(red|green|blue|yellow|orange|purple|cyan|white) "
        r"(circle|square|triangle|diamond|star|cross|ring|heart|digit)"
    ):
        return "locate"
    if w.has("COLOR") and w.says("shape|form|outline") and not w.says(rf"{_COLOR} of (an?|the|each|one|some|given) "):
        return "locate" if finds(w) or w.has("WANTED") else "describe"
    if w.says(_BOTH) and (finds(w) or w.says(r"\b(position|place|location|whereabouts|cell|coordinate)\b")):
        return "locate"
    if w.has("SIZE") or w.any("SMALL", "LARGE"):
        return _of_size(w)
    if w.has("RARE") and not w.any("COLOR", "DIGIT"):
        return "find_rare_shape" if finds(w) or w.has("COUNT") else "read_rare_shape"
    if w.has("COLOR"):
        return _of_color(w)
    if w.has("HAND") or (w.has("DIGIT") and not w.says("number of")) or w.says("digit|numeral"):
        return _of_digit(w)
    return _of_shape(w) if w.has("SHAPE") else None


def _of_size(w: Wording) -> str | None:
    several = re.search(r"\b(shapes|objects|figures|items|things|ones|forms|symbols|pieces)\b", w.raw)
    if w.has("SMALL") and several and not w.any("LARGE", "WHETHER", "DIGIT"):
        return "find_small"
    small = w.has("SMALL") and not w.has("LARGE") and (not w.says(r"\b(whether|if)\b") or w.has("ALL"))
    if small and w.says(r"which (of the )?(shape|figure|object|item|one) be"):
        return "find_small"
    if w.has("SMALL") and not small and not w.has("DIGIT"):
        return "read_size"
    if (w.has("SIZE") and not (small and finds(w))) or w.has("SMALL", "LARGE"):
        return "read_size"
    if small and not w.has("DIGIT"):
        return "find_small"
    if not w.any("SHAPE", "OBJECT") or w.has("DIGIT"):
        return None
    return "read_size" if w.says("how|whether|if") else "find_large"


def _of_color(w: Wording) -> str:
    several = w.says(rf"{_COLOR} (occur|appear)") or (w.has("ALL") and w.says(_BY_COLOR))
    if several and not w.says(rf"(which|what) {_COLOR}|{_COLOR} of (each|every)"):
        return "find_color"
    if w.says(_SEES_COLOR):
        return "read_color"
    return "find_color" if w.says(_BY_COLOR) or finds(w) or w.has("COUNT") else "read_color"


def _of_digit(w: Wording) -> str | None:
    if w.has("SAME") and not w.any("FIND", "HAND"):
        return None
    if w.says("list|found|find") and w.says(r"(to|into) (a|its|the) (number|total|count)"):
        return "count"
    wanted = w.says(r"(given|specify|specific|certain|particular|describe|mention) (digit|numeral)")
    if wanted and finds(w) and not w.has("ALL"):
        return "locate"
    if w.has("COUNT") and not w.says("digit|numeral"):
        return "count"
    others = r"(the |other |all |any )*(object|shape|figure|other|symbol|thing|item|form)"
    if w.says(
        rf"(digit|numeral|number) (from|among|amid|apart from|amongst|versus) {others}|"
        r"(cell|place) with (digit|numeral|number)"
    ):
        return "find_digits"
    return "find_digits" if finds(w) or w.has("COUNT") else "read_digit"


def _of_shape(w: Wording) -> str | None:
    if w.any("MAX", "MIN"):
        return "extreme_shape"
    if w.says(rf"(location|place|position|whereabouts|cell) of (an?|the) {_THIS} ?{_SHAPE}") and not w.has("ALL"):
        return "locate"
    if w.says(_SEES_SHAPE) and not w.has("ALL") and not finds(w):
        return "read_shape"
    if w.has("WANTED") and not w.says(rf"({_THIS}|request) (kind of |type of )?{_SHAPE}"):
        return "locate" if finds(w) else None
    if w.has("COUNT") and not w.says("of (one|an?|the)|certain|given|particular|specific|same|common|familiar"):
        return "count"
    return "find_shape" if finds(w) or (w.says(_BY_SHAPE) and not w.has("READ")) or w.has("COUNT") else "read_shape"
