"""The teacher: a stronger model behind an OpenAI-compatible API, asked for checked values and never asked twice.

A question's outcome is data: `Asked` holds the value or says which of the teacher's faults kept it from us. Only what
ends the whole run is an exception: no connection, a refused key, an unknown address or model, the same failure ten
times in a row.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel

from agent.chat.stream import see_through
from agent.config.schema import TeacherConfig
from agent.teacher.batch.ahead import Ahead
from agent.teacher.batch.api import BatchApi
from agent.teacher.batch.fetching import Progress
from agent.teacher.batch.sending import Questions
from agent.teacher.endpoint.dialect import Learned
from agent.teacher.endpoint.endpoint import Endpoint
from agent.teacher.endpoint.outage import Say
from agent.teacher.endpoint.received import RejectedError
from agent.teacher.ledger.budget import Budget
from agent.teacher.ledger.journal import Completion, Usage
from agent.teacher.ledger.ledger import Ledger
from agent.teacher.logprobs import CHOICE_TOKENS, option_odds
from agent.teacher.prompts.own import Prompts, load_prompts
from agent.teacher.prompts.replies import json_schema
from agent.teacher.reply import parse_reply
from agent.teacher.request import ChatRequest, Question
from retrieval.errors import DataError, TeacherError

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
    what it pays for is noted down, without the replies. `say` is told when the teacher is away, and when it is back, and how
    batches stand; their log lies beside the journal."""

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
        self._ledger = Ledger(config, journal, self.budget, costs)
        #: Of what there is of batches, which is this run's; None: all.
        self._own_scope = scope if costs else None
        self._endpoint: Endpoint | None = None
        self._ahead = Ahead(
            config,
            self._ledger,
            journal.with_suffix(".batches.jsonl"),
            self,
            lambda: BatchApi(self._opened()),
            sleep,
            lambda text: self.say(text),
        )
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
            request = self.request(Question(kind, data, schema, images))
            known = anew and self._ledger.find(request.key(), self.config.max_tokens) is not None
            asked, keys = await self._repaired(request, schema, check)
            if known and asked.state != "ok":
                self._ledger.forget(keys)
                asked, _ = await self._repaired(request, schema, check)
            return asked

        return await self._counted(kind, work)

    async def choose(self, data: Mapping[str, Any], letters: Collection[str]) -> Asked[dict[str, float]]:
        """Have the teacher choose an option, without images: the probability of each letter, which sum to 1.

        `data` is JSON, with the options in it. Raises TeacherError (the endpoint gives no log-probabilities, too),
        BudgetError, StorageError.
        """

        async def work() -> Asked[dict[str, float]]:
            reply = await self.complete(self.request(Question("choose", data, None)))
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

    @property
    def has_batches(self) -> bool:
        """Whether there may be something to wait for in `ask_ahead`."""
        return self._ahead.waits

    async def ask_ahead(self, questions: Questions, on_progress: Progress = lambda done, total: None) -> None:
        """Have questions that can wait answered in batches, if those are wanted (`teacher.batch`): their replies are in the
        journal then, where `ask` and `choose` find them. Raises TeacherError, BudgetError, StorageError."""
        self.load()
        if self.has_batches:
            await self._ahead.ask(questions, self.scope, on_progress)

    async def check_batches(self) -> None:
        """See that the endpoint has a Batch API. Raises TeacherError."""
        await BatchApi(self._opened()).check()

    def load(self) -> None:
        """Read the journal and count what was spent before, and what batches can cost, once. Raises DataError."""
        if self._ledger.load():
            self._ahead.hold(self._own_scope)

    def tally(self, kind: str) -> Tally:
        """How many questions of a kind were asked, and how many came to nothing: for the error budget."""
        return self._tally[kind]

    def usage(self, scope: str | None = None) -> Usage:
        """Calls, tokens and cost of the answered requests of a scope, over all processes of the run; of all scopes if
        None."""
        self.load()
        return self._ledger.usage(scope)

    def paid(self) -> Usage:
        """What this run has paid for, over all its processes, of what is in the journal."""
        return self._ledger.paid()

    async def close(self) -> None:
        """Close connections and journal. The teacher can still be asked; it opens them again."""
        self._ledger.close()
        self._ahead.close()
        if self._endpoint is not None:
            await self._endpoint.close()
            self._endpoint = None

    def request(self, question: Question) -> ChatRequest:
        """A question as this teacher is asked it. Raises DataError if an image cannot be read."""
        return ChatRequest(question, self.config, self.prompts)

    def _opened(self) -> Endpoint:
        if self._endpoint is None:
            self._endpoint = Endpoint(self.config, self._sleep, self.learned, self.say)
        return self._endpoint

    async def _repaired(
        self, question: ChatRequest, schema: type[T], check: Callable[[T], str]
    ) -> tuple[Asked[T], list[str]]:
        """What comes of a question, after one repair if need be, and its keys in the journal."""
        asked, reply = await self._try(question, schema, [], check)
        if asked.state != "malformed":
            return asked, [question.key()]
        more = _repair(reply.content, asked.reason)
        asked, reply = await self._try(question, schema, more, check)
        if asked.state == "malformed":
            start = " ".join(reply.content[:200].split())[:80]
            asked = replace(asked, reason=f"{asked.reason}; it begins {start!r}")
        return asked, [question.key(), question.key(more)]

    async def _try(
        self, question: ChatRequest, schema: type[T], more: list[dict[str, Any]], check: Callable[[T], str]
    ) -> tuple[Asked[T], Completion]:
        reply = await self.complete(question, more)
        if (fault := _refusal(reply)) is not None:
            return fault, reply
        if reply.finish == "length":
            return Asked(None, "cut", f"the reply ran into teacher.max_tokens ({reply.limit})", True), reply
        value, problem = parse_reply(reply.content, schema)
        problem = problem if value is None else check(value)
        if problem:
            return Asked(None, "malformed", problem, True), reply
        return Asked(value, "ok"), reply

    async def complete(self, question: ChatRequest, more: Sequence[dict[str, Any]] = ()) -> Completion:
        """The reply from the journal, or else from the endpoint. Raises TeacherError, BudgetError, RejectedError."""
        key = question.key(more)
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            # A choice is read from its first tokens, so one that was cut off behind them is whole.
            found = self._ledger.find(key, self.config.max_tokens if question.schema else CHOICE_TOKENS)
            if found is not None:
                return found
            if (rejected := self._ahead.rejection(key)) is not None:
                self._failures = ("", 0)  # others of its batch were answered
                raise rejected
            endpoint = self._opened()
            most = self._ledger.most(question, more)
            await self.budget.room(most)
            with self.budget.under_way(most):
                # A reply on its way is paid for, whether the run goes on or not.
                bought = self._bought(endpoint, question, more, most)
                return await see_through(bought, endpoint.is_sending, GRACE)

    async def _bought(
        self, endpoint: Endpoint, question: ChatRequest, more: Sequence[dict[str, Any]], most: float
    ) -> Completion:
        """The endpoint's reply, written down and paid for."""
        if question.schema is None:
            reply = await endpoint.choose(question.messages())
        else:
            schema = json_schema(question.schema)
            reply = await endpoint.chat(question.messages(), question.kind, schema, list(more))
        self._failures = ("", 0)
        self._ledger.enter(question.key(more), question.kind, self.scope, reply, most)
        return reply

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
