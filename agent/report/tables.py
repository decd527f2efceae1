"""The report's tables of rounds, and of gaps over the rounds."""

from collections import defaultdict
from typing import NamedTuple

from agent.report.headline import figures
from agent.report.kept import shown_round
from agent.run import wording
from agent.run.reading import RoundRecords, Row, RunRecords
from eval.statistics import wilson

#: Rows shown of a table; the rest is summed up in one line.
MOST_ROWS = 30


class RoundRow(NamedTuple):
    """One round as the table shows it."""

    round: int
    kept: bool
    validation: str
    holdout: str
    control: list[str]
    p_value: str
    samples: int
    with_steps: str
    format: int
    errors: int


def round_table(run: RunRecords) -> list[RoundRow]:
    """One row a round, begun ones included."""
    return [_round_row(files, run.best) for files in run.rounds]


def _round_row(files: RoundRecords, best: int) -> RoundRow:
    found, control = files.evaluation, files.control.evaluation
    share = found.get("with_steps")
    return RoundRow(
        files.number,
        bool(best) and files.number == best,
        _accuracy(found),
        _accuracy(found.get("holdout")),
        [said for said in (_accuracy(control.get("holdout")), _accuracy(control)) if said != "–"],
        wording.p_value(files.record.get("p_value")),
        len(files.selection),
        wording.percent(share, 0) if isinstance(share, float | int) else "–",
        found.get("format", 0),
        found.get("errors", 0),
    )


def _accuracy(found: object) -> str:
    pair = figures(found)
    return f"{wording.percent(pair[0] / pair[1])} ({wording.span(wilson(*pair))})" if pair else "–"


class GapRow(NamedTuple):
    """A gap: its errors by round of the answers they were found in, how many of its items are right in the round that is
    shown (the kept one), of how many."""

    id: str
    skill: str
    names: list[str]
    errors: list[int]
    total: int
    right_now: int
    items: int


class GapTable(NamedTuple):
    """Rows, the rounds whose answers were diagnosed, the largest cell, what is not shown, and the name of the round of
    `right_now`."""

    rounds: list[int]
    rows: list[GapRow]
    largest: int
    hidden: str
    after: str


def gap_table(run: RunRecords) -> GapTable:
    """Gaps by number of errors. Diagnoses of round k are of the answers of round k − 1, and are shown under the
    latter."""
    diagnosed = [files for files in run.rounds if files.gaps]
    skills: dict[str, Row] = {}
    names: dict[str, dict[str, None]] = defaultdict(dict)
    errors: dict[str, dict[int, list[str]]] = defaultdict(dict)
    for files in diagnosed:
        for gap in files.named("gaps"):
            key = str(gap.get("id"))
            skills.setdefault(key, gap)
            names[key].update(dict.fromkeys(map(str, gap.get("names") or ())))
            behind = [files.diagnoses.get(str(error), {}) for error in gap.get("errors") or ()]
            errors[key][files.number] = [str(row.get("item")) for row in behind]
    shown = shown_round(run)
    after = shown.files.answers if shown else {}
    rows = []
    for key, gap in skills.items():
        items = {item for found in errors[key].values() for item in found}
        right = sum(bool(after.get(item, {}).get("correct")) for item in items)
        counts = [len(errors[key].get(files.number, ())) for files in diagnosed]
        skill = str(gap.get("skill"))
        others = [name for name in names[key] if name != skill]
        rows.append(GapRow(key, skill, others, counts, sum(counts), right, len(items)))
    rows.sort(key=lambda row: (-row.total, row.skill))
    hidden = rows[MOST_ROWS:]
    rest = (
        f"and {wording.count(len(hidden), 'more gap')} with {sum(row.total for row in hidden)} errors" if hidden else ""
    )
    largest = max((count for row in rows for count in row.errors), default=0)
    return GapTable(
        [files.number - 1 for files in diagnosed], rows[:MOST_ROWS], largest, rest, shown.name if shown else ""
    )
