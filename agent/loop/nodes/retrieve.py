"""Samples of the pool are chosen for the gaps, for the skills beside them, and for rehearsal."""

from collections import Counter

from agent.diagnosis.gaps import read_gaps
from agent.loop.node import Update, node
from agent.loop.notes import note_figures
from agent.loop.state import State
from agent.run.context import Context
from agent.strategies.rehearsal import steps_are_lost, write_own_rationales
from agent.strategies.select import select
from agent.strategies.training_set import union
from retrieval.storage.files import write_jsonl


@node(inputs=("gaps.json",), outputs=("selection.jsonl", "quotas.json", "matches.json", "rationales.jsonl"))
async def retrieve(context: Context, state: State) -> Update:
    """Select this round's samples; none that the run has selected before, none that show a validation item."""
    number = state["round"]
    gaps = read_gaps(context.folder.round(number) / "gaps.json")
    selected = await select(context, gaps, number, union(context, number - 1))
    if not any(each.part == "gap" for each in selected):
        return {"stop_reason": "pool_exhausted"}
    folder = context.folder.round(number)
    if steps_are_lost(context, number - 1):
        rehearsal = [each.sample for each in selected if each.part == "rehearsal"]
        await write_own_rationales(context, rehearsal, folder / "rationales.jsonl")
    write_jsonl(folder / "selection.jsonl", (each.as_row(number) for each in selected))
    parts = Counter(each.part for each in selected)
    note_figures(context, round=number, selected=len(selected), parts=dict(parts))
    return {}
