"""A run that is killed (SIGKILL) at a named point: a node, its round, and WHEN.

WHEN: `before` the node's work; `inside:N` it, at the Nth thing that it writes (a row of a log, or a whole file before that is
in place), or `inside:NAME`, at the first thing of that name; `tuning`, while the child process tunes; `published` (its manifest
is written, the checkpoint is not). A node that writes less than that is killed when it is published.
"""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import agent.loop.node as node
import agent.strategies.training_set as training_set
from agent.config.loading import load_config
from agent.loop.drive import drive
from agent.run.console import Reporter
from retrieval.storage import files
from training.child.job import tune as run_tuning


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_inside(what: str) -> None:
    """Die at a row or file, named by its number or name, that is written from now on."""
    append, replace, written = files.Log.append, os.replace, [0]

    def die_at(name: str) -> None:
        written[0] += 1
        if what in (str(written[0]), name):
            die()

    def append_some(self: files.Log, row: Any) -> None:
        append(self, row)
        die_at(self.path.name)

    def replace_some(source: Any, target: Any) -> None:
        die_at(Path(target).name)
        replace(source, target)

    files.Log.append = append_some  # type: ignore[method-assign]
    os.replace = replace_some  # type: ignore[assignment]


def kill_tuning() -> None:
    """Die at the child's first sign of progress."""

    async def tune_a_little(job: Any, report: Any) -> Any:
        return await run_tuning(job, lambda progress: die())

    training_set.run_tuning = tune_a_little  # type: ignore[assignment, attr-defined]


def arm(name: str, number: int, when: str) -> None:
    """Have this process die at a node of a round, as WHEN says."""
    run_once = node.run_once

    async def run_or_die(context: Any, state: Any, spec: Any, work: Any) -> Any:
        if (spec.name, state["round"]) != (name, number):
            return await run_once(context, state, spec, work)

        async def dying_work(context: Any, state: Any) -> Any:
            if when == "before":
                die()
            if when == "tuning":
                kill_tuning()
            if when.startswith("inside:"):
                kill_inside(when.removeprefix("inside:"))
            return await work(context, state)

        update = await run_once(context, state, spec, dying_work)
        die()
        return update

    node.run_once = run_or_die


def keep_beginnings(run: Path, folder: Path) -> None:
    """Copy the run to `folder`/NODE-ROUND when a node begins: what is there then is what a kill at that moment would leave."""
    run_once = node.run_once

    async def copy_and_run(context: Any, state: Any, spec: Any, work: Any) -> Any:
        shutil.copytree(run, folder / f"{spec.name}-{state['round']}")
        return await run_once(context, state, spec, work)

    node.run_once = copy_and_run


def main(config: Path, run: Path, point: tuple[str, int] | None, when: str, beginnings: Path | None = None) -> None:
    """Start or resume a run that dies at `point`, or, if None, is copied to `beginnings` wherever a node begins."""
    if point is not None:
        arm(*point, when)
    if beginnings is not None:
        keep_beginnings(run, beginnings)
    asyncio.run(drive(load_config(config), run, "resume", Reporter(quiet=True)))
