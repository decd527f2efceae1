"""What is paid for without a reply, what is asked anew, and who pays for a batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.run.error_budget import check_teacher
from agent.teacher import request
from agent.teacher.asked import Lost
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import Judged
from agent.teacher.request import Question
from retrieval.errors import BudgetError, TeacherError
from tests.batch_endpoint import Batched, Fate, goes_on
from tests.endpoint import Scripted, chat, config_for, fail, hang

MakeTeacher = Callable[..., Teacher]
YES = {"correct": True}
#: A reply takes 5 tokens of at most 16, at a dollar each.
DOLLAR_A_TOKEN = {"price_in": 0.0, "price_out": 1e6, "max_tokens": 16}


def data(answer: str) -> dict[str, Any]:
    return {"question": "q", "gold": ["a"], "answer": answer}


async def judge(teacher: Teacher, answer: str = "a", images: Any = ()) -> Any:
    return await teacher.ask("judge", data(answer), Judged, images)


async def test_a_time_out_is_tried_once_more_whatever_else_is_tried_in_between(ask_at: MakeTeacher) -> None:
    teacher = ask_at(Scripted(then=YES, steps=[YES, hang, fail(429), hang]), retries=9, timeout=0.05)
    assert (await judge(teacher, "1")).state == "ok"
    asked = await judge(teacher, "2")
    assert (asked.state, "no answer within 0.05 s" in asked.reason) == ("failed", True)
    assert (await judge(teacher, "2")).state == "ok", "it is no verdict on the request"


async def test_a_time_out_is_paid_at_its_most_also_after_a_restart(ask_at: MakeTeacher, tmp_path: Path) -> None:
    endpoint = Scripted(then=YES, steps=[YES, hang])
    teacher = ask_at(endpoint, timeout=0.05, budget_usd=100, **DOLLAR_A_TOKEN)
    await judge(teacher, "1")
    assert (await judge(teacher, "2")).state == "ok"
    assert teacher.budget.spent == 5 + 16 + 5
    assert teacher.usage() == (2, 30, 26.0), "an answer that never came is no call"
    await teacher.close()
    again = ask_at(endpoint, budget_usd=100, **DOLLAR_A_TOKEN)
    assert (await judge(again, "2")).state == "ok"
    assert (again.budget.spent, len(endpoint.requests)) == (26, 3)


async def test_a_time_out_that_uses_the_budget_up_is_not_tried_again(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then=YES, steps=[YES, hang])
    teacher = ask_at(endpoint, timeout=0.05, budget_usd=30, **DOLLAR_A_TOKEN)
    await judge(teacher, "1")
    asked = await judge(teacher, "2")
    assert (asked.state, "no room for another try" in asked.reason) == ("failed", True)
    with pytest.raises(BudgetError):
        await judge(teacher, "3")
    assert teacher.budget.spent == 21 <= 30


@pytest.mark.parametrize("bad", [chat("nein"), chat("", finish="content_filter"), chat("{", finish="length")])
async def test_what_stopped_a_run_is_asked_anew_and_what_a_kill_left_is_not(ask_at: MakeTeacher, bad: Any) -> None:
    broken, mended = Scripted(then=bad), Scripted(then=YES)
    first = ask_at(broken)
    asked = await judge(first, "1")
    count = len(broken.requests)
    await first.close()
    killed = ask_at(mended)
    assert await judge(killed, "1") == asked
    assert not mended.requests, "it was paid for, and nobody has given it up"
    with pytest.raises(TeacherError, match="they are asked anew"):
        check_teacher(killed, [Lost(asked.fault, asked.reason)] * 8, 8, 0.05)
    await killed.close()
    for _ in range(2):
        again = ask_at(mended)
        assert (await judge(again, "1")).state == "ok"
        assert again.usage().calls == count + 1, "what they took stays counted"
        await again.close()
    assert len(mended.requests) == 1


async def test_a_batch_is_charged_to_the_run_that_made_it_whoever_fetches_it(tmp_path: Path) -> None:
    fates: list[Fate] = [goes_on]
    endpoint = Batched(then=YES, fates=fates)

    def teacher(run: str, sleep: Callable[[float], Any]) -> Teacher:
        config = config_for(endpoint, batch=True, batch_hours=1.0, budget_usd=1000, **DOLLAR_A_TOKEN)
        costs = tmp_path / f"{run}.jsonl"
        return Teacher(config, tmp_path / "teacher.jsonl", f"pool for {run}", sleep, costs=costs)

    async def ends(seconds: float) -> None:
        (batch,) = endpoint.made
        await endpoint.batches.answer_some(batch)
        endpoint.batches.end(batch, "completed")

    async def never(seconds: float) -> None:
        return

    made = teacher("one", never)
    with pytest.raises(TeacherError, match="has not ended"):
        await made.ask_ahead(questions)
    await made.close()
    assert made.paid().cost_usd == 5, "the first question, which was asked directly"
    for fetches in (teacher("two", ends), teacher("one", never)):
        await fetches.ask_ahead(questions)
        await fetches.close()
    assert (fetches.paid().calls, fetches.paid().cost_usd) == (20, 5 + 19 * 2.5)
    assert fetches.budget.spent == 5 + 19 * 2.5
    assert teacher("two", never).paid() == (0, 0, 0)
    assert teacher("one", never).paid().calls == 20, "noted down once"


def questions() -> list[Question]:
    return [Question("judge", data(str(number)), Judged) for number in range(20)]


async def test_the_pictures_of_a_request_are_hashed_once(
    ask_at: MakeTeacher, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[bytes] = []
    real = request.picture_hash
    monkeypatch.setattr(request, "picture_hash", lambda image: hashed.append(image) or real(image))
    assert (await judge(ask_at(Scripted(then=YES, steps=["?"])), images=[picture])).state == "ok"
    assert hashed == [picture], "though it was repaired, looked up and written down"
