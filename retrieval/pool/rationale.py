"""Rationales: numbered steps, then a line `Answer: …`."""

import re
from collections.abc import Sequence
from typing import NamedTuple

# Without the word "Step", a number directly behind the mark makes it a figure ("3.5 m", "10:30") and not a step's
# number.
_STEP = re.compile(
    r"^[ \t]*(?:\*\*)?(?:Step[ \t]*\d{1,3}[ \t]*[.:)]|\d{1,3}[ \t]*[.:)](?!\d))(?:\*\*)?[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
# "Answer:" or "the answer is"; a line such as "Answers differ" or "Answer the question" gives none.
_ANSWER = re.compile(
    r"^[ \t]*(?:\*\*)?(?:The[ \t]+)?(?:Final[ \t]+)?Answer(?:\*\*)?[ \t]*(?::|is\b[ \t]*:?)(?:\*\*)?", re.I | re.M
)


class Rationale(NamedTuple):
    """What a student wrote: its numbered steps in order (without the numbers) and its final answer, None where it
    gave none."""

    steps: tuple[str, ...]
    final: str | None

    @property
    def whole(self) -> bool:
        """Whether it has two steps or more and a final answer. One step is an answer in a sentence; numbered points without
        a final answer are a list."""
        return has_steps(self.steps) and self.final is not None


def parse_rationale(text: str) -> Rationale:
    """Split a text into steps and final answer; the last `Answer:` line counts, and text without one has `final`
    None."""
    answers = list(_ANSWER.finditer(text))
    body, final = text, None
    if answers:
        body, final = text[: answers[-1].start()], text[answers[-1].end() :].strip() or None
    marks = list(_STEP.finditer(body))
    ends = [*(mark.start() for mark in marks[1:]), len(body)][: len(marks)]
    steps = tuple(body[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True))
    return Rationale(tuple(step for step in steps if step), final)


def has_steps(steps: Sequence[str]) -> bool:
    """Whether there are two steps or more, with or without a final answer (see `Rationale.whole`)."""
    return len(steps) >= 2


def write_rationale(steps: tuple[str, ...], final: str | None = None) -> str:
    """The canonical text of a rationale, as the student is asked to write it (a prefix of one if `final` is None)."""
    lines = [f"Step {number}: {step}" for number, step in enumerate(steps, 1)]
    return "\n".join(lines if final is None else [*lines, f"Answer: {final}"])
