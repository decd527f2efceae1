"""The first node: whether a run can be made of what the user has."""

import asyncio
from glob import has_magic

from agent.config.schema import RunConfig
from agent.diagnosis.switch import check_teacher_judges
from agent.loop.data import ensure_sets
from agent.loop.node import Update, node
from agent.loop.state import State
from agent.pool.store import check_is_pool, check_pool
from agent.run.context import Context
from agent.student import engine_of
from agent.teacher.prompts.replies import SameSkills
from retrieval.errors import ConfigError, TeacherError
from retrieval.index.vector_store import check_server


@node(reads="nothing")
async def prepare(context: Context, state: State) -> Update:
    """See that student and teacher are there, read the items, and look at the pool, before hours are spent."""
    # Imported here because it takes seconds: a second process on this run must hear at once that it is held.
    from agent.student.vllm.beforehand import check_named, check_serving
    from training.lora.checks import check_student

    student, how = context.config.student, context.config.diagnosis
    _check_files(context.config)
    check_student(student.model, student.trust_remote_code)
    if engine_of(student) == "vllm":
        await asyncio.to_thread(check_serving, student, context.config.tuning.rank)
        await check_named(student)
    await ensure_sets(context)
    question = {"skill": "reading a clock", "candidates": ["telling the time"]}
    try:
        with context.waiting("teacher"):
            shown = any(item.images for item in (*context.sets.items, *context.sets.holdout))
            if shown and not context.teacher.has_seen:
                await context.teacher.check_sees()
            # What came of it before does not count against a teacher that has been mended since.
            probe = await context.teacher.ask("same_skill", question, SameSkills, anew=True)
            if probe.value is None:
                raise TeacherError(
                    f"the teacher does not answer a plain question as it should ({probe.state}: {probe.reason}); "
                    "check teacher.model and its server, or take another teacher"
                )
            if (how.locator, how.judge) == ("answer_switch", "teacher"):
                await check_teacher_judges(context.teacher)
            if context.config.teacher.batch:
                await context.teacher.check_batches()
    except TeacherError as error:
        # Later this would be an outage; at the start, an address, key or model is wrong.
        raise ConfigError(str(error)) from error
    await asyncio.to_thread(check_pool, context.folder, context.config)
    await asyncio.to_thread(check_is_pool, context.config)
    # What will be looked up with comes late, when hours are spent, but can be seen to be there now.
    await asyncio.to_thread(context.embedder.load)
    if url := context.config.pool.chroma_url:
        await asyncio.to_thread(check_server, url)
    return {}


def _check_files(config: RunConfig) -> None:
    """What costs nothing to look at comes first. Raises ConfigError."""
    files = {
        "data.validation": config.data.validation,
        "data.holdout": config.data.holdout,
        "pool.path": config.pool.path,
    }
    for key, path in files.items():
        if path is not None and not path.exists() and not has_magic(str(path)):
            raise ConfigError(f"{path} does not exist; set {key} to a file that does")
