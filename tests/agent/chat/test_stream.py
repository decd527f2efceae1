import asyncio
from contextlib import aclosing
from itertools import count

import pytest

from agent.chat.stop import Stop, StoppedError
from agent.chat.stream import all_done, as_done, see_through


async def test_results_come_as_they_are_ready_and_few_at_a_time() -> None:
    under_way, most = 0, 0
    gates = {number: asyncio.Event() for number in range(6)}
    gates[2].set()

    async def do(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gates[number].wait()
        under_way -= 1
        return number

    got = []
    async for number in as_done(range(6), do, 3):
        got.append(number)
        gates[(number + 1) % 6].set()
    assert got == [2, 3, 4, 5, 0, 1]
    assert most == 3


async def test_endless_work_is_drawn_only_as_there_is_room() -> None:
    drawn = count()

    async def do(number: int) -> int:
        return number

    async with aclosing(as_done(drawn, do, 4)) as results:
        got = [await anext(results) for _ in range(10)]
    assert len(set(got)) == 10
    assert next(drawn) < 20


async def test_a_failure_ends_it_and_cancels_the_rest() -> None:
    cancelled = []

    async def do(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    with pytest.raises(ValueError, match="one"):
        async for _ in as_done(range(3), do, 3):
            pass
    assert sorted(cancelled) == [0, 2]


async def test_all_results_are_in_the_order_of_the_work() -> None:
    async def do(number: int) -> str:
        for _ in range(5 - number):
            await asyncio.sleep(0)
        return str(number)

    assert await all_done(range(5), do, 3) == list("01234")


@pytest.mark.parametrize(("sending", "seconds", "seen"), [(True, 60, True), (True, 0, False), (False, 60, False)])
async def test_work_whose_request_is_on_its_way_is_seen_through(sending: bool, seconds: float, seen: bool) -> None:
    came, done = asyncio.Event(), []

    async def work() -> None:
        try:
            await came.wait()
            done.append("in time")
        except asyncio.CancelledError:
            done.append("cancelled")
            raise

    def is_sending(task: asyncio.Task[None]) -> bool:
        return sending and not task.done()

    outer = asyncio.ensure_future(see_through(work(), is_sending, seconds))
    for _ in range(3):
        await asyncio.sleep(0)
    outer.cancel()
    await asyncio.sleep(0)
    came.set()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert done == ["in time" if seen else "cancelled"]


async def test_work_that_is_not_cancelled_is_only_done() -> None:
    async def work(fails: bool) -> int:
        if fails:
            raise ValueError("no")
        return 3

    assert await see_through(work(False), lambda task: True, 1) == 3
    with pytest.raises(ValueError, match="no"):
        await see_through(work(True), lambda task: True, 1)


async def test_asked_to_stop_it_begins_nothing_more_and_gives_what_is_under_way() -> None:
    stop, gate, begun = Stop(), asyncio.Event(), []

    async def do(number: int) -> int:
        begun.append(number)
        await gate.wait()
        if number == 1:
            stop.check()  # it would have to ask once more
        return number

    got: list[int] = []

    async def work() -> None:
        async for number in as_done(count(), do, 3, stop):
            got.append(number)

    working = asyncio.ensure_future(work())
    while len(begun) < 3:
        await asyncio.sleep(0)
    stop.ask()
    gate.set()
    with pytest.raises(StoppedError):
        await working
    assert sorted(got) == [0, 2]
    assert begun == [0, 1, 2]


async def test_asked_to_stop_when_all_is_under_way_it_comes_to_its_end() -> None:
    stop = Stop()

    async def do(number: int) -> int:
        stop.ask()
        return number

    assert await all_done(range(1), do, 3, stop) == [0]
    with pytest.raises(StoppedError):
        await all_done(range(5), do, 3, stop)
