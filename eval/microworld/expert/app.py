"""The expert behind the OpenAI chat protocol: POST /v1/chat/completions and GET /v1/models. No streaming.

Errors come in OpenAI's form, {"error": {"message", "type", "param", "code"}}: 400 for a request that it does not
understand, 429 and silence only where `Options` asks for them. Tokens are counted roughly: four characters each, and
85 for a picture."""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from eval.microworld.expert.options import Fate, Options
from eval.microworld.expert.phrasing import draw
from eval.microworld.expert.request import Asked, RequestError, read_request
from eval.microworld.expert.teacher import Expert
from eval.microworld.expert.wrong import made_wrong

MODEL = "expert"
#: Seconds after which a silent request is given up on this side too.
SILENCE = 600.0
IMAGE_TOKENS, TOKEN_LETTERS = 85, 4
_TALK = "I am ready. I answer questions about the micro-world's pictures, put as JSON objects."


def make_app(
    options: Options | None = None, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep, **more: Any
) -> Starlette:
    """An expert with its own memory; `more` are fields of Options. Raises ConfigError."""
    service = _Service(options or Options(**more), sleep)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", service.complete, methods=["POST"]),
            Route("/v1/models", service.models, methods=["GET"]),
        ]
    )


class _Service:
    def __init__(self, options: Options, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._options, self._sleep = options, sleep
        self._expert = Expert(options.phrasing)
        self._fate = Fate(options)

    async def models(self, request: Request) -> JSONResponse:
        """The one model there is."""
        return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "microworld"}]})

    async def complete(self, request: Request) -> JSONResponse:
        """A chat completion, or an error."""
        raw = await request.body()
        key = f"{draw('request', raw.decode('utf-8', 'replace')):016x}"
        number = str(self._fate.new_try(key))
        await self._sleep(SILENCE if self._fate.meets("silent", key, number) else self._options.delay)
        if self._fate.meets("rate_limited", key, number):
            wait = {"retry-after": f"{self._options.retry_after:g}"}
            return _error(429, "too many requests, try again later", "rate_limit_exceeded", wait)
        try:
            body = json.loads(raw)
            asked = read_request(body)
            if body.get("stream"):
                raise RequestError("the expert does not stream; leave `stream` out")
            return JSONResponse(self._completion(body, asked, key))
        except RequestError as error:
            return _error(400, str(error), "invalid_request")
        except (ValueError, RecursionError):
            return _error(400, "the body is not JSON", "invalid_request")

    def _completion(self, body: Mapping[str, Any], asked: Asked, key: str) -> dict[str, Any]:
        logprobs = None
        if asked.kind == "choose":
            odds = self._flipped(asked, self._expert.choose(asked), key)
            content = max(odds, key=lambda letter: odds[letter])
            logprobs = _logprobs(odds, content, body) if body.get("logprobs") else None
        elif asked.kind == "talk":
            content = _TALK
        else:
            content = self._said(asked, key)
        tokens = (asked.letters // TOKEN_LETTERS + IMAGE_TOKENS * len(asked.images), len(content) // TOKEN_LETTERS + 1)
        return {
            "id": f"chatcmpl-{key}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": str(body.get("model") or MODEL),
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, "refusal": None},
                    "logprobs": logprobs,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
        }

    def _flipped(self, asked: Asked, reply: dict[str, Any], key: str) -> dict[str, Any]:
        if not self._options.wrong:
            return reply
        return made_wrong(asked, reply, lambda *part: self._fate.meets("wrong", key, *part))

    def _said(self, asked: Asked, key: str) -> str:
        reply = self._flipped(asked, self._expert.answer(asked), key)
        text = json.dumps(reply, ensure_ascii=False)
        if self._fate.meets("malformed", key):
            return text[: len(text) // 2] if draw("malformed how", key) % 2 else "I would rather not put this in JSON."
        return text


def _logprobs(odds: Mapping[str, float], said: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's form for a reply of one token."""
    count = body.get("top_logprobs")
    ranked = sorted(odds, key=lambda letter: -odds[letter])[: count if isinstance(count, int) else 0]
    rows = {
        letter: {"token": letter, "logprob": math.log(odds[letter]), "bytes": list(letter.encode())} for letter in odds
    }
    return {"content": [{**rows[said], "top_logprobs": [rows[letter] for letter in ranked]}], "refusal": None}


def _error(status: int, message: str, code: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers)


app = make_app()
