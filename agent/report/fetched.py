"""What was fetched from the pool, and of what each need was owed, how much the pool gave."""

from collections import Counter
from typing import NamedTuple

from agent.report.tables import MOST_ROWS
from agent.run import wording
from agent.run.reading import Row, RunRecords


class NeedRow(NamedTuple):
    """What samples were fetched for: how many in each round and, where the round noted it, of how many that were owed; the
    pool's words that matched most."""

    name: str
    samples: list[int]
    owed: list[int | None]
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
    """What was fetched, by part and need; needs that were owed samples and got none are among them."""
    fetched = [files for files in run.rounds if files.selection or files.owed]
    skills = {str(gap.get("id")): str(gap.get("skill")) for files in run.rounds for gap in files.named("gaps")}
    parts = []
    for part, (title, explanation) in _PARTS.items():
        by_round = [[row for row in files.selection if row.get("part") == part] for files in fetched]
        counts = [len(rows) for rows in by_round]
        owed = [
            {str(row.get("need")): _count(row.get("owed")) for row in files.owed if row.get("part") == part}
            for files in fetched
        ]
        needs = {str(row["need"]) for rows in by_round for row in rows if row.get("need")}
        needs |= {need for each in owed for need, count in each.items() if count}
        if not sum(counts) and not needs:
            continue
        rows = [_need_row(skills.get(need, need), need, by_round, owed) for need in sorted(needs)]
        rows.sort(key=lambda row: (-row.total, row.name))
        hidden = rows[MOST_ROWS:]
        rest = f"and {len(hidden)} more with {sum(row.total for row in hidden)} samples" if hidden else ""
        parts.append(PartRows(title, explanation, counts, sum(counts), rows[:MOST_ROWS], rest))
    return SelectionTable([files.number for files in fetched], parts)


def _need_row(name: str, need: str, by_round: list[list[Row]], owed: list[dict[str, int]]) -> NeedRow:
    mine = [[row for row in rows if str(row.get("need")) == need] for rows in by_round]
    matched = Counter(str(row["skill"]) for rows in mine for row in rows if row.get("skill"))
    words = [text for text, _ in matched.most_common(4)]
    return NeedRow(name, [len(rows) for rows in mine], [each.get(need) for each in owed], sum(map(len, mine)), words)


class ShareRow(NamedTuple):
    """A gap in the last round that fetched: how many samples it was owed, how many it got, how many the pool had; and what
    that comes to, in words."""

    skill: str
    owed: int
    found: int
    matching: int
    said: str


class Shares(NamedTuple):
    """The gaps of a round, those first that the pool left short; what they were owed and got together; how many samples of the
    pool that were free match a gap, of how many."""

    round: int
    rows: list[ShareRow]
    owed: int
    found: int
    matching: int
    free: int
    hidden: str


def shares_of(run: RunRecords) -> Shares | None:
    """What was owed and found in the last round that noted it, whether or not the run went on from there; None if none did."""
    files = next((each for each in reversed(run.rounds) if any(row.get("part") == "gap" for row in each.owed)), None)
    if files is None:
        return None
    rows = [_share_row(row) for row in files.owed if row.get("part") == "gap"]
    rows.sort(key=lambda row: (-(row.owed - row.found), -row.owed, row.skill))
    hidden = rows[MOST_ROWS:]
    return Shares(
        files.number,
        rows[:MOST_ROWS],
        sum(row.owed for row in rows),
        sum(row.found for row in rows),
        _count(files.quotas.get("matching")),
        _count(files.quotas.get("free")),
        f"and {wording.count(len(hidden), 'more gap')}" if hidden else "",
    )


def _share_row(row: Row) -> ShareRow:
    owed, found, matching = (_count(row.get(key)) for key in ("owed", "found", "matching"))
    if not matching:
        said = "the pool has no sample for it that was not taken before"
    elif found < owed:
        why = "what else matches went to other gaps" if matching > found else "the pool has no more for it"
        said = f"{owed - found} short; {why}"
    elif found > owed:
        said = f"{found - owed} more, of what other gaps left"
    else:
        said = "all that it was owed"
    return ShareRow(str(row.get("skill")), owed, found, matching, said)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
