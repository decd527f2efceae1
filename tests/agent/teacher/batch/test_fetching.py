"""What batches bring back: replies, refusals, oddities, and results that are gone."""

from typing import Any

import pytest

from eval.microworld.batches import Made
from retrieval.errors import TeacherError, TeacherSetupError
from tests.agent.teacher.batch.processes import DOLLAR_A_TOKEN, MANY, YES, Run, verdict
from tests.batch_endpoint import Batched, Batches, fails, goes_on
from tests.endpoint import Seen, chat, fail, served

#: What may stand in the place of a response; the last two came with status 200.
ODD: list[Any] = [
    None,
    {"status_code": 1e9, "body": {}},
    {"status_code": "503", "body": None},
    {"status_code": 503, "body": "down"},
    {"status_code": 200, "body": None},
    {"status_code": 200},
]


async def test_a_batch_brings_each_its_own_reply_at_half_the_price(run: Run) -> None:
    endpoint = Batched(then=verdict)
    teacher = run.start(endpoint, **DOLLAR_A_TOKEN)
    asked = await run.ask(teacher)
    assert [each.value.correct for each in asked if each.value] == [number % 2 == 0 for number in range(MANY)]
    run.check_paid_once(endpoint)
    assert endpoint.direct == 1, "the first, to learn in which form it is asked"
    assert teacher.usage("round-01") == (MANY, 15 * MANY, 5 + (MANY - 1) * 2.5)
    assert sum(row.get("batch", False) for row in run.rows) == MANY - 1
    assert run.progress[-1] == (MANY - 1, MANY - 1)
    assert [row.get("ended") for row in run.log] == [None, None, None, "completed"]
    assert endpoint.batches.files == {}, "nothing of it stays at the provider"
    assert any("29 requests submitted" in text for text in run.said)
    assert not list(run.folder.glob(".*.tmp"))


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_requests_that_failed_for_a_passing_reason_are_asked_again(run: Run, status: int) -> None:
    """Twelve in the next batch, three of those (too few for a batch) directly."""
    came: dict[str, int] = {}

    def weather(seen: Seen) -> Any:
        answer = seen.data["answer"]
        came[answer] = came.get(answer, 0) + 1
        good = {"1": 3, "2": 3, "3": 3}.get(answer, 2 if int(answer) in range(1, 13) else 1)
        return YES if came[answer] >= good else fail(status, "overloaded")

    endpoint = Batched(then=weather)
    asked = await run.ask(run.start(endpoint))
    assert all(each.state == "ok" for each in asked)
    assert [len(batch.rows) for batch in endpoint.made] == [29, 12]
    assert endpoint.direct == 1 + 3
    assert len(set(run.paid)) == MANY


async def test_what_a_batch_refuses_is_refused_for_its_own_reason_and_not_asked_again(run: Run) -> None:
    refusals = {
        "4": (fail(400, "Invalid image data."), "failed"),
        "5": (fail(400, "blocked by our content management policy", code="content_filter"), "filtered"),
        "6": (chat(None, refusal="I would rather not."), "refused"),
        "7": (chat('{"cor', finish="length"), "cut"),
        "8": (chat(""), "malformed"),
    }
    endpoint = Batched(then=lambda seen: refusals[seen.data["answer"]][0] if seen.data["answer"] in refusals else YES)
    asked = await run.ask(run.start(endpoint))
    wanted = {int(number): state for number, (_, state) in refusals.items()}
    assert {number: each.state for number, each in enumerate(asked) if each.state != "ok"} == wanted
    assert "HTTP 400: " in asked[4].reason
    assert "Invalid image data." in asked[4].reason
    assert asked[4].divisible
    assert endpoint.direct == 1 + 1, "the repair of a malformed reply depends on it"


async def test_many_that_are_refused_with_one_message_do_not_look_like_an_endpoint_that_fails(run: Run) -> None:
    endpoint = Batched(then=lambda seen: YES if int(seen.data["answer"]) % 2 == 0 else fail(400, "too long"))
    asked = await run.ask(run.start(endpoint))
    assert [each.state for each in asked] == ["ok", "failed"] * (MANY // 2)


@pytest.mark.parametrize("status", [401, 403, 402, 404])
async def test_a_line_that_says_the_key_is_refused_ends_the_run_and_what_was_paid_is_there(
    run: Run, status: int
) -> None:
    endpoint = Batched(then=lambda seen: fail(status, "revoked") if seen.data["answer"] == "7" else YES)
    with pytest.raises(TeacherSetupError, match=f"HTTP {status}"):
        await run.ask(run.start(endpoint))
    assert len(run.paid) == MANY - 1
    assert "ended" in run.log[-1]


async def test_lines_that_are_none_are_as_good_as_none(run: Run) -> None:
    async def babbles(service: Batches, batch: Made) -> None:
        await service.answer_some(batch)
        for row, odd in zip(batch.results, ODD, strict=False):
            row["response"] = odd
        service.end(batch, "completed")
        assert batch.output is not None
        service.files[batch.output] += b'{"custom_id": "unheard of"}\n[1]\nno JSON\n{"custom_id": ["a"]}\n{"custom_id"'

    endpoint = Batched(then=YES, fates=[babbles])
    asked = await run.ask(run.start(endpoint))
    states = [each.state for each in asked]
    assert (states.count("ok"), states.count("failed")) == (MANY - 2, 2), "a body that is no completion is refused"
    assert len(set(run.paid)) == MANY - 2


async def test_a_batch_that_the_provider_fails_ends_the_run_with_its_words(run: Run) -> None:
    endpoint = Batched(then=YES, fates=[fails("model_not_found", "The model is not supported by the Batch API.")])
    with pytest.raises(
        TeacherSetupError, match=r"model_not_found: The model is not supported.*teacher\.batch to false"
    ):
        await run.ask(run.start(endpoint))
    asked = await run.ask(run.start(endpoint, batch=False))
    assert all(each.state == "ok" for each in asked), "it does not stand in the way"


async def test_looks_that_fail_are_made_again(run: Run) -> None:
    endpoint = Batched(then=YES, looks=[503] * 7)
    asked = await run.ask(run.start(endpoint))
    assert all(each.state == "ok" for each in asked)
    run.check_paid_once(endpoint)


async def test_a_batch_that_the_endpoint_does_not_have_is_named_with_what_can_be_done(run: Run) -> None:
    endpoint = Batched(then=YES, fates=[goes_on])
    with pytest.raises(TeacherError):
        await run.ask(run.start(endpoint, batch_hours=0.01))
    batch = endpoint.made[0].id
    for other in (Batched(then=YES), endpoint):
        endpoint.batches.batches.clear()
        with pytest.raises(TeacherSetupError, match=rf"has no batch {batch}, .*delete .*teacher\.batches\.jsonl"):
            await run.ask(run.start(other))
    endpoint.fates.clear()
    (run.folder / "teacher.batches.jsonl").unlink()
    asked = await run.ask(run.start(endpoint))
    assert all(each.state == "ok" for each in asked)


async def test_results_that_are_gone_are_told_and_not_paid_again_unasked(run: Run) -> None:
    async def loses(service: Batches, batch: Made) -> None:
        await service.answer_some(batch)
        service.end(batch, "completed")
        service.files.clear()

    endpoint = Batched(then=YES, fates=[loses])
    for batch in (True, False):
        with pytest.raises(TeacherSetupError, match=r"has no results of batch batch_\w+, .*delete .*batches\.jsonl"):
            await run.ask(run.start(endpoint, batch=batch))
    assert len(endpoint.requests) == MANY


async def test_batches_that_were_paid_before_the_price_was_known_count_at_half_of_it(run: Run) -> None:
    endpoint = Batched(then=YES)
    with served(endpoint) as url:
        await run.ask(run.start(endpoint, app=None, base_url=url))
        assert {row["cost_usd"] for row in run.rows} == {None}
        priced = run.start(endpoint, app=None, base_url=url, **DOLLAR_A_TOKEN)
        assert priced.usage().cost_usd == 5 + 29 * 2.5
    run.check_paid_once(endpoint)
