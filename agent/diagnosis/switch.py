"""Answer switch (Yao, Wang, Huang, arXiv 2412.15652, step 2): where in its steps a wrong answer took the lead.

After each prefix of k steps, a judge's probabilities of the student's wrong answer y and the gold answer y* are
compared; the mistaken step is where the wrong one takes the lead and keeps it. The judge is the student (mean
log-probability per token of each answer, with the image) or the teacher (log-probability of an option's letter,
without it, as in the paper).
"""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agent.chat.stream import together
from agent.student.engine import Request, Student, prompt_for
from agent.teacher.asked import Asked, Fault
from agent.teacher.client import Teacher
from eval.answers import Answer
from eval.choices import read_choice
from eval.task import Item
from retrieval.errors import TeacherError
from retrieval.pool.rationale import write_rationale

#: Probability of the gold answer before any step (the paper's prior).
PRIOR = 0.6
#: Errors whose prefixes the student scores together: enough for full batches, few enough that diagnosing begins soon.
TOGETHER = 64

Error = tuple[Item, Answer]


class Turning(NamedTuple):
    """`p_wrong`: P(y) over {y, y*} after k = 0 … n steps, None where the judge gave none (`reason` says why, and `fault`
    which of the teacher's it was)."""

    p_wrong: list[float] | None
    reason: str = ""
    fault: Fault | None = None


class StudentJudge:
    """The student as judge of a round's errors.

    Those that come near each other are scored in one call, which fills the engine's batches; what is scored together is a
    fixed function of `errors`, so a killed run that goes on gets the same figures. `prompt` is the rationale template,
    `adapter` the loaded adapter that gave the answers.
    """

    def __init__(self, student: Student, prompt: str, adapter: str | None, errors: Sequence[Error] = ()) -> None:
        self._student, self._prompt, self._adapter = student, prompt, adapter
        able = [error for error in errors if switchable(error[1])]
        self._groups = [able[start : start + TOGETHER] for start in range(0, len(able), TOGETHER)]
        self._place = {item.id: place for place, group in enumerate(self._groups) for item, _ in group}
        self._scoring: dict[int, asyncio.Task[dict[str, Turning]]] = {}
        self._waiting: Counter[int] = Counter()

    async def __call__(self, item: Item, answer: Answer) -> Turning:
        """Judge one error, which must be `switchable`. Raises StudentError."""
        place = self._place.get(item.id)
        if place is None:
            return (await self._score([(item, answer)]))[item.id]
        if place not in self._scoring:
            self._scoring[place] = asyncio.create_task(self._score(self._groups[place]))
        scoring = self._scoring[place]
        self._waiting[place] += 1
        try:
            # Shielded, since others may wait for the same group when one of them is cancelled.
            return (await asyncio.shield(scoring))[item.id]
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place] and not scoring.done():  # nobody is left who wants it
                del self._scoring[place]
                scoring.cancel()
                await asyncio.wait([scoring])

    async def _score(self, errors: Sequence[Error]) -> dict[str, Turning]:
        asked = [switch_requests(item, answer, self._prompt) for item, answer in errors]
        requests = [request for some, _ in asked for request in some]
        candidates = [pair for some, pair in asked for _ in some]
        scores = iter(await self._student.score(requests, candidates, self._adapter))
        rows = {item.id: [next(scores) for _ in some] for (item, _), (some, _) in zip(errors, asked, strict=True)}
        return {item: _turning(own) for item, own in rows.items()}


def _turning(scores: Sequence[Sequence[float]]) -> Turning:
    if not all(math.isfinite(score) for row in scores for score in row):
        return Turning(None, "the student gave no probabilities for this item")
    return Turning(wrong_probabilities(scores))


class TeacherJudge:
    """The teacher as judge: it sees the steps, not the image, and answers with an option's letter. 2 n requests for n
    steps. Raises TeacherError if its endpoint gives no log-probabilities."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    async def __call__(self, item: Item, answer: Answer) -> Turning:
        """Judge one error, which must be `switchable`. P(y) before any step is the prior's and not asked for: the
        mistaken step is at m ≥ 1."""
        questions = choices_about(item, answer)
        asked = await together(self._teacher.choose(data, data["options"]) for data in questions)
        lost = next((each for each in asked if each.value is None), None)
        if lost is not None:
            return Turning(None, f"the teacher's choice: {lost.state} ({lost.reason})", lost.fault)
        return Turning([1 - PRIOR, *both_orders(asked)])


def both_orders(asked: Sequence[Asked[dict[str, float]]]) -> list[float]:
    """P(y), each the mean over the two orders of the options; `asked` holds y as A, then y as B, for each prefix."""
    odds = [each.value or {} for each in asked]
    return [(first["A"] + second["B"]) / 2 for first, second in zip(odds[::2], odds[1::2], strict=True)]


def choices_about(item: Item, answer: Answer) -> list[dict[str, Any]]:
    """The data of the `choose` requests about an error: each prefix, in both orders of the options."""
    return [
        choice_question(item, answer, count, wrong) for count in range(1, len(answer.steps) + 1) for wrong in ("A", "B")
    ]


def choice_question(item: Item, answer: Answer, count: int, wrong: str) -> dict[str, Any]:
    """The data of a `choose` request after `count` steps; `wrong` (A or B) is the letter of the student's answer."""
    gold = "B" if wrong == "A" else "A"
    texts = dict(zip((wrong, gold), candidates_of(item, answer), strict=True))
    choices = {"choices": list(item.choices)} if item.choices else {}
    options = {letter: texts[letter] for letter in ("A", "B")}
    steps = list(answer.steps[:count])
    return {"question": item.question, **choices, "options": options, "prior": {gold: PRIOR}, "steps": steps}


async def check_teacher_judges(teacher: Teacher) -> None:
    """Ask for one choice, to learn at the start whether the endpoint gives log-probabilities. Raises TeacherError."""
    asked = await teacher.choose(PROBE, PROBE["options"])
    if asked.value is None:
        raise TeacherError(
            f"the teacher cannot be the judge of answer_switch: a plain choice came to nothing ({asked.state}: "
            f"{asked.reason}); set diagnosis.judge to student, or diagnosis.locator to single_pass"
        )


PROBE: Mapping[str, Any] = {
    "question": "What time is it?",
    "options": {"A": "three", "B": "four"},
    "prior": {"B": PRIOR},
    "steps": ["The short hand points at four."],
}


def switchable(answer: Answer) -> bool:
    """Whether there are steps over which the answer could have turned, and an answer."""
    return bool(answer.steps) and answer.final is not None


def candidates_of(item: Item, answer: Answer) -> tuple[str, str]:
    """The wrong answer and the gold one. With choices both are texts of choices: a letter beside a text would be
    compared by its form."""
    final = answer.final or ""
    chosen = read_choice(final, item.choices, item.question)
    return (final if chosen is None else item.choices[chosen], item.answers[0])


def switch_requests(item: Item, answer: Answer, prompt: str) -> tuple[list[Request], tuple[str, str]]:
    """What to have scored after k = 0 … n steps, and how each goes on: with the wrong answer and with the gold one.

    `Answer:` belongs to the prefix, so that the mean is over the candidates' own tokens and not watered down by shared
    ones.
    """
    text = prompt_for(prompt, item.prompt_text)
    wrong, gold = candidates_of(item, answer)
    requests = []
    for count in range(len(answer.steps) + 1):
        steps = write_rationale(answer.steps[:count])
        prefix = f"{steps}\nAnswer:" if steps else "Answer:"
        requests.append(Request(f"{item.id}/{count}", text, item.images, prefix))
    return requests, (f" {wrong}", f" {gold}")


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
