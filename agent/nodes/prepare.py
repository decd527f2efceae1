"""The first node: items read, pool imported, skills named, index built. All of it is kept and found again."""

from agent.context import Context
from agent.node import Update, node
from agent.state import State
from agent.teacher.prompts import SameSkills
from agent.teacher.switch import check_teacher_judges
from retrieval.errors import ConfigError, TeacherError
from training.families import load_processor


@node()
async def prepare(context: Context, state: State) -> Update:
    """Make what every round needs (`Context.ready`); first see that the teacher is there, before hours are spent."""
    student, how = context.config.student, context.config.diagnosis
    load_processor(student.model, student.trust_remote_code)
    question = {"skill": "reading a clock", "candidates": ["telling the time"]}
    try:
        with context.waiting("teacher"):
            await context.teacher.ask("same_skill", question, SameSkills)
            if (how.locator, how.judge) == ("answer_switch", "teacher"):
                await check_teacher_judges(context.teacher)
    except TeacherError as error:
        # Later this would be an outage; at the start, an address, key or model is wrong.
        raise ConfigError(str(error)) from error
    await context.ready()
    return {}
