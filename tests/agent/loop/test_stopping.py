"""Signals to a run: what is in flight gets its time, what does not come back is not waited for."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from agent.chat.stop import Stop, StoppedError
from agent.loop import stopping
from agent.loop.stopping import Signals
from agent.pool.store import check_pool, pool_and_index, pool_store
from agent.run.console import Reporter
from agent.teacher.client import Teacher
from retrieval import Pool
from tests.agent.small_context import make_context


def bare_context() -> Any:
    return SimpleNamespace(stop=Stop(), reporter=Reporter(quiet=True))


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Codes with which the process would have ended at once."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield codes
    for number, handler in handlers:
        signal.signal(number, handler)


async def stop(*, times: int) -> None:
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)  # until the loop has heard it


async def see_through(done: list[str], seconds: float) -> None:
    """Is told twice to stop, and sees something through."""
    with Signals(bare_context()):
        try:
            await stop(times=2)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(seconds)
            done.append("seen through")


async def test_the_first_lets_the_step_end(exits: list[int]) -> None:
    context = bare_context()
    with Signals(context) as signals:
        await stop(times=1)
        assert signals.control.drain_requested
    assert context.stop.is_asked
    assert exits == []


async def test_after_the_second_what_is_in_flight_is_seen_through(
    exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "PATIENCE", 0.01)
    done: list[str] = []
    with pytest.raises(asyncio.CancelledError):
        await see_through(done, 0.2)
    assert (done, exits) == (["seen through"], [])


@pytest.mark.parametrize("hangs", ["in flight", "server"])
async def test_what_does_not_come_back_is_not_waited_for(
    exits: list[int], monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    for name, seconds in (("PATIENCE", 0.01), ("IN_FLIGHT", 0.1), ("SERVER", 0.1)):
        monkeypatch.setattr(stopping, name, seconds)
    with pytest.raises(asyncio.CancelledError):
        await see_through([], 0.5 if hangs == "in flight" else 0.0)
    if hangs == "server":
        assert exits == []
        await asyncio.sleep(0.5)
    assert exits == [130]


async def test_the_third_waits_for_nothing_also_while_the_server_ends(exits: list[int]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await see_through([], 0.0)
    assert exits == []
    await stop(times=1)
    assert exits == [130]


async def test_the_first_ends_a_run_that_waits_for_another_runs_pool(exits: list[int], tmp_path: Path) -> None:
    """Which may wait for a batch, that is for a day."""
    context = make_context(tmp_path, {"only": [("What is 1 + 1?", "2")]})

    said: list[str] = []
    context.reporter.say = said.append  # type: ignore[method-assign]

    async def wait() -> None:
        with Signals(context):
            await pool_and_index(context)

    context.teacher = Teacher(context.config.teacher, context.folder.path / "teacher.jsonl", stop=context.stop)
    key = Pool.key_of(**check_pool(context.folder, context.config))
    with FileLock(pool_store(context.config, context.folder.path) / f".{key[:12]}.lock"):
        waiting = asyncio.ensure_future(wait())
        while not any("waiting for it" in line for line in said):
            assert not waiting.done(), waiting.exception()
            await asyncio.sleep(0.01)
        await stop(times=1)
        with pytest.raises(StoppedError):
            await waiting
    context.folder.close()
    assert exits == []
