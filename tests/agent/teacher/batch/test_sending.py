"""What is put into batches, in which words, as far as the budget holds."""

from pathlib import Path
from typing import Any

import pytest

from agent.teacher.batch import parts, queue
from agent.teacher.batch.means import TRIES
from agent.teacher.batch.queue import LEAST
from agent.teacher.prompts.replies import Judged
from agent.teacher.request import Question
from retrieval.errors import BudgetError, TeacherError
from tests.agent.teacher.batch.processes import DOLLAR_A_TOKEN, MANY, YES, Run, data, questions, verdict
from tests.batch_endpoint import Batched, expires, goes_on
from tests.endpoint import Seen, fail


async def test_what_was_asked_before_and_what_is_little_is_not_put_into_a_batch(run: Run) -> None:
    endpoint = Batched(then=YES)
    teacher = run.start(endpoint)
    await run.ask(teacher, LEAST)
    assert endpoint.made == [], "after the first, there were fewer left"
    await run.ask(teacher, 3 * LEAST)
    (batch,) = endpoint.made
    assert len(batch.rows) == 2 * LEAST
    await run.ask(teacher, 3 * LEAST)
    run.check_paid_once(endpoint, 3 * LEAST)


async def test_without_batches_nothing_is_asked_ahead(run: Run) -> None:
    endpoint = Batched(then=YES)
    await run.start(endpoint, batch=False).ask_ahead(lambda: questions(MANY))
    assert endpoint.requests == []
    assert not endpoint.calls


@pytest.mark.parametrize("said", [True, False])
async def test_what_an_expired_batch_leaves_goes_into_the_next(run: Run, said: bool) -> None:
    endpoint = Batched(then=verdict, fates=[expires(12, said), expires(0, said)])
    asked = await run.ask(run.start(endpoint))
    assert all(each.state == "ok" for each in asked)
    run.check_paid_once(endpoint)
    assert [len(batch.rows) for batch in endpoint.made] == [29, 17, 17]
    assert endpoint.direct == 1


async def test_what_no_batch_brings_is_asked_directly_in_the_end(run: Run) -> None:
    endpoint = Batched(then=YES, fates=[expires(0)] * 9)
    asked = await run.ask(run.start(endpoint))
    assert all(each.state == "ok" for each in asked)
    assert len(endpoint.made) == TRIES
    assert endpoint.direct == MANY


async def test_a_batch_is_split_by_requests_and_by_bytes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST_REQUESTS", 12)
    endpoint = Batched(then=verdict)
    teacher = run.start(endpoint)
    await run.ask(teacher)
    assert [len(batch.rows) for batch in endpoint.made] == [12, 12, 5]
    monkeypatch.setattr(parts, "MOST_BYTES", 10_000)
    await run.ask(run.start(endpoint), 60)
    assert len(endpoint.made) > 5
    run.check_paid_once(endpoint, 60)


async def test_no_more_is_submitted_than_the_budget_holds(run: Run) -> None:
    """In a batch, a request can cost $8 and costs $2.50."""
    endpoint = Batched(then=YES)
    teacher = run.start(endpoint, budget_usd=165, **DOLLAR_A_TOKEN)
    asked = await run.ask(teacher)
    assert all(each.state == "ok" for each in asked)
    assert [len(batch.rows) for batch in endpoint.made] == [20], "after the first one at $5, of which $160 are left"
    assert endpoint.direct == 10, "what is left is too little for a batch"
    assert teacher.usage().cost_usd == 10 * 5 + 20 * 2.5


async def test_a_budget_that_is_used_up_in_batches_stops_the_run_and_loses_nothing(run: Run) -> None:
    endpoint = Batched(then=YES)
    teacher = run.start(endpoint, budget_usd=100, **DOLLAR_A_TOKEN)
    with pytest.raises(BudgetError):
        await run.ask(teacher, 60)
    assert (teacher.usage().cost_usd or 0) <= 100
    run.check_paid_once(endpoint, len(run.paid))
    more = run.start(endpoint, budget_usd=1000, **DOLLAR_A_TOKEN)
    asked = await run.ask(more, 60)
    assert all(each.state == "ok" for each in asked)
    run.check_paid_once(endpoint, 60)


async def test_what_a_batch_under_way_can_cost_is_not_spent_by_others(run: Run) -> None:
    endpoint = Batched(then=YES, fates=[goes_on])
    first = run.start(endpoint, budget_usd=300, batch_hours=0.01, **DOLLAR_A_TOKEN)
    with pytest.raises(TeacherError):
        await run.ask(first)
    again = run.start(endpoint, budget_usd=250, **DOLLAR_A_TOKEN)
    with pytest.raises(BudgetError, match=r"\$5\.0000 of \$250 are spent, \$232\.0000 are set aside for batches"):
        await again.ask("judge", data(99), Judged)
    endpoint.batches.end(endpoint.made[0], "expired")
    fetching = run.start(endpoint, budget_usd=250, **DOLLAR_A_TOKEN)
    assert all(each.state == "ok" for each in await run.ask(fetching))
    assert (await fetching.ask("judge", data(99), Judged)).state == "ok"


async def test_what_cannot_be_sent_does_not_keep_others_from_their_batch(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"text")
    endpoint = Batched(then=YES)
    teacher = run.start(endpoint)
    images = [tmp_path / "none.png", broken]
    await teacher.ask_ahead(
        lambda: [*(Question("judge", data(0), Judged, [each]) for each in images), *questions(MANY)]
    )
    assert len(endpoint.made[0].rows) == MANY - 1
    assert (await teacher.ask("judge", data(0), Judged, [broken])).state == "failed"


async def test_a_batch_speaks_the_dialect_of_the_endpoint(run: Run) -> None:
    def takes_no_schema(seen: Seen) -> Any:
        return fail(400, "response_format json_schema is not supported") if seen.form == "schema" else YES

    endpoint = Batched(then=takes_no_schema)
    asked = await run.ask(run.start(endpoint))
    assert all(each.state == "ok" for each in asked)
    assert {row["body"]["response_format"]["type"] for row in endpoint.made[0].rows} == {"json_object"}
