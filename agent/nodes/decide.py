"""Is the round better than the best so far, and does the loop go on?"""

from agent.answering import read_answers
from agent.context import Context
from agent.node import Update, node, node_seconds
from agent.state import State
from eval.answers import correctness
from eval.statistics import compare, significant
from retrieval.files import write_json


@node(inputs=("answers.jsonl",), outputs=("round.json",))
async def decide(context: Context, state: State) -> Update:
    """Test the round against the best (one-sided exact McNemar on the items answered in both, at alpha / patience).

    The decision is read from the validation set alone; the holdout decides nothing.
    """
    config, number = context.config, state["round"]
    best, since, p_value = state["best_round"], state["since_best"], None
    if number > 0:
        new = read_answers(context.folder.round(number) / "answers.jsonl")
        old = read_answers(context.folder.round(best) / "answers.jsonl")
        p_value = compare(correctness(old), correctness(new)).p_value
        better = significant(p_value, config.alpha, config.patience)
        best, since = (number, 0) if better else (best, since + 1)
    reason = _stop_reason(context, state, best, since)
    write_round(context, number, p_value, bool(number and best == number))
    context.folder.metric(round=number, accuracy=state["accuracies"][number], best_round=best, p_value=p_value)
    context.folder.status(best_round=best)
    return {"best_round": best, "since_best": since, "stop_reason": reason}


def write_round(context: Context, number: int, p_value: float | None, better: bool) -> None:
    """Write round.json: the decision, what the teacher cost and how long the nodes took until now."""
    record = {
        "schema": 1,
        "round": number,
        "p_value": p_value,
        "better": better,
        "teacher": context.teacher.usage(f"round-{number:02d}")._asdict(),
        "seconds": node_seconds(context.folder.round(number)),
    }
    write_json(context.folder.round(number) / "round.json", record)


def _stop_reason(context: Context, state: State, best: int, since: int) -> str | None:
    number = state["round"]
    if state["accuracies"][number] >= 1.0:
        return "no_errors"
    if since >= context.config.patience:
        return "plateau" if best else "no_gain"
    if number >= context.config.max_rounds:
        return "max_rounds" if best else "no_gain"
    return None
