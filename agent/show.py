"""How a run stands, from its folder alone."""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from agent import wording
from agent.records import RoundRecords, Row, RunRecords


def summary(run: Path) -> dict[str, Any]:
    """What `gaptutor show RUN --json` prints. Figures that are not there yet are null.

    `highest` names the round that scored highest on the validation set where none was shown to be better than the
    student as it came. Raises RunError if the folder is no run.
    """
    records = RunRecords(run)
    return {
        "schema": 1,
        "name": records.status.get("name", run.resolve().name),
        "state": records.state,
        "stop_reason": records.status.get("stop_reason"),
        "error": records.status.get("error"),
        "best_round": records.best,
        "highest": _highest(records),
        "scorer": records.status.get("scorer"),
        "prompts": records.status.get("prompts"),
        "rounds": [_round(each) for each in records.rounds],
    }


def _round(files: RoundRecords) -> dict[str, Any]:
    found, control = files.evaluation, files.control.evaluation
    holdout = found.get("holdout") or None
    return {
        "round": files.number,
        "n": found.get("n", 0),
        "accuracy": found.get("accuracy"),
        "interval": found.get("interval"),
        "with_steps": found.get("with_steps"),
        "format": found.get("format", 0),
        "errors": found.get("errors", 0),
        "holdout": {key: holdout.get(key) for key in ("n", "accuracy", "interval")} if holdout else None,
        "control": _control(control) if control else None,
        "p_value": files.record.get("p_value"),
        "better": bool(files.record.get("better")),
        "gaps": [{"skill": gap.get("skill"), "errors": len(gap.get("errors") or ())} for gap in files.named("gaps")],
        "diagnoses": _diagnoses(files),
        "selected": len(files.selection),
        "teacher": usage(files.record),
        "seconds": files.record.get("seconds") or {},
    }


def _control(found: Row) -> Row:
    holdout = found.get("holdout") or {}
    return {"accuracy": found.get("accuracy"), "holdout": holdout.get("accuracy")}


def usage(record: Row) -> dict[str, Any]:
    """Calls, tokens and cost of the teacher in a round."""
    teacher = record.get("teacher") or {}
    tokens = teacher.get("tokens", teacher.get("tokens_in", 0) + teacher.get("tokens_out", 0))
    return {"calls": teacher.get("calls", 0), "tokens": tokens, "cost_usd": teacher.get("cost_usd", 0.0)}


def _diagnoses(files: RoundRecords) -> dict[str, int]:
    """How many diagnoses there are of each state; those that were set aside for a fault of the teacher's, by that."""
    return dict(Counter(str(row.get("fault") or row.get("state")) for row in files.diagnoses.values()))


def _highest(records: RunRecords) -> Row | None:
    done = [each for each in records.rounds if each.number and each.evaluation.get("accuracy") is not None]
    if records.best or not done:
        return None
    top = max(done, key=lambda each: (each.evaluation["accuracy"], -each.number))
    return {"round": top.number, "accuracy": top.evaluation["accuracy"], "shown_better": False}


_COLUMNS = ("round", "validation", "holdout", "control", "p", "gaps", "samples", "calls", "time")


def table(found: dict[str, Any]) -> Table:
    """A summary for the terminal."""
    title = f"{escape(str(found['name']))}: {found['state']}"
    drawn = Table(
        title=title, caption=escape(_caption(found)), title_justify="left", caption_justify="left", padding=(0, 0)
    )
    for name in _COLUMNS:
        drawn.add_column(name, justify="right", no_wrap=True)
    for row in found["rounds"]:
        kept = row["round"] == found["best_round"] and row["round"] > 0
        drawn.add_row(*_cells(row, kept), style="bold" if kept else "")
    return drawn


def _cells(row: Row, kept: bool) -> list[str]:
    holdout, control, teacher = row["holdout"], row["control"], row["teacher"]
    own = f"{wording.percent(row['accuracy'])} ({wording.span(row['interval'])})" if row["interval"] else "–"
    random = (
        " / ".join(wording.percent(control[key]) for key in ("accuracy", "holdout") if control[key] is not None)
        if control
        else "–"
    )
    cost = f" {wording.dollars(teacher['cost_usd'])}" if teacher["cost_usd"] else ""
    return [
        f"{row['round']}{' ★' if kept else ''}",
        own,
        wording.percent(holdout["accuracy"]) if holdout else "–",
        random,
        wording.p_value(row["p_value"]),
        str(len(row["gaps"]) or "–"),
        str(row["selected"] or "–"),
        f"{teacher['calls']:,}{cost}" if teacher["calls"] else "–",
        wording.duration(sum(row["seconds"].values())) if row["seconds"] else "–",
    ]


def _caption(found: dict[str, Any]) -> str:
    lines = [found["error"] and f"Error: {found['error']}"]
    lines += [wording.reason(found["stop_reason"]) and f"Stopped: {wording.reason(found['stop_reason'])}."]
    if found["best_round"]:
        lines.append(f"★ round {found['best_round']} is kept in best/.")
    elif found["highest"] and found["state"] == "finished":
        top = found["highest"]
        lines.append(
            f"Round {top['round']} scored highest ({wording.percent(top['accuracy'])}), not shown to be better."
        )
    lost = sum((Counter(row["diagnoses"]) for row in found["rounds"]), Counter[str]())
    total = lost.total()
    del lost["diagnosed"], lost["not_located"]
    if lost:
        errors = wording.count(total, "error")
        lines.append(f"Without a usable diagnosis: {lost.total()} of {errors}{wording.in_brackets(lost)}.")
    if any(row["control"] for row in found["rounds"]):
        lines.append("Control: as many random samples, validation / holdout.")
    lines.append(
        "In brackets: 95% Wilson interval. p: better than the best before (exact McNemar). Calls: to the teacher."
    )
    return "\n".join(line for line in lines if line)
