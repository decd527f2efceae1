"""What a run folder tells about the rounds to come: the answers that the next one starts from, and what requests took."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from agent.run.reading import RoundRecords, Row, RunRecords, read_rows
from eval.answers import Answer


class PerCall(NamedTuple):
    """Mean tokens of a request and of its reply."""

    tokens_in: float
    tokens_out: float


#: An error as the teacher is asked about it: item, steps, final answer; the text where there is neither.
Wording = tuple[str, tuple[str, ...], str | None, str]


class Earlier:
    """The rounds of a run so far, read from outside; nothing is written."""

    def __init__(self, path: Path) -> None:
        self._records = RunRecords(path)
        self._journal = read_rows(path / "teacher.jsonl")

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self._records.state == "finished"

    @cached_property
    def _last(self) -> RoundRecords | None:
        done = [files for files in self._records.rounds if files.evaluation]
        return done[-1] if done else None

    @property
    def number(self) -> int | None:
        """The last round that was evaluated, None if there is none yet."""
        return None if self._last is None else self._last.number

    @cached_property
    def seconds(self) -> float | None:
        """What the last round that was decided took, its control left out; None if there is none but the first answers."""
        took = [
            files.record["seconds"] for files in self._records.rounds if files.number and files.record.get("seconds")
        ]
        return sum(took[-1].values()) if took else None

    @cached_property
    def answers(self) -> list[Answer]:
        """The answers that the next round starts from, in the order of their items."""
        return _answers(self._last) if self._last else []

    @cached_property
    def diagnosed(self) -> set[Wording]:
        """Wrong answers of the rounds before, as they were put to the teacher: it is not asked about those again."""
        before = [files for files in self._records.rounds if self.number is not None and files.number < self.number]
        return {wording_of(answer) for files in before for answer in _answers(files) if is_wrong(answer)}

    def calls(self, kind: str, number: int | None) -> int:
        """Requests of a kind that a round put to the teacher."""
        return sum(row.get("kind") == kind and row.get("scope") == _scope(number) for row in self._journal)

    def per_call(self, kind: str) -> PerCall | None:
        """Mean tokens of a kind of request, None if there was none, or if the endpoint did not report any. What is asked
        at the start, to see that the teacher is there, is shorter than others of its kind and left out."""
        rows = [row for row in self._journal if row.get("kind") == kind]
        return mean_tokens(row for row in rows if kind == "judge" or not str(row.get("scope")).endswith(_scope(0)))

    def steps_found(self, locator: str) -> list[int | None]:
        """The step of each diagnosis that a locator made in the last round that has any, None where it found none."""
        for files in reversed(self._records.rounds):
            rows = [row for row in files.diagnoses.values() if row.get("state") != "set_aside"]
            if found := [row.get("step") for row in rows if row.get("locator") == locator]:
                return found
        return []


def is_wrong(answer: Answer) -> bool:
    """Whether it is an error to be diagnosed."""
    return answer.kind in ("wrong", "format")


def wording_of(answer: Answer) -> Wording:
    """What tells the question about an error from all others."""
    bare = answer.final is None and not answer.steps
    return answer.item, answer.steps, answer.final, answer.text if bare else ""


def _answers(files: RoundRecords) -> list[Answer]:
    return [Answer.from_row(files.answers[item]) for item in sorted(files.answers)]


def mean_tokens(rows: Iterable[Row]) -> PerCall | None:
    """Mean tokens of a journal's rows; those without figures are left out."""
    counts = [(row["tokens_in"], row["tokens_out"]) for row in rows if row.get("tokens_in") and row.get("tokens_out")]
    if not counts:
        return None
    inward, outward = (sum(each) / len(counts) for each in zip(*counts, strict=True))
    return PerCall(inward, outward)


def _scope(number: int | None) -> str:
    return "" if number is None else f"round-{number:02d}"
