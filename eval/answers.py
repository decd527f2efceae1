"""Answers: what the student wrote to each item, and the figures of a round."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from eval.scorers import Scorer
from eval.statistics import wilson
from eval.task import Item
from retrieval.pool.rationale import has_steps, parse_rationale

Kind = Literal["right", "wrong", "format", "error", "unjudged"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A row of answers.jsonl: the student's answer to one item.

    `kind`: right; wrong; format (no final answer could be read: wrong too); error (there is no answer, or no verdict
    on it: `error` says why; counted apart, never wrong); unjudged (only until the teacher has judged it). `cut`: it
    ran into the token limit.
    """

    item: str
    text: str
    steps: tuple[str, ...]
    final: str | None
    correct: bool
    kind: Kind
    error: str | None = None
    cut: bool = False

    def to_row(self) -> dict[str, Any]:
        """The answer as a row of JSON."""
        return {"schema": 1, **asdict(self), "steps": list(self.steps)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read back what `to_row` wrote."""
        fields = {key: value for key, value in row.items() if key != "schema"}
        return cls(**{**fields, "steps": tuple(row["steps"])})

    def judged(self, correct: bool | None, reason: str | None = None) -> Self:
        """The answer with the teacher's verdict; with None, there is none (`reason` says why)."""
        if correct is None:
            return replace(self, correct=False, kind="error", error=reason or "the teacher gave no verdict")
        return replace(self, correct=correct, kind="right" if correct else "wrong")


def read_answer(item: Item, text: str, scorer: Scorer, cut: bool = False, error: str | None = None) -> Answer:
    """Read and score what the student wrote; `error` says why it wrote nothing.

    A text without a final answer is of kind `format`. Raises ConfigError if the user's own scorer fails.
    """
    if error is not None:
        return Answer(item.id, text, (), None, False, "error", error, cut)
    steps, final = parse_rationale(text)
    if final is None:
        return Answer(item.id, text, steps, None, False, "format", None, cut)
    correct = scorer.score(item, final)
    kind: Kind = "unjudged" if correct is None else "right" if correct else "wrong"
    return Answer(item.id, text, steps, final, bool(correct), kind, None, cut)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a set of answers comes to. `n` counts the answers that could be judged; `right`, `format` (no final answer
    could be read) and `with_steps` (share of answers with two steps or more) are of these, `errors` are the items
    beside them. `interval`: 95% Wilson interval of `accuracy`."""

    n: int
    right: int
    accuracy: float
    interval: tuple[float, float]
    format: int
    errors: int
    with_steps: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """evaluation.json: a round's figures on the validation set and on the holdout. `adapter`: path in the run folder,
    None for the student as it came. `seconds`: wall time of answering."""

    round: int
    validation: Figures
    holdout: Figures | None
    adapter: str | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The validation set's figures at the top, the holdout's below them."""
        figures = _plain(self.validation)
        holdout = _plain(self.holdout) if self.holdout else None
        rest = {"holdout": holdout, "adapter": self.adapter, "seconds": round(self.seconds, 3)}
        return {"schema": 1, "round": self.round, **figures, **rest}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote."""
        holdout = _figures(value["holdout"]) if value["holdout"] else None
        return cls(value["round"], _figures(value), holdout, value["adapter"], value["seconds"])


def _plain(figures: Figures) -> dict[str, Any]:
    return {**asdict(figures), "interval": list(figures.interval)}


def _figures(value: Mapping[str, Any]) -> Figures:
    fields = {name: value[name] for name in Figures.__dataclass_fields__}
    return Figures(**{**fields, "interval": tuple(value["interval"])})


def evaluate_answers(answers: Iterable[Answer]) -> Figures:
    """The figures of a set of answers."""
    rows = list(answers)
    judged = [row for row in rows if row.kind not in ("error", "unjudged")]
    right = sum(row.correct for row in judged)
    return Figures(
        n=len(judged),
        right=right,
        accuracy=right / len(judged) if judged else 0.0,
        interval=wilson(right, len(judged)),
        format=sum(row.kind == "format" for row in judged),
        errors=len(rows) - len(judged),
        with_steps=sum(has_steps(row.steps) for row in judged) / len(judged) if judged else 0.0,
    )


def correctness(answers: Iterable[Answer]) -> dict[str, bool]:
    """Item id -> right or not, of the answers that could be judged: what rounds are compared by."""
    return {row.item: row.correct for row in answers if row.kind not in ("error", "unjudged")}
