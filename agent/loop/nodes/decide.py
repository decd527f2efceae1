"""Is the round better than the best so far, and does the loop go on?"""

from agent.evaluation.answering import read_answers
from agent.loop.node import Update, node
from agent.loop.notes import note_figures, write_round
from agent.loop.state import State
from agent.run.context import Context
from eval.answers import correctness
from eval.statistics import Plateau, plateau


@node(inputs=("answers.jsonl",), outputs=("round.json",), reads="nothing")
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
    return {"best_round": best, "stop_reason": _stop_reason(context, state, found)}


def _stop_reason(context: Context, state: State, found: Plateau) -> str | None:
    number = state["round"]
    if state["accuracies"][number] >= 1.0:
        return "no_errors"
    if found.stop:
        return "plateau" if found.best_round else "no_gain"
    if number >= context.config.max_rounds:
        return "max_rounds" if found.best_round else "no_gain"
    return None
