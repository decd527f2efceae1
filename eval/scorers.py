"""Scorers: is an answer right?

Every scorer looks at the first line of an answer (what comes below it is talk), unless a gold answer has several lines.
`exact` takes the canonical gold answer, the others any of them. `auto` looks at the items and says why it chose.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from eval.choices import read_choice
from eval.markup import unwrap
from eval.normalise import plain, vqa_form
from eval.numbers import Number, read_number
from eval.option_letters import readable
from eval.phrases import IT_IS, STATED
from eval.task import Item
from retrieval.errors import ConfigError, DataError
from retrieval.modules import find_callable

#: Gold answers of more words than this are taken for open answers, which no comparison of texts can judge.
OPEN_WORDS = 8

Rule = Callable[[Item, str], bool | None]


class Scorer(Protocol):
    """Decides whether answers are right."""

    @property
    def name(self) -> str:
        """Its name, as the configuration gives it."""
        ...

    @property
    def why(self) -> str:
        """Why it is used, in words that go on from “because”."""
        ...

    def score(self, item: Item, final: str) -> bool | None:
        """Whether a final answer is right; None if the teacher has to judge it."""
        ...


class _RuleScorer(NamedTuple):
    name: str
    why: str
    rule: Rule

    def score(self, item: Item, final: str) -> bool | None:
        whole = any("\n" in gold for gold in item.answers) or self.name == "teacher" or ":" in self.name
        if whole:
            return self.rule(item, final)
        lines = [line for line in unwrap(final).splitlines() if line.strip()]
        return self.rule(item, lines[0] if lines else final)


def exact(item: Item, final: str) -> bool:
    """The canonical gold answer; case, spaces and punctuation at the ends do not count."""
    return plain(item.answers[0]) in _forms(final, plain)


def any_of(item: Item, final: str) -> bool:
    """`exact`, with any of the gold answers."""
    return not _forms(final, plain).isdisjoint(plain(gold) for gold in item.answers)


def _forms(final: str, form: Callable[[str], str]) -> set[str]:
    """An answer as it stands, and without “the answer is” or “it is” before it."""
    said = readable(unwrap(final)).strip()
    lead = STATED.match(said)
    rest = said[lead.end() if lead else 0 :]
    rests = {rest, IT_IS.sub("", rest, count=1)} if rest and not STATED.search(rest) else set()
    return {form(final), *map(form, rests)}


def choice(item: Item, final: str) -> bool:
    """The choice's letter or its text."""
    index = read_choice(final, item.choices, item.question)
    return index is not None and item.choices[index] in item.answers


def vqa(item: Item, final: str) -> bool:
    """VQA's normal form. Of annotators (three answers or more, with repetitions) two must have given the answer:
    VQA's soft accuracy min(1, n/3) is then at least a half, which is what counts as right here. Otherwise any gold
    answer will do."""
    counts = Counter(vqa_form(gold) for gold in item.answers)
    return max(counts[form] for form in _forms(final, vqa_form)) >= (2 if _annotators(item) else 1)


def number(item: Item, final: str, tolerance: float) -> bool:
    """The one number of the answer, within `tolerance` of a gold one, relative to it. Units are not compared. A
    percentage equals both its figure and its hundredth where only one side has the sign. Years are compared exactly."""
    found = read_number(final)
    return found is not None and any(_close(found, gold, tolerance) for gold in item.answers)


def _close(found: Number, gold: str, tolerance: float) -> bool:
    wanted = read_number(gold)
    if wanted is None:
        return False
    if gold.strip().isdigit() and len(gold.strip()) == 4 and 1000 <= wanted.value <= 2100:
        return found.value == wanted.value
    values = {found.value}
    if found.percent and not wanted.percent:
        values.add(found.value / 100)
    if wanted.percent and not found.percent:
        values.add(found.value * 100)
    return any(abs(value - wanted.value) <= tolerance * abs(wanted.value) + 1e-12 for value in values)


def teacher(item: Item, final: str) -> bool | None:
    """Right if it is one of the gold answers word for word; all else the teacher judges."""
    return True if plain(final) in {plain(gold) for gold in item.answers} else None


def _annotators(item: Item) -> bool:
    forms = [vqa_form(gold) for gold in item.answers]
    return len(forms) >= 3 and len(set(forms)) < len(forms)


def make_scorer(name: str, items: Sequence[Item], tolerance: float = 1e-3) -> Scorer:
    """The scorer of that name: auto, exact, choice, number, any_of, vqa, teacher, or MODULE:FUNCTION.

    Raises ConfigError if there is none of that name, DataError if it does not fit the items.
    """
    if name == "auto":
        return _auto(items, tolerance)
    why = "the configuration names it"
    if ":" in name:
        return _RuleScorer(name, why, _users_own(name))
    rules = _rules(tolerance)
    if name not in rules:
        raise ConfigError(f"data.scorer: there is no scorer {name!r}; use auto, {', '.join(rules)}, or MODULE:FUNCTION")
    if name == "choice" and (without := next((item for item in items if not item.choices), None)):
        raise DataError(f"scorer choice: item {without.id} has no choices; give it some, or use scorer auto")
    if name == "number":
        for item in items:
            if not any(read_number(gold) for gold in item.answers):
                raise DataError(f"scorer number: the gold answer of item {item.id}, {item.answers[0]!r}, is no number")
    return _RuleScorer(name, why, rules[name])


def _rules(tolerance: float) -> dict[str, Rule]:
    return {
        "exact": exact,
        "choice": choice,
        "number": lambda item, final: number(item, final, tolerance),
        "any_of": any_of,
        "vqa": vqa,
        "teacher": teacher,
    }


def _auto(items: Sequence[Item], tolerance: float) -> Scorer:
    rules = _rules(tolerance)
    rest = [item for item in items if not item.choices]
    if not rest:
        return _RuleScorer("choice", f"all {len(items)} items have choices", choice)
    name, why = _for_free_answers(rest)
    if len(rest) == len(items):
        return _RuleScorer(name, why, rules[name])
    rule = rules[name]
    return _RuleScorer(
        f"choice, {name}",
        f"{len(items) - len(rest)} of {len(items)} items have choices; of the others, {why}",
        lambda item, final: choice(item, final) if item.choices else rule(item, final),
    )


def _for_free_answers(items: Sequence[Item]) -> tuple[str, str]:
    """Name of the scorer for items without choices, and why."""
    repeated = sum(map(_annotators, items))
    if repeated * 2 >= len(items):
        return "vqa", f"{repeated} of {len(items)} items have the answers of several annotators"
    if all((found := read_number(gold)) and found.bare for item in items for gold in item.answers):
        return "number", f"the gold answers of all {len(items)} items are numbers"
    long = sum(len(item.answers[0].split()) > OPEN_WORDS for item in items)
    if long * 2 > len(items):
        return "teacher", f"{long} of {len(items)} gold answers are longer than {OPEN_WORDS} words: the teacher judges"
    several = sum(len(item.answers) > 1 for item in items)
    if several:
        return "any_of", f"{several} of {len(items)} items accept several answers"
    return "exact", f"each of {len(items)} items has one short gold answer"


def _users_own(name: str) -> Rule:
    """The user's function: (answer, gold answers, item as a dict) -> bool, or a share, of which a half is right."""
    function = find_callable(name, "data.scorer")

    def rule(item: Item, final: str) -> bool:
        try:
            share = float(function(final, list(item.answers), item.to_row()))
        except (Exception, SystemExit) as error:
            raise ConfigError(f"scorer {name} failed on item {item.id}: {type(error).__name__}: {error}") from error
        if not 0 <= share <= 1:
            raise ConfigError(
                f"scorer {name} gave {share} on item {item.id}; it must give true, false, or a share from 0 to 1"
            )
        return share >= 0.5

    return rule
