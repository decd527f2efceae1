"""How an endpoint wants its requests, and what of it is remembered.

Endpoints differ in how the form of a reply may be asked for (a JSON schema, JSON mode, or in words alone), in the name of the
limit, in whether they take a temperature or a reasoning effort, and in where a system message may stand. Which dialect one
speaks is learned from its refusals (`Endpoint`) and kept in a file of the run, so that a run that goes on does not ask again.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from agent.config.schema import TeacherConfig
from agent.teacher.endpoint.sizes import Sizes
from agent.teacher.logprobs import CHOICE_TOKENS, TOP
from retrieval.errors import DataError
from retrieval.storage.files import read_json, write_json

#: The kind that is replied to with a letter and its log-probabilities.
CHOICE = "choose"
#: How the form of a reply is asked for, the most binding first.
FORMS = ("schema", "object", "text")
_LIMITS = ("max_tokens", "max_completion_tokens")
#: Where a system message may stand: anywhere; not beside pictures (Llama 3.2 Vision); nowhere (Gemma).
SYSTEMS = ("any", "apart", "none")
_SYSTEM = re.compile(r"system (message|role|prompt|instruction)|roles must alternate|role\W{1,4}system")

Messages = list[dict[str, Any]]


class Put(NamedTuple):
    """What there is of a request that an endpoint may not take: a form was asked for, there are pictures, a reasoning effort is
    set."""

    formed: bool
    pictured: bool = False
    effort: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """`form`: a JSON schema (structured outputs), JSON mode, or neither; `limit`: the name of the limit; `system`: one of
    SYSTEMS; where no system message may stand, its text goes ahead of the user's."""

    form: Literal["schema", "object", "text"] = "schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    effort: bool = True
    system: Literal["any", "apart", "none"] = "any"

    def other(self, said: str, put: Put) -> Self | None:
        """What to try after a refusal that says so much, None if nothing is left: what it names, the form, anything else."""
        said = said.lower()
        if self.limit == "max_tokens" and "max_completion_tokens" in said:
            return replace(self, limit="max_completion_tokens")
        if self.temperature and "temperature" in said:
            return replace(self, temperature=False)
        if self.effort and put.effort and "reasoning" in said:
            return replace(self, effort=False)
        if _SYSTEM.search(said) and (less := self._less_system(put)) is not None:
            return less
        if put.formed and self.form != "text":
            return replace(self, form="object" if self.form == "schema" else "text")
        if self.effort and put.effort:
            return replace(self, effort=False)
        if self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        return replace(self, temperature=False) if self.temperature else self._less_system(put)

    def _less_system(self, put: Put) -> Self | None:
        if self.system == "any" and put.pictured:
            return replace(self, system="apart")
        return None if self.system == "none" else replace(self, system="none")

    def concessions(self, other: Self) -> list[dict[str, Any]]:
        """What `other` may have conceded without need: the fields of this dialect, to be tried one by one; of the forms
        between the two, the least binding first."""
        forms = FORMS[FORMS.index(self.form) : FORMS.index(other.form)]
        systems = SYSTEMS[SYSTEMS.index(self.system) : SYSTEMS.index(other.system)]
        rest: list[dict[str, Any]] = [{"limit": self.limit}, {"temperature": self.temperature}, {"effort": self.effort}]
        return [*rest, *({"system": each} for each in reversed(systems)), *({"form": form} for form in reversed(forms))]

    def body(
        self,
        config: TeacherConfig,
        messages: Messages,
        name: str,
        schema: Mapping[str, Any] | None,
        more: Messages | None = None,
    ) -> dict[str, Any]:
        """A request for a reply that fits `schema`; without one, for a choice with log-probabilities (`name` is `choose`), or for
        any reply.

        `more` is what was said since (a repair). Where the endpoint does not see to the form, it is told in words; so it
        is in a repair, since an endpoint that took a schema and then broke it has likely not looked at it.
        """
        limit = CHOICE_TOKENS if name == CHOICE else config.max_tokens
        if schema is not None and (more or self.form != "schema"):
            told = "Reply with one JSON object and nothing else. It must match this schema:\n" + json.dumps(schema)
            messages = [{**messages[0], "content": f"{messages[0]['content']}\n\n{told}"}, *messages[1:]]
        asked = [*self._with_system(messages), *(more or ())]
        body: dict[str, Any] = {"model": config.model, "messages": asked, self.limit: limit}
        if self.temperature:
            body["temperature"] = 0
        if self.effort and config.reasoning_effort is not None:
            body["reasoning_effort"] = config.reasoning_effort
        if name == CHOICE:
            return {**body, "logprobs": True, "top_logprobs": TOP}
        if schema is not None and self.form == "schema":
            shape = {"name": name, "schema": dict(schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        elif schema is not None and self.form == "object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _with_system(self, messages: Messages) -> Messages:
        """The messages as this dialect puts them: a system message that may not stand there goes into the user's, behind the
        pictures and ahead of the text."""
        if self.system == "any" or (self.system == "apart" and not pictures_in(messages)):
            return messages
        system, user, *rest = messages
        parts = user["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        images = [part for part in parts if part["type"] == "image_url"]
        said = [part for part in parts if part["type"] != "image_url"]
        return [{**user, "content": [*images, {"type": "text", "text": system["content"]}, *said]}, *rest]


def pictures_in(messages: Messages) -> int:
    """How many pictures a request holds."""
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    return sum(part["type"] == "image_url" for part in parts)


class Learned:
    """What was learned about an endpoint: its dialect, how many pictures it takes in a request (`sizes`), that it has given
    log-probabilities, and that it has seen a picture.

    Kept in `path`, if there is one, for the address and the model that it was learned from: another address is another
    endpoint. A file that cannot be read costs a few small requests, no more. That an endpoint gives no log-probabilities, or
    sees nothing, is not kept: it ends the run, and may be mended before the next.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._who = ("", "")
        self._forget()

    def _forget(self) -> None:
        self.dialect, self.sizes, self.logprobs, self.sees = Dialect(), Sizes(), False, False
        self._kept: dict[str, Any] = {}

    def open(self, address: str, model: str) -> None:
        """Take up what was learned about this endpoint before; nothing, if it was about another."""
        if (address, model) == self._who:
            return
        self._who = (address, model)
        self._forget()
        try:
            found = read_json(self._path) if self._path else {}
            if (found["endpoint"], found["model"]) == self._who:
                dialect, sizes = _dialect(found), Sizes(found.get("pictures"))
                self.dialect, self.sizes, self._kept = dialect, sizes, found
                self.logprobs, self.sees = found["logprobs"] is True, found.get("sees") is True
        except (DataError, OSError, ValueError, LookupError, TypeError):
            return

    def keep(self, dialect: Dialect, logprobs: bool = False, sees: bool = False) -> None:
        """Remember a dialect in which the endpoint has answered. Raises StorageError."""
        self.dialect, self.logprobs, self.sees = dialect, self.logprobs or logprobs, self.sees or sees
        address, model = self._who
        known = {"logprobs": self.logprobs, "sees": self.sees, "pictures": self.sizes.as_row()}
        row = {"schema": 1, "endpoint": address, "model": model, **asdict(dialect), **known}
        if self._path is not None and row != self._kept:
            write_json(self._path, row)
            self._kept = row


def _dialect(found: Mapping[str, Any]) -> Dialect:
    """Raises ValueError or LookupError for what is none; earlier versions kept fewer fields."""
    effort, system = found.get("effort") is not False, found.get("system", "any")
    made = Dialect(found["form"], found["limit"], found["temperature"] is not False, effort, system)
    if made.form not in FORMS or made.limit not in _LIMITS or made.system not in SYSTEMS:
        raise ValueError("no dialect")
    return made
