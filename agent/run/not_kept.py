"""Why a round that scored above the kept one is not kept, in words: the same in the terminal and in the report."""

from typing import Any

from agent.run import wording
from agent.run.reading import RoundRecords, RunRecords


def why_not_kept(run: RunRecords) -> dict[int, str]:
    """Round -> one sentence, for each decided round that scored above the kept one (above the student as it came, where
    none is kept) on the validation set or on the holdout."""
    kept = next((each for each in run.rounds if each.number == run.best), None)
    found = {}
    for each in run.rounds if kept else ():
        above = _above(each, kept) if kept and each.number not in (0, kept.number) else ""
        if above and each.record.get("p_value") is not None:
            scored = f"Round {each.number} is not kept although it scored above {_name(run.best)} {above}"
            found[each.number] = f"{scored}: {_reason(run, each)}."
    return found


def _above(one: RoundRecords, other: RoundRecords) -> str:
    """On which sets of items one round scored above another; empty if on none."""
    pairs = {
        "validation set": (one.evaluation, other.evaluation),
        "holdout": (one.evaluation.get("holdout"), other.evaluation.get("holdout")),
    }
    said = []
    for name, (mine, theirs) in pairs.items():
        here, there = _accuracy(mine), _accuracy(theirs)
        if here is not None and there is not None and here > there:
            said.append(f"on the {name} ({wording.percent(here)} against {wording.percent(there)})")
    return " and ".join(said)


def _reason(run: RunRecords, each: RoundRecords) -> str:
    if each.record.get("better"):
        return "rounds are judged on the validation set alone, where a later one was shown to be better"
    before = max((o.number for o in run.rounds if o.number < each.number and o.record.get("better")), default=0)
    than = f" than {_name(before)}" if before != run.best else ""
    p_value, limit = float(each.record["p_value"]), _limit(run)
    said = wording.p_value(p_value)
    if limit is not None:
        # To so many digits that the reader sees which is more.
        p = f"{p_value:.3f}" if round(p_value, 3) > limit else f"{p_value:.6g}"
        said = f"p = {p}, more than alpha / patience = {limit:.3g}"
    return f"it was not shown to be better{than} (one-sided exact McNemar test on the validation set: {said})"


def _name(number: int) -> str:
    return f"round {number}" if number else "the student as it came"


def _accuracy(found: Any) -> float | None:
    value = found.get("accuracy") if isinstance(found, dict) else None
    return value if isinstance(value, float | int) else None


def _limit(run: RunRecords) -> float | None:
    """What the p-value of a round that is kept is at most; None if the configuration cannot be read."""
    alpha, patience = run.config.get("alpha"), run.config.get("patience")
    return alpha / patience if isinstance(alpha, float | int) and isinstance(patience, int) and patience else None
