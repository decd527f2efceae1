"""A fresh adapter is tuned from the base on all that the run has selected so far."""

from dataclasses import asdict

from agent.loop.node import Update, node
from agent.loop.notes import note_figures, stop_failed
from agent.loop.state import State
from agent.run.context import Context
from agent.strategies.training_set import rationales_until, tune_on, union
from retrieval.errors import TuningError


@node(inputs=("selection.jsonl",), outputs=("samples.jsonl", "adapter", "tuning.jsonl"))
async def tune(context: Context, state: State) -> Update:
    """Tune on the union of the selections of rounds 1 to now. A failed tuning ends the loop; the best adapter stays."""
    number = state["round"]
    folder = context.folder.round(number)
    try:
        result = await tune_on(context, union(context, number), folder, rationales_until(context, number))
    except TuningError as error:
        return stop_failed(context, "tuning_failed", error, number)
    note_figures(context, round=number, arm="targeted", **asdict(result))
    return {}
