"""Requests answered ahead in batches, at endpoints with a Batch API, with none, or with half of one."""

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from retrieval.errors import TeacherError, TeacherSetupError
from tests.agent.teacher.batch.processes import YES, Run
from tests.batch_endpoint import Batched
from tests.endpoint import fail


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_endpoint_without_a_batch_api_is_told_in_one_sentence(run: Run, status: int) -> None:
    endpoint = Batched(then=YES, missing=status)
    teacher = run.start(endpoint)
    for ask in (teacher.check_batches, lambda: run.ask(teacher)):
        with pytest.raises(
            TeacherSetupError, match=rf"has no Batch API \(HTTP {status}\); set teacher\.batch to false$"
        ) as caught:
            await ask()
        assert caught.value.exit_code == 2
    asked = await run.ask(run.start(endpoint, batch=False))
    assert all(each.state == "ok" for each in asked)
    run.check_paid_once(endpoint)


@pytest.mark.parametrize(
    "said", [HTMLResponse("<p>Welcome"), JSONResponse({}), JSONResponse([]), JSONResponse({"id": 1})]
)
async def test_an_endpoint_that_answers_anything_has_none(run: Run, said: Response) -> None:
    endpoint = Batched(then=YES, instead=said)
    with pytest.raises(TeacherSetupError, match=r"has no Batch API \(its reply to a file is none\)"):
        await run.ask(run.start(endpoint))
    asked = await run.ask(run.start(endpoint, batch=False))
    assert all(each.state == "ok" for each in asked)


async def test_a_batch_that_is_not_taken_is_told_with_the_providers_words_and_nothing_stays_there(run: Run) -> None:
    endpoint = Batched(then=YES, refusal=fail(400, "Billing hard limit has been reached"))
    with pytest.raises(TeacherSetupError, match=r"does not take a batch .*Billing hard limit has been reached"):
        await run.ask(run.start(endpoint))
    assert endpoint.batches.files == {}
    endpoint.refusal = None
    await run.ask(run.start(endpoint))
    run.check_paid_once(endpoint)


async def test_an_endpoint_with_one_passes_the_check(run: Run) -> None:
    endpoint = Batched(then=YES)
    await run.start(endpoint).check_batches()
    assert endpoint.calls == {"list": 1}


async def test_a_batch_whose_making_got_no_answer_is_not_made_twice(run: Run) -> None:
    endpoint = Batched(then=YES, lost=1)
    await run.ask(run.start(endpoint))
    assert len(endpoint.made) == 1
    run.check_paid_once(endpoint)


@pytest.mark.parametrize("metadata", [True, False])
async def test_a_batch_whose_id_was_never_heard_is_found_again(run: Run, metadata: bool) -> None:
    """By our tag; or by its file, where the provider keeps no metadata."""
    endpoint = Batched(then=YES, lost=9)
    first = run.start(endpoint, retries=0)
    with pytest.raises(TeacherError, match="does not take a batch"):
        await run.ask(first)
    (batch,) = endpoint.made
    if not metadata:
        batch.metadata = None
    endpoint.lost = 0
    await run.ask(run.start(endpoint))
    assert endpoint.made == [batch]
    run.check_paid_once(endpoint)
