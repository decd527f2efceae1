"""Outages: a run waits until the teacher is back, instead of setting aside what cannot be asked meanwhile.

A request whose tries are used up says little: it may be the one that makes the endpoint fail. So a plain question is
asked beside it. If that is answered, the request is to blame, and is set aside. If not, the teacher is away: nothing is
sent but that plain question, at growing distances, until it is answered; then all that was waiting goes on, the request
in question too.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from agent.teacher.endpoint.pace import Pace
from retrieval.errors import TeacherError

#: Seconds between two plain questions at the beginning of an outage, and at most.
FIRST_WAIT, LONGEST_WAIT = 5.0, 60.0

Say = Callable[[str], None]


class Outages:
    """The outages of one endpoint. `away` asks the plain question once: None if it is answered, else the seconds that the
    endpoint wants to be left alone for. `longest` (seconds) is how long an outage may last; `say` is told when one begins
    and ends."""

    def __init__(
        self,
        name: str,
        pace: Pace,
        away: Callable[[], Awaitable[float | None]],
        sleep: Callable[[float], Awaitable[None]],
        longest: float,
        say: Say,
    ) -> None:
        #: How many are over.
        self.over = 0
        self._name, self._pace, self._away, self._sleep = name, pace, away, sleep
        self._longest, self._say = longest, say
        self._looking = asyncio.Lock()

    async def sit_out(self, reason: str, over: int) -> bool:
        """A request has used up its tries for `reason`; `over` outages were over when it began. Returns whether there was
        an outage meanwhile, so that it should be tried again. Raises TeacherError if one does not end."""
        async with self._looking:
            if self.over != over:
                return True
            least = await self._away()
            if least is None:
                return False
            with self._pace.held():
                await self._wait(reason, least)
            self.over += 1
            return True

    async def _wait(self, reason: str, least: float) -> None:
        minutes = f"{self._longest / 60:g} minutes"
        self._say(f"the teacher at {self._name} does not answer ({reason}); the run waits for it, {minutes} at most")
        waited, wait = 0.0, FIRST_WAIT
        while waited < self._longest:
            nap = min(max(wait * random.uniform(0.8, 1.2), least), self._longest - waited)
            await self._sleep(nap)
            asked = time.monotonic()
            away = await self._away()
            if away is None:
                self._say(f"the teacher at {self._name} answers again")
                return
            least, waited, wait = away, waited + nap + time.monotonic() - asked, min(2 * wait, LONGEST_WAIT)
        raise TeacherError(
            f"the teacher at {self._name} has not answered for {minutes} ({reason}); nothing is lost: run again when it "
            "is back, or raise teacher.outage_minutes"
        )
