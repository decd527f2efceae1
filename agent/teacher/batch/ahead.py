"""Requests that can wait, answered ahead in batches: what they bring is put into the journal, where whoever asks finds it.

So a question is answered the same way whether it was in a batch or not: its states, its repair and its halves are those of
`Teacher.ask`. What a batch leaves unanswered for a passing reason goes into the next one, `TRIES` times at most, and is
then asked directly; so is what comes to fewer than `LEAST`. What it refuses is refused.

A batch is written down before it is made (`BatchLog`), so that a run that was killed at any point finds it again and pays for no
request twice.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from agent.config.schema import TeacherConfig
from agent.teacher.batch.api import BatchApi, Look, MissingError
from agent.teacher.batch.log import BatchLog, Submitted
from agent.teacher.endpoint.outage import Say
from agent.teacher.endpoint.received import PassingError, RejectedError
from agent.teacher.ledger.journal import Completion
from agent.teacher.ledger.ledger import Ledger
from agent.teacher.logprobs import CHOICE_TOKENS
from agent.teacher.prompts.replies import REPLIES, json_schema
from agent.teacher.request import ChatRequest, Question
from retrieval.errors import DataError, TeacherError, TeacherSetupError
from retrieval.storage.files import storage_errors

#: Requests and bytes that a batch may hold (OpenAI's limits).
MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000
#: Fewer requests than this are asked directly: a day is long.
LEAST = 10
#: Batches in which a request is put, at most.
TRIES = 3
#: Seconds after which a batch that was made is in the provider's list.
LISTED = 30.0
#: Looks at a batch that has ended, for results that are not there, before they are taken to be gone.
LOOKS = 5
#: The code of a batch that failed because too many tokens of the account wait already (OpenAI).
_QUEUE_FULL = "token_limit_exceeded"

#: Makes the questions, each time it is called.
Questions = Callable[[], Iterable[Question]]
Progress = Callable[[int, int], None]


class Asker(Protocol):
    """What is needed of the teacher."""

    def request(self, question: Question) -> ChatRequest:
        """Raises DataError if an image cannot be read."""

    async def complete(self, request: ChatRequest) -> Completion:
        """From the journal, or directly. Raises TeacherError, BudgetError, RejectedError."""


@dataclass
class _Part:
    """The input file of a batch that is being filled."""

    tag: str
    path: Path
    kinds: dict[str, str] = field(default_factory=dict)
    size: int = 0
    most: float = 0.0


class Ahead:
    """The batches that fill one journal; their log is at `path`. `api` opens the endpoint's."""

    def __init__(
        self,
        config: TeacherConfig,
        ledger: Ledger,
        path: Path,
        asker: Asker,
        api: Callable[[], BatchApi],
        sleep: Callable[[float], Awaitable[None]],
        say: Say,
    ) -> None:
        self._config, self._ledger, self._asker, self._api = config, ledger, asker, api
        self._sleep, self._say = sleep, say
        self._log = BatchLog(path)
        #: What was refused in a batch, by key: it would be refused again.
        self.rejected: dict[str, RejectedError] = {}
        self._tries: Counter[str] = Counter()
        self._seen: dict[str, str] = {}
        #: Looks at batches that had ended without their results, by tag.
        self._short: Counter[str] = Counter()
        #: Requests of a batch, and batches at a time, that the provider's queue has room for.
        self._room = (MOST_REQUESTS, MOST_REQUESTS)
        self._crowded: list[int] = []
        self._took = 0
        #: Minutes for which the queue has been full.
        self._kept_out = 0.0

    @property
    def waits(self) -> bool:
        """Whether there is something to do: batches are wanted, or one of an earlier process is not fetched yet."""
        return self._config.batch or bool(self._log.open)

    def hold(self, scope: str | None) -> None:
        """Set aside what the open batches of a scope can cost; of all scopes if None."""
        for batch in self._log.open.values():
            if scope in (None, batch.scope):
                self._ledger.budget.set_aside(batch.tag, batch.most)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    async def ask(self, questions: Questions, scope: str, on_progress: Progress) -> None:
        """Have questions answered in batches, as far as they are not. Raises TeacherError, BudgetError, StorageError."""
        try:
            await self._fetch(on_progress)
            if self._config.batch:
                await self._ask_first(questions)
                while await self._submit(questions, scope):
                    await self._fetch(on_progress)
                    await self._make_room()
        except asyncio.CancelledError:
            if ids := self._ids():
                self._say(f"the provider goes on with batch {ids}; the same command fetches what it brings")
            raise

    def _ids(self) -> str:
        return ", ".join(batch.id for batch in self._log.open.values() if batch.id)

    async def _ask_first(self, questions: Questions) -> None:
        """Ask one question of each kind directly, so that it is known in which form the endpoint takes them."""
        kinds: set[str] = set()
        for question in questions():
            if question.kind in kinds or self._api().endpoint.takes(question.kind):
                continue
            if (request := self._wanted(question)) is not None:
                kinds.add(question.kind)
                try:
                    await self._asker.complete(request)
                except RejectedError:
                    continue  # whoever asks again is told
                except DataError:  # it was not sent
                    kinds.discard(question.kind)

    def _wanted(self, question: Question) -> ChatRequest | None:
        """The request, if a batch may bring its answer."""
        try:
            request = self._asker.request(question)
        except DataError:
            return None  # whoever asks is told
        key, limit = request.key(), _limit(question.kind, self._config.max_tokens)
        done = self._ledger.find(key, limit) is not None or key in self.rejected or self._tries[key] >= TRIES
        return None if done else request

    async def _submit(self, questions: Questions, scope: str) -> int:
        """Submit what is not answered yet, as far as budget and queue have room; how many batches that makes."""
        most_requests, most_batches = self._room
        parts, part, seen = 0, self._part(), set[str]()
        for question in questions():
            await asyncio.sleep(0)  # so that signals are heard
            request = self._wanted(question)
            if request is None or request.key() in seen:
                continue
            try:
                line, most = self._line(request), self._ledger.most(request, in_batch=True)
            except DataError:
                continue
            if len(line) > MOST_BYTES:
                continue
            if not self._ledger.budget.fits(part.most + most):
                break
            if len(part.kinds) == most_requests or part.size + len(line) > MOST_BYTES:
                await self._send(part, scope)
                parts, part = parts + 1, self._part()
                if parts == most_batches:
                    break
            seen.add(request.key())
            _append(part, request, line, most)
        if part.kinds and (parts or len(part.kinds) >= LEAST):
            await self._send(part, scope)
            return parts + 1
        part.path.unlink(missing_ok=True)
        return parts

    def _part(self) -> _Part:
        tag = uuid4().hex
        return _Part(tag, self._log.path.with_name(f".{tag}.jsonl.tmp"))

    def _line(self, request: ChatRequest) -> bytes:
        """A line of the input file. Raises DataError if an image is none."""
        dialect = self._api().endpoint.learned.dialect
        schema = json_schema(request.schema) if request.schema else None
        body = dialect.body(self._config, request.messages(), request.kind, schema)
        row = {"custom_id": request.key(), "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    async def _send(self, part: _Part, scope: str) -> None:
        """Make a batch of a part. Each step is written down before the next."""
        api, tag, limit = self._api(), part.tag, self._config.max_tokens
        self._log.begin(Submitted(tag, api.endpoint.name, scope, part.kinds, limit, part.most, time.time()))
        self._ledger.budget.set_aside(tag, part.most)
        try:
            file = await api.upload(part.path)
            self._log.note(tag, file=file)
            look = await api.create(file, tag, lambda: self._sleep(LISTED), self._config.timeout + LISTED)
        except TeacherSetupError:
            await self._give_up(tag)
            raise
        finally:
            part.path.unlink(missing_ok=True)
        self._log.note(tag, id=look.id)
        self._say(f"batch {look.id}: {len(part.kinds):,} requests submitted; it may take a day")

    async def _give_up(self, tag: str) -> None:
        """This batch was never made."""
        file = self._log.open[tag].file
        self._log.end(tag, "never made", 0)
        self._ledger.budget.settle(tag)
        await self._api().tidy([file])

    async def _fetch(self, on_progress: Progress) -> None:
        """Wait for the batches that are under way, and put what they bring into the journal."""
        await self._find_made()
        sizes = {tag: len(batch.kinds) for tag, batch in self._log.open.items()}
        done, waited = dict.fromkeys(sizes, 0), 0.0
        while self._log.open:
            for batch in list(self._log.open.values()):
                done[batch.tag] = await self._look(batch, done[batch.tag])
            on_progress(sum(done.values()), sum(sizes.values()))
            if self._log.open:
                waited = await self._rest(waited, f"batch {self._ids()} has not ended")

    async def _rest(self, waited: float, what: str) -> float:
        """Wait until the next look; the minutes waited by then. Raises TeacherError after so many hours."""
        hours, minutes = self._config.batch_hours, self._config.batch_poll_minutes
        if waited >= hours * 60:
            raise TeacherError(
                f"{what} for {hours:g} hours; nothing is lost: run again to wait on, or with teacher.batch set to false, which "
                "cancels what is under way, keeps what is done, and asks for the rest directly"
            )
        await self._sleep(minutes * 60)
        return waited + minutes

    async def _find_made(self) -> None:
        """Find the batches again that were begun before this process died, if they were made."""
        for batch in list(self._log.open.values()):
            if not batch.file and not batch.id:
                await self._give_up(batch.tag)
                continue
            api = self._api()
            if batch.endpoint != api.endpoint.name:
                raise self._not_there(batch, "no batch")
            if batch.id:
                continue
            await self._sleep(LISTED)  # in full: nothing says when, before this start, it may have been made
            if (found := await api.find(batch.tag, batch.file)) is None:
                await self._give_up(batch.tag)
            else:
                self._log.note(batch.tag, id=found.id)
                self._say(f"batch {found.id} of an earlier start is found again")

    def _not_there(self, batch: Submitted, what: str) -> TeacherSetupError:
        name, which = self._api().endpoint.name, batch.id or f"of {batch.file}"
        return TeacherSetupError(
            f"the teacher at {name} has {what} {which}, which was submitted to {batch.endpoint}; go on with the address and "
            f"the key of then, or delete {self._log.path}, and its requests are asked and paid for once more"
        )

    async def _look(self, batch: Submitted, done: int) -> int:
        """Look at a batch, and take in what there is if it has ended; how many of its requests are done."""
        try:
            look = await self._api().look(batch.id)
        except MissingError:
            raise self._not_there(batch, "no batch") from None
        if look is None:
            return done
        if not look.ended and self._seen.get(batch.id) != look.status:
            self._seen[batch.id] = look.status
            self._say(f"batch {batch.id}: {look.status}, {look.done:,} of {len(batch.kinds):,} requests done")
        if look.ended and await self._take_in(batch, look):
            return len(batch.kinds)
        if not look.ended and not self._config.batch and look.status != "cancelling":
            await self._api().cancel(batch.id)
        return look.done

    async def _results(self, batch: Submitted, look: Look) -> list[tuple[str, dict[str, object]]] | None:
        """The results of a batch that has ended, with their keys; None if they are not all there yet, though paid for."""
        try:
            rows = await self._api().results(look)
        except MissingError:
            raise self._not_there(batch, "no results of batch") from None
        found = [(key, row) for row in rows if isinstance(key := row.get("custom_id"), str) and key in batch.kinds]
        if not look.is_short(len({key for key, _ in found})):
            return found
        self._short[batch.tag] += 1
        if self._short[batch.tag] >= LOOKS:
            raise self._not_there(batch, "no results of batch")
        self._say(f"batch {look.id}: {look.status}, but its results are not there; they are looked for again")
        return None

    async def _take_in(self, batch: Submitted, look: Look) -> bool:
        """Put the results of a batch that has ended into the journal, where some of them may be already; whether they were
        there."""
        problem: TeacherError | None = None
        answered = set[str]()
        if (results := await self._results(batch, look)) is None:
            return False
        for key, row in results:
            try:
                if self._enter(batch, key, batch.kinds[key], row):
                    answered.add(key)
            except TeacherError as error:  # after all that was paid is in the journal
                problem = error
        self._count(batch, look, answered)
        self._ledger.sync()
        self._log.end(batch.tag, look.status, len(answered))
        self._ledger.budget.settle(batch.tag)
        await self._api().tidy([look.input, *look.files])
        if problem is None and look.failure is not None and look.status == "failed" and look.failure[0] != _QUEUE_FULL:
            name, (code, said) = self._api().endpoint.name, look.failure
            problem = TeacherSetupError(
                f"the teacher at {name} failed the batch {look.id} ({code}: {said}); mend that, or set teacher.batch to false"
            )
        if problem is not None:
            raise problem
        return True

    def _enter(self, batch: Submitted, key: str, kind: str, row: dict[str, object]) -> bool:
        """Put one result into the journal; whether it is there then. Raises TeacherError."""
        limit = _limit(kind, batch.limit)
        if self._ledger.find(key, limit) is not None:
            return True
        try:
            reply = self._api().endpoint.read_result(row, limit)
            if REPLIES[kind] is None and not reply.top and not reply.refusal and reply.finish != "content_filter":
                raise RejectedError("the reply came without log-probabilities")
        except RejectedError as error:
            self.rejected[key] = error
            return False
        except PassingError:
            return False
        self._ledger.enter(key, kind, batch.scope, reply, batch.most / len(batch.kinds), in_batch=True)
        return True

    def _count(self, batch: Submitted, look: Look, answered: set[str]) -> None:
        """Note what has become of a batch, for the next one."""
        if look.status == "failed" and look.failure is not None and look.failure[0] == _QUEUE_FULL:
            self._crowded.append(len(batch.kinds))
            return
        self._took, self._kept_out = self._took + 1, 0.0
        self._tries.update(key for key in batch.kinds if key not in answered)
        left = len(batch.kinds) - len(answered)
        self._say(f"batch {look.id}: {look.status}, {len(answered):,} requests answered, {left:,} not")

    async def _make_room(self) -> None:
        """After a wave of batches of which the provider's queue had no room for some: fewer at a time, or smaller ones."""
        crowded, took = self._crowded, self._took
        self._crowded, self._took = [], 0
        if not crowded:
            return
        if took:
            self._room = (self._room[0], took)
            self._say(f"the provider's queue has room for {took} of these batches at a time; the others wait for them")
        elif min(crowded) >= 2 * LEAST:
            self._room = (min(crowded) // 2, 1)
            self._say(
                f"the provider's queue has no room for a batch of {min(crowded):,} requests; half as many are tried"
            )
        else:
            self._say("the provider's queue is full of other batches of the account; the run waits for them")
            self._kept_out = await self._rest(self._kept_out, "the provider's queue has been full")


def _append(part: _Part, request: ChatRequest, line: bytes, most: float) -> None:
    with storage_errors(part.path):
        part.path.parent.mkdir(parents=True, exist_ok=True)
        with open(part.path, "ab") as file:
            file.write(line)
    part.kinds[request.key()] = request.kind
    part.size += len(line)
    part.most += most


def _limit(kind: str, limit: int) -> int:
    """Tokens of a reply: to a choice, it is read from the first."""
    return limit if REPLIES[kind] else CHOICE_TOKENS
