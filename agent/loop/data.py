"""What every round needs: items, pool, skills of its samples, index, and the samples that show a validation item.

All of it is made once and found again; the pool's part lies in a store that runs share, under a lock while it is made. It is
made when a node first reads it: to name its skills is the larger part of the bill, and what the student's own answers show comes
first.
"""

import asyncio
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from agent.pool.exclude import excluded
from agent.pool.store import pool_and_index
from agent.run.context import Context, Data, Sets
from agent.run.error_budget import check_read
from agent.run.items import keep_items, read_items, words_of
from eval.scorers import make_scorer
from eval.task import Item, Items


async def ensure_sets(context: Context) -> None:
    """Make `context.sets`: read the items. Raises DataError, RunError."""
    if context.made is not None:
        return
    items, holdout = await asyncio.to_thread(_items, context)
    scorer = make_scorer(context.config.data.scorer, [*items, *holdout], context.config.data.tolerance)
    why = escape(f"scored by `{scorer.name}` ({scorer.why})")
    context.reporter.say(f"  {len(items)} items, {len(holdout)} held out; {why}")
    context.folder.status(scorer={"name": scorer.name, "why": scorer.why})
    context.made = Sets(items, holdout, scorer)


async def ensure_data(context: Context) -> None:
    """Make `context.data`: make, or open, the pool's part as well. Raises DataError, PoolError, RunError, TeacherError."""
    await ensure_sets(context)
    made = context.sets
    if isinstance(made, Data):
        return
    if context.teacher.has_batches:  # to name a pool in batches may take a day, in which the student would hold the GPU
        await context.student.release()
    with context.waiting("pool"):
        pool, index = await pool_and_index(context)
        # In threads, so that signals are heard.
        found = await asyncio.to_thread(excluded, context, pool, [*made.items, *made.holdout])
    context.folder.status(pool=str(pool.folder), excluded=len(found))
    context.made = Data(made.items, made.holdout, made.scorer, pool, index, frozenset(found))


def _items(context: Context) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Validation and holdout, also written to items.jsonl; what cannot be read is set aside under the error budget."""
    data = context.config.data
    items, holdout, read, extra = read_items(context.config, context.folder.path / "pictures")
    _check_read(context, data.validation, read)
    _check_read(context, data.holdout or data.validation, extra)
    for note in keep_items(context.folder.path, items, holdout):
        context.reporter.say(f"  [yellow]{escape(note)}[/yellow]")
    aside = [*read.set_aside, *extra.set_aside]
    understood = [line for part in (read, extra) if part.understood for line in words_of(part)]
    context.folder.status(set_aside=[asdict(each) for each in aside], understood=understood)
    return items, holdout


def _check_read(context: Context, path: Path, read: Items) -> None:
    if read.items or read.set_aside:
        understood, *rest = words_of(read)
        context.reporter.say(f"  {escape(path.name)}: {escape(understood)}")
        for line in rest:
            context.reporter.say(f"  [yellow]{escape(line)}[/yellow]")
    check_read(path, read, context.config.error_budget)
