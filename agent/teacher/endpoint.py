"""The teacher's address: one chat request there and back, through whatever the network and the provider do.

Errors. What passes by itself (429, 5xx, 408, 409, no answer in time, no connection) is tried again, later each time,
and at `Retry-After` where the provider names a time. What will not get better by waiting (401, 402, 403, 404, no
credit, nobody there) raises TeacherError with address, cause and cure. What concerns one request (400, 413, 422, a
reply that is no chat completion, retries used up) raises RejectedError, which the client turns into a recorded state.

The openai client's own retries are off: they give up on a Retry-After over two minutes, read one of 0 as none, and wait
8 s at most. Endpoints differ in three fields; which form this one takes is learned from its 400s and remembered
(`Dialect`). How many requests are under way is the business of `Pace`. Whether it gives log-probabilities is learned from the
first choice that it is asked. Not here: the Batch API, budgets.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from agent.config import TeacherConfig
from agent.teacher.journal import Completion
from agent.teacher.key import forms_of, read_key
from agent.teacher.logprobs import CHOICE_TOKENS, TOP, read_top
from agent.teacher.pace import Pace
from agent.teacher.reply import MAX_REPLY
from retrieval.errors import TeacherError
from retrieval.modules import find_callable

#: Longest time (seconds) that a provider's Retry-After is followed.
MAX_RETRY_AFTER = 600.0
#: Times that an address which has never answered is tried.
FIRST_CONTACT_TRIES = 3
#: Retries of these are worth the wait; all from 500 on as well.
_PASSING = frozenset({408, 409, 425, 429})
#: Too many requests at a time, or in a time.
_CONGESTED = frozenset({429, 503})
#: The openai client makes headers of these as well.
_OTHER_HEADERS = "check the environment variables OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS"
_BACKOFF = wait_random_exponential(multiplier=0.5, max=60)


class RejectedError(Exception):
    """This request got no answer, others may. `status` is the HTTP status, None where there was none."""

    def __init__(self, reason: str, status: int | None = None, filtered: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.status, self.filtered = reason, status, filtered


class PassingError(Exception):
    """Worth trying again; `after` (seconds) is the provider's wish. `unreachable`: there was no connection."""

    def __init__(
        self, reason: str, status: int | None = None, after: float | None = None, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.status, self.after, self.unreachable = reason, status, after, unreachable


@dataclass(frozen=True, slots=True)
class Dialect:
    """How this endpoint wants a request: with a JSON schema or without, the limit under which name, with a temperature
    or not."""

    structured: bool = True
    limit: str = "max_tokens"
    temperature: bool = True


class Endpoint:
    """One address. `sleep` waits so many seconds between tries. Raises TeacherError if the address is none, or the key
    is no key."""

    def __init__(self, config: TeacherConfig, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
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
        self.dialect = Dialect()
        self.pace = Pace(config.concurrency, sleep)
        self._schema_taken = False
        self._gives_logprobs = False
        self._answered = False
        self._probe = asyncio.Lock()
        self._probed = False

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

    async def chat(self, messages: list[dict[str, Any]], name: str, schema: Mapping[str, Any]) -> Completion:
        """Ask. `name` and `schema` (JSON schema) say what the reply must look like. Raises TeacherError,
        RejectedError."""
        try:
            return await self._in_some_dialect(messages, name, schema)
        except RejectedError as error:
            if error.status in (400, 422) and not self._answered:
                await self._check_alive()
            raise

    async def choose(self, messages: list[dict[str, Any]]) -> Completion:
        """Ask for an option's letter with log-probabilities (`Completion.top`); what is refused or filtered has none.

        Raises TeacherError if the endpoint gives none at all, RejectedError if it has given some before.
        """
        try:
            reply = await self._in_some_dialect(messages)
        except RejectedError as error:
            if not self._gives_logprobs and error.status in (400, 422) and re.search("log_?prob", error.reason.lower()):
                self._no_logprobs(error.reason)
            if error.status in (400, 422) and not self._answered:
                await self._check_alive()
            raise
        if not reply.top and not reply.refusal and reply.finish != "content_filter":
            if not self._gives_logprobs:
                self._no_logprobs("its reply holds none")
            raise RejectedError("the reply came without log-probabilities")
        self._gives_logprobs = self._gives_logprobs or bool(reply.top)
        return reply

    def _no_logprobs(self, why: str) -> None:
        self._fatal(
            f"gives no log-probabilities ({why}), and a teacher can be the judge of answer_switch with them alone",
            "set diagnosis.judge to student, or diagnosis.locator to single_pass",
        )

    async def _in_some_dialect(
        self, messages: list[dict[str, Any]], name: str = "", schema: Mapping[str, Any] | None = None
    ) -> Completion:
        """Without a schema, a choice with log-probabilities is asked for."""
        dialect = self.dialect
        for _ in range(4):  # each field can be conceded once
            try:
                reply = await self._retried(_body(dialect, self._config, messages, name, schema))
            except RejectedError as error:
                other = self._concession(dialect, error, schema is not None) if error.status in (400, 422) else None
                if other is None:
                    raise
                dialect = other
            else:
                self.dialect = dialect
                self._schema_taken = self._schema_taken or (schema is not None and dialect.structured)
                return reply
        raise RejectedError("the endpoint takes the request in none of its known forms", 400)

    def _concession(self, used: Dialect, error: RejectedError, schema: bool) -> Dialect | None:
        """The form to try next after a 400, None if the 400 has another cause."""
        said = error.reason.lower()
        if used.limit == "max_tokens" and "max_completion_tokens" in said:
            return replace(used, limit="max_completion_tokens")
        if used.temperature and "temperature" in said:
            return replace(used, temperature=False)
        named = re.search(r"response_format|json_schema|structured output|schema", said) is not None
        if schema and used.structured and not error.filtered and (named or not (self._schema_taken or self._answered)):
            return replace(used, structured=False)
        return None

    async def _check_alive(self) -> None:
        """After a 400 before any answer: is it that request, or does the endpoint refuse everything? Raises
        TeacherError."""
        async with self._probe:
            if self._probed or self._answered:
                return
            try:
                await self._retried(
                    {"model": self._config.model, "messages": [{"role": "user", "content": "Say: ready"}]}
                )
            except RejectedError as error:
                raise TeacherError(
                    f"the teacher at {self.name} refuses even the plainest request ({error.reason}); "
                    "check teacher.model and teacher.base_url"
                ) from None
            self._probed = True

    async def _retried(self, body: dict[str, Any]) -> Completion:
        told = False  # the endpoint has named a time for this request

        def note(state: RetryCallState) -> None:
            nonlocal told
            error = state.outcome.exception() if state.outcome else None
            told = isinstance(error, PassingError) and error.after is not None

        async def rest(seconds: float) -> None:
            with self.pace.held() if told else nullcontext():
                await self._sleep(seconds)

        async def once() -> Completion:
            return await self._in_turn(body, told)

        again = retry_if_exception_type(PassingError)
        tries = AsyncRetrying(stop=self._stop, wait=_wait, retry=again, sleep=rest, before_sleep=note, reraise=True)
        try:
            reply: Completion = await tries(once)
        except PassingError as error:
            if error.unreachable:
                raise TeacherError(
                    f"the teacher at {self.name} cannot be reached ({error.reason}); check teacher.base_url, "
                    "the network, and that the server is running"
                ) from None
            raise RejectedError(f"{error.reason}, also when tried again", error.status) from None
        self._answered = True
        return reply

    async def _in_turn(self, body: dict[str, Any], was_held: bool) -> Completion:
        turn = await self.pace.start(was_held)
        congested: bool | None = None
        try:
            reply = await self._once(body)
            congested = False
        except PassingError as error:
            congested = True if error.status in _CONGESTED else None
            raise
        finally:
            self.pace.finish(turn, congested)
        return reply

    def _stop(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        tries = self._config.retries + 1
        if not self._answered and isinstance(error, PassingError) and error.unreachable:
            tries = min(tries, FIRST_CONTACT_TRIES)
        return bool(stop_after_attempt(tries)(state))

    async def _once(self, body: dict[str, Any]) -> Completion:
        try:
            async with asyncio.timeout(self._config.timeout):
                # Not `chat.completions.create`: it walks over every parameter, and a reply here may be anything.
                text = await self._client.post("/chat/completions", body=body, cast_to=str)
        except (TimeoutError, openai.APITimeoutError):
            raise PassingError(f"no answer within {self._config.timeout:g} s") from None
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.LocalProtocolError):  # its message quotes the header
                self._fatal("cannot be asked, since a header of the request holds what no header can", _OTHER_HEADERS)
            raise PassingError(self.redact(f"no connection: {error.__cause__ or error}"), unreachable=True) from None
        except openai.APIStatusError as error:
            self._judge(error)
            raise
        except (openai.OpenAIError, ValueError) as error:
            raise RejectedError(self.redact(f"the endpoint's reply cannot be read: {error}")[:300]) from None
        limit = body.get("max_tokens", body.get("max_completion_tokens", 0))
        return _completion(text, int(limit), self.redact)

    def _judge(self, error: openai.APIStatusError) -> None:
        """Raise what an HTTP error status stands for."""
        status, variable = error.status_code, self._config.api_key_env
        said = self.redact(error.message)[:500]
        if status in (401, 403):
            cure = f"check the key in {variable}" if self._key else f"set {variable} to your key"
            self._fatal(f"refused the key (HTTP {status}: {said})", cure)
        if status == 402 or error.code == "insufficient_quota":
            self._fatal(f"says there is no credit left (HTTP {status}: {said})", f"check the account behind {variable}")
        if status == 404:
            cure = f"check teacher.base_url and that it has the model {self._config.model}"
            self._fatal(f"knows no such address or model (HTTP 404: {said})", cure)
        if status in _PASSING or status >= 500:
            raise PassingError(f"HTTP {status}: {said}", status, _retry_after(error.response.headers)) from None
        filtered = "content_filter" in f"{error.code} {said}" or "content_policy" in f"{error.code} {said}"
        raise RejectedError(f"HTTP {status}: {said}", status, filtered) from None

    def _fatal(self, what: str, cure: str) -> None:
        raise TeacherError(f"the teacher at {self.name} {what}; {cure}") from None


def _in_process(app: str) -> httpx2.AsyncClient:
    """A client that talks to an ASGI application in this process. Raises ConfigError if there is none of that name."""
    found = find_callable(app, "teacher.app")
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=found, raise_app_exceptions=False))


def _check_address(url: str) -> None:
    """Raise TeacherError, which does not quote it (it may hold a password), if `url` is no HTTP address."""
    try:
        parts = httpx2.URL(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.host) and (parts.port or 0) < 2**16
    except (httpx2.InvalidURL, ValueError):
        is_one = False
    if not is_one:
        raise TeacherError("teacher.base_url must begin with http:// or https://, and a host must follow")


def _public(url: str) -> str:
    """An address as it may be shown: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _body(
    dialect: Dialect, config: TeacherConfig, messages: list[dict[str, Any]], name: str, schema: Mapping[str, Any] | None
) -> dict[str, Any]:
    limit = config.max_tokens if schema is not None else CHOICE_TOKENS
    body: dict[str, Any] = {"model": config.model, "messages": messages, dialect.limit: limit}
    if dialect.temperature:
        body["temperature"] = 0
    if schema is None:
        body.update(logprobs=True, top_logprobs=TOP)
    elif dialect.structured:
        shape = {"name": name, "schema": dict(schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    else:
        told = "Reply with one JSON object and nothing else. It must match this schema:\n" + json.dumps(schema)
        body["messages"] = [{**messages[0], "content": f"{messages[0]['content']}\n\n{told}"}, *messages[1:]]
    return body


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, PassingError) and error.after is not None:
        return error.after
    return float(_BACKOFF(state))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the time in Retry-After (a number or a date, RFC 9110 10.2.3), None if there is none that makes
    sense."""
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _completion(text: str, limit: int, redact: Callable[[str], str]) -> Completion:
    """Read the body of a chat completion; every field may be missing or of another type. Raises RejectedError if it is
    none at all."""
    try:
        body = json.loads(text)
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        start = redact(" ".join(text[:2000].split()))[:120]
        raise RejectedError(f"the endpoint's reply is no chat completion: {start!r}; check teacher.base_url") from None
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Completion(
        content=redact(_text(content))[: MAX_REPLY + 1],
        finish=redact(_text(choice.get("finish_reason")))[:40],
        refusal=redact(_text(refusal))[:1000],
        tokens_in=_count(counts.get("prompt_tokens")),
        tokens_out=_count(counts.get("completion_tokens")),
        limit=limit,
        top=tuple(tuple((redact(token)[:100], value) for token, value in place) for place in read_top(choice) or ()),
    )


def _text(value: Any) -> str:
    """A message's text; some endpoints give it in parts."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else 0
