"""What waits ends when a stop is asked for, and is waited for."""

import asyncio

import pytest

from agent.chat.stop import Stop, StoppedError


async def test_work_that_is_cut_short_gets_to_save_what_it_has() -> None:
    stop, said = Stop(), []

    async def work() -> None:
        said.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            said.append("saved")

    working = asyncio.ensure_future(stop.cut_short(work()))
    while not said:
        await asyncio.sleep(0)
    stop.ask()
    with pytest.raises(StoppedError):
        await working
    assert said == ["begun", "saved"]
    with pytest.raises(StoppedError):
        await stop.cut_short(work())
    assert said == ["begun", "saved"], "nothing is begun any more"


async def test_work_that_is_not_is_only_done() -> None:
    async def work(fails: bool) -> int:
        if fails:
            raise ValueError("no")
        return 3

    stop = Stop()
    assert await stop.cut_short(work(False)) == 3
    with pytest.raises(ValueError, match="no"):
        await stop.cut_short(work(True))


async def test_a_rest_ends() -> None:
    stop, slept = Stop(), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if seconds > 1:
            await asyncio.Event().wait()

    rest = stop.sleeper(sleep)
    await rest(1)
    resting = asyncio.ensure_future(rest(600))
    while len(slept) < 2:
        await asyncio.sleep(0)
    stop.ask()
    with pytest.raises(StoppedError):
        await resting
