"""A small dictionary of plain English: which words stand for which concept when people name skills (`lexicon.txt`).

Each line of the file is a concept and its words, in base form; `stem` folds inflections, so "locate" covers locating
and located. An entry may have several words. What a name means as a whole is decided in `meaning`. Four lines are no
concepts of skills: FOREIGN, nouns of other worlds (a skill that works on one of them is none of ours); STOP, words
that say nothing; OPPOSITES, pairs; IRREGULAR, forms and their bases."""

import re
from functools import cache
from importlib import resources

_SPELLINGS = (("colour", "color"), ("neighbour", "neighbor"), ("grey", "gray"), ("centre", "center"))


@cache
def words() -> dict[str, list[str]]:
    """Concept to words. Where a word has several meanings, `meaning` sorts them out by what stands beside it."""
    raw = resources.files(__package__).joinpath("lexicon.txt").read_text(encoding="utf-8")
    lines = re.sub(r"\n[ ]+", " ", raw).splitlines()
    return {concept: entries.strip().split(", ") for concept, _, entries in (line.partition(":") for line in lines)}


@cache
def _irregular() -> dict[str, str]:
    pairs = [entry.partition("=") for entry in words()["IRREGULAR"]]
    return {form: base for form, _, base in pairs}


@cache
def stem(word: str) -> str:
    """A word without inflection: a plain suffix stripper, enough for the words of skills."""
    for british, american in _SPELLINGS:
        word = word.replace(british, american)
    if word in _irregular():
        base = _irregular()[word]
        return base.removesuffix("e") if len(base) > 3 else base
    word = re.sub(r"is(e|es|ed|ing|ation)$", r"iz\1", word) if len(word) > 5 else word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    for suffix in ("ing", "ed"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls"
            return word[:-1] if doubled else word.removesuffix("e")
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


@cache
def stemmed(regex: str) -> re.Pattern[str]:
    """A regular expression for texts of stems, written with plain words."""
    return re.compile(re.sub(r"\\[a-zA-Z]|[a-z]{3,}", lambda m: m[0] if m[0][0] == "\\" else stem(m[0]), regex))


@cache
def pattern(concept: str) -> re.Pattern[str]:
    """Finds a concept's words in a text of stems."""
    entries = {" ".join(stem(word) for word in entry.split()) for entry in words()[concept]}
    longest_first = sorted(entries, key=lambda entry: (-len(entry), entry))
    return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S)")
