"""The student answers the validation set and the holdout."""

from agent.evaluation.answering import answer_sets
from agent.loop.node import Update, node
from agent.loop.notes import stop_failed
from agent.loop.state import State
from agent.run.context import Context
from retrieval.errors import AdapterError


@node(inputs=("adapter/adapter_model.safetensors",), outputs=("answers.jsonl", "holdout.jsonl", "evaluation.json"))
async def evaluate(context: Context, state: State) -> Update:
    """Answer with the round's adapter (round 0: the student as it came) and write answers and evaluation. An adapter that
    cannot be served ends the loop; the best one stays."""
    number = state["round"]
    folder = context.folder.round(number)
    try:
        evaluation = await answer_sets(context, folder, number, folder / "adapter" if number else None)
    except AdapterError as error:
        return stop_failed(context, "adapter_refused", error, number)
    return {"accuracies": [*state["accuracies"][:number], evaluation.validation.accuracy]}
