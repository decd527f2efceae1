"""The first node: items read, pool imported, skills named, index built. All of it is kept and found again."""

import asyncio

from agent.config.schema import RunConfig
from agent.diagnosis.switch import check_teacher_judges
from agent.loop.data import ensure_data
from agent.loop.node import Update, node
from agent.loop.state import State
from agent.run.context import Context
from agent.run.items import read_items
from agent.student import engine_of
from agent.teacher.prompts.replies import SameSkills
from retrieval.errors import ConfigError, TeacherError


@node(reads_data=False)
async def prepare(context: Context, state: State) -> Update:
    """Make what every round needs (`Context.data`); first see that the teacher is there, before hours are spent."""
    # Imported here because it takes seconds: a second process on this run must hear at once that it is held.
    from agent.student.vllm.beforehand import check_named, check_serving
    from training.lora.checks import check_student

    student, how = context.config.student, context.config.diagnosis
    _check_files(context.config)
    check_student(student.model, student.trust_remote_code)
    if engine_of(student) == "vllm":
        await asyncio.to_thread(check_serving, student, context.config.tuning.rank)
        await check_named(student)
    question = {"skill": "reading a clock", "candidates": ["telling the time"]}
    try:
        with context.waiting("teacher"):
            if not context.teacher.has_seen and await asyncio.to_thread(_shows_pictures, context.config):
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
    await ensure_data(context)
    return {}


def _shows_pictures(config: RunConfig) -> bool:
    """Whether there is an item with a picture. Raises DataError."""
    read = read_items(config)
    return any(item.images for item in (*read.items, *read.holdout))


def _check_files(config: RunConfig) -> None:
    """What costs nothing to look at comes first. Raises ConfigError."""
    files = {
        "data.validation": config.data.validation,
        "data.holdout": config.data.holdout,
        "pool.path": config.pool.path,
    }
    for key, path in files.items():
        if path is not None and not path.exists():
            raise ConfigError(f"{path} does not exist; set {key} to a file that does")
