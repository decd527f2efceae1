"""A chat endpoint that answers by script, over HTTP on a free loopback port or in this process."""

import asyncio
import base64
import json
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.config.schema import TeacherConfig
from agent.teacher.prompts.replies import prompt

KINDS = ("diagnose", "name_gap", "skills", "same_skill", "judge", "choose", "step_right")


@dataclass(frozen=True)
class Seen:
    """A request as the endpoint got it. `number` counts requests from 1; `kind` is told by the prompt, None for a plain
    question that only feels out the endpoint."""

    number: int
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def kind(self) -> str | None:
        said = _texts(self.body["messages"][0])[0]
        return next((kind for kind in KINDS if said.startswith(prompt(kind))), None)

    @property
    def data(self) -> Any:
        """What the question is about."""
        return json.loads(_texts(self._user)[-1])

    @property
    def _user(self) -> dict[str, Any]:
        return next(message for message in self.body["messages"] if message["role"] == "user")

    @property
    def has_system(self) -> bool:
        return bool(self.body["messages"][0]["role"] == "system")

    @property
    def images(self) -> list[bytes]:
        content = self._user["content"]
        parts = [part for part in content if part["type"] == "image_url"] if isinstance(content, list) else []
        return [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in parts]

    @property
    def is_repair(self) -> bool:
        return any(message["role"] == "assistant" for message in self.body["messages"])

    @property
    def form(self) -> str:
        """How the form of the reply is asked for: schema, object or text."""
        said = self.body.get("response_format", {"type": "text"})["type"]
        return "schema" if said == "json_schema" else "object" if said == "json_object" else "text"


def _texts(message: dict[str, Any]) -> list[str]:
    content = message["content"]
    return [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]


Step = Callable[[Seen], Any] | Response | str | dict[str, Any]
"""What a request gets: a response as it is, a text or JSON value as the content of a chat completion, or what a
function of the request gives (awaited, if it must be)."""


def chat(
    content: Any, finish: str = "stop", refusal: str | None = None, tokens: tuple[int, int] = (10, 5), **more: Any
) -> Response:
    """A chat completion; `more` stands in its message."""
    message = {"role": "assistant", "content": content, "refusal": refusal, **more}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return JSONResponse({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def chosen(top: dict[str, float], finish: str = "stop") -> Response:
    """A chat completion of one token with the log-probabilities of the likeliest ones."""
    rows = [{"token": token, "logprob": value, "bytes": None} for token, value in top.items()]
    best = max(top, key=lambda token: top[token])
    content = [{"token": best, "logprob": top[best], "bytes": None, "top_logprobs": rows}]
    message = {"role": "assistant", "content": best, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": {"content": content}, "finish_reason": finish}
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    return JSONResponse({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def fail(status: int, message: str = "no", headers: dict[str, str] | None = None, code: str | None = None) -> Response:
    """An error as OpenAI words them."""
    return JSONResponse({"error": {"message": message, "code": code, "type": None}}, status, headers)


async def hang(seen: Seen) -> None:
    """Never answer."""
    await asyncio.Event().wait()


@dataclass
class Scripted:
    """The first requests get `steps`, one each; all later ones get `then`."""

    then: Step = "{}"
    steps: list[Step] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self._answer, methods=["POST"])])

    def of(self, kind: str) -> list[Seen]:
        """The requests of a kind so far."""
        return [seen for seen in self.requests if seen.kind == kind]

    async def _answer(self, request: Request) -> Response:
        return await self.answer(await request.json(), dict(request.headers))

    async def answer(self, body: dict[str, Any], headers: dict[str, str]) -> Response:
        """What a request gets. Others are counted before it once its body is read."""
        seen = Seen(len(self.requests) + 1, body, headers)
        self.requests.append(seen)
        step: Any = self.steps[seen.number - 1] if seen.number <= len(self.steps) else self.then
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if callable(step) and not isinstance(step, Response):
                step = step(seen)
            if isinstance(step, Awaitable):
                step = await step
        finally:
            self.under_way -= 1
        if isinstance(step, Response):
            return step
        return chat(step if isinstance(step, str) else json.dumps(step))


def config_for(endpoint: Scripted, **fields: Any) -> TeacherConfig:
    """A teacher's configuration that leads to `endpoint` in this process."""
    name = f"scripted_endpoint_{id(endpoint)}"
    sys.modules[name] = SimpleNamespace(app=endpoint.app)  # type: ignore[assignment]
    return TeacherConfig(model="teacher-1", app=f"{name}:app", **fields)


@contextmanager
def served(endpoint: Scripted, port: int = 0) -> Iterator[str]:
    """Serve over HTTP from a thread, on any port that is free if it is 0; gives the base URL. Connections queue in the
    socket until the server is up."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        config = uvicorn.Config(endpoint.app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


def closed_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
