"""The teacher's address: one chat request there and back, through whatever the network and the provider do.

Errors. What passes by itself (429, 5xx, 408, 409, no answer in time, no connection) is tried again, later each time,
and at `Retry-After` where the provider names a time. What will not get better by waiting (401, 402, 403, 404, no
credit, nobody there) raises TeacherSetupError with address, cause and cure. What concerns one request (400, 413, 422, a
reply that is no chat completion, retries used up while others are answered) raises RejectedError, which the client turns
into a recorded state. Where nobody is answered, the run waits (`Outages`).

The openai client's own retries are off: they give up on a Retry-After over two minutes, read one of 0 as none, and wait
8 s at most. How many requests are under way is the business of `Pace`.

What the endpoint can do is learned from its refusals, and remembered (`Learned`). A 400 may have many causes, so what it
says is only a hint at what to try: the endpoint is taken not to speak a dialect if it refuses a plain question in it,
answers one in the next, and refuses the first once more. Whether it gives log-probabilities is learned from the first
choice that it is asked. What else its API offers (`batch_api.py`) is reached through the same errors and outages. Not here:
budgets.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import httpx2
import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from agent.chat.key import forms_of, read_key
from agent.config.schema import TeacherConfig
from agent.teacher.endpoint.dialect import Dialect, Learned, Messages
from agent.teacher.endpoint.outage import Outages, Say
from agent.teacher.endpoint.pace import Pace
from agent.teacher.endpoint.received import (
    NOT_TAKEN,
    Failure,
    PassingError,
    RejectedError,
    failure_in,
    failure_of_result,
    read_completion,
    retry_after,
)
from agent.teacher.ledger.journal import Completion
from retrieval.errors import TeacherError, TeacherSetupError
from retrieval.modules import find_callable

#: Times that an address which has never answered is tried.
FIRST_CONTACT_TRIES = 3
#: Too many requests at a time, or in a time.
_CONGESTED = frozenset({429, 503})
#: The openai client makes headers of these as well.
_OTHER_HEADERS = "check the environment variables OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS"
#: A question that no one can mind, and the same for a reply in JSON.
_PLAIN: Messages = [{"role": "user", "content": "Say: ready"}]
_PLAIN_JSON: Messages = [
    {"role": "system", "content": "Reply with one JSON object, filled in as you like."},
    {"role": "user", "content": "Any will do."},
]
_BACKOFF = wait_random_exponential(multiplier=0.5, max=60)

R = TypeVar("R")


class Endpoint:
    """One address. `sleep` waits so many seconds between tries; `learned` is what is known of it; `say` is told of
    outages. Raises TeacherError if the address is none, or the key is no key."""

    def __init__(
        self,
        config: TeacherConfig,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        learned: Learned | None = None,
        say: Say = lambda text: None,
    ) -> None:
        self._config = config
        self._sleep = sleep
        if not config.app:
            _check_address(config.base_url)
        self._key = "" if config.app else read_key(config.api_key_env)
        self._shown_keys = forms_of(self._key)
        self.name = f"the app {config.app}" if config.app else _public(config.base_url)
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url="http://teacher.local/v1" if config.app else config.base_url,
            timeout=config.timeout,
            max_retries=0,
            http_client=_in_process(config.app) if config.app else None,
        )
        self.learned = learned or Learned()
        self.learned.open(self.name, config.model)
        self.pace = Pace(config.concurrency, sleep)
        self._outages = Outages(self.name, self.pace, self._away, sleep, config.outage_minutes * 60, say)
        self._answered = False
        self._settling = asyncio.Lock()
        #: Kinds of which this process knows that the endpoint takes them in its dialect.
        self._settled: set[str] = set()
        self._sending: set[asyncio.Task[Any] | None] = set()

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    def redact(self, text: str) -> str:
        """`text` without the key, should a provider or a library have put it there, and without what no file can
        hold. Cut a text afterwards, not before."""
        text = text.encode("utf-8", "replace").decode()
        for shown in self._shown_keys:
            text = text.replace(shown, "[key]")
        return text

    def is_sending(self, task: asyncio.Task[Any]) -> bool:
        """Whether a request of this task is on its way."""
        return task in self._sending

    def takes(self, name: str) -> bool:
        """Whether it is known that the endpoint takes this kind of question in its dialect."""
        return name in self._settled

    async def call(self, send: Callable[[openai.AsyncOpenAI], Awaitable[R]], seconds: float | None = None) -> R:
        """Something else than a chat request, tried again like one; `seconds` is its time-out, if another. Raises TeacherError,
        RejectedError."""
        return await self._retried(lambda: self._sent(send(self._client), seconds or self._config.timeout))

    async def chat(
        self, messages: Messages, name: str, schema: Mapping[str, Any], more: Messages | None = None
    ) -> Completion:
        """Ask. `name` and `schema` (JSON schema) say what the reply must look like, `more` is what was said since `messages`.
        Raises TeacherError, RejectedError."""
        return await self._in_its_dialect(messages, name, schema, more)

    async def choose(self, messages: Messages) -> Completion:
        """Ask for an option's letter with log-probabilities (`Completion.top`); what is refused or filtered has none.

        Raises TeacherError if the endpoint gives none at all, RejectedError if it has given some before.
        """
        try:
            reply = await self._in_its_dialect(messages, "choose")
        except RejectedError as error:
            if self._names_logprobs(error):
                self._no_logprobs(error.reason)
            raise
        if not reply.top and not reply.refusal and reply.finish != "content_filter":
            if not self.learned.logprobs:
                self._no_logprobs("its reply holds none")
            raise RejectedError("the reply came without log-probabilities")
        self.learned.keep(self.learned.dialect, logprobs=bool(reply.top))
        return reply

    def _names_logprobs(self, error: RejectedError) -> bool:
        """Whether an endpoint that never gave log-probabilities refused a choice for them."""
        refused = not self.learned.logprobs and error.status in NOT_TAKEN
        return refused and re.search("log_?prob", error.reason.lower()) is not None

    def _no_logprobs(self, why: str) -> NoReturn:
        self._fatal(
            f"gives no log-probabilities ({why}), and a teacher can be the judge of answer_switch with them alone",
            "set diagnosis.judge to student, or diagnosis.locator to single_pass",
        )

    async def _in_its_dialect(
        self, messages: Messages, name: str, schema: Mapping[str, Any] | None = None, more: Messages | None = None
    ) -> Completion:
        """Without a schema, a choice with log-probabilities is asked for."""
        while True:
            used = self.learned.dialect
            try:
                reply = await self._answer(used.body(self._config, messages, name, schema, more))
            except RejectedError as error:
                if error.status not in NOT_TAKEN or error.state != "failed":
                    raise
                if schema is None and self._names_logprobs(error):
                    raise
                if await self._settle(used, name, schema) == used:
                    raise  # for what it is, not for how it was put
                continue
            if self.learned.dialect == used:
                self._settled.add(name)
                self.learned.keep(used)
            return reply

    async def _settle(self, used: Dialect, name: str, schema: Mapping[str, Any] | None) -> Dialect:
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
            await self._answer(dialect.body(self._config, _PLAIN_JSON, name, schema))
        except RejectedError as error:
            if error.status not in NOT_TAKEN:
                raise
            return error.reason if error.state == "failed" else None
        return None

    async def _check_takes_any(self) -> None:
        """Does an endpoint that has never answered refuse everything? Raises TeacherError."""
        if self._answered:
            return
        try:
            await self._answer({"model": self._config.model, "messages": _PLAIN})
        except RejectedError as error:
            self._fatal(
                f"refuses even the plainest request ({error.reason})", "check teacher.model and teacher.base_url"
            )

    async def _away(self) -> float | None:
        """Ask the plainest question once: None if the endpoint is there, else the seconds that it wants to rest."""
        try:
            await self._once({"model": self._config.model, "messages": _PLAIN, self.learned.dialect.limit: 16})
        except PassingError as error:
            return error.after or 0.0
        except RejectedError as error:
            return None if error.status else 0.0
        return None

    async def _answer(self, body: dict[str, Any]) -> Completion:
        return await self._retried(lambda: self._once(body))

    async def _retried(self, send: Callable[[], Awaitable[R]]) -> R:
        told = False  # the endpoint has named a time for this request

        def note(state: RetryCallState) -> None:
            nonlocal told
            error = state.outcome.exception() if state.outcome else None
            told = isinstance(error, PassingError) and error.after is not None

        async def rest(seconds: float) -> None:
            with self.pace.held() if told else nullcontext():
                await self._sleep(seconds)

        async def once() -> R:
            return await self._in_turn(send, told)

        again = retry_if_exception_type(PassingError)
        while True:
            over = self._outages.over
            tries = AsyncRetrying(stop=self._stop, wait=_wait, retry=again, sleep=rest, before_sleep=note, reraise=True)
            try:
                reply: R = await tries(once)
            except PassingError as error:
                if not self._answered:
                    await self._check_there(error)
                if not await self._outages.sit_out(error.reason, over):
                    raise RejectedError(f"{error.reason}, also when tried again", error.status) from None
            except RejectedError as error:
                # Where a server is down, a page that says so may come with status 200.
                if error.status or not self._answered or not await self._outages.sit_out(error.reason, over):
                    raise
            else:
                self._answered = True
                return reply

    async def _check_there(self, error: PassingError) -> None:
        """A teacher that has never answered is not waited for. Raises TeacherError."""
        if error.unreachable:
            cure = "check teacher.base_url, the network, and that the server is running"
            self._fatal(f"cannot be reached ({error.reason})", cure)
        if await self._away() is not None:
            raise TeacherError(
                f"the teacher at {self.name} does not answer ({error.reason}); check that it is up, or wait, and run again"
            ) from None

    async def _in_turn(self, send: Callable[[], Awaitable[R]], was_held: bool) -> R:
        turn = await self.pace.start(was_held)
        congested: bool | None = None
        self._sending.add(asyncio.current_task())
        try:
            reply = await send()
            congested = False
        except PassingError as error:
            congested = True if error.status in _CONGESTED else None
            raise
        finally:
            self._sending.discard(asyncio.current_task())
            self.pace.finish(turn, congested)
        return reply

    def _stop(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        tries = self._config.retries + 1
        if not self._answered and isinstance(error, PassingError) and error.unreachable:
            tries = min(tries, FIRST_CONTACT_TRIES)
        return bool(stop_after_attempt(tries)(state))

    async def _once(self, body: dict[str, Any]) -> Completion:
        # Not `chat.completions.create`: it walks over every parameter, and a reply here may be anything.
        posted = self._client.post("/chat/completions", body=body, cast_to=str)
        text = await self._sent(posted, self._config.timeout)
        return self._read(text, int(body.get("max_tokens", body.get("max_completion_tokens", 0))))

    async def _sent(self, answer: Awaitable[R], seconds: float) -> R:
        """Wait so long for an answer of the client's; its errors become ours."""
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except (TimeoutError, openai.APITimeoutError):
            raise PassingError(f"no answer within {seconds:g} s") from None
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.LocalProtocolError):  # its message quotes the header
                self._fatal("cannot be asked, since a header of the request holds what no header can", _OTHER_HEADERS)
            raise PassingError(self.redact(f"no connection: {error.__cause__ or error}"), unreachable=True) from None
        except openai.APIStatusError as error:
            after = retry_after(error.response.headers)
            self._judge(Failure(error.status_code, str(error.code), error.message, after))
        except (openai.OpenAIError, ValueError) as error:
            raise RejectedError(self.redact(f"the endpoint's reply cannot be read: {error}")[:300]) from None

    def _read(self, text: str, limit: int) -> Completion:
        if (failure := failure_in(text)) is not None:
            self._judge(failure)
        return read_completion(text, limit, self.redact)

    def read_result(self, row: Mapping[str, Any], limit: int) -> Completion:
        """What a line of a batch's output or errors says, for a request of so many tokens at most. Raises as a request does that
        is not tried again: TeacherError, PassingError, RejectedError."""
        if (failure := failure_of_result(row)) is not None:
            self._judge(failure)
        return self._read(json.dumps(row["response"].get("body")), limit)

    def _judge(self, failure: Failure) -> NoReturn:
        """Raise what an error of the endpoint stands for."""
        status, variable = failure.status, self._config.api_key_env
        said = self.redact(failure.said)[:500]
        if (state := failure.state()) != "failed":
            raise RejectedError(f"HTTP {status}: {said}", status, state) from None
        if status in (401, 403):
            cure = f"check the key in {variable}" if self._key else f"set {variable} to your key"
            self._fatal(f"refused the key (HTTP {status}: {said})", cure)
        if failure.no_credit():
            self._fatal(f"says there is no credit left (HTTP {status}: {said})", f"check the account behind {variable}")
        if status == 404:
            cure = f"check teacher.base_url and that it has the model {self._config.model}"
            self._fatal(f"knows no such address or model (HTTP 404: {said})", cure)
        if failure.passes():
            raise PassingError(f"HTTP {status}: {said}", status, failure.after) from None
        raise RejectedError(f"HTTP {status}: {said}", status) from None

    def _fatal(self, what: str, cure: str) -> NoReturn:
        raise TeacherSetupError(f"the teacher at {self.name} {what}; {cure}") from None


def _in_process(app: str) -> httpx2.AsyncClient:
    """A client that talks to an ASGI application in this process. Raises ConfigError if there is none of that name."""
    found = find_callable(app, "teacher.app")

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        try:
            await found(scope, receive, send)
        except SystemExit as error:  # which would end the run, and no one would know of what
            raise RuntimeError(f"{app} called sys.exit({error.code})") from error

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=guarded, raise_app_exceptions=False))


def _check_address(url: str) -> None:
    """Raise TeacherSetupError, which does not quote it (it may hold a password), if `url` is no HTTP address."""
    try:
        parts = httpx2.URL(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.host) and (parts.port or 0) < 2**16
    except (httpx2.InvalidURL, ValueError):
        is_one = False
    if not is_one:
        raise TeacherSetupError("teacher.base_url must begin with http:// or https://, and a host must follow")


def _public(url: str) -> str:
    """An address as it may be shown: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, PassingError) and error.after is not None:
        return error.after
    return float(_BACKOFF(state))
