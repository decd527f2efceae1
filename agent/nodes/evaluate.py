"""The student answers the validation set and the holdout."""

from agent.answering import answer_sets
from agent.context import Context
from agent.node import Update, node
from agent.state import State


@node(inputs=("adapter/adapter_model.safetensors",), outputs=("answers.jsonl", "holdout.jsonl", "evaluation.json"))
async def evaluate(context: Context, state: State) -> Update:
    """Answer with the round's adapter (round 0: the student as it came) and write answers and evaluation."""
    number = state["round"]
    folder = context.folder.round(number)
    evaluation = await answer_sets(context, folder, number, folder / "adapter" if number else None)
    return {"accuracies": [*state["accuracies"][:number], evaluation.validation.accuracy]}
