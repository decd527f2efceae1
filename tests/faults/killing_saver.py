"""`python -m tests.faults.killing_saver FOLDER ROUNDS`: a cheap run, killed (SIGKILL) before and after every call of its saver.

Each death has a run folder of its own; each of these runs is then resumed, in a process of its own. Prints as JSON, by death
(`before 7`, `after 7`), how the resumed run ended. The processes are forks of this one, so that each costs no imports.
"""

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

import agent.loop.node
from tests.agent.loop.cheap import cheapen, config, go


def fork(work: Callable[[], Any]) -> int:
    """Do `work` in a process of its own; its exit code, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def die_at(call: int, when: str, called: Callable[[int], None]) -> None:
    """Have the saver's `call`th call kill this process; `called` is told of each."""
    count = [0]

    def wrap(method: Any) -> Any:
        async def calling(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            number = count[0]
            called(number)
            if (number, when) == (call, "before"):
                os.kill(os.getpid(), signal.SIGKILL)
            found = await method(*args, **kwargs)
            if (number, when) == (call, "after"):
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return calling

    for name in ("aput", "aput_writes"):
        setattr(AsyncSqliteSaver, name, wrap(getattr(AsyncSqliteSaver, name)))


def main(folder: Path, rounds: int) -> None:
    agent.loop.node.run_once = cheapen()
    calls = folder / "calls"

    def walk(run: Path, call: int = 0, when: str = "") -> None:
        die_at(call, when, lambda number: calls.write_text(str(number)) and None)
        asyncio.run(go(config(rounds), run))

    walk(folder / "unbroken")  # in this process, so that its forks find everything imported
    ends: dict[str, str] = {}
    for call in range(1, int(calls.read_text()) + 1):
        for when in ("before", "after"):
            run = folder / f"{when}-{call}"
            assert fork(lambda: walk(run, call, when)) == -signal.SIGKILL, (call, when)  # noqa: B023
            ended = fork(lambda: asyncio.run(go(config(rounds), run)))  # noqa: B023
            state = json.loads((run / "run.json").read_text())["state"]
            ends[run.name] = state if ended == 0 else f"exit code {ended}"
    print(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
