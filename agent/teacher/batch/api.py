"""The Batch API of an endpoint: a file of requests there, the results of a batch back.

It is OpenAI's, as others offer it too: files, and batches of chat requests that end within a day. Where it is missing
(404, 405 or 501), or does not take a batch at all, TeacherSetupError says so. What passes by itself is tried again, as
everywhere (`Endpoint`).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import openai
from openai.pagination import AsyncCursorPage
from openai.types import Batch, BatchRequestCounts, FileObject

from agent.teacher.endpoint.endpoint import Endpoint
from agent.teacher.endpoint.received import NOT_TAKEN, RejectedError
from retrieval.errors import TeacherError, TeacherSetupError

#: Statuses of an address that has no such API.
_MISSING = frozenset({404, 405, 501})
#: Statuses of a batch that will not change any more.
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
#: Seconds for a file of up to 200 MB, there or back.
_FILE_SECONDS = 1800.0
#: Under this name, the metadata of a batch hold our tag for it.
_TAG = "gaptutor"
#: Batches listed on a page: as many as there can be.
_PAGE = 100
#: What the client stumbles with over a reply that is nothing like the one it asked for.
_STUMBLES = (AttributeError, KeyError, TypeError, RecursionError)

R = TypeVar("R")


class Look(NamedTuple):
    """A batch as it stands. `done` counts requests with a result, `good` those with a reply, which are in the file `output`;
    `files` are all of the provider's with results, `input` the one that the batch was made of."""

    id: str
    status: str
    done: int
    good: int
    output: str
    files: tuple[str, ...]
    input: str
    failure: tuple[str, str] | None

    @property
    def ended(self) -> bool:
        """Whether all that will ever come of it is there."""
        return self.status in _ENDED

    def is_short(self, rows: int) -> bool:
        """Whether there must be more results than these rows: replies that are paid for."""
        return self.good > rows and not (rows and self.output)


class BatchApi:
    """The Batch API of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def check(self) -> None:
        """See that there is one. Raises TeacherError."""

        async def once(client: openai.AsyncOpenAI) -> None:
            try:
                _listed(await client.batches.list(limit=1))
            except (RejectedError, *_STUMBLES):
                raise MissingError("its list of batches is none") from None

        await self._call(once, "does not list batches")

    async def upload(self, lines: Path) -> str:
        """Upload a file of requests, one a line; its id. Raises TeacherError."""
        made = await self._call(
            lambda client: client.files.create(file=lines, purpose="batch", timeout=_FILE_SECONDS),
            "does not take the file of a batch",
            _FILE_SECONDS,
        )
        if not isinstance(made, FileObject) or not isinstance(made.id, str):
            self._without("its reply to a file is none")
        return made.id

    async def create(self, file: str, tag: str, listed: Callable[[], Awaitable[None]], seconds: float) -> Look:
        """Make a batch of an uploaded file. Raises TeacherError.

        Before that is tried again, it is looked for: it may have been made although no answer came. `listed` waits until it is
        in the list then; it is part of the time-out, `seconds`.
        """
        tried = False

        async def once(client: openai.AsyncOpenAI) -> Batch:
            nonlocal tried
            if tried:
                await listed()
            found = await _find(client, tag, file) if tried else None
            tried = True
            return found or await client.batches.create(
                completion_window="24h",
                endpoint="/v1/chat/completions",
                input_file_id=file,
                metadata={_TAG: tag},
            )

        return self._look(await self._call(once, "does not take a batch", seconds))

    async def find(self, tag: str, file: str) -> Look | None:
        """The batch with this tag, or of this file (some keep no metadata). Raises TeacherError."""
        found = await self._call(lambda client: _find(client, tag, file), "does not list batches")
        return None if found is None else self._look(found)

    async def look(self, batch: str) -> Look | None:
        """How a batch stands, None if that cannot be said at the moment. Raises TeacherError, and MissingError if there is no
        such batch."""

        async def once(client: openai.AsyncOpenAI) -> Batch:
            return _as_batch(await client.batches.retrieve(batch))

        try:
            return self._look(await self._tried(once))
        except RejectedError:
            return None

    async def cancel(self, batch: str) -> None:
        """Ask for the end of a batch; it may have ended by itself, and the next look says how it stands."""
        with suppress(RejectedError, MissingError, TeacherError):
            await self._tried(lambda client: client.batches.cancel(batch))

    async def results(self, look: Look) -> list[dict[str, Any]]:
        """The lines of output and errors, in no order. Raises TeacherError, and MissingError if they are not there any more."""
        return [row for file in look.files for row in await self._rows(file)]

    async def _rows(self, file: str) -> list[dict[str, Any]]:
        try:
            content = await self._tried(lambda client: client.files.content(file, timeout=_FILE_SECONDS), _FILE_SECONDS)
        except RejectedError as error:
            raise TeacherError(
                f"the teacher at {self.endpoint.name} does not give the results of a batch ({error.reason}); nothing is lost: "
                "run again"
            ) from None
        return await asyncio.to_thread(lambda: list(_objects(content.content)))

    async def tidy(self, files: Iterable[str]) -> None:
        """Delete files at the provider. What cannot be deleted stays."""
        for file in filter(None, files):
            with suppress(RejectedError, MissingError, TeacherError):
                await self._tried(_deletion(file))

    async def _call(
        self, send: Callable[[openai.AsyncOpenAI], Awaitable[R]], refusal: str, seconds: float | None = None
    ) -> R:
        try:
            return await self._tried(send, seconds)
        except MissingError as error:
            self._without(str(error))
        except RejectedError as error:
            what = f"the teacher at {self.endpoint.name} {refusal} ({error.reason})"
            if error.status in NOT_TAKEN:
                raise TeacherSetupError(f"{what}; set teacher.batch to false") from None
            raise TeacherError(f"{what}; nothing is lost: run again, or set teacher.batch to false") from None

    async def _tried(self, send: Callable[[openai.AsyncOpenAI], Awaitable[R]], seconds: float | None = None) -> R:
        async def once(client: openai.AsyncOpenAI) -> R:
            try:
                return await send(client)
            except openai.APIStatusError as error:
                if error.status_code in _MISSING:
                    raise MissingError(f"HTTP {error.status_code}") from None
                raise
            except _STUMBLES:
                raise RejectedError("its reply is none") from None

        return await self.endpoint.call(once, seconds)

    def _look(self, batch: Any) -> Look:
        """What of a batch is looked at; every field may be missing or of another type."""
        if not isinstance(batch, Batch) or not isinstance(batch.id, str):
            self._without("its reply to a batch is none")
        counts = batch.request_counts
        known = (counts.completed, counts.failed) if isinstance(counts, BatchRequestCounts) else (0, 0)
        good, bad = (count if isinstance(count, int) else 0 for count in known)
        output, errors, input = map(_id, (batch.output_file_id, batch.error_file_id, batch.input_file_id))
        files = tuple(filter(None, (output, errors)))
        return Look(
            batch.id, str(batch.status).lower(), good + bad, good, output, files, input, self._failure(batch.errors)
        )

    def _failure(self, errors: Any) -> tuple[str, str] | None:
        """Code and message of the first of a batch's errors; some give them as a bare list."""
        rows = getattr(errors, "data", errors)
        if not isinstance(rows, list) or not rows:
            return None
        code, said = (getattr(rows[0], name, other) for name, other in (("code", None), ("message", rows[0])))
        return str(code), self.endpoint.redact(str(said))[:500]

    def _without(self, why: str) -> NoReturn:
        raise TeacherSetupError(
            f"the teacher at {self.endpoint.name} has no Batch API ({why}); set teacher.batch to false"
        ) from None


class MissingError(Exception):
    """There is nothing at an address of the Batch API."""


def _id(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _as_batch(said: Any) -> Batch:
    if not isinstance(said, Batch) or not isinstance(said.id, str):
        raise RejectedError("its reply to a batch is none")
    return said


def _listed(page: Any) -> list[Batch]:
    """The batches on a page; of none, some say null."""
    if not isinstance(page, AsyncCursorPage) or "data" not in page.model_fields_set:
        raise RejectedError("its list of batches is none")
    rows: Any = page.data
    if not isinstance(rows, list | None):
        raise RejectedError("its list of batches is none")
    return [_as_batch(row) for row in rows or ()]


def _deletion(file: str) -> Callable[[openai.AsyncOpenAI], Awaitable[Any]]:
    return lambda client: client.files.delete(file)


async def _find(client: openai.AsyncOpenAI, tag: str, file: str) -> Batch | None:
    seen: set[str] = set()
    page = await client.batches.list(limit=_PAGE)
    while True:
        for batch in _listed(page):
            if batch.id in seen:  # it gives the same page again and again
                return None
            seen.add(batch.id)
            tagged = isinstance(batch.metadata, dict) and batch.metadata.get(_TAG) == tag
            if tagged or (file and batch.input_file_id == file):
                return batch
        if not page.has_next_page():
            return None
        page = await page.get_next_page()


def _objects(content: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file with one a line; what is none is left out."""
    for line in content.splitlines():
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row
