"""The report's tables: rounds, gaps over rounds, what was fetched, what it cost."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from agent.report.headline import figures
from agent.run import wording
from agent.run.reading import RoundRecords, Row, RunRecords
from agent.run.summary import annotation, paid_before, usage
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
    """A gap: its errors by round of the answers they were found in, how many of its items are right now, of how
    many."""

    id: str
    skill: str
    names: list[str]
    errors: list[int]
    total: int
    right_now: int
    items: int


class GapTable(NamedTuple):
    """Rows, the rounds whose answers were diagnosed, the largest cell, and what is not shown."""

    rounds: list[int]
    rows: list[GapRow]
    largest: int
    hidden: str


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
    last = next((files.answers for files in reversed(run.rounds) if files.answers), {})
    rows = []
    for key, gap in skills.items():
        items = {item for found in errors[key].values() for item in found}
        right = sum(bool(last.get(item, {}).get("correct")) for item in items)
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
    return GapTable([files.number - 1 for files in diagnosed], rows[:MOST_ROWS], largest, rest)


class NeedRow(NamedTuple):
    """What samples were fetched for: how many in each round, and the pool's words that matched most."""

    name: str
    samples: list[int]
    total: int
    matched: list[str]


class PartRows(NamedTuple):
    """A part of the selection."""

    title: str
    explanation: str
    samples: list[int]
    total: int
    rows: list[NeedRow]
    hidden: str


class SelectionTable(NamedTuple):
    """The parts of the selection, and the rounds that fetched."""

    rounds: list[int]
    parts: list[PartRows]


_PARTS = {
    "gap": ("For the gaps", "samples that take a missing skill"),
    "sibling": ("For their siblings", "skills of the task that the student has, so that it keeps them"),
    "rehearsal": ("Rehearsal", "drawn at random from the whole pool, so that nothing else is lost"),
    "random": ("Random", "drawn at random"),
}


def selection_table(run: RunRecords) -> SelectionTable:
    """What was fetched, by part and need."""
    fetched = [files for files in run.rounds if files.selection]
    skills = {str(gap.get("id")): str(gap.get("skill")) for files in run.rounds for gap in files.named("gaps")}
    parts = []
    for part, (title, explanation) in _PARTS.items():
        by_round = [[row for row in files.selection if row.get("part") == part] for files in fetched]
        counts = [len(rows) for rows in by_round]
        if not sum(counts):
            continue
        needs = sorted({str(row["need"]) for rows in by_round for row in rows if row.get("need")})
        rows = [_need_row(skills.get(need, need), need, by_round) for need in needs]
        rows.sort(key=lambda row: (-row.total, row.name))
        hidden = rows[MOST_ROWS:]
        rest = f"and {len(hidden)} more with {sum(row.total for row in hidden)} samples" if hidden else ""
        parts.append(PartRows(title, explanation, counts, sum(counts), rows[:MOST_ROWS], rest))
    return SelectionTable([files.number for files in fetched], parts)


def _need_row(name: str, need: str, by_round: list[list[Row]]) -> NeedRow:
    mine = [[row for row in rows if str(row.get("need")) == need] for rows in by_round]
    matched = Counter(str(row["skill"]) for rows in mine for row in rows if row.get("skill"))
    return NeedRow(
        name, [len(rows) for rows in mine], sum(map(len, mine)), [text for text, _ in matched.most_common(4)]
    )


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
