"""The end: the best adapter in its place, the report written, the run marked finished."""

import shutil

from agent.loop.node import Update, node
from agent.loop.notes import write_round
from agent.loop.state import State, has_failed
from agent.report import write_report
from agent.run.card import card
from agent.run.context import Context
from retrieval.storage.files import publish_folder, read_object


@node(reads="nothing")
async def finish(context: Context, state: State) -> Update:
    """Publish `best/` (only if a round was shown to be better than the student as it came) and write report.html."""
    best = state["best_round"]
    if best:
        with publish_folder(context.folder.path / "best") as scratch:
            for file in (context.folder.round(best) / "adapter").iterdir():
                shutil.copyfile(file, scratch / file.name)
            page = card(context.folder.path, context.config, best)
            (scratch / "README.md").write_text(page, encoding="utf-8")
    for number in range(state["round"] + 1):
        path = context.folder.round(number) / "round.json"
        decided = read_object(path) if path.exists() else {"p_value": None, "better": False}
        write_round(context, number, decided["p_value"], bool(decided["better"]))  # with what came after the decision
    reason = str(state["stop_reason"])
    ending = "failed" if has_failed(reason) else "finished"
    seconds = context.seconds()
    context.folder.status(state=ending, stop_reason=reason, best_round=best, seconds=seconds)
    write_report(context.folder.path)
    return {}
