"""What a selection is made for: gaps, and their siblings; and what it is made of."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

Part = Literal["gap", "sibling", "rehearsal", "random"]


def gap_id(name: str) -> str:
    """The id of the gap that goes by a name."""
    return f"gap-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Gap:
    """A missing skill: one name, all wordings of it, and the ids of the diagnoses behind it."""

    id: str
    skill: str
    names: tuple[str, ...]
    errors: tuple[str, ...]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read an entry of gaps.json."""
        return cls(row["id"], row["skill"], tuple(row["names"]), tuple(row["errors"]))

    def as_row(self) -> dict[str, Any]:
        """An entry of gaps.json."""
        return asdict(self) | {"names": list(self.names), "errors": list(self.errors)}


@dataclass(frozen=True, slots=True)
class Sibling:
    """A skill that the student has and the task uses: its names, the items whose right answers show it, and how close
    it is to the gaps (0 to 1)."""

    skill: str
    names: tuple[str, ...]
    answers: tuple[str, ...]
    closeness: float

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read an entry of gaps.json."""
        return cls(row["skill"], tuple(row["names"]), tuple(row["answers"]), float(row["closeness"]))

    def as_row(self) -> dict[str, Any]:
        """An entry of gaps.json."""
        return asdict(self) | {"names": list(self.names), "answers": list(self.answers)}


class Shares(NamedTuple):
    """How the budget is divided; only the proportions matter."""

    gaps: float
    siblings: float
    rehearsal: float


@dataclass(frozen=True, slots=True)
class Selected:
    """A sample of a selection, and why it is there. `need` is a gap's id or a sibling's skill, `error` the diagnosis
    (or the sibling's item) it was fetched for, `skill` the pool's text that matched, `rank` its place (from 1) among
    the samples that were candidates for that error, the one with the closest question first."""

    sample: str
    part: Part
    need: str | None = None
    error: str | None = None
    skill: str | None = None
    rank: int | None = None

    def as_row(self, number: int) -> dict[str, Any]:
        """A line of selection.jsonl in the round of that number."""
        return {"schema": 1, **asdict(self), "round": number}


class Quota(NamedTuple):
    """What the budget owed a need (a gap by its id, a sibling by its skill), how many samples it got, and how many of the
    pool that were free to be selected match it. It may get more than it was owed: of what another need left."""

    part: Part
    need: str
    skill: str
    owed: int
    found: int
    matching: int


class Quotas(NamedTuple):
    """What a selection was to hold. `free`: samples of the pool that were neither taken nor excluded; `matching`: those of them
    that match a gap, whichever."""

    budget: int
    free: int
    matching: int
    needs: tuple[Quota, ...]

    def as_json(self) -> dict[str, Any]:
        """The content of quotas.json."""
        return {"schema": 1, **self._asdict(), "needs": [need._asdict() for need in self.needs]}


class Selection(NamedTuple):
    """The samples that were chosen, and what was owed."""

    samples: list[Selected]
    quotas: Quotas
