"""What holds requests up is told: how often the teacher refused and why, and when the next try is due."""

import asyncio
from pathlib import Path

from agent.teacher.client import Teacher
from agent.teacher.endpoint.traffic import Traffic
from agent.teacher.prompts.replies import Judged
from tests.endpoint import Scripted, config_for, fail


async def test_refusals_and_waiting_are_told(tmp_path: Path) -> None:
    now, asleep = [0.0], asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds == 300:
            asleep.set()
            await asyncio.Event().wait()

    steps = [{"correct": True}, fail(503), fail(429), fail(429), fail(429, headers={"Retry-After": "300"})]
    endpoint = Scripted(steps=list(steps))
    traffic = Traffic(lambda: now[0])
    teacher = Teacher(config_for(endpoint), tmp_path / "teacher.jsonl", sleep=sleep, traffic=traffic)
    await teacher.ask("judge", {"question": "1"}, Judged)
    assert traffic.standing() == ""
    asking = asyncio.ensure_future(teacher.ask("judge", {"question": "2"}, Judged))
    await asleep.wait()
    now[0] = 258.0
    assert traffic.standing() == (
        "the teacher has put off 4 requests so far (HTTP 429: 3, HTTP 503: 1); 1 waiting, the next try in 42 s"
    )
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert "waiting" not in traffic.standing()
    await teacher.close()
