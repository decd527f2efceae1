"""Drive a run from its first step, or from where it was left, to its end."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

# Only plain data is ever restored from a checkpoint; LangGraph reads this when it is imported.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

from langgraph.errors import GraphDrained
from langgraph.types import Command

from agent.config.schema import RunConfig
from agent.loop.checkpoints import checkpointer
from agent.loop.graph import build_graph
from agent.loop.state import has_failed
from agent.loop.stopping import Signals
from agent.report import write_report
from agent.run.console import Reporter
from agent.run.context import Context
from agent.run.folder import RunFolder
from agent.run.resume import IfExists
from retrieval.errors import BudgetError, GaptutorError, StorageError
from retrieval.storage.files import read_json

Ending = Literal["finished", "failed", "stopped", "waiting", "budget"]

#: LangGraph counts steps; a round takes eight, and `max_rounds` is what bounds a run.
_STEPS_PER_ROUND = 12

_NO_PRICE = (
    "  the price of {} is not known, so costs are not either; teacher.price_in and teacher.price_out in the "
    "configuration say it"
)


async def drive(config: RunConfig, path: Path, if_exists: IfExists, reporter: Reporter) -> Ending:
    """Run, or go on with, the run in folder `path`.

    Returns how it ended: "finished"; "failed" (a round failed, what was best is kept); "stopped" (asked to by a signal;
    call again to go on); "waiting" (for a person to review the gaps); "budget" (the teacher's is used up; call again under a
    higher one to go on). Raises GaptutorError for what stops a run; the folder is then left so that the next call goes on.
    """
    folder = RunFolder.open(path, config, if_exists)
    if _is_finished(folder):
        folder.close()
        return "finished"
    context = None
    try:
        context = Context.build(folder, reporter)
        folder.status(state="running", error=None)
        if config.teacher.price is None:
            reporter.say(_NO_PRICE.format(config.teacher.model))
        ending = await _invoke(context)
        if ending != "finished":  # `finish` has noted that, with the figures
            _leave(folder, state=ending)
        return ending
    except (asyncio.CancelledError, KeyboardInterrupt):
        _leave(folder, state="stopped")
        raise
    except BudgetError as error:
        _leave(folder, state="stopped", error=str(error))
        return "budget"
    except Exception as error:
        _note_failure(folder, error)
        raise
    finally:
        if context is None:
            folder.close()
        else:
            await context.close()


def _is_finished(folder: RunFolder) -> bool:
    """Whether all is done. The mark alone does not say so: a run can be killed between its mark and its last report."""
    if read_json(folder.path / "run.json")["state"] != "finished":
        return False
    return any(read_json(path)["done"] for path in folder.path.glob("rounds/*/.manifests/finish.json"))


def _leave(folder: RunFolder, **status: Any) -> None:
    """Note how the run was left, and write its report as far as it has come; a disk without room must not hide the cause."""
    with suppress(StorageError):
        folder.status(**status)
    with suppress(StorageError):
        write_report(folder.path)


def _note_failure(folder: RunFolder, error: Exception) -> None:
    reason = str(error) if isinstance(error, GaptutorError) else f"{type(error).__name__}: {error}"
    with suppress(StorageError):
        folder.event("run_failed", error=reason)
    _leave(folder, state="failed", error=reason)


async def _invoke(context: Context) -> Ending:
    config, folder = context.config, context.folder
    async with checkpointer(config, folder.path) as saver:
        graph = build_graph(saver)
        thread: Any = {
            "configurable": {"thread_id": folder.id},
            "recursion_limit": _STEPS_PER_ROUND * (config.max_rounds + 2),
        }
        snapshot = await graph.aget_state(thread)
        if snapshot.values and not snapshot.next:
            return _ending(snapshot.values)
        given = _where_to_start(snapshot, folder)
        with Signals(context) as signals:
            try:
                result = await graph.ainvoke(given, thread, context=context, durability="sync", control=signals.control)
            except GraphDrained:
                return "stopped"
    if "__interrupt__" in result:
        return "waiting"
    return _ending(result)


def _ending(state: Any) -> Ending:
    return "failed" if has_failed(state["stop_reason"]) else "finished"


def _where_to_start(snapshot: Any, folder: RunFolder) -> Any:
    """The input of a new run, None to go on with one, or the answer that a waiting one waits for."""
    if not snapshot.values:
        return {
            "run": str(folder.path),
            "round": 0,
            "best_round": 0,
            "accuracies": [],
            "stop_reason": None,
        }
    if any(task.interrupts for task in snapshot.tasks):
        return Command(resume=True)
    return None
