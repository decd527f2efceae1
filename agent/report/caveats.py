"""What a reader must know before believing the figures."""

from collections import Counter

from agent.report.kept import shown_round
from agent.run import wording
from agent.run.reading import RoundRecords, RunRecords

#: From this share of answers without a readable final answer on, the reader is told.
_MUCH_FORMAT = 0.02
_FEW_STEPS = 0.9


def caveats_of(run: RunRecords) -> list[str]:
    """One sentence or two each; an empty list is good news."""
    done = [files for files in run.rounds if files.evaluation]
    return [*_of_the_run(run, done), *_of_the_answers(done, run), *_of_the_teacher(run)]


def _of_the_run(run: RunRecords, done: list[RoundRecords]) -> list[str]:
    found = []
    if done and not done[0].evaluation.get("holdout"):
        found.append(
            "There is no holdout: all figures come from the items by which rounds are chosen, so they lean upward. "
            "Give 300 items or more, or a file of items as data.holdout."
        )
    if run.best and not any(files.number == run.best and files.control.evaluation for files in done):
        found.append("No control was run for the kept round: what random samples would have brought is not known.")
    aside = run.status.get("set_aside")
    if isinstance(aside, list) and aside and isinstance(aside[0], dict):
        first = f"{aside[0].get('where')}: {aside[0].get('reason')}"
        found.append(f"{wording.count(len(aside), 'item')} could not be read (for instance {first}).")
    return found


def _of_the_answers(done: list[RoundRecords], run: RunRecords) -> list[str]:
    found = []
    shown = shown_round(run)
    unread = {each.number: each.evaluation.get("format", 0) / max(1, each.evaluation.get("n", 0)) for each in done}
    worst = max(unread, key=lambda number: unread[number], default=0)
    if done and unread[worst] >= _MUCH_FORMAT:
        now = f", {wording.percent(unread[shown.number])} in {shown.name}" if shown and worst != shown.number else ""
        share = wording.percent(unread[worst])
        found.append(f"Answers without a readable final answer count as wrong: {share} of them in round {worst}{now}.")
    lost = {each.number: each.evaluation["errors"] for each in done if each.evaluation.get("errors")}
    if lost:
        rounds = ", ".join(f"{count} in round {number}" for number, count in lost.items())
        found.append(f"Items that got no answer, or no verdict on it, count neither way: {rounds}.")
    of, name = (shown.files, shown.name) if shown else (done[0] if done else None, "round 0")
    steps = of.evaluation.get("with_steps") if of else None
    if isinstance(steps, float | int) and steps < _FEW_STEPS:
        share = wording.percent(steps, 0)
        found.append(f"In {name}, only {share} of the answers have two steps or more, as diagnosis needs.")
    return found


def _of_the_teacher(run: RunRecords) -> list[str]:
    states = Counter(str(row.get("state")) for files in run.rounds for row in files.diagnoses.values())
    total = states.total()
    found = []
    if states["set_aside"]:
        faults = Counter(
            str(row["fault"]) for files in run.rounds for row in files.diagnoses.values() if row.get("fault")
        )
        found.append(
            f"The teacher gave no usable diagnosis for {states['set_aside']} of {wording.count(total, 'error')}"
            f"{wording.in_brackets(faults)}."
        )
    if states["not_located"]:
        found.append(f"No wrong step was found in {states['not_located']} of {wording.count(total, 'error')}.")
    return found
