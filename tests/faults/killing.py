"""`python -m tests.faults.killing CONFIG RUN NODE ROUND WHEN`: a run that is killed (SIGKILL) at a named point.

WHEN: `before` the node's work; `inside` it (at its third row, or at its first file, before that is in place; while the child
process tunes); `published` (its manifest is written, the checkpoint is not).
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import agent.node as node
import agent.nodes.tune as tune
from agent.config import load_config
from agent.console import Reporter
from agent.drive import drive
from retrieval import files


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_inside() -> None:
    """Die at the third row of a log, at the first whole file, or at the child's first sign of progress."""
    append, replace, run_tuning, rows = files.Log.append, os.replace, tune.run_tuning, [0]

    def append_some(self: files.Log, row: Any) -> None:
        append(self, row)
        rows[0] += self.path.name not in ("events.jsonl", "metrics.jsonl", "teacher.jsonl")
        if rows[0] == 3:
            die()

    def replace_none(source: Any, target: Any) -> None:
        if ".manifests" not in str(target) and not str(target).endswith("run.json"):
            die()
        replace(source, target)

    async def tune_a_little(job: Any, report: Any) -> Any:
        os.replace = replace
        return await run_tuning(job, lambda progress: die())

    files.Log.append = append_some  # type: ignore[method-assign]
    os.replace = replace_none  # type: ignore[assignment]
    tune.run_tuning = tune_a_little  # type: ignore[assignment]


def main(config: str, run: str, name: str, number: int, when: str) -> None:
    run_once = node.run_once

    async def run_or_die(context: Any, state: Any, spec: Any, work: Any) -> Any:
        if (spec.name, state["round"]) != (name, number):
            return await run_once(context, state, spec, work)

        async def dying_work(context: Any, state: Any) -> Any:
            if when == "before":
                die()
            if when == "inside":
                kill_inside()
            return await work(context, state)

        update = await run_once(context, state, spec, dying_work)
        die()
        return update

    node.run_once = run_or_die
    asyncio.run(drive(load_config(Path(config)), Path(run), "resume", Reporter(quiet=True)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
