"""How a run that is not finished stands, and what it was stopped by."""

from agent.run import wording
from agent.run.reading import RunRecords

#: Events that name the error by which a run ended.
_ERRORS = ("run_failed", "budget_used_up", "tuning_failed", "adapter_refused")
_AGAIN = "start it again with the same command and it goes on where it was"


def ending_of(run: RunRecords) -> list[str]:
    """One sentence or two; empty for a run that is finished."""
    state, error = run.state, str(run.status.get("error") or "")
    if state == "failed":
        return [f"The run failed: {_plain(error or wording.reason(run.status.get('stop_reason')))}."]
    if state == "stopped":
        why = (
            f"The run was stopped: {_plain(error)}; {_AGAIN}."
            if error
            else f"The run was stopped on request; {_AGAIN}."
        )
        return [why, *([] if error else _last_error(run))]
    if state == "killed":
        return [f"The run was killed (its process is gone without a word); {_AGAIN}.", *_last_error(run)]
    if state == "waiting":
        return ["The run waits for a person to look at the gaps.", *_last_error(run)]
    if state == "running":
        return ["The run is still under way; this page shows what there is so far.", *_last_error(run)]
    return []


def _last_error(run: RunRecords) -> list[str]:
    """run.json forgets an error when the run goes on; events.jsonl does not."""
    found = [row for row in run.events if row.get("event") in _ERRORS and row.get("error")]
    if not found:
        return []
    when = str(found[-1].get("time") or "")[:16].replace("T", " ")
    return [f"The last error{f' ({when} UTC)' if when else ''}: {_plain(str(found[-1]['error']))}."]


def _plain(error: str) -> str:
    """An error as the part of a sentence, on one line."""
    return " ".join(error.split()).rstrip(".")
