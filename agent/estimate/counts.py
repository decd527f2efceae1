"""How many requests the teacher gets: the table of docs/teacher.md, in code."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from agent.config.schema import DiagnosisConfig


class Calls(NamedTuple):
    """Requests of one kind. `exact`: just so many, if each reply is usable at once; otherwise about so many. `can_wait`: none
    of them follows from the reply to another, so that they can go into a batch."""

    kind: str
    what: str
    calls: int
    exact: bool
    can_wait: bool = False


@dataclass(frozen=True)
class Outlook:
    """What a round's requests follow from. `errors` are those that are diagnosed, `switchable` those of them with steps and a
    final answer, `steps` the steps of these, all told, `asked` those that `per_step` comes to; `located`: errors whose step
    is found. `right`: right answers whose skills are named; `same_skill`: requests for merging and matching names;
    `judged`: answers that only the teacher can score. `drawn`: the errors are some of more, and it is not known which; `first`:
    no round before has named the skills of right answers, so that none of those requests is in the journal."""

    errors: int
    switchable: int
    steps: int
    asked: int
    located: int
    right: int
    same_skill: int
    judged: int
    drawn: bool = False
    first: bool = True


def round_calls(how: DiagnosisConfig, outlook: Outlook) -> list[Calls]:
    """The requests of a round, those of no kind left out."""
    rows = [
        *_finding(how, outlook),
        Calls("skills", "skills of right answers", math.ceil(outlook.right / how.per_request), outlook.first, True),
        Calls("same_skill", "merging and matching names", outlook.same_skill, False),
        Calls("judge", "scoring answers", outlook.judged, False, True),
    ]
    return [row for row in rows if row.calls]


def _finding(how: DiagnosisConfig, outlook: Outlook) -> list[Calls]:
    """Finding the wrong steps and naming their skills. What shows no image (`choose`) may be asked in the same words of two
    errors, and is then asked once."""
    if how.locator == "single_pass":
        return [Calls("diagnose", "diagnoses", outlook.errors, True, True)]
    rest = Calls("diagnose", "answers without steps", outlook.errors - outlook.switchable, not outlook.drawn, True)
    if how.locator == "random_step":
        return [Calls("name_gap", "naming a step's skill", outlook.switchable, not outlook.drawn, True), rest]
    named = Calls("name_gap", "naming a found step's skill", outlook.located, False)
    if how.locator == "per_step":
        return [Calls("step_right", "one step at a time", outlook.asked, False), named, rest]
    if how.judge == "teacher":
        return [Calls("choose", "each prefix, twice", 2 * outlook.steps, False, True), named, rest]
    return [named, rest]
