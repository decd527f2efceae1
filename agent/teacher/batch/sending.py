"""What is sent in batches: the questions that have no answer yet, as far as budget and the provider's queue have room."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from agent.teacher.batch.log import Submitted
from agent.teacher.batch.means import LISTED, Fates, Means, limit_of
from agent.teacher.batch.parts import MOST_BYTES, Part
from agent.teacher.batch.queue import LEAST, Queue
from agent.teacher.endpoint.received import RejectedError
from agent.teacher.ledger.journal import Completion
from agent.teacher.prompts.replies import json_schema
from agent.teacher.request import ChatRequest, Question
from retrieval.errors import DataError, TeacherSetupError

#: Makes the questions, each time it is called.
Questions = Callable[[], Iterable[Question]]


class Asker(Protocol):
    """What is needed of the teacher."""

    def request(self, question: Question) -> ChatRequest:
        """Raises DataError if an image cannot be read."""

    async def complete(self, request: ChatRequest) -> Completion:
        """From the journal, or directly. Raises TeacherError, BudgetError, RejectedError."""


class Sender:
    """Makes batches of questions."""

    def __init__(self, means: Means, fates: Fates, queue: Queue, asker: Asker) -> None:
        self._means, self._fates, self._queue, self._asker = means, fates, queue, asker

    async def ask_first(self, questions: Questions) -> None:
        """Ask one question of each kind directly, with pictures and without, so that it is known in which form the endpoint takes
        them; if that has too many pictures, one with fewer."""
        endpoint, see = self._means.api().endpoint, self._means.config.see_images
        asked: dict[tuple[str, bool], int] = {}
        for question in questions():
            pictures = len(question.images) if see else 0
            kind = question.kind, pictures > 0
            if endpoint.takes(*kind) or pictures >= asked.get(kind, pictures + 1):
                continue
            if (request := self._wanted(question)) is not None:
                asked[kind] = pictures
                try:
                    await self._asker.complete(request)
                except RejectedError as error:
                    if error.state != "failed":
                        asked[kind] = 0
                    continue  # whoever asks again is told
                except DataError:  # it was not sent
                    del asked[kind]

    async def submit(self, questions: Questions, scope: str) -> int:
        """Submit what is not answered yet; how many batches that makes."""
        parts, part, seen = 0, self._new(), set[str]()
        for question in questions():
            await asyncio.sleep(0)  # so that signals are heard
            self._means.stop.check()
            request = self._wanted(question)
            if request is None or request.key() in seen:
                continue
            try:
                line, most = await self._line(request), self._means.ledger.most(request, in_batch=True)
            except DataError:
                continue
            if len(line) > MOST_BYTES:
                continue
            if not self._means.ledger.budget.fits(part.most + most):
                break
            if not part.has_room(line, self._queue.requests):
                await self._send(part, scope)
                parts, part = parts + 1, self._new()
                if parts == self._queue.batches:
                    break
            seen.add(request.key())
            part.append(request, line, most)
        if part.kinds and (parts or len(part.kinds) >= LEAST):
            await self._send(part, scope)
            return parts + 1
        part.discard()
        return parts

    def _new(self) -> Part:
        return Part.beside(self._means.log.path)

    def _wanted(self, question: Question) -> ChatRequest | None:
        """The request, if a batch may bring its answer."""
        try:
            request = self._asker.request(question)
        except DataError:
            return None  # whoever asks is told
        key, limit = request.key(), limit_of(question.kind, self._means.config.max_tokens)
        done = self._means.ledger.find(key, limit) is not None or self._fates.ends(key)
        return None if done else request

    async def _line(self, request: ChatRequest) -> bytes:
        """A line of the input file. Raises DataError if an image is none."""
        dialect = self._means.api().endpoint.learned.dialect
        schema = json_schema(request.schema) if request.schema else None
        body = dialect.body(self._means.config, await request.encoded(), request.kind, schema)
        row = {"custom_id": request.key(), "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    async def _send(self, part: Part, scope: str) -> None:
        """Make a batch of a part. Each step is written down before the next."""
        means, tag = self._means, part.tag
        api, log, config = means.api(), means.log, means.config
        log.begin(Submitted(tag, api.endpoint.name, scope, part.kinds, config.max_tokens, part.most, time.time()))
        means.ledger.budget.set_aside(tag, part.most)
        try:
            file = await api.upload(part.path)
            log.note(tag, file=file)
            look = await api.create(file, tag, means.until_listed, config.timeout + LISTED)
        except TeacherSetupError:
            await means.give_up(log.open[tag])
            raise
        finally:
            part.discard()
        log.note(tag, id=look.id)
        means.say(f"batch {look.id}: {len(part.kinds):,} requests submitted; it may take a day")
