"""Which round the page speaks of when it says “after”: the kept one, whose adapter the user gets."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from agent.run.reading import RoundRecords, Row, RunRecords

#: What became of an item between the student as it came and the round that is shown; in the order in which they are shown.
Outcome = Literal["still_wrong", "became_wrong", "became_right", "wrong_between", "unjudged", "wrong"]


class Shown(NamedTuple):
    """The round that is compared with the student as it came. `kept`: its adapter is the one that the user gets; if not, no
    round was kept, and it is the one that came nearest."""

    files: RoundRecords
    kept: bool

    @property
    def number(self) -> int:
        """The round's number."""
        return self.files.number

    @property
    def name(self) -> str:
        """As it is called on the page."""
        return f"the kept round {self.number}" if self.kept else f"round {self.number}, not kept"


def shown_round(run: RunRecords) -> Shown | None:
    """The kept round; where none was kept, the first of those with the highest score on the validation set; None while no
    adapter has been evaluated."""
    later = [each for each in run.rounds if each.evaluation and each.number]
    kept = next((each for each in later if each.number == run.best), None)
    if kept is not None:
        return Shown(kept, True)
    return Shown(max(later, key=accuracy), False) if later else None


def accuracy(files: RoundRecords) -> float:
    """Accuracy of a round on the validation set, 0 while it is not known."""
    found = files.evaluation.get("accuracy")
    return found if isinstance(found, float | int) else 0.0


def marks(answers: Mapping[str, Row]) -> dict[str, bool]:
    """Item id -> right or not, of the answers that could be judged."""
    return {
        item: bool(row.get("correct")) for item, row in answers.items() if row.get("kind") not in ("error", "unjudged")
    }


def outcomes(run: RunRecords) -> dict[str, Outcome]:
    """Item of the validation set -> what became of it, of the items that were wrong in some round whose answers matter: the
    first, the one that is shown, or one that was diagnosed."""
    if not run.rounds:
        return {}
    base, shown = run.rounds[0], shown_round(run)
    before, after = marks(base.answers), marks(shown.files.answers) if shown else {}
    diagnosed = {str(row.get("item")) for files in run.rounds for row in files.diagnoses.values()}
    found: dict[str, Outcome] = {}
    for item in dict.fromkeys([*base.answers, *(shown.files.answers if shown else ()), *sorted(diagnosed)]):
        was, now = before.get(item), after.get(item)
        if False in (was, now) or item in diagnosed:
            found[item] = "wrong" if shown is None else _outcome(was, now)
    return found


def _outcome(was: bool | None, now: bool | None) -> Outcome:
    if was is None or now is None:
        return "unjudged"
    if now:
        return "wrong_between" if was else "became_right"
    return "became_wrong" if was else "still_wrong"
