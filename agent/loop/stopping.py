"""What signals do to a run: end when what is under way has come in, end now, end at once."""

import asyncio
import os
import signal
from types import TracebackType
from typing import Self

from langgraph.runtime import RunControl

from agent.run.context import Context
from agent.student.vllm.server.own import GRACE as SERVER
from agent.teacher.client import GRACE as REPLIES
from training.child.job import GRACE as CHECKPOINT

#: Seconds in which what is in flight ends: paid replies come in, a tuning saves a checkpoint.
IN_FLIGHT = max(REPLIES, CHECKPOINT)
#: Seconds beyond these, and that work in threads gets to end.
PATIENCE = 3.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """First SIGINT or SIGTERM: ask for a stop. Requests on their way come in, however long the step would go on; a tuning
    saves a checkpoint; waiting ends; a step that is none of these is finished. Second: end now: paid replies, a tuning's
    checkpoint and the server's end get their time, anything else is done again on resume. What takes longer (a thread that does
    not come back) is not waited for, and nothing is after one signal more: a run may be killed at any point."""

    def __init__(self, context: Context) -> None:
        self.control = RunControl()
        self._context = context
        self._ending: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._asked)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ending is not None:  # still heard: what is left is to end the server
            self._end_within(SERVER + PATIENCE)
            return
        for number in _SIGNALS:
            self._loop.remove_signal_handler(number)

    def _asked(self) -> None:
        say = self._context.reporter.say
        if self._ending is not None:
            os._exit(130)
        elif self.control.drain_requested and self._task is not None:
            self._end_within(IN_FLIGHT + PATIENCE)
            self._task.cancel()
            say(
                "[yellow]stopping; what is paid for comes in, what was tuned is saved; once more to wait for nothing[/yellow]"
            )
        else:
            self.control.request_drain("signal")
            self._context.stop.ask()
            say(
                "[yellow]stopping when what is under way has come in; once more to stop now "
                "(either way the run can go on)[/yellow]"
            )

    def _end_within(self, seconds: float) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._ending = self._loop.call_later(seconds, os._exit, 130)
