"""What every round needs: items, pool, skills of its samples, index, and the samples that show a validation item.

All of it is made once and found again; the pool's part lies in a store that runs share, under a lock while it is made.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from filelock import AsyncFileLock, Timeout
from rich.markup import escape

from agent import wording
from agent.answering import check_read
from agent.config import RunConfig
from agent.context import Context, Data
from agent.run_folder import POOL_COSTS
from agent.teacher.ahead import Questions
from agent.teacher.client import Teacher
from agent.teacher.own_prompts import Prompts
from agent.teacher.skills import annotate, pool_questions
from eval.scorers import make_scorer
from eval.task import Item, Items, load_items, split_holdout
from retrieval.errors import DataError, RunError, TeacherError
from retrieval.files import (
    clear_scratch,
    digest,
    forget_rows,
    read_json,
    read_jsonl,
    storage_errors,
    write_json,
    write_jsonl,
)
from retrieval.overlap import overlap
from retrieval.pool import Pool
from retrieval.skill_index import SkillIndex


async def make_data(context: Context) -> Data:
    """Read the items and make, or open, the pool's part. Raises DataError, PoolError, TeacherError, ConfigError."""
    config = context.config
    items, holdout = _items(context)
    scorer = make_scorer(config.data.scorer, [*items, *holdout], config.data.tolerance)
    why = escape(f"scored by `{scorer.name}` ({scorer.why})")
    context.reporter.say(f"  {len(items)} items, {len(holdout)} held out; {why}")
    with context.waiting("pool"):
        pool, index = await _pool_and_index(context)
        # In threads, so that signals are heard.
        excluded = await asyncio.to_thread(_excluded, context, pool, [*items, *holdout])
    context.folder.status(
        pool=str(pool.folder), scorer={"name": scorer.name, "why": scorer.why}, excluded=len(excluded)
    )
    return Data(items, holdout, scorer, pool, index, frozenset(excluded))


class Read(NamedTuple):
    """Items as they are used, and what was read of the files of the validation set and of the holdout (empty if there is none
    of its own)."""

    items: tuple[Item, ...]
    holdout: tuple[Item, ...]
    validation: Items
    extra: Items


def read_items(config: RunConfig) -> Read:
    """Read validation set and holdout. Raises DataError."""
    data = config.data
    read, extra = load_items(data.validation, data.images, data.limit), Items((), ())
    if data.holdout is None:
        return Read(*split_holdout(read.items, data.holdout_share, config.seed), read, extra)
    extra = load_items(data.holdout, data.images, data.limit)
    holdout = extra.items
    if {item.id for item in read.items} & {item.id for item in holdout}:  # rows without ids are numbered in both
        holdout = tuple(replace(item, id=f"holdout/{item.id}") for item in holdout)
    return Read(read.items, holdout, read, extra)


def _items(context: Context) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Validation and holdout, also written to items.jsonl; what cannot be read is set aside under the error budget."""
    data = context.config.data
    items, holdout, read, extra = read_items(context.config)
    _check_read(context, data.validation, read)
    _check_read(context, data.holdout or data.validation, extra)
    if data.holdout is not None:
        _check_apart(items, holdout, data.holdout)
    rows = [{**item.to_row(), "holdout": False} for item in items] + [
        {**item.to_row(), "holdout": True} for item in holdout
    ]
    _keep(context.folder.path / "items.jsonl", rows)
    aside = [*read.set_aside, *extra.set_aside]
    context.folder.status(set_aside=[asdict(each) for each in aside])
    return items, holdout


def _check_apart(items: Sequence[Item], holdout: Sequence[Item], path: Path) -> None:
    """Raise DataError if an item of the holdout would be diagnosed too."""
    asked = {(item.prompt_text, item.images): item.id for item in items}
    for item in holdout:
        if (item.prompt_text, item.images) in asked:
            raise DataError(
                f"{path}: item {item.id} of the holdout is in the validation set too "
                f"({asked[item.prompt_text, item.images]}); a holdout must hold other items, so remove it from one of them"
            )


def _keep(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the run's items, or see that they are those it began with. Raises RunError."""
    if path.exists() and [*read_jsonl(path)] != json.loads(json.dumps(rows)):
        raise RunError(
            f"the items have changed since {path.parent} began, so its rounds could not be compared; put the old files back, "
            "or start over with --if-exists delete"
        )
    write_jsonl(path, rows)


def _check_read(context: Context, path: Path, read: Items) -> None:
    for each in read.set_aside[:3]:
        context.reporter.say(f"  [yellow]set aside[/yellow] {escape(each.where)}: {escape(each.reason)}")
    check_read(path, read, context.config.error_budget)


async def _pool_and_index(context: Context) -> tuple[Pool, SkillIndex]:
    config, store = context.config, pool_store(context.config, context.folder.path)
    with storage_errors(store):
        store.mkdir(parents=True, exist_ok=True)
    # One process at a time makes pools in a store; others wait here.
    lock = AsyncFileLock(store / ".lock")
    try:
        await lock.acquire(timeout=0.1)
    except Timeout:
        context.reporter.say(f"  another run makes a pool in {escape(str(store))}; waiting for it")
        context.in_batches = True  # it may wait for batches
        try:
            await lock.acquire()
        finally:
            context.in_batches = False
    try:
        with context.reporter.bar("reading the pool") as advance:
            pool = await asyncio.to_thread(
                Pool.build,
                config.pool.path,
                config.pool.images,
                store,
                config.pool.limit,
                config.seed,
                lambda n: advance(n, n),
            )
        folder = skills_folder(pool, config, context.teacher.prompts)
        skills = await _annotate(context, pool, folder)
        index = await asyncio.to_thread(
            SkillIndex.build, folder / "index", pool, skills, context.embedder, config.pool.chroma_url
        )
    finally:
        await lock.release()
    return pool, index


def pool_store(config: RunConfig, run: Path) -> Path:
    """Where imported pools are kept: as configured, or `pools/` beside the run folder."""
    return config.pool.store or run.parent / "pools"


def skills_folder(pool: Pool, config: RunConfig, prompts: Prompts) -> Path:
    """Where a pool's skills are kept: another teacher, effort of its, prompt or sight of the images names them anew."""
    teacher = config.teacher
    sight = [] if teacher.see_images and teacher.image_size is None else [teacher.see_images, teacher.image_size]
    effort = [] if teacher.reasoning_effort is None else [f"reasoning effort {teacher.reasoning_effort}"]
    return pool.folder / f"skills-{digest([teacher.model, prompts['skills'], *sight, *effort])[:12]}"


async def _annotate(context: Context, pool: Pool, folder: Path) -> dict[str, list[str]]:
    """Skills of every sample that the teacher could name them for, from skills.jsonl; those missing are asked for.

    Raises BudgetError, and TeacherError if more samples are set aside than the error budget allows.
    """
    path = folder / "skills.jsonl"
    clear_scratch(folder)
    forget_rows(path, lambda row: bool(row["state"] == "set_aside"))  # they get another chance
    context.teacher.load()  # what this run spent before counts first
    teacher = Teacher(
        context.config.teacher,
        folder / "teacher.jsonl",
        scope=f"pool for {context.folder.id}",
        budget=context.teacher.budget,
        costs=context.folder.path / POOL_COSTS,
        prompts=context.teacher.prompts,
        learned=context.teacher.learned,
        say=context.teacher.say,
    )
    size = context.config.diagnosis.per_request
    try:
        await ask_ahead(context, teacher, lambda: pool_questions(pool, path, size))
        with context.reporter.bar("naming the pool's skills") as advance:
            await annotate(teacher, pool, path, size, advance)
    finally:
        await teacher.close()
        this_run = teacher.paid()._asdict()
        context.folder.status(annotation={**teacher.usage()._asdict(), "this_run": this_run})
    rows = read_jsonl(path)
    lost = [row.get("fault") for row in rows if row["state"] == "set_aside"]
    check_teacher(len(lost), len(rows), context.config.error_budget, lost)
    return {row["sample"]: row["skills"] for row in rows if row["state"] == "named"}


async def ask_ahead(context: Context, teacher: Teacher, questions: Questions) -> None:
    """`Teacher.ask_ahead`, with a bar. Raises TeacherError, BudgetError."""
    if not teacher.has_batches:
        return
    context.in_batches = True
    try:
        with context.reporter.bar("requests in batches") as advance:
            await teacher.ask_ahead(questions, advance)
    finally:
        context.in_batches = False


def check_teacher(lost: int, total: int, budget: float, faults: Iterable[str | None] = ()) -> None:
    """Raise TeacherError if more was set aside than the error budget allows; `faults` are the teacher's, if known."""
    if lost > budget * total:
        why = wording.in_brackets(Counter(fault for fault in faults if fault))
        raise TeacherError(
            f"teacher_error_rate {lost / total:.0%} > {budget:.0%}: {lost} of {total} requests came to nothing{why}; "
            "the rows say why (state `set_aside`); mend the cause or raise error_budget, then run again"
        )


def _excluded(context: Context, pool: Pool, items: list[Item]) -> set[str]:
    """Samples that show a validation or holdout item, with the reasons in excluded.jsonl."""
    path, done = context.folder.path / "excluded.jsonl", context.folder.path / "excluded.json"
    if not done.exists() or read_json(done).get("pool") != pool.key:
        images = [image for item in items for image in item.images]
        found = overlap(pool, images, [item.question for item in items if not item.images])
        write_jsonl(
            path, ({"schema": 1, "sample": sample, "reason": reason} for sample, reason in sorted(found.items()))
        )
        write_json(done, {"schema": 1, "pool": pool.key, "excluded": len(found)})
        context.reporter.say(f"  {len(found)} samples of the pool show a validation item and are left out")
    return {row["sample"] for row in read_jsonl(path)}
