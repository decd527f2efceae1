"""The student answers the validation set and the holdout."""

from agent.evaluation.answering import answer_sets
from agent.loop.node import Update, node
from agent.loop.notes import stop_failed
from agent.loop.state import State
from agent.run.context import Context
from eval.answers import Figures
from retrieval.errors import AdapterError, StudentError


@node(
    inputs=("adapter/adapter_model.safetensors",),
    outputs=("answers.jsonl", "holdout.jsonl", "evaluation.json"),
    reads="sets",
)
async def evaluate(context: Context, state: State) -> Update:
    """Answer with the round's adapter (round 0: the student as it came) and write answers and evaluation. An adapter that
    cannot be served ends the loop; the best one stays."""
    number = state["round"]
    folder = context.folder.round(number)
    try:
        evaluation = await answer_sets(context, folder, number, folder / "adapter" if number else None)
    except AdapterError as error:
        return stop_failed(context, "adapter_refused", error, number)
    if not number:
        say_how_it_began(context, evaluation.validation)
    return {"accuracies": [*state["accuracies"][:number], evaluation.validation.accuracy]}


def say_how_it_began(context: Context, found: Figures) -> None:
    """Say what the student answers as it came, before its teacher is paid for anything. Raises StudentError if more of its
    answers than `student.max_unreadable` give no final answer: there would be no wrong step to find in them."""
    unreadable = found.format / max(1, found.n)
    context.reporter.say(
        f"  as it came, the student answers {found.accuracy:.1%} right; {unreadable:.1%} cannot be read"
    )
    if unreadable > context.config.student.max_unreadable:
        raise StudentError(
            f"{found.format} of {found.n} answers have no final answer that can be read, so that nothing could be learnt from "
            f"them; look at {context.folder.round(0) / 'answers.jsonl'}, then change student.rationale_prompt or raise "
            "student.max_new_tokens and start over with --if-exists delete, or raise student.max_unreadable"
        )
