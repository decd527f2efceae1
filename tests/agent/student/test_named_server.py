"""A server of the user's that refuses, forgets its adapters, or is away for a while: over HTTP, to a stand-in of vLLM's paths.

What vLLM itself does is looked at in tests/served.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import agent.student.vllm
from agent.config import StudentConfig
from agent.student.engine import Request
from agent.student.vllm import RESTARTS, VllmStudent
from retrieval.errors import ConfigError, StudentError

KEY = "stand-in"


@dataclass
class StandIn:
    """What vLLM's paths answer, and what was asked of them."""

    takes_adapters: bool = True
    down: int = 0  # so many requests get HTTP 500
    adapters: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
            ]
        )

    async def models(self, request: HttpRequest) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        return JSONResponse({"data": [{"id": "theirs", "parent": None, "max_model_len": 512}]})

    async def chat(self, request: HttpRequest) -> Response:
        body = await request.json()
        if self.down:
            self.down -= 1
            return JSONResponse({"error": {"message": "EngineCore encountered an issue"}}, 500)
        if body["model"] not in ("theirs", *self.adapters):
            return JSONResponse({"error": {"message": f"The model `{body['model']}` does not exist."}}, 404)
        text = body["messages"][0]["content"]
        if not isinstance(text, str):
            self.answered.append(text[-1]["text"])
        said = {"message": {"content": f" by {body['model']}"}, "finish_reason": "stop"}
        return JSONResponse({"choices": [said]})

    async def load(self, request: HttpRequest) -> Response:
        if not self.takes_adapters:
            return JSONResponse({"detail": "Not Found"}, 404)
        name = (await request.json())["lora_name"]
        self.adapters.append(name)
        self.loaded.append(name)
        return Response("ok")

    async def unload(self, request: HttpRequest) -> Response:
        self.adapters.remove((await request.json())["lora_name"])
        return Response("ok")


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
async def url(stand_in: StandIn) -> AsyncIterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(stand_in.app(), log_level="error"))
        serving = asyncio.create_task(server.serve(sockets=[taken]))
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
async def engine(
    url: str, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[VllmStudent]:
    monkeypatch.setattr(agent.student.vllm, "AWAY", 0.01)
    engine = make(url, student, tmp_path, monkeypatch)
    yield engine
    await engine.close()


def make(url: str, student: Path, work: Path, patch: pytest.MonkeyPatch, key: str = KEY) -> VllmStudent:
    patch.setenv("STUDENT_KEY", key)
    vllm: dict[str, Any] = {"url": url, "api_key_env": "STUDENT_KEY", "concurrency": 4}
    config = StudentConfig.model_validate({"model": str(student), "engine": "vllm", "max_new_tokens": 12, "vllm": vllm})
    return VllmStudent(config, work)


def asked(count: int) -> list[Request]:
    return [Request(f"r{n}", f"question {n}") for n in range(count)]


async def texts(engine: VllmStudent, requests: list[Request], adapter: str | None = None) -> dict[str, str]:
    return {reply.id: reply.text or reply.error or "" async for reply in engine.answer(requests, adapter)}


async def test_an_adapter_gets_a_new_name_each_time_and_goes_at_the_end(
    engine: VllmStudent, stand_in: StandIn, adapters: list[Path]
) -> None:
    for name in ("round", "round"):
        await engine.load_adapter(name, adapters[0])
        said = await texts(engine, asked(3), name)
        assert {text.strip() for text in said.values()} == {f"by {stand_in.loaded[-1]}"}
    assert len(set(stand_in.loaded)) == 2
    await engine.close()
    assert stand_in.adapters == []


async def test_a_server_that_was_started_again_gets_its_adapter_again(
    engine: VllmStudent, stand_in: StandIn, adapters: list[Path]
) -> None:
    await engine.load_adapter("round", adapters[0])
    await texts(engine, asked(2), "round")
    stand_in.adapters.clear()
    said = await texts(engine, asked(5), "round")
    assert {text.strip() for text in said.values()} == {f"by {stand_in.loaded[1]}"}
    assert len(stand_in.loaded) == 2


async def test_one_that_fails_for_a_while_is_waited_for_and_nothing_is_answered_twice(
    engine: VllmStudent, stand_in: StandIn
) -> None:
    await texts(engine, asked(1))
    stand_in.answered.clear()
    stand_in.down = 6
    said = await texts(engine, asked(8))
    assert {text.strip() for text in said.values()} == {"by theirs"}
    assert sorted(stand_in.answered) == [f"question {n}" for n in range(8)]


async def test_one_that_stays_away_ends_the_round_after_so_many_tries(engine: VllmStudent, stand_in: StandIn) -> None:
    await texts(engine, asked(1))
    stand_in.down = 10**6
    with pytest.raises(StudentError, match=rf"lost {RESTARTS + 1} times.*EngineCore"):
        await texts(engine, asked(8))


async def test_mistakes_of_the_users_are_told(
    url: str, student: Path, adapters: list[Path], tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"HTTP 401.*check student\.vllm\.api_key_env"):
        await texts(make(url, student, tmp_path, monkeypatch, "wrong"), asked(1))
    with pytest.raises(ConfigError, match="STUDENT_KEY is not set"):
        make(url, student, tmp_path, monkeypatch, " ")
    stand_in.takes_adapters = False
    engine = make(url, student, tmp_path, monkeypatch)
    await engine.load_adapter("round", adapters[0])
    with pytest.raises(ConfigError, match=r"takes no adapters .*--enable-lora"):
        await texts(engine, asked(1), "round")
    await engine.close()
    nobody = make("http://127.0.0.1:9/v1", student, tmp_path, monkeypatch)
    with pytest.raises(StudentError, match=r"does not answer .*check student\.vllm\.url"):
        await texts(nobody, asked(1))
    with contextlib.suppress(StudentError):
        await nobody.close()
