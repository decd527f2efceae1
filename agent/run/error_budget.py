"""The error budget: the share of items, answers or requests that may be set aside before a run stops. One rule, and its words
where items, answers or the teacher's requests break it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.run import wording
from eval.answers import Answer
from eval.task import Items
from retrieval.errors import DataError, StudentError, TeacherError
from retrieval.reading.understood import set_aside_words


def is_within(lost: int, total: int, budget: float) -> bool:
    """Whether `lost` of `total` is no more than the share `budget`, in [0, 1]; nothing lost always is."""
    return lost <= budget * total


def check_read(path: Path, read: Items, budget: float) -> None:
    """Raise DataError if more items could not be read than the error budget allows."""
    lost, total = len(read.set_aside), len(read.items) + len(read.set_aside)
    if not is_within(lost, total, budget):
        why = "; ".join(set_aside_words(read.set_aside))
        raise DataError(f"{path}: {lost} of {total} items cannot be read, more than error_budget {budget:.0%}; {why}")


def check_answers(answers: Sequence[Answer], budget: float) -> None:
    """Raise StudentError if more items have no answer than the error budget allows."""
    lost = [answer for answer in answers if answer.kind == "error"]
    if not is_within(len(lost), len(answers), budget):
        raise StudentError(
            f"student_error_rate {len(lost) / len(answers):.0%} > {budget:.0%}: {len(lost)} of {len(answers)} items have no "
            f"answer, the first ({lost[0].item}): {lost[0].error}; mend those items or raise error_budget"
        )


def check_teacher(lost: int, total: int, budget: float, faults: Iterable[str | None] = ()) -> None:
    """Raise TeacherError if more was set aside than the error budget allows; `faults` are the teacher's, if known."""
    if not is_within(lost, total, budget):
        why = wording.in_brackets(Counter(fault for fault in faults if fault))
        raise TeacherError(
            f"teacher_error_rate {lost / total:.0%} > {budget:.0%}: {lost} of {total} requests came to nothing{why}; "
            "the rows say why (state `set_aside`); mend the cause or raise error_budget, then run again"
        )
