"""What an endpoint can do, learned from its refusals.

A 400 may have many causes, so what it says is only a hint at what to try: the endpoint is taken not to speak a dialect if it
refuses a plain question in it, answers one in the next, and refuses the first once more.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.config.schema import TeacherConfig
from agent.teacher.endpoint.connection import Connection
from agent.teacher.endpoint.dialect import Dialect, Learned, Messages
from agent.teacher.endpoint.received import NOT_TAKEN, RejectedError
from agent.teacher.endpoint.tries import Tries
from agent.teacher.ledger.journal import Completion

#: A question that no one can mind, and the same for a reply in JSON.
PLAIN: Messages = [{"role": "user", "content": "Say: ready"}]
_PLAIN_JSON: Messages = [
    {"role": "system", "content": "Reply with one JSON object, filled in as you like."},
    {"role": "user", "content": "Any will do."},
]


class Settling:
    """Finds the dialect of one endpoint, and keeps it in `learned`."""

    def __init__(self, config: TeacherConfig, connection: Connection, tries: Tries, learned: Learned) -> None:
        self._config, self._connection, self._tries, self.learned = config, connection, tries, learned
        self._settling = asyncio.Lock()
        #: Kinds of which this process knows that the endpoint takes them in its dialect.
        self._settled: set[str] = set()

    def takes(self, name: str) -> bool:
        """Whether it is known that the endpoint takes this kind of question in its dialect."""
        return name in self._settled

    def answered(self, used: Dialect, name: str) -> None:
        """A question of this kind was answered in the dialect used."""
        if self.learned.dialect == used:
            self._settled.add(name)
            self.learned.keep(used)

    async def after_refusal(self, used: Dialect, name: str, schema: Mapping[str, Any] | None) -> Dialect:
        """After a refusal: the dialect in which to ask, the one used if that is not to blame.

        It is found out once for each kind of question, since endpoints take some schemas and not others. Raises TeacherError
        if the endpoint has never answered and refuses even the plainest request.
        """
        async with self._settling:
            if self.learned.dialect == used and name not in self._settled:
                found = await self._find_dialect(used, name, schema)
                if found is None:
                    await self._check_takes_any()
                    return used
                if found != used:
                    self._settled.clear()
                self._settled.add(name)
                self.learned.keep(found)
            return self.learned.dialect

    async def _find_dialect(self, used: Dialect, name: str, schema: Mapping[str, Any] | None) -> Dialect | None:
        """The dialect nearest to the one used in which a plain question is answered, None if there is none."""
        found = used
        while (said := await self._refusal(found, name, schema)) is not None:
            other = found.other(said, schema is not None)
            if other is None:
                return None
            found = other
        for less in used.concessions(found):  # its words may mislead, and it may have been in trouble
            nearer = replace(found, **less)
            if nearer != found and await self._refusal(nearer, name, schema) is None:
                found = nearer
        return found

    async def _refusal(self, dialect: Dialect, name: str, schema: Mapping[str, Any] | None) -> str | None:
        """With which words the endpoint refuses a plain question in this dialect, None if it does not."""
        try:
            await self._asked(dialect.body(self._config, _PLAIN_JSON, name, schema))
        except RejectedError as error:
            if error.status not in NOT_TAKEN:
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
            self._connection.fatal(
                f"refuses even the plainest request ({error.reason})", "check teacher.model and teacher.base_url"
            )

    async def _asked(self, body: dict[str, Any]) -> Completion:
        return await self._tries.until_answered(lambda: self._connection.post(body))
