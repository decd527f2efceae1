"""Is the round better than the best so far, and does the loop go on?"""

from typing import Any

from rich.markup import escape

from agent.answering import read_answers
from agent.context import Context
from agent.node import Update, node, node_seconds
from agent.state import Failure, State
from eval.answers import correctness
from eval.statistics import Plateau, plateau
from retrieval.files import read_jsonl, write_json


@node(inputs=("answers.jsonl",), outputs=("round.json",))
async def decide(context: Context, state: State) -> Update:
    """Test the round against the best before it (see `eval.statistics.plateau`).

    The decision is read from the validation set alone; the holdout decides nothing.
    """
    config, number = context.config, state["round"]
    answers = [read_answers(context.folder.round(each) / "answers.jsonl") for each in range(number + 1)]
    found = plateau([correctness(each) for each in answers], config.alpha, config.patience)
    best, test = found.best_round, found.tests[number]
    p_value = test.p_value if test else None
    write_round(context, number, p_value, bool(number and best == number))
    note_figures(context, round=number, accuracy=state["accuracies"][number], best_round=best, p_value=p_value)
    context.folder.status(best_round=best)
    return {"best_round": best, "since_best": found.since_best, "stop_reason": _stop_reason(context, state, found)}


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


def _stop_reason(context: Context, state: State, found: Plateau) -> str | None:
    number = state["round"]
    if state["accuracies"][number] >= 1.0:
        return "no_errors"
    if found.stop:
        return "plateau" if found.best_round else "no_gain"
    if number >= context.config.max_rounds:
        return "max_rounds" if found.best_round else "no_gain"
    return None
