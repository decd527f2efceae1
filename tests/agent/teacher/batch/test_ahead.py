"""Requests answered ahead in batches, at an endpoint whose batches meet all kinds of fates."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from agent.teacher.batch import ahead
from agent.teacher.batch.ahead import LEAST, TRIES
from agent.teacher.client import Asked, Teacher
from agent.teacher.prompts.replies import Judged
from agent.teacher.request import Question
from eval.microworld.batches import Made
from retrieval.errors import BudgetError, TeacherError, TeacherSetupError
from retrieval.storage.files import read_jsonl
from tests.batch_endpoint import Batched, Batches, expires, fails, goes_on
from tests.endpoint import Seen, chat, config_for, fail, served

YES = {"correct": True}
#: A reply takes 5 tokens of at most 16, at a dollar each.
DOLLAR_A_TOKEN = {"price_in": 0.0, "price_out": 1e6, "max_tokens": 16}
MANY = 30
#: What may stand in the place of a response; the last two came with status 200.
ODD: list[Any] = [
    None,
    {"status_code": 1e9, "body": {}},
    {"status_code": "503", "body": None},
    {"status_code": 503, "body": "down"},
    {"status_code": 200, "body": None},
    {"status_code": 200},
]


def data(number: int) -> dict[str, Any]:
    return {"question": "q", "gold": ["a"], "answer": str(number)}


def questions(count: int) -> Iterable[Question]:
    return (Question("judge", data(number), Judged) for number in range(count))


class Run:
    """Processes of one run, one after the other, at one endpoint; no time passes for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.progress: list[tuple[int, int]] = []
        self.minutes = 0.0
        #: Is called after each rest, with its seconds.
        self.after_rest: Callable[[float], None] = lambda seconds: None
        self.teachers: list[Teacher] = []

    def start(self, endpoint: Batched, **fields: Any) -> Teacher:
        async def sleep(seconds: float) -> None:
            self.minutes += seconds / 60
            self.after_rest(seconds)
            for _ in range(10):
                await asyncio.sleep(0)

        config = config_for(endpoint, batch=True, retries=1).model_copy(update=fields)
        teacher = Teacher(config, self.folder / "teacher.jsonl", "round-01", sleep, say=self.said.append)
        self.teachers.append(teacher)
        return teacher

    async def ask(self, teacher: Teacher, count: int = MANY) -> list[Asked[Judged]]:
        """Ask ahead, and then one by one."""
        await teacher.ask_ahead(lambda: questions(count), lambda *at: self.progress.append(at))
        return [await teacher.ask("judge", data(number), Judged) for number in range(count)]

    @property
    def paid(self) -> list[str]:
        """The keys of what was paid."""
        return [row["key"] for row in self.rows]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return read_jsonl(self.folder / "teacher.jsonl")

    @property
    def log(self) -> list[dict[str, Any]]:
        return read_jsonl(self.folder / "teacher.batches.jsonl")

    def check_paid_once(self, endpoint: Batched, count: int = MANY) -> None:
        assert len(self.paid) == len(set(self.paid)) == count
        assert sum(seen.kind is not None for seen in endpoint.requests) == count, (
            "asked or answered more often than paid"
        )


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    made = Run(tmp_path)
    yield made
    for teacher in made.teachers:
        await teacher.close()


def verdict(seen: Seen) -> Any:
    return {"correct": int(seen.data["answer"]) % 2 == 0}


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


async def test_an_endpoint_with_one_passes_the_check(run: Run) -> None:
    endpoint = Batched(then=YES)
    await run.start(endpoint).check_batches()
    assert endpoint.calls == {"list": 1}


async def test_a_batch_that_the_provider_fails_ends_the_run_with_its_words(run: Run) -> None:
    endpoint = Batched(then=YES, fates=[fails("model_not_found", "The model is not supported by the Batch API.")])
    with pytest.raises(
        TeacherSetupError, match=r"model_not_found: The model is not supported.*teacher\.batch to false"
    ):
        await run.ask(run.start(endpoint))
    asked = await run.ask(run.start(endpoint, batch=False))
    assert all(each.state == "ok" for each in asked), "it does not stand in the way"


async def test_a_batch_is_split_by_requests_and_by_bytes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MOST_REQUESTS", 12)
    endpoint = Batched(then=verdict)
    teacher = run.start(endpoint)
    await run.ask(teacher)
    assert [len(batch.rows) for batch in endpoint.made] == [12, 12, 5]
    monkeypatch.setattr(ahead, "MOST_BYTES", 10_000)
    await run.ask(run.start(endpoint), 60)
    assert len(endpoint.made) > 5
    run.check_paid_once(endpoint, 60)


async def test_a_queue_without_room_takes_smaller_batches(run: Run) -> None:
    full = fails("token_limit_exceeded", "Enqueued token limit reached")
    endpoint = Batched(then=YES, fates=[full, full])
    asked = await run.ask(run.start(endpoint), 81)
    assert all(each.state == "ok" for each in asked)
    assert [len(batch.rows) for batch in endpoint.made] == [80, 40, 20, 20, 20, 20]
    assert any("no room for a batch of 80 requests; half as many are tried" in text for text in run.said)
    run.check_paid_once(endpoint, 81)


async def test_batches_that_do_not_fit_beside_others_wait_for_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MOST_REQUESTS", 10)
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


async def test_batches_that_were_paid_before_the_price_was_known_count_at_half_of_it(run: Run) -> None:
    endpoint = Batched(then=YES)
    with served(endpoint) as url:
        await run.ask(run.start(endpoint, app=None, base_url=url))
        assert {row["cost_usd"] for row in run.rows} == {None}
        priced = run.start(endpoint, app=None, base_url=url, **DOLLAR_A_TOKEN)
        assert priced.usage().cost_usd == 5 + 29 * 2.5
    run.check_paid_once(endpoint)
