"""Diagnoses: what is known about an error."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from agent.teacher.asked import Asked, Fault
from eval.answers import Answer
from eval.task import Item

LocatorName = Literal["single_pass", "answer_switch", "per_step", "random_step"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A row of diagnoses.jsonl: which step of an item's answer went wrong, why, and the skill that was missing, as the
    teacher worded it.

    `state`: diagnosed (there is a skill); not_located (no wrong step, or none whose skill can be named); set_aside
    (`reason` says why: the teacher's fault or the student engine's, not the student's; `fault` which of the teacher's). `step`
    is 1-based, None where
    every step is right or there are none. `locator` is the one that was used: an answer without steps or without a
    final answer has nothing to switch.
    """

    id: str
    item: str
    state: Literal["diagnosed", "not_located", "set_aside"]
    locator: LocatorName
    step: int | None = None
    why: str = ""
    should_say: str = ""
    skill: str | None = None
    reason: str | None = None
    fault: Fault | None = None

    def to_row(self) -> dict[str, Any]:
        """The diagnosis as a row of JSON."""
        return {"schema": 1, **asdict(self)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read back what `to_row` wrote."""
        return cls(**{key: value for key, value in row.items() if key != "schema"})


def diagnosis_id(number: int, item: str) -> str:
    """The id of the diagnosis of an item's answer in a round."""
    return f"r{number:02d}-{item}"


def as_question(item: Item, answer: Answer) -> dict[str, Any]:
    """An error as the data of a request."""
    choices = {"choices": list(item.choices)} if item.choices else {}
    said = answer.final if answer.final is not None or answer.steps else answer.text[:2000]
    return {
        "question": item.question,
        **choices,
        "gold": item.answers[0],
        "answer": said,
        "steps": list(answer.steps),
    }


def set_aside(number: int, item: str, locator: LocatorName, reason: str, fault: Fault | None = None) -> Diagnosis:
    """The diagnosis that there is none."""
    return Diagnosis(diagnosis_id(number, item), item, "set_aside", locator, reason=reason, fault=fault)


def teacher_fault(number: int, item: str, locator: LocatorName, asked: Asked[Any]) -> Diagnosis:
    """Set aside because the teacher gave no usable reply."""
    return set_aside(number, item, locator, f"the teacher's reply: {asked.state} ({asked.reason})", asked.fault)
