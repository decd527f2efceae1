"""Finding the wrong step of an error and naming the skill that it took.

A locator finds the step; the teacher then names its skill (`name_gap`). `single_pass` does both in one reply.
`answer_switch` goes by a judge's probabilities (`switch.py`), `per_step` asks the teacher about one step at a time,
`random_step` draws one, so that there is something to compare with. Not here: matching against a reference rationale,
which nobody's validation set has.
"""

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Literal

from agent.config.schema import DiagnosisConfig
from agent.diagnosis.diagnosis import Diagnosis, LocatorName, as_question, diagnosis_id, set_aside, teacher_fault
from agent.diagnosis.switch import Error, StudentJudge, TeacherJudge, Turning, choices_about, switch_point, switchable
from agent.student.engine import Student
from agent.teacher.asked import Asked
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import DiagnosedError, NamedGap, StepJudged
from agent.teacher.request import Question
from eval.answers import Answer
from eval.task import Item

Locator = Callable[[int, Item, Answer], Awaitable[Diagnosis]]
Judge = Callable[[Item, Answer], Awaitable[Turning]]


def make_locator(
    config: DiagnosisConfig,
    teacher: Teacher,
    student: Student,
    prompt: str,
    adapter: str | None,
    seed: int,
    errors: Sequence[Error] = (),
) -> Locator:
    """The configured way to diagnose one error: call it with round, item, answer.

    `prompt` is the student's rationale template, `adapter` the loaded adapter that gave the answers (None: the base),
    `seed` the run's, `errors` what it will be called for. A locator may be called for many errors at a time. It raises
    TeacherError, StudentError.
    """
    judge: Judge = TeacherJudge(teacher)
    if config.judge == "student":
        judge = StudentJudge(student, prompt, adapter, errors)

    async def locate(number: int, item: Item, answer: Answer) -> Diagnosis:
        if config.locator == "single_pass" or not switchable(answer):
            return await single_pass(teacher, number, item, answer)
        if config.locator == "per_step":
            return await per_step(teacher, number, item, answer)
        if config.locator == "random_step":
            return await random_step(teacher, number, item, answer, seed)
        return await answer_switch(teacher, judge, number, item, answer, config.delta, config.window)

    return locate


def questions_about(config: DiagnosisConfig, seed: int, errors: Sequence[Error]) -> Iterator[Question]:
    """What locators ask about errors whatever the replies to anything else are: what can wait for a batch."""
    for item, answer in errors:
        if config.locator == "single_pass" or not switchable(answer):
            yield Question("diagnose", as_question(item, answer), DiagnosedError, item.images)
        elif config.locator == "random_step":
            data = {**as_question(item, answer), "wrong_step": _drawn_step(item, answer, seed)}
            yield Question("name_gap", data, NamedGap, item.images)
        elif (config.locator, config.judge) == ("answer_switch", "teacher"):
            yield from (Question("choose", data, None) for data in choices_about(item, answer))


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
    teacher: Teacher, judge: Judge, number: int, item: Item, answer: Answer, delta: float, window: int
) -> Diagnosis:
    """Let a judge's probabilities find the step, and the teacher name it. `answer` must be switchable."""
    p_wrong, reason, fault = await judge(item, answer)
    if p_wrong is None:
        return set_aside(number, item.id, "answer_switch", reason, fault)
    return await _named(teacher, number, item, answer, "answer_switch", switch_point(p_wrong, delta, window))


async def per_step(teacher: Teacher, number: int, item: Item, answer: Answer) -> Diagnosis:
    """Ask about each step in turn, with those before it, until one is not right; the later steps cost nothing."""
    question = as_question(item, answer)
    del question["answer"]  # it would tell the teacher that something is wrong
    for step in range(1, len(answer.steps) + 1):
        data = {**question, "steps": list(answer.steps[:step]), "step": step}
        asked = await teacher.ask("step_right", data, StepJudged, item.images)
        if asked.value is None:
            return teacher_fault(number, item.id, "per_step", asked)
        if not asked.value.correct:
            return await _named(teacher, number, item, answer, "per_step", step)
    return await _named(teacher, number, item, answer, "per_step", None)


async def random_step(teacher: Teacher, number: int, item: Item, answer: Answer, seed: int) -> Diagnosis:
    """Any of the steps, drawn by the run's seed and the item's id."""
    return await _named(teacher, number, item, answer, "random_step", _drawn_step(item, answer, seed))


def _drawn_step(item: Item, answer: Answer, seed: int) -> int:
    return random.Random(f"{seed}/step/{item.id}").randint(1, len(answer.steps))


async def _named(
    teacher: Teacher, number: int, item: Item, answer: Answer, locator: LocatorName, step: int | None
) -> Diagnosis:
    """Have the teacher name the skill of a step; without one there is nothing to name."""
    if step is None:
        return Diagnosis(diagnosis_id(number, item.id), item.id, "not_located", locator)
    data = {**as_question(item, answer), "wrong_step": step}
    asked = await teacher.ask("name_gap", data, NamedGap, item.images)
    return _ending(number, item, locator, step, asked)


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
