"""What an endpoint sends back: a chat completion, or an error and what it stands for.

Every field may be missing or of another type. Some providers answer 200 with an error in the body, and providers word
their refusals differently; what is known of that stands here.
"""

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

from agent.teacher.ledger.journal import Completion
from agent.teacher.logprobs import read_top
from agent.teacher.reply import MAX_REPLY

#: Longest time (seconds) that a provider's Retry-After is followed.
MAX_RETRY_AFTER = 600.0
#: Retries of these are worth the wait; all from 500 on as well, but for 501.
_PASSING = frozenset({408, 409, 425, 429})
#: Statuses with which an endpoint refuses a request for what is in it.
NOT_TAKEN = frozenset({400, 422, 501})

Rejection = Literal["filtered", "cut", "malformed", "failed"]


class RejectedError(Exception):
    """This request got no answer, others may. `status` is the HTTP status, None where there was none; `state`: what the
    provider says became of it."""

    def __init__(self, reason: str, status: int | None = None, state: Rejection = "failed") -> None:
        super().__init__(reason)
        self.reason, self.status, self.state = reason, status, state


class PassingError(Exception):
    """Worth trying again; `after` (seconds) is the provider's wish. `unreachable`: there was no connection."""

    def __init__(
        self, reason: str, status: int | None = None, after: float | None = None, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.status, self.after, self.unreachable = reason, status, after, unreachable


class Failure(NamedTuple):
    """An error as the endpoint words it; `code` is the provider's own, `after` the seconds in its Retry-After."""

    status: int
    code: str
    said: str
    after: float | None = None

    def passes(self) -> bool:
        """Whether the same request may be answered later."""
        return self.status in _PASSING or (self.status >= 500 and self.status != 501)

    def no_credit(self) -> bool:
        """Whether the account is empty."""
        return self.status == 402 or self.code == "insufficient_quota"

    def state(self) -> Rejection:
        """What became of a request that is not worth trying again."""
        text = f"{self.code} {self.said}".lower()
        if self.status in (400, 403, 422) and re.search(
            "content_filter|content_policy|flagged_input|input was flagged", text
        ):
            return "filtered"  # OpenAI, Azure; OpenRouter answers 403
        if self.status == 400 and "could not finish the message because max_tokens" in text:
            return "cut"  # OpenAI's reasoning models
        if self.status == 400 and "json_validate_failed" in text:
            return "malformed"  # Groq
        return "failed"


def failure_in(text: str) -> Failure | None:
    """The error in a body that came with status 200 (OpenRouter), None if there is none."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    error = body.get("error") if isinstance(body, dict) and not body.get("choices") else None
    if not isinstance(error, dict):
        return None
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 400
    return Failure(status, str(code), json.dumps(error, ensure_ascii=False))


def failure_of_result(row: Mapping[str, Any]) -> Failure | None:
    """The error in a line of a batch's output or errors, None if it holds a reply. A request that was not sent in time, or at
    all, has no response: it may be answered in another batch."""
    response = row.get("response")
    if not isinstance(response, Mapping):
        error = row.get("error")
        code = error.get("code") if isinstance(error, Mapping) else None
        return Failure(503, str(code), f"not answered in the batch: {json.dumps(error, ensure_ascii=False)}")
    status, body = response.get("status_code"), response.get("body")
    if status == 200:
        return None
    error = body.get("error") if isinstance(body, Mapping) else None
    code = error.get("code") if isinstance(error, Mapping) else None
    status = status if isinstance(status, int) and 400 <= status < 600 else 503
    return Failure(status, str(code), json.dumps(error or body, ensure_ascii=False))


def retry_after(headers: Mapping[str, str]) -> float | None:
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


def read_completion(text: str, limit: int, redact: Callable[[str], str]) -> Completion:
    """Read the body of a chat completion. Raises RejectedError if it is none at all."""
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
