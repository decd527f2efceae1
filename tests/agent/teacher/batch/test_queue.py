"""How long batches are waited for, and the provider's queue."""

import asyncio

import pytest

from agent.teacher.batch import queue
from agent.teacher.batch.queue import LEAST
from retrieval.errors import TeacherError
from tests.agent.teacher.batch.processes import YES, Run
from tests.batch_endpoint import Batched, expires, fails, goes_on


async def test_a_queue_without_room_takes_smaller_batches(run: Run) -> None:
    full = fails("token_limit_exceeded", "Enqueued token limit reached")
    endpoint = Batched(then=YES, fates=[full, full])
    asked = await run.ask(run.start(endpoint), 81)
    assert all(each.state == "ok" for each in asked)
    assert [len(batch.rows) for batch in endpoint.made] == [80, 40, 20, 20, 20, 20]
    assert any("no room for a batch of 80 requests; half as many are tried" in text for text in run.said)
    run.check_paid_once(endpoint, 81)


async def test_batches_that_do_not_fit_beside_others_wait_for_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST_REQUESTS", 10)
    full = fails("token_limit_exceeded")
    endpoint = Batched(then=YES, fates=[expires(99), full, full])
    asked = await run.ask(run.start(endpoint), 31)
    assert all(each.state == "ok" for each in asked)
    assert [len(batch.rows) for batch in endpoint.made] == [10] * 5
    run.check_paid_once(endpoint, 31)
    assert any("room for 1 of these batches at a time" in text for text in run.said)


async def test_a_queue_that_others_fill_is_waited_for_so_long_and_no_longer(run: Run) -> None:
    endpoint = Batched(then=YES, fates=[fails("token_limit_exceeded")] * 999)
    with pytest.raises(TeacherError, match="the provider's queue has been full for 2 hours"):
        await run.ask(run.start(endpoint, batch_hours=2, batch_poll_minutes=30), 2 * LEAST)
    assert 120 <= run.minutes <= 300, "with the looks at those that were refused"


async def test_a_batch_that_does_not_end_is_waited_for_so_long_and_found_again(run: Run) -> None:
    endpoint = Batched(then=YES, fates=[goes_on])
    with pytest.raises(TeacherError, match=r"batch_\w+ has not ended for 2 hours; nothing is lost"):
        await run.ask(run.start(endpoint, batch_hours=2, batch_poll_minutes=10))
    assert run.minutes == 120
    (batch,) = endpoint.made
    endpoint.batches.end(batch, "expired")
    asked = await run.ask(run.start(endpoint))
    assert all(each.state == "ok" for each in asked)
    assert [len(batch.rows) for batch in endpoint.made] == [29, 14], "each process asks its first one directly"
    run.check_paid_once(endpoint)


async def test_without_batches_one_that_is_under_way_is_cancelled_and_what_is_done_is_kept(run: Run) -> None:
    endpoint = Batched(then=YES, fates=[goes_on])
    with pytest.raises(TeacherError):
        await run.ask(run.start(endpoint, batch_hours=0.01))
    asked = await run.ask(run.start(endpoint, batch=False))
    assert all(each.state == "ok" for each in asked)
    assert endpoint.made[0].status == "cancelled"
    assert endpoint.direct == 1 + 15
    run.check_paid_once(endpoint)


async def test_a_run_stopped_while_it_waits_says_what_goes_on_without_it(run: Run) -> None:
    endpoint = Batched(then=YES, fates=[goes_on])
    asking = asyncio.ensure_future(run.ask(run.start(endpoint)))
    while not endpoint.calls["retrieve"]:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    (batch,) = endpoint.made
    assert f"the provider goes on with batch {batch.id}; the same command fetches what it brings" in run.said
