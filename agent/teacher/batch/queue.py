"""When batches are looked at, and how many of them the provider's queue has room for."""

from typing import NamedTuple

from agent.teacher.batch.api import Look
from agent.teacher.batch.means import Means
from agent.teacher.batch.parts import MOST_REQUESTS
from retrieval.errors import TeacherError

#: Fewer requests than this are asked directly: a day is long.
LEAST = 10
#: The code of a batch that failed because too many tokens of the account wait already (OpenAI).
_QUEUE_FULL = "token_limit_exceeded"


class Wave(NamedTuple):
    """Batches that were out together: how many the provider took, and the sizes of those that its queue had no room for."""

    took: int
    crowded_out: tuple[int, ...]


def is_crowded_out(look: Look) -> bool:
    """Whether a batch failed since the queue had no room for it."""
    return look.status == "failed" and look.failure is not None and look.failure[0] == _QUEUE_FULL


async def rest(means: Means, waited: float, what: str) -> float:
    """Wait until the next look; the minutes waited by then. Raises TeacherError after so many hours."""
    hours, minutes = means.config.batch_hours, means.config.batch_poll_minutes
    if waited >= hours * 60:
        raise TeacherError(
            f"{what} for {hours:g} hours; nothing is lost: run again to wait on, or with teacher.batch set to false, which "
            "cancels what is under way, keeps what is done, and asks for the rest directly"
        )
    await means.sleep(minutes * 60)
    return waited + minutes


class Queue:
    """The room in the provider's queue, as far as it has shown."""

    def __init__(self, means: Means) -> None:
        self._means = means
        #: Requests of a batch, and batches at a time.
        self.requests = self.batches = MOST_REQUESTS
        #: Minutes for which it has been full.
        self._full = 0.0

    async def learn(self, wave: Wave) -> None:
        """After a wave of which it had no room for some: fewer batches at a time, or smaller ones; or wait."""
        if wave.took:
            self._full = 0.0
        if not wave.crowded_out:
            return
        say, least = self._means.say, min(wave.crowded_out)
        if wave.took:
            self.batches = wave.took
            say(f"the provider's queue has room for {wave.took} of these batches at a time; the others wait for them")
        elif least >= 2 * LEAST:
            self.requests, self.batches = least // 2, 1
            say(f"the provider's queue has no room for a batch of {least:,} requests; half as many are tried")
        else:
            say("the provider's queue is full of other batches of the account; the run waits for them")
            self._full = await rest(self._means, self._full, "the provider's queue has been full")
