"""How many requests are under way at one time, and when the next one may start.

The bound adapts as TCP's does (additive increase, multiplicative decrease): one more for each bound's worth of answers,
half as many after a 429 or 503, between 1 and what is configured. Requests that were under way together meet the same
congestion, so they halve it once. A Retry-After holds back all requests; when it is over, those that waited start one
after the other.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

#: Seconds, on average, between the starts of requests that were held back together.
SPACING = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """A request that is under way: which bound it started under."""

    epoch: int


class Pace:
    """Turns for one endpoint. `sleep` waits so many seconds."""

    def __init__(self, most: int, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.bound = float(most)
        self._most = most
        self._sleep = sleep
        self._under_way = 0
        self._epoch = 0
        self._holds = 0
        self._released = 0
        self._changed = asyncio.Event()

    async def start(self, was_held: bool = False) -> Turn:
        """Wait for a turn; `finish` it. `was_held`: this request has itself been told when to come back."""
        while True:
            while self._holds:
                await self._changed.wait()
                was_held = True
            if was_held:
                was_held = False
                await self._step_behind()
            elif self._under_way < int(self.bound):
                self._under_way += 1
                return Turn(self._epoch)
            else:
                await self._changed.wait()

    def finish(self, turn: Turn, congested: bool | None) -> None:
        """A request has come back: too many at a time (True), answered (False), or neither (None)."""
        self._under_way -= 1
        if congested and turn.epoch == self._epoch:
            self._epoch += 1
            self.bound = max(1.0, self.bound / 2)
        elif congested is False:
            self.bound = min(float(self._most), self.bound + 1 / self.bound)
        self._wake()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While in here, no request starts."""
        if not self._holds:
            self._released = 0
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._wake()

    async def _step_behind(self) -> None:
        """Wait until those held back before this one have started; the first starts at once."""
        place = self._released
        self._released += 1
        if place:
            await self._sleep(SPACING * (place + random.uniform(-0.4, 0.4)))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
