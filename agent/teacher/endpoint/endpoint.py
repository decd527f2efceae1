"""The teacher's address: one chat request there and back, through whatever the network and the provider do.

What an error stands for says `Connection`; what passes by itself is tried again (`Tries`). RejectedError, which the client turns
into a recorded state, is also what becomes of a request whose tries are used up while others are answered. Where nobody is
answered, the run waits (`Outages`).

What the endpoint can do is learned from its refusals (`Settling`) and remembered (`Learned`); whether it gives log-probabilities,
from the first choice that it is asked, whether it sees, from one picture. What else its API offers (`batch/api.py`) is reached
through the same errors.
Not here: budgets.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NoReturn, TypeVar

import openai

from agent.chat.stop import Stop
from agent.config.schema import TeacherConfig
from agent.teacher.endpoint import sight
from agent.teacher.endpoint.connection import Connection
from agent.teacher.endpoint.dialect import CHOICE, Dialect, Learned, Messages, pictures_in
from agent.teacher.endpoint.outage import Say
from agent.teacher.endpoint.received import NOT_TAKEN, PassingError, RejectedError
from agent.teacher.endpoint.settling import PLAIN, TO_SETTLE, Settling
from agent.teacher.endpoint.traffic import Traffic
from agent.teacher.endpoint.tries import Lost, Tries
from agent.teacher.ledger.journal import Completion

R = TypeVar("R")

#: What the user can do about a teacher that takes no pictures.
SIGHT_CURE = (
    "take a model and a server that see (llama.cpp needs --mmproj), or set teacher.see_images to false: the teacher is then told "
    "only how many pictures belong to a question"
)


class Endpoint:
    """One address. `sleep` waits so many seconds between tries; `learned` is what is known of it; `say` is told of outages. No
    chat request is sent any more once a `stop` is asked for. Raises TeacherError if the address is none, or the key is no key."""

    def __init__(
        self,
        config: TeacherConfig,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        learned: Learned | None = None,
        say: Say = lambda text: None,
        stop: Stop | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._config = config
        self._connection = Connection(config, stop or Stop())
        self.learned = learned or Learned()
        self.learned.open(self.name, config.model)
        self._tries = Tries(config, self._connection, self._away, sleep, say, traffic or Traffic())
        self._settling = Settling(config, self._connection, self._tries, self.learned, say)
        self._say = say

    @property
    def name(self) -> str:
        """The address, as it may be shown."""
        return self._connection.name

    async def close(self) -> None:
        """Close its connections."""
        await self._connection.close()

    def redact(self, text: str) -> str:
        """See `Connection.redact`."""
        return self._connection.redact(text)

    def is_sending(self, task: asyncio.Task[Any]) -> bool:
        """Whether a request of this task is on its way."""
        return self._tries.is_sending(task)

    def takes(self, name: str, pictured: bool) -> bool:
        """Whether it is known that the endpoint takes this kind of question, with pictures or without, in its dialect."""
        return self._settling.takes(name, pictured)

    async def call(self, send: Callable[[openai.AsyncOpenAI], Awaitable[R]], seconds: float | None = None) -> R:
        """Something else than a chat request, tried again like one; `seconds` is its time-out, if another. Raises TeacherError,
        RejectedError."""
        connection, limit = self._connection, seconds or self._config.timeout
        return await self._tries.until_answered(lambda: connection.sent(send(connection.client), limit))

    def read_result(self, row: Mapping[str, Any], limit: int) -> Completion:
        """See `Connection.read_result`."""
        return self._connection.read_result(row, limit)

    async def check_sees(self) -> None:
        """Show it a picture. Raises TeacherSetupError if it takes none; one that takes it and seems blind all the same is told
        of."""
        try:
            said = (await self._in_its_dialect(sight.question(), "look")).content
        except RejectedError as error:
            if error.state == "failed":
                self._connection.fatal(f"takes no pictures ({error.reason})", SIGHT_CURE)
            said = error.reason
        if sight.seems_blind(said):
            shown = " ".join(said.split())[:120]
            self._say(f"the teacher was shown a red square and said {shown!r}; if it cannot see, {SIGHT_CURE}")
        else:
            self.learned.keep(self.learned.dialect, sees=True)

    async def chat(
        self,
        messages: Messages,
        name: str,
        schema: Mapping[str, Any],
        more: Messages | None = None,
        lost: Lost = lambda: True,
    ) -> Completion:
        """Ask. `name` and `schema` (JSON schema) say what the reply must look like, `more` is what was said since `messages`;
        `lost` is told of each time-out. Raises TeacherError, RejectedError."""
        return await self._in_its_dialect(messages, name, schema, more, lost)

    async def choose(self, messages: Messages, lost: Lost = lambda: True) -> Completion:
        """Ask for an option's letter with log-probabilities (`Completion.top`); what is refused or filtered has none.

        Raises TeacherError if the endpoint gives none at all, RejectedError if it has given some before.
        """
        try:
            reply = await self._in_its_dialect(messages, CHOICE, lost=lost)
        except RejectedError as error:
            if self._names_logprobs(error):
                self._no_logprobs(error.reason)
            raise
        if not reply.top and not reply.refusal and reply.finish != "content_filter":
            if not self.learned.logprobs:
                self._no_logprobs("its reply holds none")
            raise RejectedError("the reply came without log-probabilities")
        self.learned.keep(self.learned.dialect, logprobs=bool(reply.top))
        return reply

    async def _in_its_dialect(
        self,
        messages: Messages,
        name: str,
        schema: Mapping[str, Any] | None = None,
        more: Messages | None = None,
        lost: Lost = lambda: True,
    ) -> Completion:
        """Without a schema, a choice with log-probabilities is asked for, or a plain reply."""
        pictures = pictures_in(messages)
        while True:
            used = self.learned.dialect
            body = used.body(self._config, messages, name, schema, more)
            try:
                reply = await self._tries.until_answered(partial(self._connection.post, body), lost)
            except RejectedError as error:
                if await self._is_for_itself(error, used, name, schema, pictures > 0):
                    if error.status in TO_SETTLE | {413} and error.state == "failed":
                        self.learned.sizes.refuse(pictures, error.reason)
                    raise
                continue
            self.learned.sizes.took(pictures)
            self._settling.answered(used, name, pictures > 0)
            return reply

    async def _is_for_itself(
        self, error: RejectedError, used: Dialect, name: str, schema: Mapping[str, Any] | None, pictured: bool
    ) -> bool:
        """Whether a request was refused for what it is, and not for how it was put."""
        if error.status not in TO_SETTLE or error.state != "failed" or (name == CHOICE and self._names_logprobs(error)):
            return True
        return await self._settling.after_refusal(used, name, schema, pictured) == used

    def _names_logprobs(self, error: RejectedError) -> bool:
        """Whether an endpoint that never gave log-probabilities refused a choice for them."""
        refused = not self.learned.logprobs and error.status in NOT_TAKEN
        return refused and re.search("log_?prob", error.reason.lower()) is not None

    def _no_logprobs(self, why: str) -> NoReturn:
        self._connection.fatal(
            f"gives no log-probabilities ({why}), and a teacher can be the judge of answer_switch with them alone",
            "set diagnosis.judge to student, or diagnosis.locator to single_pass",
        )

    async def _away(self) -> float | None:
        """Ask the plainest question once: None if the endpoint is there, else the seconds that it wants to rest."""
        try:
            await self._connection.post(
                {"model": self._config.model, "messages": PLAIN, self.learned.dialect.limit: 16}
            )
        except PassingError as error:
            return error.after or 0.0
        except RejectedError as error:
            return None if error.status else 0.0
        return None
