"""A server of the user's that refuses, forgets its adapters, or is away for a while: over HTTP, to a stand-in of vLLM."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import ValidationError

import agent.student.vllm.serving
from agent.config.schema import StudentConfig
from agent.student.engine import Request
from agent.student.vllm.beforehand import check_named
from agent.student.vllm.serving import RESTARTS
from agent.student.vllm.student import VllmStudent
from retrieval.errors import ConfigError, StudentError
from tests.agent.student.stand_in import KEY, StandIn


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
    monkeypatch.setattr(agent.student.vllm.serving, "AWAY", 0.01)
    engine = make(url, student, tmp_path, monkeypatch)
    yield engine
    await engine.close()


def make(url: str, student: Path, work: Path, patch: pytest.MonkeyPatch, key: str = KEY, **more: Any) -> VllmStudent:
    patch.setenv("STUDENT_KEY", key)
    vllm: dict[str, Any] = {"url": url, "api_key_env": "STUDENT_KEY", "concurrency": 4}
    config = StudentConfig.model_validate({"model": str(student), "engine": "vllm", "max_new_tokens": 12, "vllm": vllm})
    return VllmStudent(config, work, **more)


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
    stand_in.down = 2
    said = await texts(engine, asked(8))
    assert {text.strip() for text in said.values()} == {"by theirs"}
    assert sorted(stand_in.answered) == [f"question {n}" for n in range(8)]


async def test_what_ends_the_engine_is_found_and_set_aside_and_all_else_is_answered(
    engine: VllmStudent, stand_in: StandIn
) -> None:
    found = {f"r{n}" for n in (3, 9, 15, 21, 27)}  # more than there are restarts
    stand_in.deadly = frozenset(f"question {name[1:]}" for name in found)
    said = await texts(engine, asked(30))
    assert all("lost 2 times while this was asked" in said.pop(name) for name in found)
    assert {text.strip() for text in said.values()} == {"by theirs"}
    assert len(said) == 25


async def test_an_adapter_that_the_engine_cannot_load_is_no_lost_engine(
    engine: VllmStudent, stand_in: StandIn, adapters: list[Path]
) -> None:
    stand_in.broken_adapters = True
    await engine.load_adapter("round", adapters[0])
    with pytest.raises(ConfigError, match=r"rank 8 is greater than max_lora_rank 4.*--max-lora-rank 8"):
        await texts(engine, asked(1), "round")
    assert len(await texts(engine, asked(2))) == 2


async def test_what_a_killed_process_left_loaded_is_in_nobodys_way(
    url: str, engine: VllmStudent, stand_in: StandIn, student: Path, adapters: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for process in (engine, make(url, student, tmp_path, monkeypatch)):  # the first is not closed
        await process.load_adapter("round", adapters[0])
        assert len(await texts(process, asked(2), "round")) == 2
    assert len(set(stand_in.loaded)) == 2
    await process.close()


async def test_an_adapter_without_probes_must_change_something(
    engine: VllmStudent, stand_in: StandIn, adapters: list[Path]
) -> None:
    stand_in.effect = 0.0
    await engine.load_adapter("round", adapters[0])
    with pytest.raises(ConfigError, match=r"canary refuses .* does not apply it .*look at what the server at http"):
        await texts(engine, asked(2), "round")
    assert stand_in.adapters == []


async def test_a_closed_engine_starts_nothing_any_more(engine: VllmStudent, stand_in: StandIn) -> None:
    await engine.close()
    with pytest.raises(StudentError, match="was closed"):
        await texts(engine, asked(1))


async def test_one_that_stays_away_ends_the_round_after_so_many_tries(engine: VllmStudent, stand_in: StandIn) -> None:
    await texts(engine, asked(1))
    stand_in.down = 10**6
    with pytest.raises(StudentError, match=rf"lost {RESTARTS + 1} times.*EngineCore"):
        await texts(engine, asked(8))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("sk-one\nsk-two", "STUDENT_KEY holds a line break"),
        ("sk-é" * 3, "STUDENT_KEY holds a character that is not ASCII"),
    ],
)
def test_a_key_that_is_none_is_refused_and_not_shown(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as failed:
        make("http://127.0.0.1:9/v1", student, tmp_path, monkeypatch, key)
    assert "sk-" not in str(failed.value)


@pytest.mark.parametrize("url", ["h:abc", "http://h:abc", "http://h:99999", "ftp://h", "http://u:p@h"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"student\.vllm\.url"):
        StudentConfig.model_validate({"model": "m", "vllm": {"url": url}})


async def test_a_server_that_is_no_vllm_is_told(url: str, engine: VllmStudent, stand_in: StandIn) -> None:
    stand_in.tells = False
    with pytest.raises(StudentError, match=r"does not tell a prompt's tokens .*has to be a vLLM"):
        await engine.score(asked(1), [["one", "two"]])


async def test_a_server_that_is_none_and_one_of_another_model_are_told(
    url: str, student: Path, tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    engine = make(url, student, tmp_path, monkeypatch, say=said.append)
    stand_in.root = "org/another-model"
    await texts(engine, asked(1))
    assert any("serves org/another-model; it should be the student's model" in line for line in said)
    await engine.close()
    stand_in.page = True
    with pytest.raises(ConfigError, match=r"no list of models came back.*check student\.vllm\.url"):
        await texts(make(url, student, tmp_path, monkeypatch), asked(1))


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
    with pytest.raises(ConfigError, match=r"does not take the adapter .*--enable-lora --max-lora-rank 8 "):
        await texts(engine, asked(1), "round")
    await engine.close()
    with pytest.raises(ConfigError, match=r"does not answer .*check student\.vllm\.url"):
        await check_named(make("http://127.0.0.1:9/v1", student, tmp_path, monkeypatch).config)
    await check_named(make(url, student, tmp_path, monkeypatch).config)
    nobody = make("http://127.0.0.1:9/v1", student, tmp_path, monkeypatch)
    with pytest.raises(StudentError, match=r"does not answer .*check student\.vllm\.url"):
        await texts(nobody, asked(1))
    with contextlib.suppress(StudentError):
        await nobody.close()
