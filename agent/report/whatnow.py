"""What to do where nothing was gained: what the figures say about why, each with one sentence of advice."""

from collections import Counter
from typing import NamedTuple

from agent.report.fetched import Shares, shares_of
from agent.report.kept import Shown, marks, shown_round
from agent.run import wording
from agent.run.reading import RoundRecords, Row, RunRecords
from eval.choices import read_choice
from eval.normalise import plain
from eval.statistics import compare, least_gain

#: Up to so many different gold answers, and as many items to each at least, the golds are taken for a closed set.
_MOST_GOLDS, _ITEMS_A_GOLD = 12, 3
#: Longest answer that is quoted (characters), and how many are.
_LONGEST, _QUOTED = 40, 3
#: From this share on of unreadable answers, or of answers outside the gold ones, there is something to be done.
_MANY = 0.02


class Fact(NamedTuple):
    """Something that was measured, and what to do about it."""

    finding: str
    advice: str


def what_now(run: RunRecords) -> list[Fact]:
    """The facts of a run that has ended without a gain; empty for any other."""
    ended = run.state in ("finished", "failed") and run.status.get("stop_reason") != "no_errors"
    if run.best or not ended or not run.rounds or not run.rounds[0].evaluation:
        return []
    base, shown = run.rounds[0], shown_round(run)
    facts = [_smallest_gain(run, base, shown), _pool(run), _unreadable(base, shown), _outside(run, base)]
    return [fact for fact in facts if fact is not None]


def _smallest_gain(run: RunRecords, base: RoundRecords, shown: Shown | None) -> Fact | None:
    """By the test and the level by which the run judges its rounds."""
    alpha, patience = run.config.get("alpha"), run.config.get("patience")
    n = len(marks(base.answers))
    if (
        not isinstance(alpha, float | int)
        or not isinstance(patience, int)
        or not 0 < alpha < 1
        or patience < 1
        or not n
    ):
        return None
    least = least_gain(0, alpha, patience)
    items = wording.count(n, "validation item")
    if least > n:
        return Fact(
            f"{items} can show no gain: the test needs {least} that become right, even if none becomes wrong.",
            f"Give many more validation items: {10 * least} at the least.",
        )
    said = (
        f"The smallest gain that {items} could show is {_points(least, n)} points: {least} that become right and none that "
        "becomes wrong."
    )
    if shown:
        test = compare(marks(base.answers), marks(shown.files.answers))
        if test.lost:
            needed = least_gain(test.lost, alpha, patience)
            said += f" Beside the {test.lost} that became wrong in round {shown.number} it took {needed};"
            said += f" there were {test.gained}."
        else:
            said += f" In round {shown.number}, {test.gained} became right."
    return Fact(said, "Give more validation items, so that the gain you hope for is well above that.")


def _points(items: int, n: int) -> str:
    return f"{100 * items / n:.1f}"


def _pool(run: RunRecords) -> Fact | None:
    if run.status.get("stop_reason") == "no_gaps":
        return Fact(
            "The teacher named no gap, so nothing was looked for in the pool.",
            "Look at what the teacher said of the errors (below), and try another teacher, or prompts of your own "
            "(teacher.prompts).",
        )
    shares = shares_of(run)
    if shares is None:
        return None
    share = wording.percent(shares.matching / shares.free) if shares.free else "0%"
    said = (
        f"{shares.matching:,} of the pool’s {wording.count(shares.free, 'sample')} that could be taken in round {shares.round} "
        f"({share}) match the gaps; the gaps were owed {shares.owed:,} samples and got {shares.found:,}."
    )
    return Fact(said, _pool_advice(shares))


def _pool_advice(shares: Shares) -> str:
    short = [row.skill for row in shares.rows if row.found < row.owed]
    if not short:
        return "The pool is not what was missing; a larger selection.budget takes more of what it has."
    named = "; ".join(_quoted(skill, 80) for skill in short[:_QUOTED])
    more = f" and {len(short) - _QUOTED} more" if len(short) > _QUOTED else ""
    return f"Add samples to the pool that take the skills it is short of: {named}{more}."


def _unreadable(base: RoundRecords, shown: Shown | None) -> Fact:
    files, where = (shown.files, f"round {shown.number}") if shown else (base, "round 0")
    rows = [row for row in files.answers.values() if row.get("kind") not in ("error", "unjudged")]
    lost = [row for row in rows if row.get("kind") == "format"]
    share = len(lost) / len(rows) if rows else 0.0
    if share < _MANY:
        return Fact(
            f"Answers that could not be read in {where}: {wording.percent(share)}.",
            "That is not what is wrong; leave student.rationale_prompt as it is.",
        )
    cut = sum(bool(row.get("cut")) for row in lost)
    said = f"{wording.percent(share)} of the answers in {where} could not be read, and count as wrong; "
    said += f"{cut} of these {len(lost)} were cut off."
    if cut > len(lost) / 2:
        return Fact(said, "Raise student.max_new_tokens.")
    return Fact(
        said, "Say in student.rationale_prompt how an answer ends: with a last line that begins with “Answer:”."
    )


def _outside(run: RunRecords, base: RoundRecords) -> Fact | None:
    """Wrong answers of the student as it came that are the gold answer of no item, where the golds are a closed set."""
    items = {key: item for key, item in run.items.items() if key in base.answers}
    golds = {plain(str(answer)) for item in items.values() for answer in item.get("answers") or ()}
    closed = 0 < len(golds) <= _MOST_GOLDS and len(items) >= _ITEMS_A_GOLD * len(golds)
    if not items or not (closed or all(item.get("choices") for item in items.values())):
        return None
    finals = [(items[key], row) for key, row in base.answers.items() if key in items and row.get("final")]
    never = Counter(
        str(row["final"]).strip() for item, row in finals if not row.get("correct") and _is_outside(item, row, golds)
    )
    share = never.total() / len(finals) if finals else 0.0
    if share < _MANY:
        return None
    said = ", ".join(
        f"{_quoted(final)} ({count} ×)" for final, count in sorted(never.items(), key=lambda p: (-p[1], p[0]))[:_QUOTED]
    )
    asked = "the choices" if not closed else "one of " + ", ".join(_quoted(gold) for gold in sorted(golds)[:6])
    return Fact(
        f"{wording.percent(share)} of the student’s first answers are never a gold answer, for instance {said}; the gold "
        f"answers are {asked}{' …' if closed and len(golds) > 6 else ''}.",
        "Say in the questions, or in student.rationale_prompt, in which form an answer must be given.",
    )


def _is_outside(item: Row, row: Row, golds: set[str]) -> bool:
    final, choices = str(row["final"]), [str(choice) for choice in item.get("choices") or ()]
    return read_choice(final, choices) is None if choices else plain(final) not in golds


def _quoted(text: str, longest: int = _LONGEST) -> str:
    text = " ".join(text.split())
    return f"“{text if len(text) <= longest else text[:longest].rstrip() + ' …'}”"
