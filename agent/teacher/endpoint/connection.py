"""The connection to a teacher's address: one request there and back, and what the errors on the way stand for.

What passes by itself (429, 5xx, 408, 409, no answer in time, no connection) raises PassingError, with the seconds that the
provider names in `Retry-After`. What will not get better by waiting (401, 402, 403, 404, no credit) raises TeacherSetupError with
address, cause and cure. What concerns one request (400, 413, 422, a reply that is no chat completion) raises RejectedError.

The openai client's own retries are off: they give up on a Retry-After over two minutes, read one of 0 as none, and wait
8 s at most.
"""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import httpx2
import openai

from agent.chat.key import forms_of, read_key
from agent.chat.stop import Stop
from agent.config.schema import TeacherConfig
from agent.teacher.endpoint.received import (
    Failure,
    PassingError,
    RejectedError,
    failure_in,
    failure_of_result,
    read_completion,
    retry_after,
)
from agent.teacher.ledger.journal import Completion
from retrieval.errors import TeacherSetupError
from retrieval.modules import find_callable

#: The openai client makes headers of these as well.
_OTHER_HEADERS = "check the environment variables OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS"

R = TypeVar("R")


class Connection:
    """One address. Raises TeacherSetupError if it is none, or the key is no key."""

    def __init__(self, config: TeacherConfig, stop: Stop) -> None:
        self._config, self._stop = config, stop
        if not config.app:
            check_address(config.base_url)
        self._key = "" if config.app else read_key(config.api_key_env)
        self._shown_keys = forms_of(self._key)
        self.name = f"the app {config.app}" if config.app else _public(config.base_url)
        self.client = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url="http://teacher.local/v1" if config.app else config.base_url,
            timeout=config.timeout,
            max_retries=0,
            http_client=_in_process(config.app) if config.app else None,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self.client.close()

    def redact(self, text: str) -> str:
        """`text` without the key, should a provider or a library have put it there, and without what no file can
        hold. Cut a text afterwards, not before."""
        text = text.encode("utf-8", "replace").decode()
        for shown in self._shown_keys:
            text = text.replace(shown, "[key]")
        return text

    async def post(self, body: dict[str, Any]) -> Completion:
        """One chat request. Raises StoppedError instead of sending it when a stop is asked for."""
        self._stop.check()
        # Not `chat.completions.create`: it walks over every parameter, and a reply here may be anything.
        posted = self.client.post("/chat/completions", body=body, cast_to=str)
        text = await self.sent(posted, self._config.timeout)
        return self._read(text, int(body.get("max_tokens", body.get("max_completion_tokens", 0))))

    async def sent(self, answer: Awaitable[R], seconds: float) -> R:
        """Wait so long for an answer of the client's; its errors become ours."""
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except (TimeoutError, openai.APITimeoutError):
            raise PassingError(f"no answer within {seconds:g} s", timed_out=True) from None
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.LocalProtocolError):  # its message quotes the header
                self.fatal("cannot be asked, since a header of the request holds what no header can", _OTHER_HEADERS)
            raise PassingError(self.redact(f"no connection: {error.__cause__ or error}"), unreachable=True) from None
        except openai.APIStatusError as error:
            after = retry_after(error.response.headers)
            self._judge(Failure(error.status_code, str(error.code), error.message, after))
        except (openai.OpenAIError, ValueError) as error:
            raise RejectedError(self.redact(f"the endpoint's reply cannot be read: {error}")[:300]) from None

    def read_result(self, row: Mapping[str, Any], limit: int) -> Completion:
        """What a line of a batch's output or errors says, for a request of so many tokens at most. Raises as a request does that
        is not tried again: TeacherError, PassingError, RejectedError."""
        if (failure := failure_of_result(row)) is not None:
            self._judge(failure)
        return self._read(json.dumps(row["response"].get("body")), limit)

    def _read(self, text: str, limit: int) -> Completion:
        if (failure := failure_in(text)) is not None:
            self._judge(failure)
        return read_completion(text, limit, self.redact)

    def _judge(self, failure: Failure) -> NoReturn:
        """Raise what an error of the endpoint stands for."""
        status, variable = failure.status, self._config.api_key_env
        said = self.redact(failure.said)[:500]
        if (state := failure.state()) != "failed":
            raise RejectedError(f"HTTP {status}: {said}", status, state) from None
        if status in (401, 403):
            self.fatal(f"refused the key (HTTP {status}: {said})", self.key_cure())
        if failure.no_credit():
            self.fatal(f"says there is no credit left (HTTP {status}: {said})", f"check the account behind {variable}")
        if status == 404:
            cure = f"check teacher.base_url and that it has the model {self._config.model}"
            self.fatal(f"knows no such address or model (HTTP 404: {said})", cure)
        if failure.passes():
            raise PassingError(f"HTTP {status}: {said}", status, failure.after) from None
        raise RejectedError(f"HTTP {status}: {said}", status) from None

    def key_cure(self) -> str:
        """What to do where the key may be wrong."""
        variable = self._config.api_key_env
        return f"check the key in {variable}" if self._key else f"set {variable} to your key"

    def fatal(self, what: str, cure: str) -> NoReturn:
        """Raise TeacherSetupError: what the teacher does, and how it is put right."""
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


def check_address(url: str) -> None:
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
