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

from agent.chat.stop import StoppedError
from agent.config.schema import RunConfig
from agent.loop.checkpoints import checkpointer, discard_damaged
from agent.loop.graph import build_graph
from agent.loop.position import beginning, is_finished, reopen, tune_again
from agent.loop.stopping import Signals
from agent.report import write_report
from agent.run.console import Reporter
from agent.run.context import Context
from agent.run.folder import RunFolder
from agent.run.resume import IfExists, controls_lacking, extends
from retrieval.errors import BudgetError, GaptutorError, RunError, StorageError
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
    context = None
    try:
        path, config = folder.path, folder.config
        reopened = reopen(path, extends(path, config), controls_lacking(path, config))
        if is_finished(folder.path):
            return "finished"
        if lost := tune_again(folder.path):
            reporter.say(f"  damaged, and tuned again: {', '.join(lost)}")
        context = Context.build(folder, reporter)
        folder.status(state="running", error=None)
        if reopened:
            reporter.say(f"  going on with: {', '.join(reopened)}")
        if config.teacher.price is None:
            reporter.say(_NO_PRICE.format(config.teacher.model))
        ending = await _walk(context, anew=bool(reopened or lost or folder.notes))
        if ending != "finished":  # `finish` has noted that, with the figures
            _leave(folder, state=ending)
        return ending
    except (asyncio.CancelledError, KeyboardInterrupt):
        _leave(folder, state="stopped")
        raise
    except BudgetError as error:
        with suppress(StorageError):  # run.json forgets it when the run goes on; the report still names it
            folder.event("budget_used_up", error=str(error))
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


async def _walk(context: Context, anew: bool) -> Ending:
    """Let the state machine go on from its checkpoint, or walk from its beginning over what is done: `anew`, or where the
    checkpoints say that it has ended and the manifests that it has not."""
    folder = context.folder
    if discard_damaged(context.config, folder.path):
        context.reporter.say("  the checkpoints were damaged; the position is read from what is done")
    for fresh in (anew, True):
        ending = await _invoke(context, fresh)
        if ending != "finished" or is_finished(folder.path):
            break
    else:
        raise RunError(
            f"{folder.path}: the state machine ends before the run does; please report this, with its events.jsonl"
        )
    return "failed" if ending == "finished" and read_json(folder.path / "run.json")["state"] == "failed" else ending


async def _invoke(context: Context, anew: bool) -> Ending:
    config, folder = context.config, context.folder
    async with checkpointer(config, folder.path) as saver:
        graph = build_graph(saver)
        thread: Any = {
            "configurable": {"thread_id": folder.id},
            "recursion_limit": _STEPS_PER_ROUND * (config.max_rounds + 2),
        }
        if anew:
            await saver.adelete_thread(folder.id)
        given = _where_to_start(await graph.aget_state(thread), folder)
        with Signals(context) as signals:
            try:
                result = await graph.ainvoke(given, thread, context=context, durability="sync", control=signals.control)
            except (GraphDrained, StoppedError):
                return "stopped"
    return "waiting" if "__interrupt__" in result else "finished"


def _where_to_start(snapshot: Any, folder: RunFolder) -> Any:
    """The input of a new run, None to go on with one, or the answer that a waiting one waits for."""
    if not snapshot.values:
        return beginning(folder.path)
    if any(task.interrupts for task in snapshot.tasks):
        return Command(resume=True)
    return None
