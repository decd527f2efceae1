"""A request is tried again, later each time, and at `Retry-After` where the provider names a time.

A time-out is tried again once: what the provider made meanwhile may be charged for, and a request that takes too long will do
so again. A teacher that has never answered is not waited for: an address or a key is wrong then. One that has is (`Outages`),
and so is one that says it is not ready (503). How many requests are under way is the business of `Pace`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from agent.config.schema import TeacherConfig
from agent.teacher.endpoint.connection import Connection
from agent.teacher.endpoint.outage import Outages, Say
from agent.teacher.endpoint.pace import Pace
from agent.teacher.endpoint.received import PassingError, RejectedError
from agent.teacher.endpoint.traffic import Traffic
from retrieval.errors import TeacherError

#: Times that an address which has never answered is tried.
FIRST_CONTACT_TRIES = 3
#: Times that a request is sent that gets no answer in time.
TIMED_OUT_TRIES = 2
#: What a server says that is there and loads its model, or is about to be: worth a wait even at first contact.
_LOADING = 503
#: Too many requests at a time, or in a time.
_CONGESTED = frozenset({429, 503})
_BACKOFF = wait_random_exponential(multiplier=0.5, max=60)

R = TypeVar("R")
#: Is told of a time-out; whether the request may be sent again.
Lost = Callable[[], bool]


class Tries:
    """The tries at one address. `away` asks a plain question once, as `Outages` wants it."""

    def __init__(
        self,
        config: TeacherConfig,
        connection: Connection,
        away: Callable[[], Awaitable[float | None]],
        sleep: Callable[[float], Awaitable[None]],
        say: Say,
        traffic: Traffic,
    ) -> None:
        self._traffic = traffic
        self._retries, self._connection, self._away, self._sleep = config.retries, connection, away, sleep
        self._pace = Pace(config.concurrency, sleep)
        self._outages = Outages(connection.name, self._pace, away, sleep, config.outage_minutes * 60, say)
        self._sending: set[asyncio.Task[Any] | None] = set()
        #: Whether the teacher has answered at all.
        self.answered = False

    def is_sending(self, task: asyncio.Task[Any]) -> bool:
        """Whether a request of this task is on its way."""
        return task in self._sending

    async def until_answered(self, send: Callable[[], Awaitable[R]], lost: Lost = lambda: True) -> R:
        """What `send` brings, which is called until it does not fail for a passing reason. Raises TeacherError, RejectedError."""
        told = False  # the endpoint has named a time for this request
        timed_out = 0

        def note(state: RetryCallState) -> None:
            nonlocal told
            error = state.outcome.exception() if state.outcome else None
            told = isinstance(error, PassingError) and error.after is not None

        async def rest(seconds: float) -> None:
            with self._pace.held() if told else nullcontext():
                await self._sleep(seconds)

        async def once() -> R:
            nonlocal timed_out
            try:
                return await self._in_turn(send, told)
            except PassingError as error:
                if error.timed_out:
                    timed_out += 1
                    if not lost():
                        raise RejectedError(
                            f"{error.reason}, and teacher.budget_usd has no room for another try"
                        ) from None
                raise

        def stop(state: RetryCallState) -> bool:
            return timed_out >= TIMED_OUT_TRIES or self._stop(state)

        again = retry_if_exception_type(PassingError)
        while True:
            over, timed_out = self._outages.over, 0
            tries = AsyncRetrying(stop=stop, wait=_wait, retry=again, sleep=rest, before_sleep=note, reraise=True)
            try:
                reply: R = await tries(once)
            except PassingError as error:
                if not self.answered and error.status != _LOADING:
                    await self._check_there(error)
                if not await self._outages.sit_out(error.reason, over):
                    raise RejectedError(f"{error.reason}, also when tried again", error.status) from None
            except RejectedError as error:
                # Where a server is down, a page that says so may come with status 200.
                if error.status or not self.answered or not await self._outages.sit_out(error.reason, over):
                    raise
            else:
                self.answered = True
                return reply

    async def _check_there(self, error: PassingError) -> None:
        """A teacher that has never answered is not waited for. Raises TeacherError."""
        if error.unreachable:
            cure = "check teacher.base_url, the network, and that the server is running"
            self._connection.fatal(f"cannot be reached ({error.reason})", cure)
        if await self._away() is not None:
            raise TeacherError(
                f"the teacher at {self._connection.name} does not answer ({error.reason}); "
                "check that it is up, or wait, and run again"
            ) from None

    async def _in_turn(self, send: Callable[[], Awaitable[R]], was_held: bool) -> R:
        turn = await self._pace.start(was_held)
        congested: bool | None = None
        self._sending.add(asyncio.current_task())
        try:
            reply = await send()
            congested = False
        except PassingError as error:
            self._traffic.refused(error)
            congested = True if error.status in _CONGESTED else None
            raise
        finally:
            self._sending.discard(asyncio.current_task())
            self._pace.finish(turn, congested)
        return reply

    def _stop(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        tries = self._retries + 1
        if not self.answered and isinstance(error, PassingError) and error.unreachable:
            tries = min(tries, FIRST_CONTACT_TRIES)
        return bool(stop_after_attempt(tries)(state))


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, PassingError) and error.after is not None:
        return error.after
    return float(_BACKOFF(state))
