import json
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
from starlette.responses import Response

from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import Judged
from retrieval.errors import TeacherError
from tests.endpoint import Scripted, Seen, chat, config_for, fail, hang, served

MakeTeacher = Callable[..., Teacher]
YES = {"correct": True}


async def judge(teacher: Teacher, answer: str = "a") -> Any:
    return await teacher.ask("judge", {"question": "q", "gold": ["a"], "answer": answer}, Judged)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_what_passes_by_itself_is_tried_again_later_each_time(
    ask_at: MakeTeacher, waits: list[float], status: int
) -> None:
    endpoint = Scripted(then=YES, steps=[fail(status)] * 3)
    assert (await judge(ask_at(endpoint))).state == "ok"
    assert len(endpoint.requests) == 4
    assert len(waits) == 3
    assert all(0 <= wait <= 60 for wait in waits)


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("0", 0, 0), ("5", 5, 5), ("300", 300, 300), ("1e9", 600, 600), ("-3", 0, 0), ("nan", 0, 60), ("soon", 0, 60)],
)
async def test_retry_after_is_followed(
    ask_at: MakeTeacher, waits: list[float], said: str, least: float, most: float
) -> None:
    endpoint = Scripted(then=YES, steps=[fail(429, headers={"Retry-After": said})])
    assert (await judge(ask_at(endpoint))).state == "ok"
    assert least <= waits[0] <= most


async def test_retry_after_may_be_a_date(ask_at: MakeTeacher, waits: list[float]) -> None:
    steps = [fail(503, headers={"Retry-After": formatdate(time() + 100, usegmt=True)})]
    assert (await judge(ask_at(Scripted(then=YES, steps=[*steps])))).state == "ok"
    assert 90 <= waits[0] <= 100


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (fail(401, "bad key"), "set OPENAI_API_KEY"),
        (fail(403, "not for you"), "set OPENAI_API_KEY"),
        (fail(404, "no model teacher-1"), "teacher-1"),
        (fail(402, "pay"), "OPENAI_API_KEY"),
        (fail(429, "quota", code="insufficient_quota"), "no credit"),
    ],
)
async def test_what_waiting_does_not_mend_stops_the_run(
    ask_at: MakeTeacher, waits: list[float], reply: Response, told: str
) -> None:
    endpoint = Scripted(then=reply)
    with pytest.raises(TeacherError, match=told):
        await judge(ask_at(endpoint))
    assert len(endpoint.requests) == 1
    assert waits == []


async def test_an_endpoint_that_refuses_everything_stops_the_run(ask_at: MakeTeacher) -> None:
    with pytest.raises(TeacherError, match=r"even the plainest request.*no such model"):
        await judge(ask_at(Scripted(then=fail(400, "no such model"))))


async def test_a_first_request_refused_for_itself_is_only_its_own_fault(ask_at: MakeTeacher) -> None:
    def picky(seen: Seen) -> Any:
        return fail(400, "context too long") if "long" in json.dumps(seen.body["messages"][1:]) else YES

    endpoint = Scripted(then=picky)
    teacher = ask_at(endpoint)
    assert (await judge(teacher, "long")).state == "failed"
    assert (await judge(teacher, "short")).state == "ok"
    assert endpoint.requests[-1].form == "schema", "a refused request is no reason to give up schemas"


async def test_an_endpoint_with_its_own_fields_is_learned_once(ask_at: MakeTeacher) -> None:
    def modern(seen: Seen) -> Any:
        if "max_tokens" in seen.body:
            return fail(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in seen.body:
            return fail(400, "Unsupported value: 'temperature' does not support 0.")
        return YES

    endpoint = Scripted(then=modern)
    teacher = ask_at(endpoint)
    assert (await judge(teacher, "a")).state == "ok"
    assert (await judge(teacher, "b")).state == "ok"
    assert len(endpoint.of("judge")) == 3, "once in vain"
    assert endpoint.requests[-1].form == "schema"
    assert len(endpoint.requests) == 8, "each form is tried, and those that were refused once more"


async def test_over_http_every_question_ends_once_whatever_the_weather(tmp_path: Path, waits: list[float]) -> None:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    def weather(seen: Seen) -> Any:
        kind = seen.number % 10
        if kind in (1, 4, 7):
            return fail(429, headers={"Retry-After": ("0", "5", "300")[kind // 3]})
        if kind == 2:
            return fail(503)
        return hang(seen) if seen.number == 13 else YES

    endpoint = Scripted(then=weather)
    with served(endpoint) as url:
        fields = {"app": None, "base_url": url, "timeout": 0.5}
        teacher = Teacher(config_for(endpoint).model_copy(update=fields), tmp_path / "t.jsonl", "round-01", sleep)
        for number in range(40):
            assert (await judge(teacher, str(number))).state == "ok"
        assert teacher.usage("round-01").calls == 40
        assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 40
        await teacher.close()
    assert 300.0 in waits


async def test_a_connection_lost_in_the_middle_is_tried_again(tmp_path: Path) -> None:
    async def sleep(seconds: float) -> None:
        return

    endpoint = Scripted(then=YES, steps=[Response("{", headers={"content-length": "500"})])
    with served(endpoint) as url:
        config = config_for(endpoint).model_copy(update={"app": None, "base_url": url})
        teacher = Teacher(config, tmp_path / "t.jsonl", sleep=sleep)
        assert (await judge(teacher)).state == "ok"
        await teacher.close()
    assert len(endpoint.requests) == 2


async def test_tokens_that_make_no_sense_count_as_none(ask_at: MakeTeacher) -> None:
    teacher = ask_at(Scripted(then=chat('{"correct": true}', tokens=(-5, 10**12))))
    await judge(teacher)
    assert teacher.usage() == (1, 0, 0.0)
