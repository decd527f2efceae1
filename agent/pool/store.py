"""Where pools are kept for all runs: each is made once, under a lock, and found again."""

import asyncio
from pathlib import Path
from typing import Any

from filelock import AsyncFileLock, Timeout
from rich.markup import escape

from agent.config.schema import RunConfig
from agent.pool.annotate import annotate_pool
from agent.run.context import Context
from agent.run.folder import RunFolder
from agent.run.resume import has_answers
from agent.teacher.prompts.own import Prompts
from retrieval.errors import DataError, PoolError, RunError
from retrieval.index.skill_index import SkillIndex
from retrieval.pool.glance import glance
from retrieval.pool.importing import FORMATS, PART
from retrieval.pool.pool import Pool
from retrieval.storage.files import digest, read_jsonl, read_object, storage_errors


async def pool_and_index(context: Context) -> tuple[Pool, SkillIndex]:
    """Make, or open, the pool of the configuration and the index of its skills. Raises PoolError, TeacherError, ConfigError,
    and RunError if the run selects from another pool."""
    config, store = context.config, pool_store(context.config, context.folder.path)
    source = await asyncio.to_thread(check_pool, context.folder, config)
    with storage_errors(store):
        store.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        context.reporter.say(f"  [yellow]{escape(text)}[/yellow]")

    async def made() -> tuple[Pool, SkillIndex]:
        with context.reporter.bar("reading the pool") as advance:
            pool = await asyncio.to_thread(
                lambda: Pool.build(store=store, on_progress=lambda n: advance(n, n), say=say, **source)
            )
        said = pool.understood()
        context.folder.status(pool_understood=said)
        for line in said:
            context.reporter.say(f"  {escape(line)}")
        folder = skills_folder(pool, config, context.teacher.prompts)
        skills = await annotate_pool(context, pool, folder)
        url = config.pool.chroma_url
        index = await asyncio.to_thread(
            SkillIndex.build, folder / "index", pool, skills, context.embedder, url, None, say
        )
        return pool, index

    if await asyncio.to_thread(_is_made, context, store, source):
        return await made()
    # One process at a time makes a pool; others that want the same wait here.
    lock = AsyncFileLock(store / f".{Pool.key_of(**source)[:12]}.lock")
    try:
        await lock.acquire(timeout=0.1)
    except Timeout:
        context.reporter.say(f"  another run makes a pool in {escape(str(store))}; waiting for it")
        await context.stop.cut_short(_acquire(lock))
    try:
        return await made()
    finally:
        await lock.release()


async def _acquire(lock: AsyncFileLock) -> None:
    await lock.acquire()


def pool_source(config: RunConfig) -> dict[str, Any]:
    """What tells `Pool.build`, `Pool.find` and `Pool.key_of` which pool is meant."""
    pool = config.pool
    return {
        "path": pool.path,
        "images": pool.images,
        "limit": pool.limit,
        "seed": config.seed,
        "anywhere": pool.images_anywhere,
    }


def _is_made(context: Context, store: Path, source: dict[str, Any]) -> bool:
    """Whether the pool is imported and all of its samples are named, so that nothing is left to write but an index."""
    try:
        pool = Pool.find(store=store, **source)
        if pool is None:
            return False
        rows = read_jsonl(skills_folder(pool, context.config, context.teacher.prompts) / "skills.jsonl")
        return len(rows) == len(pool) and all(row["state"] == "named" for row in rows)
    except (DataError, PoolError):  # damaged: whoever makes it again does so alone
        return False


def check_pool(folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    """See, before a pool is imported and its skills are paid for, that it is the one that the run selects from. Returns what
    tells `Pool.build` which that is: also one that an older version imported. Raises RunError, PoolError."""
    status = read_object(folder.path / "run.json")
    began = status.get("pool_key")
    for version in FORMATS:
        source = {**pool_source(config), "version": version}
        key = Pool.key_of(**source)
        # A run from before keys were noted down has the pool's folder, whose name ends with twelve digits of it.
        if key == began if began else str(status.get("pool") or key[:12]).endswith(key[:12]):
            break
    else:
        if has_answers(folder.path):
            raise RunError(
                f"the pool {config.pool.path} has changed since {folder.path} began, and its samples were selected from the old "
                "one; put the old file back, or start over with --if-exists delete"
            )
        source = pool_source(config)
    folder.status(pool_key=Pool.key_of(**source))
    return source


def check_is_pool(config: RunConfig) -> None:
    """Look at the first records, hours before the pool is imported. Raises PoolError if none of them is a sample."""
    try:
        glance(config.pool.path, config.pool.images, config.pool.images_anywhere, PART)
    except DataError as error:
        raise PoolError(str(error)) from None


def pool_store(config: RunConfig, run: Path) -> Path:
    """Where imported pools are kept: as configured, or `pools/` beside the run folder."""
    return config.pool.store or run.parent / "pools"


def skills_folder(pool: Pool, config: RunConfig, prompts: Prompts) -> Path:
    """Where a pool's skills are kept: another teacher, effort of its, prompt or sight of the images names them anew."""
    teacher = config.teacher
    sight = [] if teacher.see_images and teacher.image_size is None else [teacher.see_images, teacher.image_size]
    effort = [] if teacher.reasoning_effort is None else [f"reasoning effort {teacher.reasoning_effort}"]
    return pool.folder / f"skills-{digest([teacher.model, prompts['skills'], *sight, *effort])[:12]}"
