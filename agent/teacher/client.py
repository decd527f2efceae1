"""The teacher: a stronger model behind an OpenAI-compatible API, asked for checked values and never asked twice.

A question's outcome is data: `Asked` holds the value or says which of the teacher's faults kept it from us. Only what
ends the whole run is an exception: no connection, a refused key, an unknown address or model, the same failure ten
times in a row, none of a kind's first questions answered.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel

from agent.chat.stop import Stop
from agent.chat.stream import see_through
from agent.config.schema import TeacherConfig
from agent.teacher.asked import Asked, Failures, Lost, Tally, refusal_in, what_failed
from agent.teacher.batch.ahead import Ahead
from agent.teacher.batch.api import BatchApi
from agent.teacher.batch.fetching import Progress
from agent.teacher.batch.sending import Questions
from agent.teacher.endpoint.dialect import CHOICE, Learned
from agent.teacher.endpoint.endpoint import Endpoint
from agent.teacher.endpoint.outage import Say
from agent.teacher.endpoint.received import RejectedError
from agent.teacher.endpoint.traffic import Traffic
from agent.teacher.ledger.budget import Budget
from agent.teacher.ledger.journal import Completion, Usage
from agent.teacher.ledger.ledger import Ledger
from agent.teacher.logprobs import CHOICE_TOKENS, option_odds
from agent.teacher.prompts.own import Prompts, load_prompts
from agent.teacher.prompts.replies import json_schema
from agent.teacher.repair import repaired
from agent.teacher.request import ChatRequest, Question
from retrieval.errors import DataError, TeacherError

#: Seconds that replies on their way get to come in when the run stops.
GRACE = 10.0

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")


class Teacher:
    """A teacher with its journal. Nothing is opened before the first question. Set `scope` (say "round-01") so that
    usage can be told apart later; at most `config.concurrency` requests are under way at one time, however many
    questions there are. Teachers of one run share a `budget`, `prompts` (those of `config`, if not given), what was `learned`
    about the endpoint, the `traffic` there, and the `stop`: when that is asked for, requests that are on their way come in, and
    whatever would need another raises StoppedError. Where other runs write to the journal too, `costs` is a file of this run's
    own, in which what it pays for is noted down, without the replies. `say` is told when the teacher is away, and when it is
    back, and how batches stand; their log lies beside the journal."""

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
        stop: Stop | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self.config = config
        self.prompts = prompts or load_prompts(config.prompts)
        self.scope = scope
        self.budget = budget or Budget(config.budget_usd)
        self.learned = learned or Learned()
        self.stop = stop or Stop()
        self.traffic = traffic or Traffic()
        self._sleep = self.traffic.timed(self.stop.sleeper(sleep))
        self.say = say
        #: Of what there is of batches, which is this run's; None: all.
        self._own_scope = scope if costs else None
        self.journal = journal
        self._ledger = Ledger(config, journal, self.budget, costs, self._own_scope)
        self._endpoint: Endpoint | None = None
        self._ahead = Ahead(
            config,
            self._ledger,
            journal.with_suffix(".batches.jsonl"),
            self,
            lambda: BatchApi(self._opened()),
            self._sleep,
            lambda text: self.say(text),
            self.stop,
        )
        self._slots = asyncio.Semaphore(config.concurrency)
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._failures = Failures()
        self._tally: dict[str, Tally] = defaultdict(Tally)
        #: Keys of replies in the journal of which no value could be made.
        self._unusable: set[str] = set()

    async def ask(
        self,
        kind: str,
        data: Mapping[str, Any],
        schema: type[T],
        images: Sequence[Path | bytes] = (),
        check: Callable[[T], str] = lambda value: "",
        anew: bool = False,
        parts: int = 1,
    ) -> Asked[T]:
        """Ask one question. `data` is a JSON object; `check` says what is wrong with a value that fits the schema ("" for
        nothing). `anew`: what earlier processes got counts only if it has a value. `parts`: what the question can be divided
        into; whoever asks does so, if that may help (`Asked.divisible`), and of a question that holds more pictures than the
        endpoint has shown to take, it is said at once.

        A malformed reply is shown to the teacher once, with what is wrong with it. Raises TeacherError, BudgetError,
        StorageError.
        """

        async def work() -> tuple[Asked[T], list[str]]:
            request = self.request(Question(kind, data, schema, images))
            known = self._ledger.find(request.key(), self.config.max_tokens) is not None
            if parts > 1 and not known and not self._opened().learned.sizes.fits(request.pictures):
                return Asked(None, "failed", f"{request.pictures} pictures are too many for this endpoint", True), []
            asked, keys = await repaired(self.complete, request, schema, check)
            if anew and known and asked.state != "ok":
                self._ledger.forget(keys)
                asked, keys = await repaired(self.complete, request, schema, check)
            return asked, keys

        return await self._counted(kind, work, parts)

    async def choose(self, data: Mapping[str, Any], letters: Collection[str]) -> Asked[dict[str, float]]:
        """Have the teacher choose an option, without images: the probability of each letter, which sum to 1.

        `data` is JSON, with the options in it. Raises TeacherError (the endpoint gives no log-probabilities, too),
        BudgetError, StorageError.
        """

        async def work() -> tuple[Asked[dict[str, float]], list[str]]:
            request = self.request(Question(CHOICE, data, None))
            reply, keys = await self.complete(request), [request.key()]
            if (fault := refusal_in(reply)) is not None:
                return fault, keys
            odds = option_odds(reply.top, letters)
            if odds is None:
                said = " ".join(reply.content[:40].split())
                why = f"none of {', '.join(letters)} is among the likely tokens of {said!r}"
                return Asked(None, "malformed", why), keys
            return Asked(odds, "ok"), keys

        return await self._counted(CHOICE, work)

    async def _counted(
        self, kind: str, work: Callable[[], Awaitable[tuple[Asked[R], list[str]]]], parts: int = 1
    ) -> Asked[R]:
        """Do the asking in one of the slots; what failed is data. What is asked again in parts counts for no failure."""
        self.load()
        keys: list[str] = []
        error: RejectedError | DataError | None = None
        async with self._slots:
            try:
                asked, keys = await work()
            except (RejectedError, DataError) as failed:
                asked, error = what_failed(failed), failed
        before = self._tally[kind]
        lost = () if asked.state == "ok" else (Lost(asked.fault, asked.reason),)
        self._tally[kind] = Tally(before.asked + 1, before.lost + lost)
        if asked.state != "ok":
            self._unusable.update(keys)
        if not (asked.divisible and parts > 1) and not isinstance(error, DataError):
            where = self._endpoint.name if self._endpoint else self.config.base_url
            if error is not None and error.state == "failed":
                self._failures.again(error.reason, where)
            try:
                self._failures.add(kind, asked, where)
            except TeacherError:
                self.ask_anew()
                raise
        return asked

    def ask_anew(self) -> None:
        """Have the questions that came to nothing in this process asked anew by the next, whatever is in the journal: they are
        why the run stops, and what makes it go on may have mended them. Raises StorageError."""
        self._ledger.ask_anew(sorted(self._unusable))
        self._unusable.clear()

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

    @property
    def has_seen(self) -> bool:
        """Whether nothing is left to learn by `check_sees`: it is to see no pictures, or has seen one."""
        return not self.config.see_images or self._opened().learned.sees

    async def check_sees(self) -> None:
        """Show the teacher a picture, which stands in no journal. Raises TeacherError if it takes none."""
        await self._opened().check_sees()

    def fits(self, question: Question) -> bool:
        """Whether the endpoint takes so many pictures in a request, as far as it has shown."""
        return not self.config.see_images or self._opened().learned.sizes.fits(len(question.images))

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
            self._endpoint = Endpoint(self.config, self._sleep, self.learned, self.say, self.stop, self.traffic)
        return self._endpoint

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
                self._failures.end()  # others of its batch were answered
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
        """The endpoint's reply, written down and paid for; so is what it may have made without our hearing of it."""

        def lost() -> bool:
            return self._ledger.charge(question, more, self.scope)

        messages = await question.encoded()
        if question.schema is None:
            reply = await endpoint.choose(messages, lost)
        else:
            schema = json_schema(question.schema)
            reply = await endpoint.chat(messages, question.kind, schema, list(more), lost)
        self._failures.end()
        self._ledger.enter(question.key(more), question.kind, self.scope, reply, most)
        return reply
