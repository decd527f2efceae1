"""Requests that can wait, answered ahead in batches: what they bring is put into the journal, where whoever asks finds it.

So a question is answered the same way whether it was in a batch or not: its states, its repair and its halves are those of
`Teacher.ask`. What a batch leaves unanswered for a passing reason goes into the next one, `TRIES` times at most, and is
then asked directly; so is what comes to fewer than `LEAST`. What it refuses is refused.

A batch is written down before it is made (`BatchLog`), so that a run that was killed at any point finds it again and pays for no
request twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.chat.stop import Stop, StoppedError
from agent.config.schema import TeacherConfig
from agent.teacher.batch.api import BatchApi
from agent.teacher.batch.fetching import Fetcher, Progress
from agent.teacher.batch.log import BatchLog
from agent.teacher.batch.means import Fates, Means
from agent.teacher.batch.queue import Queue
from agent.teacher.batch.sending import Asker, Questions, Sender
from agent.teacher.endpoint.outage import Say
from agent.teacher.endpoint.received import RejectedError
from agent.teacher.ledger.ledger import Ledger


class Ahead:
    """The batches that fill one journal; their log is at `path`. `api` opens the endpoint's."""

    def __init__(
        self,
        config: TeacherConfig,
        ledger: Ledger,
        path: Path,
        asker: Asker,
        api: Callable[[], BatchApi],
        sleep: Callable[[float], Awaitable[None]],
        say: Say,
        stop: Stop,
    ) -> None:
        self._means = Means(config, ledger, BatchLog(path), api, sleep, say, stop)
        self._fates = Fates()
        self._queue = Queue(self._means)
        self._sender = Sender(self._means, self._fates, self._queue, asker)
        self._fetcher = Fetcher(self._means, self._fates)

    @property
    def waits(self) -> bool:
        """Whether there is something to do: batches are wanted, or one of an earlier process is not fetched yet."""
        return self._means.config.batch or bool(self._means.log.open)

    def rejection(self, key: str) -> RejectedError | None:
        """With what a batch refused the request with this key, if it did."""
        return self._fates.rejected.get(key)

    def hold(self, scope: str | None) -> None:
        """Set aside what the open batches of a scope can cost; of all scopes if None."""
        for batch in self._means.log.open.values():
            if scope in (None, batch.scope):
                self._means.ledger.budget.set_aside(batch.tag, batch.most)

    def close(self) -> None:
        """Close the log."""
        self._means.log.close()

    async def ask(self, questions: Questions, scope: str, on_progress: Progress) -> None:
        """Have questions answered in batches, as far as they are not. Raises TeacherError, BudgetError, StorageError;
        StoppedError between two steps, when a stop is asked for."""
        try:
            await self._fetcher.fetch(on_progress)
            if self._means.config.batch:
                await self._sender.ask_first(questions)
                while await self._sender.submit(questions, scope):
                    await self._queue.learn(await self._fetcher.fetch(on_progress))
        except (asyncio.CancelledError, StoppedError):
            if ids := self._fetcher.ids():
                self._means.say(f"the provider goes on with batch {ids}; the same command fetches what it brings")
            raise
