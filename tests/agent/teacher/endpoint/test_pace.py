"""How many requests are under way, and when: a sleep that the test ends, and an endpoint over HTTP that counts."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.config.schema import TeacherConfig
from agent.teacher.client import Teacher
from agent.teacher.endpoint.pace import SPACING, Pace
from agent.teacher.prompts.replies import Judged
from tests.endpoint import Scripted, Seen, config_for, fail, served

YES = {"correct": True}


class Clock:
    """Time that passes only when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.now + seconds, woken))
        await woken.wait()

    async def run(self, until: Callable[[], bool]) -> None:
        """Let everything happen that can, then jump to the next sleeper's time, until the condition holds."""
        while not until():
            for _ in range(2000):
                await asyncio.sleep(0)
            if self._sleepers and not until():
                self.now, woken = self._sleepers.pop(
                    self._sleepers.index(min(self._sleepers, key=lambda each: each[0]))
                )
                woken.set()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_bound_is_halved_once_for_requests_that_were_under_way_together() -> None:
    pace = Pace(16)
    turns = [await pace.start() for _ in range(16)]
    for turn in turns:
        pace.finish(turn, True)
    assert pace.bound == 8
    for _ in range(10):
        pace.finish(await pace.start(), True)
    assert pace.bound == 1, "one is always under way"


async def test_the_bound_grows_by_one_for_each_boundful_of_answers_up_to_what_is_configured() -> None:
    pace = Pace(8)
    for _ in range(2):
        pace.finish(await pace.start(), True)
    assert pace.bound == 2
    for _ in range(2):
        pace.finish(await pace.start(), False)
    assert 2.8 < pace.bound < 3
    pace.finish(await pace.start(), None)
    assert 2.8 < pace.bound < 3, "a time-out says nothing about congestion"
    for _ in range(100):
        pace.finish(await pace.start(), False)
    assert pace.bound == 8


async def test_a_request_beyond_the_bound_waits_for_one_to_come_back() -> None:
    pace = Pace(1)
    first = await pace.start()
    waiting = asyncio.ensure_future(pace.start())
    await settle()
    assert not waiting.done()
    pace.finish(first, None)
    await settle()
    assert waiting.done()


async def test_a_hold_keeps_all_back_and_lets_them_start_one_after_the_other() -> None:
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    pace = Pace(8, sleep)
    with pace.held():
        waiting = [asyncio.ensure_future(pace.start()) for _ in range(5)]
        await settle()
        assert not any(each.done() for each in waiting)
    await settle()
    assert all(each.done() for each in waiting)
    assert len(naps) == 4, "the first starts at once"
    assert all((place - 0.5) * SPACING < nap < (place + 0.5) * SPACING for place, nap in enumerate(naps, 1))


async def test_retry_after_for_one_request_holds_back_the_others(tmp_path: Path) -> None:
    clock, started = Clock(), []

    def note(seen: Seen) -> Any:
        started.append(clock.now)
        return fail(429, headers={"Retry-After": "30"}) if seen.number == 2 else YES

    teacher = Teacher(config_for(Scripted(then=note), concurrency=2), tmp_path / "t.jsonl", sleep=clock.sleep)
    # The client's first request looks at the machine in a thread, for which this clock does not wait.
    await judge(teacher, "first")
    asking = asyncio.gather(*(judge(teacher, str(number)) for number in range(8)))
    await clock.run(asking.done)
    assert all(asked.state == "ok" for asked in await asking)
    later = [moment for moment in started if moment > 0]
    assert len(started) == 10
    assert len(later) >= 5, "a few were under way when the first was refused"
    assert min(later) == 30
    assert len({moment for moment in later if moment < 31}) > 1, "not all at the same moment"
    await teacher.close()


async def test_over_http_fewer_are_under_way_after_refusals(tmp_path: Path) -> None:
    """Sixteen at a time are too many; after that at most eight are, and one more for each boundful of answers."""

    async def sleep(seconds: float) -> None:
        return

    endpoint = Scripted()
    all_there, later = asyncio.Event(), []

    async def bear(seen: Seen) -> Any:
        if seen.number <= 16:
            if seen.number == 16:
                all_there.set()
            await all_there.wait()
            return fail(429)
        later.append(endpoint.under_way)
        await asyncio.sleep(0.02)  # long enough for all that will come beside it
        return YES

    endpoint.then = bear
    with served(endpoint) as url:
        teacher = Teacher(TeacherConfig(model="teacher-1", base_url=url), tmp_path / "t.jsonl", sleep=sleep)
        asked = await asyncio.gather(*(judge(teacher, str(number)) for number in range(24)))
        await teacher.close()
    assert all(each.state == "ok" for each in asked)
    assert len(endpoint.requests) == 16 + 24
    assert max(later) <= 8 + 24 // 8


async def judge(teacher: Teacher, answer: str) -> Any:
    return await teacher.ask("judge", {"question": "q", "gold": ["a"], "answer": answer}, Judged)
