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
#: What stands in the words of a content filter: OpenAI, Azure, OpenRouter, DashScope, Gemini.
_FILTER = re.compile(
    r"content_?filter|content_policy|content_management_policy|responsibleaipolicy|flagged_input|input was flagged"
    r"|data_?inspection_?failed|prohibited_content|block_?reason\W+(?!null|none)\w"
)
#: Server errors (500) that blame the request: no image input (llama.cpp), too many images, what a chat template does not take.
_BLAMES = re.compile(
    r"(image|picture|vision|multi-?modal|content part|system (message|role|prompt))\W[^.]{0,60}"
    r"(not (be )?(support|allow)|unsupport|too many|incompatible|max(imum)? )"
    r"|(unsupported|not support|too many|at most|exceed|incompatible|max(imum)? )[^.]{0,60}"
    r"(image|content part|system (message|role|prompt))|mmproj|limit.mm.per.prompt|roles must alternate"
)
#: Reasons to finish with which a generation broke off (OpenRouter, DeepSeek, z.AI, vLLM), and with which it came to its end.
_BROKE_OFF = frozenset({"error", "network_error", "insufficient_system_resource", "abort", "aborted", "cancelled"})
_CAME_TO_END = frozenset(
    {"stop", "length", "tool_calls", "function_call", "end_turn", "eos", "stop_sequence", "max_tokens"}
)
#: Other words for `content_filter` and for `length`.
_FILTERED = frozenset({"safety", "sensitive", "refusal", "recitation", "prohibited_content", "blocklist", "spii"})
_TOO_LONG = frozenset({"max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"})
#: Where a message keeps its thoughts, beside its content.
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")

Rejection = Literal["filtered", "cut", "malformed", "failed"]


class RejectedError(Exception):
    """This request got no answer, others may. `status` is the HTTP status, None where there was none; `state`: what the
    provider says became of it."""

    def __init__(self, reason: str, status: int | None = None, state: Rejection = "failed") -> None:
        super().__init__(reason)
        self.reason, self.status, self.state = reason, status, state


class PassingError(Exception):
    """Worth trying again; `after` (seconds) is the provider's wish. `unreachable`: there was no connection; `timed_out`: no
    answer in time, though the provider may have made one, and charge for it."""

    def __init__(
        self,
        reason: str,
        status: int | None = None,
        after: float | None = None,
        unreachable: bool = False,
        timed_out: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason, self.status, self.after = reason, status, after
        self.unreachable, self.timed_out = unreachable, timed_out


class Failure(NamedTuple):
    """An error as the endpoint words it; `code` is the provider's own, `after` the seconds in its Retry-After."""

    status: int
    code: str
    said: str
    after: float | None = None

    def passes(self) -> bool:
        """Whether the same request may be answered later."""
        if self.status == 500 and _BLAMES.search(self.said.lower()):
            return False
        return self.status in _PASSING or (self.status >= 500 and self.status != 501)

    def no_credit(self) -> bool:
        """Whether the account is empty."""
        return self.status == 402 or self.code == "insufficient_quota"

    def state(self) -> Rejection:
        """What became of a request that is not worth trying again."""
        text = f"{self.code} {self.said}".lower()
        if self.status in (400, 403, 422) and _FILTER.search(text):
            return "filtered"  # OpenRouter answers 403
        if self.status == 400 and "could not finish the message because max_tokens" in text:
            return "cut"  # OpenAI's reasoning models
        if self.status == 400 and "json_validate_failed" in text:
            return "malformed"  # Groq
        return "failed"


def failure_in(text: str) -> Failure | None:
    """The error in a body that came with status 200, None if there is none: of the whole request, or of a choice that broke off
    (OpenRouter, what its providers answered). It passes, unless it says that the request is to blame."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    error, choices = body.get("error"), body.get("choices")
    if isinstance(choices, list) and choices:
        choice = choices[0] if isinstance(choices[0], dict) else {}
        error, finish = choice.get("error") or error, str(choice.get("finish_reason")).lower()
        whole = finish in _CAME_TO_END and isinstance(choice.get("message"), dict)
        if whole or not (error or finish in _BROKE_OFF):
            return None
        error = error or {"message": f"the generation broke off (finish_reason {finish})"}
        failure = _failure(error)
        return failure if failure.passes() or failure.state() != "failed" else failure._replace(status=502)
    return _failure(error) if isinstance(error, dict | str) and error else None


def _failure(error: Any) -> Failure:
    """An error without a status of its own."""
    said = json.dumps(error, ensure_ascii=False)
    found = error if isinstance(error, dict) else {}
    code, kind = str(found.get("code")), str(found.get("type")).lower()
    if code.isdecimal() and 400 <= int(code) < 600:
        status = int(code)
    else:
        blamed = "invalid_request" in kind or "badrequest" in kind or _FILTER.search(said.lower())
        status = 400 if blamed else 502
    return Failure(status, code, said)


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
        choice = _choice(body)
        message, finish = choice.get("message"), _finish(choice)
        if message is None and finish == "content_filter":
            message = {}
        content, refusal = _said(message), message.get("refusal")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        start = redact(" ".join(text[:2000].split()))[:120]
        raise RejectedError(f"the endpoint's reply is no chat completion: {start!r}; check teacher.base_url") from None
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Completion(
        content=redact(content)[: MAX_REPLY + 1],
        finish=redact(finish)[:40],
        refusal=redact(_text(refusal))[:1000],
        tokens_in=_count(counts.get("prompt_tokens")),
        tokens_out=_count(counts.get("completion_tokens")),
        limit=limit,
        top=tuple(tuple((redact(token)[:100], value) for token, value in place) for place in read_top(choice) or ()),
    )


def _choice(body: Any) -> Any:
    """The first choice; where a filter left none (Azure, Gemini), one that says so."""
    choices = body["choices"]
    if not choices and _FILTER.search(json.dumps(body).lower()):
        return {"finish_reason": "content_filter"}
    return choices[0]


def _finish(choice: Any) -> str:
    said = _text(choice.get("finish_reason"))
    word = said.lower()
    if word.startswith("content_filter") or word in _FILTERED:
        return "content_filter"
    return "length" if word in _TOO_LONG else said


def _said(message: Any) -> str:
    """A message's text, with what it calls a tool with. Where it has none, its thoughts, marked as such: some servers put the
    whole reply there (LM Studio, vLLM)."""
    calls = message.get("tool_calls")
    calls = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    called = [_arguments(call) for call in (*calls, message.get("function_call")) if isinstance(call, dict)]
    said = "\n".join(part for part in (_text(message.get("content")), *called) if part.strip())
    thoughts = next((found for key in _THOUGHTS if (found := _text(message.get(key))).strip()), "")
    return said if said or not thoughts else f"<think>{thoughts[-MAX_REPLY // 2 :]}</think>"


def _arguments(call: Mapping[str, Any]) -> str:
    found = call.get("arguments")
    return json.dumps(found, ensure_ascii=False) if isinstance(found, dict) else _text(found)


def _text(value: Any) -> str:
    """A message's text; some endpoints give it in parts."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else 0
