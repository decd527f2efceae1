"""What sending and fetching batches share: the means, and what has become of requests."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agent.chat.stop import Stop
from agent.config.schema import TeacherConfig
from agent.teacher.batch.api import BatchApi
from agent.teacher.batch.log import BatchLog, Submitted
from agent.teacher.endpoint.outage import Say
from agent.teacher.endpoint.received import RejectedError
from agent.teacher.ledger.ledger import Ledger
from agent.teacher.logprobs import CHOICE_TOKENS
from agent.teacher.prompts.replies import REPLIES

#: Batches in which a request is put, at most.
TRIES = 3
#: Seconds after which a batch that was made is in the provider's list.
LISTED = 30.0


@dataclass(frozen=True)
class Means:
    """The journal that is filled, the log of batches, and the endpoint's API, which `api` opens."""

    config: TeacherConfig
    ledger: Ledger
    log: BatchLog
    api: Callable[[], BatchApi]
    sleep: Callable[[float], Awaitable[None]]
    say: Say
    stop: Stop

    async def until_listed(self) -> None:
        """Wait until a batch that may have been made is in the provider's list."""
        await self.sleep(LISTED)

    async def give_up(self, batch: Submitted) -> None:
        """This batch was never made."""
        self.log.end(batch.tag, "never made", 0)
        self.ledger.budget.settle(batch.tag)
        await self.api().tidy([batch.file])


@dataclass(frozen=True)
class Fates:
    """What has become of requests in the batches of this process, by key: refused (it would be refused again), or in so many
    batches without an answer."""

    rejected: dict[str, RejectedError] = field(default_factory=dict)
    unanswered: Counter[str] = field(default_factory=Counter)

    def ends(self, key: str) -> bool:
        """Whether a request goes into no further batch."""
        return key in self.rejected or self.unanswered[key] >= TRIES


def limit_of(kind: str, limit: int) -> int:
    """Tokens of a reply: to a choice, it is read from the first."""
    return limit if REPLIES[kind] else CHOICE_TOKENS
