"""Who may ask the server: many at a time, or one alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Gate:
    """What was in flight when the engine was lost is asked one by one, before all else, so that a request that ends the engine
    takes no other with it."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._inside = self._suspects = 0

    @contextlib.asynccontextmanager
    async def passage(self, alone: bool) -> AsyncIterator[None]:
        """Ask at the same time as others, or, once those are through, alone."""
        async with self._changed:
            self._suspects += alone
            try:
                await self._changed.wait_for(lambda: not (self._inside if alone else self._suspects))
            except BaseException:
                self._suspects -= alone
                self._changed.notify_all()
                raise
            self._inside += 1
        try:
            yield
        finally:
            async with self._changed:
                self._inside -= 1
                self._suspects -= alone
                self._changed.notify_all()
