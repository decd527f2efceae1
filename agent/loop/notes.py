"""What nodes note: figures, the record of a round, and why one failed."""

from typing import Any

from rich.markup import escape

from agent.loop.manifest import node_seconds
from agent.loop.node import Update
from agent.loop.state import Failure
from agent.run.context import Context
from retrieval.storage.files import read_jsonl, write_json


def note_figures(context: Context, **figures: Any) -> None:
    """Note figures in metrics.jsonl, unless an attempt at the node that was killed has noted the same."""
    rows = read_jsonl(context.folder.path / "metrics.jsonl")
    if not any(figures.items() <= row.items() for row in rows):
        context.folder.metric(**figures)


def write_round(context: Context, number: int, p_value: float | None, better: bool) -> None:
    """Write round.json: the decision, what the teacher cost and how long the nodes took until now.

    A control's time is not the round's in which it was made; it is in the round.json of the control.
    """
    seconds = node_seconds(context.folder.round(number))
    record = {
        "schema": 1,
        "round": number,
        "p_value": p_value,
        "better": better,
        "teacher": context.teacher.usage(f"round-{number:02d}")._asdict(),
        "seconds": {name: spent for name, spent in seconds.items() if name != "control"},
    }
    write_json(context.folder.round(number) / "round.json", record)


def stop_failed(context: Context, what: Failure, error: Exception, number: int) -> Update:
    """End the loop since a round failed; the reason is noted, shown and part of the state."""
    context.folder.event(what, round=number, error=str(error))
    context.reporter.say(f"[red]{what.replace('_', ' ')}:[/red] {escape(str(error))}")
    return {"stop_reason": f"{what}: {error}"}
