"""How an endpoint wants its requests, and what of it is remembered.

Endpoints differ in how the form of a reply may be asked for (a JSON schema, JSON mode, or in words alone), in the name
of the limit and in whether they take a temperature. Which dialect an endpoint speaks is learned from its refusals
(`Endpoint`) and kept in a file of the run, so that a run that goes on does not ask again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from agent.config.schema import TeacherConfig
from agent.teacher.logprobs import CHOICE_TOKENS, TOP
from retrieval.errors import DataError
from retrieval.storage.files import read_json, write_json

#: How the form of a reply is asked for, the most binding first.
FORMS = ("schema", "object", "text")
_LIMITS = ("max_tokens", "max_completion_tokens")

Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """`form`: a JSON schema (structured outputs), JSON mode, or neither; `limit`: the name of the limit."""

    form: Literal["schema", "object", "text"] = "schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True

    def other(self, said: str, formed: bool) -> Self | None:
        """What to try after a refusal that says so much, None if nothing is left. `formed`: a form was asked for."""
        said = said.lower()
        if self.limit == "max_tokens" and "max_completion_tokens" in said:
            return replace(self, limit="max_completion_tokens")
        if self.temperature and "temperature" in said:
            return replace(self, temperature=False)
        if formed and self.form != "text":
            return replace(self, form="object" if self.form == "schema" else "text")
        return None

    def concessions(self, other: Self) -> list[dict[str, Any]]:
        """What `other` may have conceded without need: the fields of this dialect, to be tried one by one; of the forms
        between the two, the least binding first."""
        forms = FORMS[FORMS.index(self.form) : FORMS.index(other.form)]
        return [{"limit": self.limit}, {"temperature": self.temperature}, *({"form": form} for form in reversed(forms))]

    def body(
        self,
        config: TeacherConfig,
        messages: Messages,
        name: str,
        schema: Mapping[str, Any] | None,
        more: Messages | None = None,
    ) -> dict[str, Any]:
        """A request for a reply that fits `schema`; without one, for a choice with log-probabilities.

        `more` is what was said since (a repair). Where the endpoint does not see to the form, it is told in words; so it
        is in a repair, since an endpoint that took a schema and then broke it has likely not looked at it.
        """
        limit = config.max_tokens if schema is not None else CHOICE_TOKENS
        body: dict[str, Any] = {"model": config.model, "messages": [*messages, *(more or ())], self.limit: limit}
        if self.temperature:
            body["temperature"] = 0
        if config.reasoning_effort is not None:
            body["reasoning_effort"] = config.reasoning_effort
        if schema is None:
            return {**body, "logprobs": True, "top_logprobs": TOP}
        if self.form == "schema":
            shape = {"name": name, "schema": dict(schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        elif self.form == "object":
            body["response_format"] = {"type": "json_object"}
        if more or self.form != "schema":
            told = "Reply with one JSON object and nothing else. It must match this schema:\n" + json.dumps(schema)
            body["messages"][0] = {**messages[0], "content": f"{messages[0]['content']}\n\n{told}"}
        return body


class Learned:
    """What was learned about an endpoint: its dialect, and that it has given log-probabilities.

    Kept in `path`, if there is one, for the address and the model that it was learned from: another address is another
    endpoint. A file that cannot be read costs a few small requests, no more. That an endpoint gives no log-probabilities
    is not kept: it ends the run, and may be mended before the next.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.dialect = Dialect()
        self.logprobs = False
        self._path = path
        self._who = ("", "")
        self._kept: dict[str, Any] = {}

    def open(self, address: str, model: str) -> None:
        """Take up what was learned about this endpoint before; nothing, if it was about another."""
        if (address, model) == self._who:
            return
        self._who = (address, model)
        self.dialect, self.logprobs, self._kept = Dialect(), False, {}
        try:
            found = read_json(self._path) if self._path else {}
            if (found["endpoint"], found["model"]) == self._who:
                self.dialect = _dialect(found)
                self.logprobs = found["logprobs"] is True
                self._kept = found
        except (DataError, OSError, ValueError, LookupError, TypeError):
            return

    def keep(self, dialect: Dialect, logprobs: bool = False) -> None:
        """Remember a dialect in which the endpoint has answered. Raises StorageError."""
        self.dialect, self.logprobs = dialect, self.logprobs or logprobs
        address, model = self._who
        row = {"schema": 1, "endpoint": address, "model": model, **asdict(dialect), "logprobs": self.logprobs}
        if self._path is not None and row != self._kept:
            write_json(self._path, row)
            self._kept = row


def _dialect(found: Mapping[str, Any]) -> Dialect:
    """Raises ValueError or LookupError for what is none."""
    made = Dialect(found["form"], found["limit"], found["temperature"] is not False)
    if made.form not in FORMS or made.limit not in _LIMITS:
        raise ValueError("no dialect")
    return made
