"""Drive a run from its first step, or from where it was left, to its end."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

# Only plain data is ever restored from a checkpoint; LangGraph reads this when it is imported.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command

from agent.config import RunConfig
from agent.console import Reporter
from agent.context import Context
from agent.graph import build_graph
from agent.run_folder import IfExists, RunFolder
from retrieval.errors import BudgetError, ConfigError, GaptutorError, StorageError
from retrieval.files import read_json

Ending = Literal["finished", "failed", "stopped", "waiting", "budget"]

#: LangGraph counts steps; a round takes eight, and `max_rounds` is what bounds a run.
_STEPS_PER_ROUND = 12

_NO_PRICE = (
    "  the price of {} is not known, so costs are not either; teacher.price_in and teacher.price_out in the "
    "configuration say it"
)

#: Seconds in which a lost database may come back before the run is left.
_DATABASE_SECONDS = 60.0
#: Stricter than the driver, which takes a piece of a password with an @ or a / in it for the host, and names that in its
#: errors; those are written down.
_ADDRESS = re.compile(r"postgres(ql)?://([^@/?#]*@)?[^@]*")
_NO_ADDRESS = "holds no postgresql:// address; special characters in its user and password are written as %XX"


async def drive(config: RunConfig, path: Path, if_exists: IfExists, reporter: Reporter) -> Ending:
    """Run, or go on with, the run in folder `path`.

    Returns how it ended: "finished"; "failed" (a round failed, what was best is kept); "stopped" (asked to by a signal;
    call again to go on); "waiting" (for a person to review the gaps); "budget" (the teacher's is used up; call again under a
    higher one to go on). Raises GaptutorError for what stops a run; the folder is then left so that the next call goes on.
    """
    folder = RunFolder.open(path, config, if_exists)
    # The report is the last thing to be written; a run can be killed between its mark and its report.
    if read_json(folder.path / "run.json")["state"] == "finished" and (folder.path / "report.html").exists():
        folder.close()
        return "finished"
    context = None
    try:
        context = Context.build(config, folder, reporter)
        folder.status(state="running", error=None)
        if config.teacher.price is None:
            reporter.say(_NO_PRICE.format(config.teacher.model))
        ending = await _invoke(context)
        if ending != "finished":  # `finish` has noted that, with the figures
            folder.status(state=ending)
        return ending
    except (asyncio.CancelledError, KeyboardInterrupt):
        folder.status(state="stopped")
        raise
    except BudgetError as error:
        folder.status(state="stopped", error=str(error))
        return "budget"
    except Exception as error:
        _note_failure(folder, error)
        raise
    finally:
        if context is None:
            folder.close()
        else:
            await context.close()


def _note_failure(folder: RunFolder, error: Exception) -> None:
    """Leave the reason in the folder; a disk without room must not hide it."""
    reason = str(error) if isinstance(error, GaptutorError) else f"{type(error).__name__}: {error}"
    with suppress(StorageError):
        folder.status(state="failed", error=reason)
    with suppress(StorageError):
        folder.event("run_failed", error=reason)


async def _invoke(context: Context) -> Ending:
    config, folder = context.config, context.folder
    async with _checkpointer(config, folder.path) as saver:
        graph = build_graph(saver)
        control = RunControl()
        thread: Any = {
            "configurable": {"thread_id": folder.id},
            "recursion_limit": _STEPS_PER_ROUND * (config.max_rounds + 2),
        }
        snapshot = await graph.aget_state(thread)
        if snapshot.values and not snapshot.next:
            return _ending(snapshot.values)
        given = _where_to_start(snapshot, folder)
        with _drain_on_signals(control, context.reporter):
            try:
                result = await graph.ainvoke(given, thread, context=context, durability="sync", control=control)
            except GraphDrained:
                return "stopped"
    if "__interrupt__" in result:
        return "waiting"
    return _ending(result)


def _ending(state: Any) -> Ending:
    return "failed" if str(state["stop_reason"]).startswith("tuning_failed") else "finished"


def _where_to_start(snapshot: Any, folder: RunFolder) -> Any:
    """The input of a new run, None to go on with one, or the answer that a waiting one waits for."""
    if not snapshot.values:
        return {
            "run": str(folder.path),
            "round": 0,
            "best_round": 0,
            "since_best": 0,
            "accuracies": [],
            "stop_reason": None,
        }
    if any(task.interrupts for task in snapshot.tasks):
        return Command(resume=True)
    return None


@asynccontextmanager
async def _checkpointer(config: RunConfig, path: Path) -> "AsyncIterator[BaseCheckpointSaver[Any]]":
    """SQLite in the run folder, or the Postgres database that the environment names."""
    if config.checkpoint_url is None:
        async with AsyncSqliteSaver.from_conn_string(str(path / "checkpoints.sqlite")) as saver:
            yield saver
    else:
        async with _postgres(config.checkpoint_url) as postgres:
            yield postgres


@asynccontextmanager
async def _postgres(variable: str) -> "AsyncIterator[BaseCheckpointSaver[Any]]":
    """A pool instead of the saver's one connection: that is idle for as long as a round is tuned, and would not be made
    again. Raises ConfigError if there is no such database, StorageError if it is lost and does not come back."""
    url = os.environ.get(variable)
    if not url:
        raise ConfigError(f"checkpoint_url: the environment variable {variable} is not set")
    if not _ADDRESS.fullmatch(url):
        raise ConfigError(f"checkpoint_url: {variable} {_NO_ADDRESS}")
    try:
        import psycopg
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import AsyncConnectionPool
    except ImportError:
        raise ConfigError("checkpoint_url needs the Postgres saver: pip install 'gaptutor[postgres]'") from None
    # What the saver asks of its connections. In a database without an encoding the ids of threads would come back as bytes,
    # and a run that goes on would be kept under another id.
    options: dict[str, Any] = {
        "autocommit": True,
        "prepare_threshold": 0,
        "row_factory": dict_row,
        "client_encoding": "utf8",
    }
    try:
        await (await psycopg.AsyncConnection.connect(url)).close()  # a pool would not say why it cannot
    except psycopg.OperationalError as error:
        raise ConfigError(f"checkpoint_url: the database that {variable} names: {_first_line(error)}") from None
    except psycopg.Error:
        raise ConfigError(f"checkpoint_url: {variable} {_NO_ADDRESS}") from None
    pool: Any = AsyncConnectionPool(
        url,
        kwargs=options,
        min_size=1,
        max_size=1,
        open=False,
        check=AsyncConnectionPool.check_connection,
        timeout=_DATABASE_SECONDS,
    )
    try:
        async with pool:
            saver = AsyncPostgresSaver(pool)
            await saver.setup()
            yield saver
    except psycopg.Error as error:
        raise StorageError(
            f"the checkpoints' database, that {variable} names, was lost: {_first_line(error)}; when it is there again, "
            "run again to go on"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _drain_on_signals(control: RunControl, reporter: Reporter) -> Iterator[None]:
    """First SIGINT or SIGTERM: end after the current step. Second: end now; what is in flight is done again on resume."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def asked() -> None:
        if control.drain_requested and task is not None:
            task.cancel()
            return
        control.request_drain("signal")
        reporter.say(
            "[yellow]stopping after this step; once more to stop at once (either way the run can go on)[/yellow]"
        )

    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
