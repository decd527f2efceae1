"""What an endpoint can do, learned from its refusals.

A 400 may have many causes, so what it says is only a hint at what to try: the endpoint is taken not to speak a dialect if it
refuses a plain question in it, answers one in the next, and refuses the first once more.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.config.schema import TeacherConfig
from agent.teacher.endpoint import sight
from agent.teacher.endpoint.connection import Connection
from agent.teacher.endpoint.dialect import Dialect, Learned, Messages, Put
from agent.teacher.endpoint.outage import Say
from agent.teacher.endpoint.received import NOT_TAKEN, RejectedError
from agent.teacher.endpoint.tries import Tries
from agent.teacher.ledger.journal import Completion

#: A question that no one can mind, and the same for a reply in JSON.
PLAIN: Messages = [{"role": "user", "content": "Say: ready"}]
_PLAIN_JSON: Messages = [
    {"role": "system", "content": "Reply with one JSON object, filled in as you like."},
    {"role": "user", "content": "Any will do."},
]


#: Statuses after which it is looked whether the dialect is to blame: some servers answer 500 to what they do not take.
TO_SETTLE = NOT_TAKEN | {500}


class Settling:
    """Finds the dialect of one endpoint, and keeps it in `learned`; `say` is told if something that was asked for is left out."""

    def __init__(
        self,
        config: TeacherConfig,
        connection: Connection,
        tries: Tries,
        learned: Learned,
        say: Say = lambda text: None,
    ) -> None:
        self._config, self._connection, self._tries, self.learned = config, connection, tries, learned
        self._say = say
        self._settling = asyncio.Lock()
        #: Kinds, with pictures or without, of which this process knows that the endpoint takes them in its dialect.
        self._settled: set[tuple[str, bool]] = set()

    def takes(self, name: str, pictured: bool) -> bool:
        """Whether it is known that the endpoint takes this kind of question in its dialect."""
        return (name, pictured) in self._settled

    def answered(self, used: Dialect, name: str, pictured: bool) -> None:
        """A question of this kind was answered in the dialect used."""
        if self.learned.dialect == used:
            self._settled.add((name, pictured))
            self.learned.keep(used)

    async def after_refusal(
        self, used: Dialect, name: str, schema: Mapping[str, Any] | None, pictured: bool
    ) -> Dialect:
        """After a refusal: the dialect in which to ask, the one used if that is not to blame.

        It is found out once for each kind of question, since endpoints take some schemas and not others, and some things only
        without pictures. Raises TeacherError if the endpoint has never answered and refuses even the plainest request.
        """
        async with self._settling:
            if self.learned.dialect == used and (name, pictured) not in self._settled:
                found = await self._find_dialect(used, name, schema, pictured)
                if found is None:
                    await self._check_takes_any()
                    return used
                if found != used:
                    self._settled.clear()
                self._settled.add((name, pictured))
                self.learned.keep(found)
            return self.learned.dialect

    async def _find_dialect(
        self, used: Dialect, name: str, schema: Mapping[str, Any] | None, pictured: bool
    ) -> Dialect | None:
        """The dialect nearest to the one used in which a plain question is answered, None if there is none."""
        put = Put(schema is not None, pictured, self._config.reasoning_effort is not None)
        found, words = used, ""
        while (said := await self._refusal(found, name, schema, pictured)) is not None:
            other = found.other(said, put)
            if other is None:
                return None
            words = said if found.effort != other.effort else words
            found = other
        for less in used.concessions(found):  # its words may mislead, and it may have been in trouble
            nearer = replace(found, **less)
            if nearer != found and await self._refusal(nearer, name, schema, pictured) is None:
                found = nearer
        if used.effort and not found.effort:
            self._say(f"the teacher takes no teacher.reasoning_effort, which is left out ({words})")
        return found

    async def _refusal(
        self, dialect: Dialect, name: str, schema: Mapping[str, Any] | None, pictured: bool
    ) -> str | None:
        """With which words the endpoint refuses a plain question in this dialect, None if it does not."""
        system, user = _PLAIN_JSON
        shown = [sight.picture(), {"type": "text", "text": user["content"]}]
        plain = [system, {**user, "content": shown}] if pictured else _PLAIN_JSON
        try:
            await self._asked(dialect.body(self._config, plain, name, schema))
        except RejectedError as error:
            if error.status not in TO_SETTLE:
                raise
            return error.reason if error.state == "failed" else None
        return None

    async def _check_takes_any(self) -> None:
        """Does an endpoint that has never answered refuse everything? Raises TeacherError."""
        if self._tries.answered:
            return
        try:
            await self._asked({"model": self._config.model, "messages": PLAIN})
        except RejectedError as error:
            cure = f"check teacher.model, teacher.base_url, and {self._connection.key_cure()}"
            self._connection.fatal(f"refuses even the plainest request ({error.reason})", cure)

    async def _asked(self, body: dict[str, Any]) -> Completion:
        return await self._tries.until_answered(lambda: self._connection.post(body))
