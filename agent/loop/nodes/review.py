"""Where a person may look at the gaps before anything is fetched for them."""

from langgraph.types import interrupt

from agent.diagnosis.gaps import read_gaps
from agent.loop.node import Update, node
from agent.loop.state import State
from agent.run.context import Context
from retrieval.errors import DataError


@node(inputs=("gaps.json",), reads="nothing")
async def review(context: Context, state: State) -> Update:
    """Wait, if the configuration says so, until the run is started again; gaps.json may be edited meanwhile."""
    if not context.config.review:
        return {}
    path = context.folder.round(state["round"]) / "gaps.json"
    interrupt({"gaps": str(path)})
    if not read_gaps(path).gaps:
        raise DataError(f"{path}: no gap is left; keep one at least")
    return {}
