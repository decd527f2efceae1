"""The first node: items read, pool imported, skills named, index built. All of it is kept and found again."""

from agent.context import Context
from agent.node import Update, node
from agent.state import State
from agent.teacher.prompts import SameSkills


@node()
async def prepare(context: Context, state: State) -> Update:
    """Make what every round needs (`Context.ready`); first see that the teacher is there, before hours are spent."""
    with context.waiting("teacher"):
        # Any short question would do: an address, key or model that is wrong raises TeacherError.
        await context.teacher.ask(
            "same_skill", {"skill": "reading a clock", "candidates": ["telling the time"]}, SameSkills
        )
    await context.ready()
    return {}
