"""What a run took of the teacher and of time: in a sentence, and by round and phase."""

from collections.abc import Mapping
from typing import NamedTuple

from agent.run import wording
from agent.run.reading import Row, RunRecords
from agent.run.summary import annotation, paid_before, usage


class CostRow(NamedTuple):
    """Teacher calls and seconds by phase: of a round, of naming the pool's skills, or of all."""

    name: str
    calls: str
    tokens: str
    cost: str
    seconds: list[str]


class CostTable(NamedTuple):
    """Phases, rows, the last of them the sum, and what else was paid, by other runs, in words."""

    phases: list[str]
    rows: list[CostRow]
    note: str


_PHASES = ("prepare", "diagnose", "review", "retrieve", "tune", "evaluate", "decide", "control", "finish")


def cost_table(run: RunRecords) -> CostTable:
    """What each round took of the teacher and of time, its control apart, and the sum of all. What other runs paid for
    naming the pool's skills is not in it."""
    names = [f"round {files.number}" for files in run.rounds]
    seconds = [
        {**(files.record.get("seconds") or {}), **(files.control.record.get("seconds") or {})} for files in run.rounds
    ]
    used = [usage(files.record.get("teacher") or {}) for files in run.rounds]
    naming = annotation(run)
    if naming is not None:
        names, seconds, used = ["the pool’s skills", *names], [{}, *seconds], [naming["this_run"] or naming, *used]
    found = {phase for each in seconds for phase in each}
    phases = [phase for phase in _PHASES if phase in found] + sorted(found - set(_PHASES))
    rows = [_cost_row(*each, phases) for each in zip(names, used, seconds, strict=True)]
    total: Row = {key: sum(use[key] for use in used) for key in ("calls", "tokens")}
    costs = [use["cost_usd"] for use in used]
    total["cost_usd"] = None if None in costs else sum(costs)
    spent = {phase: sum(each.get(phase, 0.0) for each in seconds) for phase in phases}
    rows.append(_cost_row("all", total, spent, phases))
    before = paid_before(run)
    said = [_of_other_runs(naming), wording.paid_before(**before) if before else ""]
    return CostTable(phases, rows, " ".join(filter(None, said)))


def _of_other_runs(naming: Row | None) -> str:
    if naming is None or naming["this_run"] in (None, usage(naming)):
        return ""
    return f"Naming the pool’s skills, by this run and by others on the same pool: {wording.taken(**usage(naming))}."


def _cost_row(name: str, use: Row, seconds: Mapping[str, float], phases: list[str]) -> CostRow:
    spent = [seconds.get(phase, 0.0) for phase in phases]
    cost = wording.dollars(use["cost_usd"])
    return CostRow(
        name,
        f"{use['calls']:,}",
        f"{use['tokens']:,}",
        cost,
        [wording.duration(each) if each else "–" for each in spent],
    )


def costs_in_words(run: RunRecords) -> str:
    """What the run took so far, in a sentence or two: requests to the teacher, tokens, money, hours. Empty if nothing is
    known."""
    records = [part for files in run.rounds for part in (files.record, files.control.record) if part]
    naming = annotation(run)
    if not records and naming is None:
        return ""
    used = [usage(files.record.get("teacher") or {}) for files in run.rounds if files.record]
    if naming is not None:
        used.append(naming["this_run"] or naming)
    calls, tokens = (sum(use[key] for use in used) for key in ("calls", "tokens"))
    costs = [use["cost_usd"] for use in used]
    money = (
        "the price of the teacher is not known, so neither is the cost"
        if None in costs
        else f"{wording.dollars(sum(costs))} at the teacher’s prices"
    )
    seconds = sum(sum((record.get("seconds") or {}).values()) for record in records)
    spent = _hours(seconds)
    what = (
        f"{wording.count(calls, 'request')} to the teacher ({wording.count(tokens, 'token')}; {money})"
        if calls
        else "no request to the teacher"
    )
    return f"It took {what} and {spent} of this machine’s time."


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else wording.duration(seconds)
