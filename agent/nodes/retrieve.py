"""Samples of the pool are chosen for the gaps, for the skills beside them, and for rehearsal."""

from collections import Counter

from agent.context import Context
from agent.gaps import Gaps, read_gaps
from agent.node import Update, node
from agent.nodes.tune import union
from agent.rehearsal import write_own_rationales
from agent.select import embed_candidates, match_needs
from agent.state import State
from retrieval.files import write_jsonl
from retrieval.selection.needs import Selected, Shares
from retrieval.selection.targeted import select_targeted


@node(inputs=("gaps.json",), outputs=("selection.jsonl", "matches.json", "rationales.jsonl"))
async def retrieve(context: Context, state: State) -> Update:
    """Select this round's samples; none that the run has selected before, none that show a validation item."""
    number = state["round"]
    gaps = read_gaps(context.folder.round(number) / "gaps.json")
    selected = await _select(context, gaps, number)
    if not selected:
        return {"stop_reason": "pool_exhausted"}
    folder = context.folder.round(number)
    await write_own_rationales(context, number, selected, folder / "rationales.jsonl")
    write_jsonl(folder / "selection.jsonl", (each.as_row(number) for each in selected))
    parts = Counter(each.part for each in selected)
    context.folder.metric(round=number, selected=len(selected), parts=dict(parts))
    return {}


async def _select(context: Context, gaps: Gaps, number: int) -> list[Selected]:
    data, config = await context.ready(), context.config
    matches = await match_needs(context, gaps, number)
    items = {item.id: item.question for item in data.items}
    questions = items | {f"r{number:02d}-{item}": question for item, question in items.items()}
    embed_candidates(context, data, matches)
    return select_targeted(
        data.index,
        gaps.gaps,
        gaps.siblings,
        matches,
        questions=questions,
        budget=config.selection.budget,
        shares=Shares(config.selection.gaps, config.selection.siblings, config.selection.rehearsal),
        taken=union(context, number - 1),
        excluded=data.excluded,
        seed=f"{config.seed}/{number}",
        mode=config.selection.search,
    )
