"""How a run stands, from its folder alone."""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from agent.run import wording
from agent.run.not_kept import why_not_kept
from agent.run.reading import RoundRecords, Row, RunRecords


def summary(run: Path) -> dict[str, Any]:
    """What `gaptutor show RUN --json` prints. Figures that are not there yet are null.

    `highest` names the round that scored highest on the validation set, above the student as it came, where none was
    shown to be better than it. `annotation` is what naming the pool's skills took of the teacher, in all and by this
    run, `paid_before` what runs took that were deleted from the folder, whose replies are kept. `damage`: what is wrong with
    files that could not be read. Raises RunError if the folder is no run.
    """
    records = RunRecords(run)
    not_kept = why_not_kept(records)
    return {
        "schema": 1,
        "name": run.resolve().name,
        "state": records.state,
        "stop_reason": records.status.get("stop_reason"),
        "error": records.status.get("error"),
        "best_round": records.best,
        "highest": _highest(records),
        "scorer": records.status.get("scorer"),
        "prompts": records.status.get("prompts"),
        "annotation": annotation(records),
        "paid_before": paid_before(records),
        "damage": records.damage,
        "rounds": [{**_round(each), "not_kept": not_kept.get(each.number)} for each in records.rounds],
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
        "control": _control(files.control) if control else None,
        "p_value": files.record.get("p_value"),
        "better": bool(files.record.get("better")),
        "gaps": [{"skill": gap.get("skill"), "errors": len(gap.get("errors") or ())} for gap in files.named("gaps")],
        "diagnoses": _diagnoses(files),
        "selected": len(files.selection),
        "teacher": usage(files.record.get("teacher") or {}),
        "seconds": files.record.get("seconds") or {},
    }


def _control(files: RoundRecords) -> Row:
    holdout = files.evaluation.get("holdout") or {}
    seconds = (files.record.get("seconds") or {}).get("control")
    return {"accuracy": files.evaluation.get("accuracy"), "holdout": holdout.get("accuracy"), "seconds": seconds}


def annotation(records: RunRecords) -> Row | None:
    """Calls, tokens and cost of the teacher for naming the pool's skills: in all, and under `this_run` those of this
    run. None while they are not known."""
    found = records.status.get("annotation")
    if not isinstance(found, dict):
        return None
    mine = found.get("this_run")
    return {**usage(found), "this_run": usage(mine) if isinstance(mine, dict) else None}


def paid_before(records: RunRecords) -> Row | None:
    """Calls, tokens and cost of the teacher for runs that were deleted from this folder; None if there was none."""
    found = records.status.get("paid_before")
    return usage(found) if isinstance(found, dict) else None


def usage(teacher: Row) -> Row:
    """Calls, tokens and cost of the teacher, from what it was noted to have taken."""
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
    if top.evaluation["accuracy"] <= (records.rounds[0].evaluation.get("accuracy") or 0.0):
        return None
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
    lines += [row["not_kept"] for row in found["rounds"]]
    lost = sum((Counter(row["diagnoses"]) for row in found["rounds"]), Counter[str]())
    total = lost.total()
    del lost["diagnosed"], lost["not_located"]
    if lost:
        errors = wording.count(total, "error")
        lines.append(f"Without a usable diagnosis: {lost.total()} of {errors}{wording.in_brackets(lost)}.")
    if any(row["control"] for row in found["rounds"]):
        lines.append(f"Control: as many random samples, validation / holdout{_apart(found['rounds'])}.")
    if found["annotation"]:
        lines.append(_annotation(found["annotation"]))
    if found["paid_before"]:
        lines.append(wording.paid_before(**found["paid_before"]))
    lines += [f"Damaged: {each}." for each in found["damage"]]
    lines.append(
        "In brackets: 95% Wilson interval. p: better than the best before (exact McNemar). Calls: to the teacher."
    )
    return "\n".join(line for line in lines if line)


def _apart(rounds: list[Row]) -> str:
    spent = [row["control"]["seconds"] for row in rounds if row["control"] and row["control"]["seconds"]]
    return f"; made in {wording.duration(sum(spent))}, which are in no round's time" if spent else ""


def _annotation(found: Row) -> str:
    mine = found["this_run"]
    part = "" if mine in (None, usage(found)) else f" in all; by this run: {wording.taken(**mine)}"
    return f"Naming the pool's skills: {wording.taken(**usage(found))}{part}."
