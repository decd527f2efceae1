"""What a run has before it: from what its folder tells, or else as assumed."""

import math
from dataclasses import dataclass, field

from agent.config.schema import RunConfig
from agent.diagnosis.switch import switchable
from agent.estimate.counts import Calls, Outlook
from agent.estimate.earlier import Earlier, is_wrong, wording_of
from agent.estimate.pool import Naming
from agent.run import wording
from agent.run.items import Read
from eval.scorers import Scorer

#: Assumed of a student of which nothing is known: share of wrong answers, steps of an answer, letters of a step.
WRONG, STEPS, STEP_LETTERS = 0.5, 4, 60
#: Assumed of its skills: answers to a skill (gap or sibling), the most skills of a round, and requests to merge and match
#: the names of one. On the micro-world, two hundred answers show 6 to 8 skills, and each takes 4 to 5 requests.
PER_SKILL, SKILLS, PER_NAME = 4, 20, 5


@dataclass
class Said:
    """What the figures rest on, a sentence each."""

    measured: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)


def foresee(config: RunConfig, items: int, judged: int, earlier: Earlier | None, said: Said) -> Outlook | None:
    """The next round, from the answers that it starts from (None if none of them is wrong, so that there is no more round); or
    as assumed, of so many items."""
    how, answers = config.diagnosis, earlier.answers if earlier else []
    if earlier and answers:
        wrong = [answer for answer in answers if is_wrong(answer)]
        bad = [answer for answer in wrong if wording_of(answer) not in earlier.diagnosed]
        able = [answer for answer in bad if switchable(answer)]
        errors, right = len(bad), sum(answer.kind == "right" for answer in answers)
        count, steps = len(able), sum(len(answer.steps) for answer in able)
        same = f", {len(wrong) - errors} of them in words that were asked about before" if len(wrong) > errors else ""
        said.measured.append(f"{len(wrong)} of {len(answers)} answers of round {earlier.number} are wrong{same}")
        if not wrong:
            return None
    else:
        errors = count = math.ceil(WRONG * items)
        right, steps = items - errors, STEPS * errors
        said.assumed.append(f"{errors} of {items} answers are wrong, each of {STEPS} steps of {STEP_LETTERS} letters")
    limit = min(errors, how.max_errors or errors)
    if limit < errors:  # which of them are drawn is not known, but how many
        count, steps = round(limit / errors * count), round(limit / errors * steps)
    located, asked = _found(config, count, steps, earlier, said)
    right = min(right, how.right_answers)
    names = _naming_requests(limit + right, earlier, said)
    first = earlier is None or not earlier.number
    return Outlook(limit, count, steps, asked, located, right, names, judged, limit < errors, first)


def _found(config: RunConfig, errors: int, steps: int, earlier: Earlier | None, said: Said) -> tuple[int, int]:
    """Errors that the locator finds a step of, and steps that it comes to, all told."""
    name = config.diagnosis.locator
    if name in ("single_pass", "random_step") or not errors:
        return errors, 0
    mean = steps / errors
    if earlier and (found := earlier.steps_found(name)):
        share = sum(step is not None for step in found) / len(found)
        reached = sum(mean if step is None else min(step, mean) for step in found) / len(found)
        said.measured.append(f"{name} found a step of {share:.0%} of the errors before")
        return round(share * errors), round(reached * errors)
    said.assumed.append(f"{name} finds a step of each error" + (", half way" if name == "per_step" else ""))
    return errors, round((mean + 1) / 2 * errors)


def _naming_requests(answers: int, earlier: Earlier | None, said: Said) -> int:
    """Requests for merging the names of the skills of so many answers and matching them with the pool."""
    number = earlier.number if earlier else None
    if earlier and number and (before := earlier.calls("same_skill", number)):
        said.measured.append(f"merging and matching names took {before} requests in round {number}")
        return before
    skills = min(SKILLS, math.ceil(answers / PER_SKILL))
    said.assumed.append(f"{wording.count(skills, 'skill')} show, at {PER_NAME} requests each to merge and match names")
    return PER_NAME * skills


def judged_answers(read: Read, scorer: Scorer) -> int:
    """Answers of an evaluation that the teacher scores, at most."""
    if scorer.name == "teacher":
        return len(read.items) + len(read.holdout)
    mixed = scorer.name.endswith(", teacher")
    return sum(not item.choices for item in (*read.items, *read.holdout)) if mixed else 0


def once_calls(config: RunConfig, named: Naming, judged: int, earlier: Earlier | None) -> list[Calls]:
    """What is asked once in a run, as far as it has not been; `judged` answers of an evaluation."""
    how, begun = config.diagnosis, earlier is not None and bool(earlier.calls("same_skill", 0))
    by_teacher = (how.locator, how.judge) == ("answer_switch", "teacher")
    first = earlier is None or earlier.number is None
    rows = [
        Calls("same_skill", "is the teacher there?", 0 if begun else 1, True),
        Calls("choose", "does it give log-probabilities?", 1 if by_teacher and not begun else 0, True),
        Calls("skills", f"the pool's {named.samples:,} samples", named.calls, named.imported, True),
        Calls("judge", "scoring the first answers", judged if first else 0, False, True),
        Calls("judge", "scoring the control", judged if config.control == "kept" else 0, False, True),
    ]
    return [row for row in rows if row.calls]
