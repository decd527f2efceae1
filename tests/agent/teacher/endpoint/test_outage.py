"""A teacher that goes away is waited for: over HTTP, with servers that come and go; only the clock is not real."""

import asyncio
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse

from agent.config.schema import TeacherConfig
from agent.teacher.client import Teacher
from agent.teacher.endpoint.outage import LONGEST_WAIT
from agent.teacher.prompts.replies import Judged
from retrieval.errors import TeacherError
from tests.endpoint import Scripted, Seen, closed_port, fail, hang, served

YES = {"correct": True}


class Patient:
    """A teacher for which no time passes; `waits` are the seconds that it would have waited, `said` what it said, and
    `on_wait` is called before each wait."""

    def __init__(self, folder: Path, url: str, on_wait: Callable[[], None] = lambda: None, **fields: Any) -> None:
        self.waits: list[float] = []
        self.said: list[str] = []
        self._on_wait = on_wait
        config = TeacherConfig(model="teacher-1", base_url=url, **{"retries": 2, "concurrency": 4, **fields})
        self.teacher = Teacher(config, folder / "teacher.jsonl", sleep=self._sleep, say=self.said.append)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._on_wait()
        await asyncio.sleep(0)

    async def ask(self, *answers: str) -> list[Any]:
        data = [{"question": "q", "gold": ["a"], "answer": answer} for answer in answers]
        try:
            return await asyncio.gather(*(self.teacher.ask("judge", each, Judged) for each in data))
        finally:
            await self.teacher.close()


PAGE = HTMLResponse("<html>We are back soon.</html>")


@pytest.mark.parametrize(
    "failure", [fail(503, "loading"), fail(500), fail(429), PAGE], ids=["503", "500", "429", "page"]
)
async def test_an_outage_is_waited_for_and_costs_no_question(tmp_path: Path, failure: Any) -> None:
    """Away from the fourth request on, until three plain questions in a row were asked in vain."""
    plain = 0

    def weather(seen: Seen) -> Any:
        nonlocal plain
        plain += seen.kind is None
        return YES if seen.number <= 3 or plain > 3 else failure

    endpoint = Scripted(then=weather)
    with served(endpoint) as url:
        patient = Patient(tmp_path, url)
        asked = await patient.ask(*(str(number) for number in range(24)))
    assert [each.state for each in asked] == ["ok"] * 24
    begun = next(seen.number for seen in endpoint.requests if seen.kind is None)
    over = max(seen.number for seen in endpoint.requests if seen.kind is None)
    during = [seen for seen in endpoint.requests if begun < seen.number < over]
    assert len([seen for seen in during if seen.kind]) <= 3, "those that were under way when it began"
    assert [re.sub(r"http\S+", "URL", said).partition(" (")[0] for said in patient.said] == [
        "the teacher at URL does not answer",
        "the teacher at URL answers again",
    ]


async def test_a_server_that_ends_and_starts_again_is_found_again(tmp_path: Path) -> None:
    first, second, port = Scripted(), Scripted(then=YES), closed_port()
    with ExitStack() as servers, ExitStack() as ending:
        url = ending.enter_context(served(first, port))

        def answer(seen: Seen) -> Any:
            return YES if seen.number <= 5 else fail(503, "shutting down")

        def on_wait() -> None:
            ending.close()
            if len(patient.waits) == 12:
                servers.enter_context(served(second, port))

        first.then = answer
        patient = Patient(tmp_path, url, on_wait)
        asked = await patient.ask(*(str(number) for number in range(12)))
    assert [each.state for each in asked] == ["ok"] * 12
    assert second.requests[0].kind is None, "it is felt out before it is asked"
    assert len(second.of("judge")) == 7
    assert len(patient.said) == 2


@pytest.mark.parametrize("failure", [fail(500, "We are back soon"), PAGE], ids=["500", "page"])
async def test_a_request_that_alone_fails_is_set_aside_and_no_outage(tmp_path: Path, failure: Any) -> None:
    def poisoned(seen: Seen) -> Any:
        return failure if seen.kind and seen.data["answer"] == "poison" else YES

    with served(Scripted(then=poisoned)) as url:
        patient = Patient(tmp_path, url, concurrency=1)
        asked = await patient.ask("1", "2", "poison", "3")
    assert [each.state for each in asked] == ["ok", "ok", "failed", "ok"]
    assert "We are back soon" in asked[2].reason
    assert patient.said == []


async def test_an_outage_that_does_not_end_stops_the_run_and_says_why(tmp_path: Path) -> None:
    def gone(seen: Seen) -> Any:
        return YES if seen.number <= 2 else fail(503, "under maintenance")

    with served(Scripted(then=gone)) as url:
        patient = Patient(tmp_path, url, outage_minutes=30)
        with pytest.raises(
            TeacherError, match=r"not answered for 30 minutes .*under maintenance.*run again.*outage_minutes"
        ):
            await patient.ask("1", "2", "3", "4")
        waited = sum(wait for wait in patient.waits if wait > 0.5)
        assert 30 * 60 <= waited < 31 * 60 + 60
        again = await Patient(tmp_path, url).teacher.ask(
            "judge", {"question": "q", "gold": ["a"], "answer": "1"}, Judged
        )
    assert again.state == "ok", "what was answered is in the journal"


async def test_a_run_may_be_told_not_to_wait(tmp_path: Path) -> None:
    def gone(seen: Seen) -> Any:
        return YES if seen.number == 1 else fail(503)

    with served(Scripted(then=gone)) as url:
        patient = Patient(tmp_path, url, outage_minutes=0, concurrency=1)
        with pytest.raises(TeacherError, match="not answered for 0 minutes"):
            await patient.ask("1", "2")
    assert len(patient.waits) == 2, "its retries"


async def test_a_server_that_loads_its_model_is_waited_for_at_first_contact_too(tmp_path: Path) -> None:
    loading = fail(503, "Loading model")
    with served(Scripted(steps=[loading] * 8, then=YES)) as url:
        patient = Patient(tmp_path, url)
        assert [each.state for each in await patient.ask("1")] == ["ok"]
    assert len(patient.waits) > 2, "more than its retries"


@pytest.mark.parametrize("failure", [fail(429, "wait"), hang], ids=["429", "hang"])
async def test_a_teacher_that_never_answered_is_not_waited_for(tmp_path: Path, failure: Any) -> None:
    with served(Scripted(then=failure)) as url:
        patient = Patient(tmp_path, url, timeout=0.2 if failure is hang else 20)
        with pytest.raises(TeacherError, match=r"does not answer.*run again"):
            await patient.ask("1")
    assert len(patient.waits) == (1 if failure is hang else 2), "its retries, of a time-out one"


async def test_a_first_request_that_alone_fails_is_set_aside(tmp_path: Path) -> None:
    def poisoned(seen: Seen) -> Any:
        return fail(500) if seen.kind and seen.data["answer"] == "poison" else YES

    with served(Scripted(then=poisoned)) as url:
        assert [each.state for each in await Patient(tmp_path, url).ask("poison")] == ["failed"]


async def test_a_plain_question_is_asked_when_the_teacher_wants_it(tmp_path: Path) -> None:
    def limited(seen: Seen) -> Any:
        if seen.number == 1 or (seen.kind is None and len([each for each in endpoint.requests if not each.kind]) > 2):
            return YES
        return YES if "away" in waited else fail(429, headers={"Retry-After": "400"})

    waited: set[str] = set()
    endpoint = Scripted(then=limited)
    with served(endpoint) as url:
        patient = Patient(tmp_path, url, lambda: waited.add("away") if len(patient.waits) > 4 else None, concurrency=1)
        assert [each.state for each in await patient.ask("1", "2")] == ["ok", "ok"]
    assert patient.waits[2] == 400 > LONGEST_WAIT


@pytest.mark.parametrize("status", [401, 404])
async def test_a_key_that_is_refused_after_an_outage_stops_the_run(tmp_path: Path, status: int) -> None:
    def changed(seen: Seen) -> Any:
        plain = sum(each.kind is None for each in endpoint.requests)
        return YES if seen.number == 1 else fail(status if plain > 2 else 503)

    endpoint = Scripted(then=changed)
    with served(endpoint) as url, pytest.raises(TeacherError, match=f"HTTP {status}"):
        await Patient(tmp_path, url).ask("1", "2")


async def test_an_error_behind_a_200_is_an_error(tmp_path: Path) -> None:
    """As OpenRouter sends what its providers answered."""

    def upstream(seen: Seen) -> Any:
        code = {"1": None, "2": 502, "3": 400}[seen.data["answer"]] if seen.kind else None
        first = len([each for each in endpoint.of("judge") if each.data == seen.data]) == 1
        return JSONResponse({"error": {"code": code, "message": "upstream"}}) if code and first else YES

    endpoint = Scripted(then=upstream)
    with served(endpoint) as url:
        asked = await Patient(tmp_path, url, concurrency=1).ask("1", "2", "3")
    assert [each.state for each in asked] == ["ok", "ok", "failed"]
