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
        folded = re.sub(
            r"\b(irrespective|regardless|independent(ly)?|no matter) .*|\bwhatever (the|their|its) .*", "", folded
        )
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
