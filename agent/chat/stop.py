"""Being asked to stop: whoever has many requests looks between two of them, and what waits ends.

What is under way when a run is asked to stop comes in and is written down; nothing more is asked. A run that was stopped so goes
on where it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


class StoppedError(Exception):
    """The run was asked to stop, and there was more to do. What was done is written down."""


class Stop:
    """Asked for once, for good; one of each run."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        """Whether it was asked for; may be read from any thread."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask for it, in the thread of the event loop."""
        self._asked.set()

    def check(self) -> None:
        """Raise StoppedError if it was asked for."""
        if self.is_asked:
            raise StoppedError("asked to stop")

    async def cut_short(self, work: Coroutine[Any, Any, R]) -> R:
        """Do `work`, which is cancelled and waited for when a stop is asked for; StoppedError is raised then."""
        if self.is_asked:
            work.close()
        self.check()
        task, asked = asyncio.ensure_future(work), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait([task, asked], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            asked.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        raise StoppedError("asked to stop")

    def sleeper(self, sleep: Callable[[float], Awaitable[None]]) -> Callable[[float], Awaitable[None]]:
        """`sleep`, which ends with StoppedError when a stop is asked for."""

        async def until(seconds: float) -> None:
            async def rest() -> None:
                await sleep(seconds)

            await self.cut_short(rest())

        return until
