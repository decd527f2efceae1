"""The wording of a skill's name: its stems, and which concepts they stand for."""

import re

from eval.microworld.expert.lexicon import pattern, stem, stemmed, words

#: Verbs whose "up", "down" or "over" is no direction, before what is no place either.
_PARTICLES = stemmed(
    r"\b(add|sum|count|pick|end|come|total|tot|wind|set|write|note|jot|put|break|track|narrow|hunt|run|pin|tally|make|"
    r"look|check|point|bring|carry|take|go|hand|turn|wrap|round|line|read|scan|weigh) (up|down|over|off)"
    r"(?= (to|the|which|where|what|how|in|all|every|each|two|from|into|on|with|that|and|of|its|thing|object|item|digit|"
    r"number|result)\b|$)"
)
_ATTRIBUTE = (
    r"(?:the |its |their |his )?(?:colou?rs?|hues?|shapes?|forms?|kinds?|types?|sorts?|sizes?|looks?|appearance)"
)
#: Turns of phrase whose words mean something else elsewhere, and what they come to. In plain text, not in stems.
_IDIOMS = (
    (
        rf"(?:irrespective of|regardless of|independent of|independently of|no matter|whatever|without regard (?:to|for)|"
        rf"ignoring|disregarding|of any|of every|of all) (?:what |which )?{_ATTRIBUTE}(?: (?:and|or) {_ATTRIBUTE})*",
        "of all",
    ),
    (r"at least one|one or more", "any"),
    (r"at all|(?:one|two) at a time|at a time|each time|in other words|by eye|at a glance", ""),
    (
        r"(?:size|length|cardinality) of (?:an?|the|that|this) (?:\w+ )?(?:list|set|group|collection)",
        "number of things",
    ),
    (r"(?:right|just|straight) (?=above|below|beneath|under|underneath|over|atop|on top|beside|next|after)", ""),
    (r"(plus|minus) signs?", r"\1"),
    (r"figur(?:e|es|ed|ing) out", "determine"),
)
_NO_CONCEPTS = ("STOP", "OPPOSITES", "IRREGULAR")
_GETTING_RIGHT = stemmed(r"\b(get|answer|do) (.*) right$")


class Wording:
    """`raw` is the name in lower case without punctuation, `text` its stems without misleading phrases."""

    def __init__(self, name: str) -> None:
        folded = re.sub(
            r"[^a-z0-9]+",
            " ",
            name.lower().replace("non-empty", "nonempty").replace("'s ", " s ").replace(" in words", ""),
        )
        for idiom, plain in _IDIOMS:
            folded = re.sub(rf"\b(?:{idiom})\b", plain, folded)
        # "named", "asked" and so on say which one is meant; they are no acts of naming.
        self.raw = re.sub(r"\b(named|asked|requested|queried)\b(?! for)", "given", folded).strip()
        text = " ".join(stem(word) for word in self.raw.split())
        self.text = _GETTING_RIGHT.sub(r"\1 \2", _PARTICLES.sub(r"\1", text))
        self.concepts = {
            concept for concept in words() if concept not in _NO_CONCEPTS and pattern(concept).search(self.text)
        }

    def has(self, *concepts: str) -> bool:
        """Whether all of these are there."""
        return self.concepts.issuperset(concepts)

    def any(self, *concepts: str) -> bool:
        """Whether one of these is there."""
        return not self.concepts.isdisjoint(concepts)

    def says(self, regex: str) -> bool:
        """Whether the text matches a regular expression of plain words."""
        return stemmed(regex).search(self.text) is not None
