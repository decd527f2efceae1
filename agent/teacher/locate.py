"""Finding the wrong step of an error and naming the skill that it took.

`single_pass`: the teacher reads the rationale, names the first wrong step and the missing skill in one reply.
`answer_switch` (Yao, Wang, Huang, arXiv 2412.15652, step 2), with the student as judge: after each prefix of k steps,
compare the student's probabilities of its wrong answer y and the gold answer y*; the mistaken step is where the wrong
one takes the lead and keeps it. The teacher then names the skill of that step. Not here: the teacher's
log-probabilities as judge.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from agent.config import DiagnosisConfig
from agent.student.engine import Request, Student
from agent.teacher.client import Asked, Teacher
from agent.teacher.diagnosis import Diagnosis, LocatorName, as_question, diagnosis_id, set_aside, teacher_fault
from agent.teacher.prompts import DiagnosedError, NamedGap
from eval.answers import Answer
from eval.normalise import read_choice
from eval.task import Item
from retrieval.rationale import write_rationale

#: Probability of the gold answer before any step (the paper's prior).
PRIOR = 0.6

Locator = Callable[[int, Item, Answer], Awaitable[Diagnosis]]


def make_locator(
    config: DiagnosisConfig, teacher: Teacher, student: Student, prompt: str, adapter: str | None
) -> Locator:
    """The configured way to diagnose one error: call it with round, item, answer.

    `prompt` is the student's rationale template, `adapter` the loaded adapter that gave the answers (None: the base). A
    locator may be called for many errors at a time. It raises TeacherError, StudentError.
    """

    async def locate(number: int, item: Item, answer: Answer) -> Diagnosis:
        if config.locator == "single_pass" or not answer.steps or answer.final is None:
            return await single_pass(teacher, number, item, answer)
        return await answer_switch(teacher, student, number, item, answer, prompt, adapter, config.delta, config.window)

    return locate


async def single_pass(teacher: Teacher, number: int, item: Item, answer: Answer) -> Diagnosis:
    """Ask the teacher for everything at once. Without steps, it judges the answer alone (step None, skill named)."""

    def check(reply: DiagnosedError) -> str:
        if 0 <= reply.wrong_step <= len(answer.steps):
            return ""
        return f"wrong_step is {reply.wrong_step}, but there are {len(answer.steps)} steps"

    asked = await teacher.ask("diagnose", as_question(item, answer), DiagnosedError, item.images, check)
    step = asked.value.wrong_step if asked.value else 0
    return _ending(number, item, "single_pass", step or None, asked)


async def answer_switch(
    teacher: Teacher,
    student: Student,
    number: int,
    item: Item,
    answer: Answer,
    prompt: str,
    adapter: str | None,
    delta: float,
    window: int,
) -> Diagnosis:
    """Let the student's own probabilities find the step, and the teacher name it. `answer` must have steps and a final
    answer."""
    requests, continuations = switch_requests(item, answer, prompt)
    scores = await student.score(requests, continuations, adapter)
    if not all(math.isfinite(score) for row in scores for score in row):
        return set_aside(number, item.id, "answer_switch", "the student gave no probabilities for this item")
    step = switch_point(wrong_probabilities(scores), delta, window)
    if step is None:
        return Diagnosis(diagnosis_id(number, item.id), item.id, "not_located", "answer_switch")
    data = {**as_question(item, answer), "wrong_step": step}
    asked = await teacher.ask("name_gap", data, NamedGap, item.images)
    return _ending(number, item, "answer_switch", step, asked)


def _ending(
    number: int, item: Item, locator: LocatorName, step: int | None, asked: Asked[DiagnosedError] | Asked[NamedGap]
) -> Diagnosis:
    """The diagnosis that a teacher's reply makes; one that names no skill locates nothing."""
    said = asked.value
    if said is None:
        return teacher_fault(number, item.id, locator, asked)
    state: Literal["diagnosed", "not_located"] = "diagnosed" if said.skill else "not_located"
    return Diagnosis(
        diagnosis_id(number, item.id), item.id, state, locator, step, said.why, said.should_say, said.skill or None
    )


def switch_requests(item: Item, answer: Answer, prompt: str) -> tuple[list[Request], list[tuple[str, str]]]:
    """What to have scored: after k = 0 … n steps, the wrong answer and the gold one.

    `Answer:` belongs to the prefix, so that the mean is over the candidates' own tokens and not watered down by shared
    ones. With choices both are texts of choices: a letter beside a text would be compared by its form.
    """
    text = prompt.replace("{question}", item.prompt_text)
    final = answer.final or ""
    chosen = read_choice(final, item.choices)
    candidates = (f" {final if chosen is None else item.choices[chosen]}", f" {item.answers[0]}")
    requests = []
    for count in range(len(answer.steps) + 1):
        steps = write_rationale(answer.steps[:count])
        prefix = f"{steps}\nAnswer:" if steps else "Answer:"
        requests.append(Request(f"{item.id}/{count}", text, item.images, prefix))
    return requests, [candidates] * len(requests)


def wrong_probabilities(scores: Sequence[Sequence[float]], prior: float = PRIOR) -> list[float]:
    """P(y) over {y, y*} after k = 0 … n steps, from the pairs of scores (mean log-probability per token of y, of y*).

    One offset of the log-odds for all k puts P(y*) at `prior` before any step.
    """
    odds = [wrong - gold for wrong, gold in scores]
    offset = math.log((1 - prior) / prior) - odds[0]
    return [0.5 * (1 + math.tanh((each + offset) / 2)) for each in odds]  # the logistic function, without overflow


def switch_point(p_wrong: Sequence[float], delta: float, window: int) -> int | None:
    """The mistaken step (1-based), None if there is none.

    `p_wrong` is P(y) after k = 0 … n steps, renormalised over {y, y*}, so that d_k = P(y) − P(y*) = 2 P(y) − 1. The
    step is the first m ≥ 1 with d_j ≥ delta for every j = m … min(m + window, n).
    """
    leads = [2 * p - 1 >= delta for p in p_wrong]
    return next((m for m in range(1, len(leads)) if all(leads[m : m + window + 1])), None)
