"""The error budget: the share of items, answers or requests that may be set aside before a run stops, and the few that always
may. One rule, and its words where items, answers or the teacher's requests break it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from agent.run import wording
from agent.teacher.asked import Lost, commonest
from agent.teacher.client import Teacher
from eval.answers import Answer
from eval.task import Items
from retrieval.errors import DataError, StudentError, TeacherError
from retrieval.reading.understood import set_aside_words

#: So many answers or requests may be lost of however small a set: of 19, one would be more than 5%. What cannot be read of a file
#: is there before anything is paid, and is to be mended.
A_FEW = 3


def is_within(lost: int, total: int, budget: float, few: int = 0) -> bool:
    """Whether `lost` of `total` is no more than the share `budget`, in [0, 1], or no more than a `few` and half of all; nothing
    lost always is, and under a budget of 0 nothing else."""
    return lost <= (max(budget * total, min(few, total / 2)) if budget else 0)


def check_read(path: Path, read: Items, budget: float) -> None:
    """Raise DataError if more items could not be read than the error budget allows."""
    lost, total = len(read.set_aside), len(read.items) + len(read.set_aside)
    if not is_within(lost, total, budget):
        why = "; ".join(set_aside_words(read.set_aside))
        raise DataError(
            f"{path}: {lost} of {total} items cannot be read, more than error_budget {budget:.0%}: {why}; mend or remove "
            "them, or allow more at error_budget"
        )


def check_answers(answers: Sequence[Answer], budget: float) -> None:
    """Raise StudentError if more items have no answer than the error budget allows."""
    lost = [answer for answer in answers if lacks_answer(answer)]
    if not is_within(len(lost), len(answers), budget, A_FEW):
        raise StudentError(
            f"student_error_rate {len(lost) / len(answers):.0%} > {budget:.0%}: {len(lost)} of {len(answers)} items have no "
            f"answer, the first ({lost[0].item}): {lost[0].error}; mend those items or raise error_budget"
        )


def lacks_answer(answer: Answer) -> bool:
    """Whether the student gave no answer."""
    return answer.kind == "error" and answer.final is None


def lacks_verdict(answer: Answer) -> bool:
    """Whether the student gave an answer that could be judged, and the teacher gave no verdict on it."""
    return answer.kind == "error" and answer.final is not None


def check_verdicts(teacher: Teacher, answers: Sequence[Answer], budget: float, file: Path) -> None:
    """Raise TeacherError if more answers have no verdict than the error budget allows."""
    lost = [Lost(None, answer.error or "") for answer in answers if lacks_verdict(answer)]
    check_teacher(teacher, lost, len(answers), budget, file)


def check_teacher(teacher: Teacher, lost: Sequence[Lost], total: int, budget: float, file: Path | None = None) -> None:
    """Raise TeacherError if more came to nothing than the error budget allows; what did is then asked anew when the run goes on.
    `file` holds the rows that say why, if not the teacher's journal its replies."""
    if not is_within(len(lost), total, budget, A_FEW):
        teacher.ask_anew()
        why = wording.in_brackets(Counter(each.fault for each in lost if each.fault))
        raise TeacherError(
            f"teacher_error_rate {len(lost) / total:.0%} > {budget:.0%}: {len(lost)} of {total} requests came to nothing{why}, "
            f"most often: {commonest(lost)[:300]}; see {file or teacher.journal}; mend the cause or raise error_budget, then run "
            "again: they are asked anew"
        )
