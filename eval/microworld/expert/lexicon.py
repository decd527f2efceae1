"""A small dictionary of plain English: which words stand for which concept when people name skills.

Entries are base forms; `stem` folds inflections, so "locate" covers locating and located. An entry may have several words. What a
name means as a whole is decided in `meaning`.
"""

import re
from functools import cache

_IRREGULAR = {
    "written": "write", "seen": "see", "shown": "show", "drawn": "draw", "known": "know", "taken": "taken", "chosen": "choose",
    "found": "find", "held": "hold", "given": "given", "made": "make", "said": "say", "told": "tell", "has": "have", "having": "have",
    "had": "have", "is": "be", "are": "be", "was": "be", "were": "be", "being": "be", "does": "do", "doing": "do", "lies": "lie",
    "lying": "lie", "left": "left", "axes": "axis", "this": "this", "its": "its", "as": "as", "thing": "thing", "things": "thing",
    "anything": "anything", "something": "something", "nothing": "nothing", "everything": "everything", "string": "string",
    "ring": "ring", "rings": "ring", "neighbouring": "neighbor", "neighboring": "neighbor", "need": "need", "less": "less",
    "indeed": "indeed", "red": "red", "plus": "plus", "minus": "minus", "others": "other", "during": "during", "fewest": "fewest",
}  # fmt: skip
_SPELLINGS = (("colour", "color"), ("neighbour", "neighbor"), ("grey", "gray"), ("isation", "ization"), ("ise", "ize"), ("ising", "izing"))


def stem(word: str) -> str:
    """A word without inflection: a plain suffix stripper, enough for the words of skills."""
    for british, american in _SPELLINGS[:3]:
        word = word.replace(british, american)
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    word = re.sub(r"is(e|es|ed|ing|ation)$", r"iz\1", word) if len(word) > 5 else word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    for suffix in ("ing", "ed"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls" else word.removesuffix("e")
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


#: Concept to words. Where a word has several meanings, `meaning` sorts them out by what stands beside it.
WORDS: dict[str, str] = {
    # what is worked on
    "COLOR": "color, hue, tint, shade, tone, coloring, coloration, pigment, chroma, red, green, blue, yellow, orange, purple, cyan",
    "SHAPE": "shape, form, outline, figure, silhouette, contour, geometry, geometric, polygon, circle, triangle, diamond, star, cross, "
    "shaped, glyph, square or, or square, squares",
    "RARE": "ring, heart, rare, rarely, uncommon, unusual, unfamiliar, annulus, annular, donut, doughnut, seldom, exotic, infrequent, atypical, "
    "hollow circle, less common shape, less familiar, less usual, unconventional, nonstandard, non standard, peculiar, strange, heart shaped, ring shaped",
    "DIGIT": "digit, numeral, number, numeric, numerical, integer, value, numerals, addend, operand",
    "HAND": "handwrite, handwritten, handwriting, hand write, hand written, hand draw, hand drawn, scrawl, scribble, pen, penmanship, by hand, script, cursive, manuscript",
    "OBJECT": "object, item, thing, element, entity, piece, symbol, everything, something, anything, member, instance, entry, content, what",
    "CELL": "cell, place, position, spot, location, slot, field, tile, box, grid square, site, coordinate, grid",
    "SIZE": "size, dimension, magnitude of, scale, bigness, largeness, sized, how big, how large, how small, extent, proportion",
    "SMALL": "small, little, tiny, minor, miniature, undersized, smallish, lesser size, smaller size, petite, small scale, reduced size",
    "LARGE": "large, big, huge, oversized, great",
    "ROW": "row, horizontal line, horizontal strip, horizontal band, horizontal, line across",
    "COLUMN": "column, vertical line, vertical strip, vertical band, vertical stack, vertical slice, file of cell",
    "CORNER": "corner",
    "MIRROR": "mirror, mirrored, reflect, reflection, symmetric, symmetrical, symmetry, symmetrically, flip, counterpart, opposite cell, "
    "opposite side, mirror image, reversed position, specular",
    # how much
    "ALL": "all, every, each, everything, whole, entire, complete, completely, exhaustively, exhaustive, any kind, without miss, full set, throughout, whatever",
    "EACH": "each, every, per, all row, row by row, by row, separately, rowwise, individual, for all, respective, single row",
    "COUNT": "count, tally, how many, number of, quantity, amount, quantify, enumerate, numerosity, cardinality, headcount, counter, census, how full, tallies",
    "TOTAL": "total, altogether, in all, totaling, overall number",
    "MAX": "large, largest, biggest, greatest, highest, maximum, maximal, max, topmost, maxima, top value, uppermost value, peak, largest of, most",
    "MIN": "smallest, least, lowest, minimum, minimal, min, minima, tiniest, littlest, bottom value, slightest",
    "MORE": "more, majority, outnumber, predominant, predominate, dominate, dominant, prevail, prevalent, larger, bigger, greater, higher, "
    "most, plural, plentiful, abundant, largest, biggest, greatest, highest, maximum, exceed, leading, ahead, lead, wins, win, frequent, commoner",
    "FEWER": "fewer, less, minority, lesser, smaller, lower, scarcer, rarer, scarce, sparse, fewest, least, smallest, lowest, minimum, behind, "
    "lag, underrepresented, outnumbered, infrequent, trail, lose",
    "FULLEST": "fullest, crowded, busiest, densest, populated, populous, packed, fuller, busy, dense",
    # what is done
    "ADD": "add, sum, summation, addition, plus, additive, together, combine, aggregate",
    "SUBTRACT": "subtract, subtraction, difference, minus, deduct, deduction, take away, away from, far apart, apart on the number line, gap between, "
    "distance between, differ by, from another, less from, the smaller from, the lesser from, one digit from, one number from, subtractive",
    "PARITY": "parity, evenness, oddness, divisible by two, divide by two, divide by 2, divisible by 2, divisibility by two, multiple of two, "
    "odd from even, even from odd, odd or even, even or odd, odd and even, even and odd, even, odd",
    "ODDONE": "odd one out, odd one, odd object out, odd item out, outlier, exception, exceptional, misfit, not belong, not fit, doesn t fit, doesn t belong, "
    "differ from the rest, differ from the other, differ from all, different from the rest, different from the other, different from all, "
    "unlike the other, unlike the rest, unlike all, unlike any other, unique, stand out, anomaly, anomalous, intruder, only one of it kind, only different, "
    "one different, lone different, deviate, deviant, not like the other, stick out, out of place, break the pattern, nonconform, stranger, odd man out, does not match the",
    "FIND": "find, locate, localize, spot, search, seek, hunt, pinpoint, list, gather, collect, mark, pick, select, single out, highlight, detect, discover, "
    "track, look for, scan, sweep, survey, extract, isolate, filter, retrieve, point out, separate out, enumerate, go through, pick out, identify all, "
    "identify every, identify each, compile, assemble, round up, keep to, restrict, note where, note down, map out",
    "WHERE": "where, whereabouts, which cell, which place, which position, what cell, position of, location of, place of, cells of, cells with, cells that, "
    "places that, places of, places with, cell hold, place hold, cell contain, place contain, position that, coordinates of",
    "READ": "see, read, recognize, identify, name, tell, perceive, decipher, make out, classify, distinguish, know, determine, state, discern, label, "
    "interpret, transcribe, judge, decide, work out, call, categorize, estimate, gauge, assess, understand, differentiate, discriminate, sort, recognition, "
    "identification, perception, classification, naming, reading, notice, realize, interpretation, report",
    "WHETHER": "whether, if, exist, existence, presence, absence, absent, present or, confirm, deny, verify, such an, such a, there be, occur in, nonexistence, be present, be absent, yes or no",
    "EXIST": "exist, existence, presence, absence, absent, present, there, appear, occur, contain, occurrence, match, available, such an, such a, include, depict, show, feature",
    "EMPTY": "empty, vacant, vacancy, unoccupied, blank, emptiness, nothing, void, bare, free, unfilled, unused, vacate, clear, nothingness",
    "OCCUPIED": "occupied, occupy, filled, fill, occupancy, taken, nonempty, hold something, hold anything, hold an object, contain something, contain anything, anything at, something at, "
    "anything be at, something be at, anything in, anything be in, something be in",
    "SAME": "same, sameness, equal, equally, equality, identical, identity of, alike, match, agree, coincide, equivalence, equivalent, compare, comparison, against each other, "
    "correspond, similar, likeness, resemble, one and the same, with another, with one another",
    "PAIR": "two, pair, both, each other, one another, another, either, couple",
    "NEIGHBOR": "neighbor, adjacent, next, move, step, immediately, immediate, directly, direct, shift, beside, side, go, hand, one cell, relation, adjoin, border, walk, look, lie, sit, over, under, of, from, place, stand, locate, find, be, object, cell, item, thing",
    "COPY": "copy, repeat, restate, reproduce, quote, as state, list in the prompt, given in, give in the, question give, text provide, take over, mention in, "
    "write question, given value, given number, from the question, out of the question, question text, stated in, provide in the, text of the question, in the wording, echo, carry over the number, recite, be given, prompt",
    "CONCLUDE": "answer, conclusion, conclude, result, outcome, final, finalize, wrap up, end statement, closing statement, deduce from, follow from, infer, inference, verdict",
    "DESCRIBE": "caption, verbalize, depict, in words, into words, full account, narrate, portray, description of all, scene description, description of the scene, "
    "description of a scene, description of an image, description of a picture, description of everything, describe everything, describe a, describe the, describe an, describe all, account of, recount",
    "WANTED": "description, describe, described, name object, name thing, name item, mention, mentioned, specified, specify, certain object, certain thing, certain item, particular object, "
    "particular thing, particular item, given object, given item, given thing, ask object, asked object, specific object, specific item, specific thing, question name, question mention, question ask, "
    "question be about, refer to, referred, referenced, reference, target object, in question, one object, sought, requested object, request object, request item, whereabouts, single object, asked for, ask for, question target",
    "ANSWERABLE": "object, item, thing, something, anything, one",
}  # fmt: skip

#: Nouns of other worlds: a skill that works on one of them is none of ours.
FOREIGN = frozenset(
    stem(word)
    for word in (
        "word letter text sentence clock time date month year chart bar axis plot graph map price money coin page animal person people face "
        "street sign fraction decimal percentage equation angle length weight height photo food vehicle plant building season weather table "
        "legend label printed typed dial gauge speed temperature sound audio code license brand logo language emotion age sport"
    ).split()
)
STOP = frozenset(
    "a an the of to in on at by for with from as is are be was and or that which what it its this these those one some any given certain "
    "particular correctly correct simple between among within into out up do have how".split()
)


@cache
def pattern(concept: str) -> re.Pattern[str]:
    """Finds a concept's words in a text of stems."""
    entries = {" ".join(stem(word) for word in entry.split()) for entry in WORDS[concept].replace("\n", " ").split(",")}
    longest_first = sorted(entries, key=lambda entry: (-len(entry), entry))
    return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S)")
