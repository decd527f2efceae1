"""The teacher: a stronger model behind an OpenAI-compatible API, asked for checked values and never asked twice.

A question's outcome is data: `Asked` holds the value or says which of the teacher's faults kept it from us. Only what
ends the whole run is an exception: no connection, a refused key, an unknown address or model, the same failure ten
times in a row.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel

from agent.config import TeacherConfig
from agent.teacher.attachments import data_url, picture_hash, read_picture, sent_size
from agent.teacher.budget import Budget
from agent.teacher.dialect import Learned
from agent.teacher.endpoint import Endpoint
from agent.teacher.journal import Completion, Journal, Usage
from agent.teacher.logprobs import CHOICE_TOKENS, TOP, option_odds
from agent.teacher.outage import Say
from agent.teacher.own_prompts import Prompts, load_prompts
from agent.teacher.prompts import as_data, json_schema
from agent.teacher.received import RejectedError
from agent.teacher.reply import parse_reply
from agent.teacher.stream import see_through
from retrieval.errors import DataError, TeacherError
from retrieval.files import digest

#: So many failures in a row with one message end the run.
SAME_FAILURES = 10
#: Seconds that replies on their way get to come in when the run stops.
GRACE = 10.0
#: Characters of a malformed reply that the repair request shows.
REPAIR_SHOWS = 4000

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")
Fault = Literal["refused", "filtered", "cut", "malformed", "failed"]
State = Literal["ok"] | Fault


@dataclass(frozen=True, slots=True)
class Asked(Generic[R]):
    """What came of a question. `ok` has a value; `refused`: the teacher would not; `filtered`: a content filter stopped
    the question or the reply; `cut`: the reply ran into `max_tokens`; `malformed`: no value could be read, also after one
    repair; `failed`: no reply. `divisible`: asking about half as much at a time may help."""

    value: R | None
    state: State
    reason: str = ""
    divisible: bool = False

    @property
    def fault(self) -> Fault | None:
        """The state, if it is one of the teacher's faults."""
        return None if self.state == "ok" else self.state


class Tally(NamedTuple):
    """Questions of a kind that came back in this process (from the journal too), and those of them without a value."""

    asked: int = 0
    lost: int = 0

    def since(self, before: "Tally") -> tuple[int, int]:
        """What was lost, and asked, after `before`."""
        return self.lost - before.lost, self.asked - before.asked


class Teacher:
    """A teacher with its journal. Nothing is opened before the first question. Set `scope` (say "round-01") so that
    usage can be told apart later; at most `config.concurrency` requests are under way at one time, however many
    questions there are. Teachers of one run share a `budget`, `prompts` (those of `config`, if not given) and what was
    `learned` about the endpoint. Where other runs write to the journal too, `costs` is a file of this run's own, in which
    what it pays for is noted down, without the replies. `say` is told when the teacher is away, and when it is back."""

    def __init__(
        self,
        config: TeacherConfig,
        journal: Path,
        scope: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        budget: Budget | None = None,
        costs: Path | None = None,
        prompts: Prompts | None = None,
        learned: Learned | None = None,
        say: Say = lambda text: None,
    ) -> None:
        self.config = config
        self.prompts = prompts or load_prompts(config.prompts)
        self.scope = scope
        self.budget = budget or Budget(config.budget_usd)
        self.learned = learned or Learned()
        self._sleep = sleep
        self.say = say
        self._price = config.price
        self._journal = Journal(journal, self._price)
        self._costs = Journal(costs, self._price) if costs else None
        self._loaded = False
        self._endpoint: Endpoint | None = None
        self._slots = asyncio.Semaphore(config.concurrency)
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._failures = ("", 0)
        self._tally: dict[str, Tally] = defaultdict(Tally)

    async def ask(
        self,
        kind: str,
        data: Mapping[str, Any],
        schema: type[T],
        images: Sequence[Path | bytes] = (),
        check: Callable[[T], str] = lambda value: "",
        anew: bool = False,
    ) -> Asked[T]:
        """Ask one question. `data` is a JSON object; `check` says what is wrong with a value that fits the schema ("" for
        nothing). `anew`: what earlier processes got counts only if it has a value.

        A malformed reply is shown to the teacher once, with what is wrong with it. Raises TeacherError, BudgetError,
        StorageError.
        """

        async def work() -> Asked[T]:
            question = self._question(kind, data, schema, images)
            known = anew and self._journal.find(question.key([]), self.config.max_tokens) is not None
            asked, keys = await self._repaired(question, schema, check)
            if known and asked.state != "ok":
                self._journal.forget(keys)
                asked, _ = await self._repaired(question, schema, check)
            return asked

        return await self._counted(kind, work)

    async def choose(self, data: Mapping[str, Any], letters: Collection[str]) -> Asked[dict[str, float]]:
        """Have the teacher choose an option, without images: the probability of each letter, which sum to 1.

        `data` is JSON, with the options in it. Raises TeacherError (the endpoint gives no log-probabilities, too),
        BudgetError, StorageError.
        """

        async def work() -> Asked[dict[str, float]]:
            reply = await self._complete(self._question("choose", data, None, ()), [])
            if (fault := _refusal(reply)) is not None:
                return fault
            odds = option_odds(reply.top, letters)
            if odds is None:
                said = " ".join(reply.content[:40].split())
                return Asked(None, "malformed", f"none of {', '.join(letters)} is among the likely tokens of {said!r}")
            return Asked(odds, "ok")

        return await self._counted("choose", work)

    async def _counted(self, kind: str, work: Callable[[], Awaitable[Asked[R]]]) -> Asked[R]:
        """Do the asking in one of the slots; what failed is data."""
        self.load()
        async with self._slots:
            try:
                asked = await work()
            except (RejectedError, DataError) as error:
                asked = self._failure(error)
        before = self._tally[kind]
        self._tally[kind] = Tally(before.asked + 1, before.lost + (asked.state != "ok"))
        return asked

    def load(self) -> None:
        """Read the journal and count what was spent before, once. Raises DataError."""
        if not self._loaded:
            self._loaded = True
            self.budget.pay(self.paid().cost_usd or 0.0)

    def tally(self, kind: str) -> Tally:
        """How many questions of a kind were asked, and how many came to nothing: for the error budget."""
        return self._tally[kind]

    def usage(self, scope: str | None = None) -> Usage:
        """Calls, tokens and cost of the answered requests of a scope, over all processes of the run; of all scopes if
        None."""
        self.load()
        return self._journal.usage(scope)

    def paid(self) -> Usage:
        """What this run has paid for, over all its processes, of what is in the journal."""
        return (self._costs or self._journal).usage()

    async def close(self) -> None:
        """Close connections and journal. The teacher can still be asked; it opens them again."""
        for journal in filter(None, (self._journal, self._costs)):
            journal.close()
        if self._endpoint is not None:
            await self._endpoint.close()
            self._endpoint = None

    def _question(
        self, kind: str, data: Mapping[str, Any], schema: type[BaseModel] | None, images: Sequence[Path | bytes]
    ) -> "_Question":
        """Raises DataError if an image cannot be read."""
        if images and not self.config.see_images:
            data, images = {**data, "images_not_shown": len(images)}, ()
        pictures = [read_picture(image) for image in images]
        return _Question(self.config.model, kind, self.prompts[kind], data, schema, pictures, self.config.image_size)

    async def _repaired(
        self, question: "_Question", schema: type[T], check: Callable[[T], str]
    ) -> tuple[Asked[T], list[str]]:
        """What comes of a question, after one repair if need be, and its keys in the journal."""
        asked, reply = await self._try(question, schema, [], check)
        if asked.state != "malformed":
            return asked, [question.key([])]
        more = _repair(reply.content, asked.reason)
        asked, reply = await self._try(question, schema, more, check)
        if asked.state == "malformed":
            start = " ".join(reply.content[:200].split())[:80]
            asked = replace(asked, reason=f"{asked.reason}; it begins {start!r}")
        return asked, [question.key([]), question.key(more)]

    async def _try(
        self, question: "_Question", schema: type[T], more: list[dict[str, Any]], check: Callable[[T], str]
    ) -> tuple[Asked[T], Completion]:
        reply = await self._complete(question, more)
        if (fault := _refusal(reply)) is not None:
            return fault, reply
        if reply.finish == "length":
            return Asked(None, "cut", f"the reply ran into teacher.max_tokens ({reply.limit})", True), reply
        value, problem = parse_reply(reply.content, schema)
        problem = problem if value is None else check(value)
        if problem:
            return Asked(None, "malformed", problem, True), reply
        return Asked(value, "ok"), reply

    async def _complete(self, question: "_Question", more: list[dict[str, Any]]) -> Completion:
        """The reply from the journal, or else from the endpoint. Raises TeacherError, BudgetError, RejectedError."""
        key = question.key(more)
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            # A choice is read from its first tokens, so one that was cut off behind them is whole.
            found = self._journal.find(key, self.config.max_tokens if question.schema else CHOICE_TOKENS)
            if found is not None:
                return found
            if self._endpoint is None:
                self._endpoint = Endpoint(self.config, self._sleep, self.learned, self.say)
            most = self._most(question, more)
            await self.budget.room(most)
            with self.budget.under_way(most):
                # A reply on its way is paid for, whether the run goes on or not.
                bought = self._bought(self._endpoint, question, more, most)
                return await see_through(bought, self._endpoint.is_sending, GRACE)

    async def _bought(
        self, endpoint: Endpoint, question: "_Question", more: list[dict[str, Any]], most: float
    ) -> Completion:
        """The endpoint's reply, written down and paid for."""
        if question.schema is None:
            reply = await endpoint.choose(question.messages())
        else:
            reply = await endpoint.chat(question.messages(), question.kind, json_schema(question.schema), more)
        self._failures = ("", 0)
        key, cost = question.key(more), self._cost(reply, most)
        if self._costs is not None:  # first: what a kill keeps from the journal was paid for, and will be again
            bare = replace(reply, content="", refusal="", top=())
            self._costs.add(key, question.kind, self.scope, bare, cost)
        self._journal.add(key, question.kind, self.scope, reply, cost)
        self.budget.pay(cost or 0.0)
        return reply

    def _most(self, question: "_Question", more: list[dict[str, Any]]) -> float:
        """US dollars that a request can cost, 0 where there is no budget to keep."""
        if self._price is None or self.budget.limit is None:
            return 0.0
        return self._price.at_most(question.text_bytes(more), question.image_sizes(), self.config.max_tokens)

    def _cost(self, reply: Completion, most: float) -> float | None:
        if self._price is None:
            return None
        if self.budget.limit is not None and not (reply.tokens_in and reply.tokens_out):
            return most  # the endpoint does not say what it took
        return self._price.of(reply.tokens_in, reply.tokens_out)

    def _failure(self, error: RejectedError | DataError) -> Asked[Any]:
        if isinstance(error, DataError):
            return Asked(None, "failed", str(error), True)
        if error.state != "failed":
            return Asked(None, error.state, error.reason, True)
        # Request ids and times differ in one and the same failure.
        message = re.sub(r"[0-9a-fA-F-]{8,}|\d+", "#", error.reason)
        count = self._failures[1] + 1 if message == self._failures[0] else 1
        self._failures = (message, count)
        if count >= SAME_FAILURES:
            where = self._endpoint.name if self._endpoint else self.config.base_url
            raise TeacherError(f"the teacher at {where} failed {count} times in a row with one message: {error.reason}")
        return Asked(None, "failed", error.reason, error.status in (400, 413, 422))


class _Question:
    """One question: its key in the journal, and its messages. Without a schema, it is a choice."""

    def __init__(
        self,
        model: str,
        kind: str,
        prompt: str,
        data: Any,
        schema: type[BaseModel] | None,
        images: Sequence[bytes],
        longest: int | None,
    ) -> None:
        self.kind, self.schema = kind, schema
        self._prompt, self._longest = prompt, longest
        self._model, self._data, self._images = model, as_data(data), images

    def key(self, more: list[dict[str, Any]]) -> str:
        """Hash of everything that the reply depends on. The endpoint's address is not in it: the model is who
        answers."""
        hashes = [picture_hash(image) for image in self._images]
        if hashes and self._longest is not None:
            hashes.append(f"at most {self._longest} pixels")
        shape: Any = json_schema(self.schema) if self.schema else f"top {TOP}"
        return digest([self._model, self._prompt, self._data, hashes, shape, more])

    def messages(self) -> list[dict[str, Any]]:
        """The prompt, then the images and one text part with the data. Raises DataError if an image is none."""
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": data_url(image, self._longest)}} for image in self._images
        ]
        parts.append({"type": "text", "text": self._data})
        return [{"role": "system", "content": self._prompt}, {"role": "user", "content": parts}]

    def text_bytes(self, more: list[dict[str, Any]]) -> int:
        """Bytes of all that is sent as text, the schema (which may be sent twice) included."""
        shape = json.dumps(json_schema(self.schema)) * 2 if self.schema else ""
        texts = [self._prompt, self._data, shape, json.dumps(more)]
        return sum(len(text.encode()) for text in texts)

    def image_sizes(self) -> list[tuple[int, int]]:
        """Width and height (pixels) of each image as it is sent. Raises DataError if one is none."""
        return [sent_size(image, self._longest) for image in self._images]


def _refusal(reply: Completion) -> Asked[Any] | None:
    """What the teacher, or its provider, would not answer; None if it did."""
    if reply.refusal:
        return Asked(None, "refused", reply.refusal[:300], True)
    if reply.finish == "content_filter":
        return Asked(None, "filtered", "stopped by the provider's content filter", True)
    return None


def _repair(content: str, problem: str) -> list[dict[str, Any]]:
    told = f"That reply cannot be used: {problem}. Reply again with one JSON object as described, and nothing else."
    return [{"role": "assistant", "content": content[:REPAIR_SHOWS] or "(empty)"}, {"role": "user", "content": told}]
