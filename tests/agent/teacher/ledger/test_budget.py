"""Prices, and a budget that is never passed. A reply of the scripted endpoint takes 5 tokens out of at most 16: at a
dollar a token it costs $5 and could cost $16."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.chat.attachments import sent_size
from agent.config.prices import find_price
from agent.config.schema import TeacherConfig
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import Judged
from retrieval.errors import BudgetError, DataError
from tests.endpoint import Scripted, chat, config_for, served

MakeTeacher = Callable[..., Teacher]
YES = {"correct": True}
DOLLAR_A_TOKEN = {"price_in": 0.0, "price_out": 1e6, "max_tokens": 16}


async def judge(teacher: Teacher, answer: str = "a", images: Any = ()) -> Any:
    return await teacher.ask("judge", {"question": "q", "gold": ["a"], "answer": answer}, Judged, images)


def test_a_price_is_the_listed_one_unless_the_configuration_says_another() -> None:
    listed, dated = find_price("gpt-5-mini", None, None), find_price("gpt-5-mini-2025-08-07", None, None)
    assert listed is not None
    assert listed == dated
    given = find_price("gpt-5-mini", 0.0, None)
    assert given is not None
    assert (given.inward, given.outward) == (0.0, listed.outward)
    assert find_price("gpt-5-mini-of-mine", 1.0, None) is None, "half a price is none"
    assert find_price("gpt-4o-mini", None, None) is None, "what its images take at most is listed, and no price"
    assert find_price("gpt-4o-mini", 1.0, 2.0) == (1.0, 2.0, 48200, 0.5)
    assert find_price("gpt-4o-mini", 1.0, 2.0, 0.75) == (1.0, 2.0, 48200, 0.75), "what a batch costs of that"


def test_a_budget_without_a_price_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"price of llava is not known; give teacher\.price_in"):
        TeacherConfig(model="llava", budget_usd=5)
    assert TeacherConfig(model="llava", budget_usd=5, price_in=0, price_out=0).price == (0, 0, 4000, 0.5)


async def test_a_request_that_could_pass_the_budget_is_not_sent(ask_at: MakeTeacher, tmp_path: Path) -> None:
    endpoint = Scripted(then=YES)
    teacher = ask_at(endpoint, budget_usd=15.9, **DOLLAR_A_TOKEN)
    with pytest.raises(BudgetError, match=r"budget_usd: \$0\.0000 of \$15\.9 are spent.*could cost \$16"):
        await judge(teacher)
    assert endpoint.requests == []
    assert (await judge(ask_at(endpoint, budget_usd=16, **DOLLAR_A_TOKEN))).state == "ok"


async def test_prompt_and_images_count_before_they_are_sent(ask_at: MakeTeacher, picture: bytes) -> None:
    endpoint = Scripted(then=YES)
    fields = {"price_in": 1e6, "price_out": 0.0, "max_tokens": 16}
    with pytest.raises(BudgetError):
        await judge(ask_at(endpoint, budget_usd=4000, **fields), images=[picture])
    assert (await judge(ask_at(endpoint, budget_usd=4000, **fields))).state == "ok", "without the image there is room"


async def test_many_at_once_stay_within_the_budget_and_lose_no_reply(ask_at: MakeTeacher, tmp_path: Path) -> None:
    async def slowly(seen: Any) -> dict[str, Any]:
        for _ in range(20):
            await asyncio.sleep(0)
        return YES

    endpoint = Scripted(then=slowly)
    teacher = ask_at(endpoint, budget_usd=48, **DOLLAR_A_TOKEN)
    asked = await asyncio.gather(*(judge(teacher, str(each)) for each in range(20)), return_exceptions=True)
    assert endpoint.most_under_way == 3, "48 dollars are room for three that could cost 16"
    assert teacher.usage().cost_usd == 35, "after seven, another could cost more than is left"
    assert sum(isinstance(each, BudgetError) for each in asked) == 20 - 7
    assert len((tmp_path / "teacher.jsonl").read_text().splitlines()) == len(endpoint.requests) == 7


async def test_when_the_run_is_being_ended_nothing_smaller_is_sent(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then=YES)
    fields = {"budget_usd": 50, "price_in": 1e4, "price_out": 0.0}
    teacher = ask_at(endpoint, **fields)
    with pytest.raises(BudgetError):
        await judge(teacher, "a" * 10_000)
    with pytest.raises(BudgetError):
        await judge(teacher, "short")
    assert endpoint.requests == [], "its reply would be lost"
    assert (await judge(ask_at(endpoint, **fields), "short")).state == "ok"


async def test_what_processes_before_spent_counts(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then=YES)
    first = ask_at(endpoint, **DOLLAR_A_TOKEN)
    await judge(first, "1")
    await first.close()
    again = ask_at(endpoint, budget_usd=20.9, **DOLLAR_A_TOKEN)
    assert (await judge(again, "1")).state == "ok", "what is in the journal costs nothing"
    with pytest.raises(BudgetError, match=r"\$5\.0000 of"):
        await judge(again, "2")
    assert (await judge(ask_at(endpoint, budget_usd=21, **DOLLAR_A_TOKEN), "2")).state == "ok"


async def test_teachers_of_a_run_share_its_budget_but_not_what_others_spent(
    ask_at: MakeTeacher, tmp_path: Path
) -> None:
    endpoint = Scripted(then=YES)
    other = ask_at(endpoint, scope="pool for another run", **DOLLAR_A_TOKEN)
    await judge(other, "1")
    await other.close()
    run = Teacher(config_for(endpoint, budget_usd=21, **DOLLAR_A_TOKEN), tmp_path / "run.jsonl")
    costs = tmp_path / "costs.jsonl"
    pool = Teacher(run.config, tmp_path / "teacher.jsonl", "pool for this", budget=run.budget, costs=costs)
    await judge(pool, "1")
    assert run.budget.spent == 0, "another run has paid for it"
    await judge(pool, "2")
    assert run.budget.spent == 5
    await judge(run, "3")
    with pytest.raises(BudgetError):
        await judge(run, "4")
    assert (pool.usage().cost_usd, pool.paid().cost_usd) == (10, 5)
    (tmp_path / "teacher.jsonl").unlink()
    again = Teacher(run.config, tmp_path / "teacher.jsonl", "pool for this", costs=costs)
    again.load()
    assert again.budget.spent == 5, "whatever has become of the pool"
    assert json.loads(costs.read_text())["content"] == "", "the reply is in the pool's journal"
    await run.close()
    await pool.close()


async def test_an_endpoint_that_reports_no_tokens_is_counted_at_the_most(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then=chat(json.dumps(YES), tokens=(0, 0)))
    teacher = ask_at(endpoint, budget_usd=31, **DOLLAR_A_TOKEN)
    await judge(teacher, "1")
    with pytest.raises(BudgetError):
        await judge(teacher, "2")


async def test_a_cost_that_is_not_known_is_none_until_there_is_a_price(tmp_path: Path) -> None:
    with served(Scripted(then=YES)) as url:
        config = TeacherConfig(model="llava", base_url=url)
        teacher = Teacher(config, tmp_path / "t.jsonl")
        await judge(teacher)
        assert teacher.usage() == (1, 15, None)
        await teacher.close()
        priced = Teacher(config.model_copy(update={"price_in": 0.0, "price_out": 1e6}), tmp_path / "t.jsonl")
        assert priced.usage() == (1, 15, 5.0)


def test_sizes_are_those_of_what_is_sent(picture: bytes) -> None:
    assert sent_size(picture) == (8, 8)
    with pytest.raises(DataError):
        sent_size(b"text")
