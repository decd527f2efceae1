"""Batches at providers that list late, lose track of results, refuse what is beside the point, or answer oddly."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from agent.teacher.batch.api import BatchApi
from agent.teacher.batch.fetching import LOOKS
from agent.teacher.batch.means import LISTED
from eval.microworld.batches import Made
from retrieval.errors import TeacherError, TeacherSetupError
from tests.agent.teacher.batch.processes import MANY, YES, Run, questions
from tests.batch_endpoint import Batched, Batches, goes_on
from tests.endpoint import fail, served

PAGE = HTMLResponse("<p>Welcome")


@pytest.fixture
def late() -> Iterator[tuple[str, Batched]]:
    """Over HTTP, a provider whose list holds a batch only after a while, and that does not say that it has made one."""
    endpoint = Batched(then=YES, lost=1, unlisted=True)
    with served(endpoint) as url:
        yield url, endpoint


def list_after(run: Run, endpoint: Batched) -> None:
    def rested(seconds: float) -> None:
        if seconds == LISTED:
            endpoint.unlisted = False

    run.after_rest = rested


async def test_a_batch_that_is_listed_late_is_not_made_twice_by_a_second_try(
    run: Run, late: tuple[str, Batched]
) -> None:
    url, endpoint = late
    list_after(run, endpoint)
    await run.ask(run.start(endpoint, app=None, base_url=url))
    assert len(endpoint.made) == 1
    run.check_paid_once(endpoint)


async def test_a_batch_that_is_listed_late_is_not_made_twice_by_a_second_start(
    run: Run, late: tuple[str, Batched]
) -> None:
    """However long it took to upload it: the start waits in full."""
    url, endpoint = late
    with pytest.raises(TeacherError, match="does not take a batch"):
        await run.ask(run.start(endpoint, app=None, base_url=url, retries=0))
    log = run.folder / "teacher.batches.jsonl"
    rows = run.log
    rows[0]["begun"]["time"] -= 3600
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    list_after(run, endpoint)
    await run.ask(run.start(endpoint, app=None, base_url=url))
    assert len(endpoint.made) == 1
    run.check_paid_once(endpoint)


def said_late(batch: Made, times: int) -> list[int | Response]:
    """Looks at a batch that has ended well, of which no file is named."""
    body = {**batch.as_json(), "status": "completed", "output_file_id": None, "error_file_id": None}
    body["request_counts"] = {"total": MANY - 1, "completed": MANY - 1, "failed": 0}
    return [JSONResponse(body) for _ in range(times)]


@pytest.mark.parametrize("error_file", [False, True])
async def test_a_batch_that_has_ended_is_looked_at_until_its_files_are_named(run: Run, error_file: bool) -> None:
    async def is_slow(service: Batches, batch: Made) -> None:
        await service.answer_some(batch)
        service.end(batch, "completed")
        endpoint.looks = said_late(batch, LOOKS - 1)
        if error_file:
            service.files["errors"] = b'{"custom_id": "' + batch.rows[0]["custom_id"].encode() + b'"}\n'
            endpoint.looks = [
                JSONResponse({**json.loads(bytes(each.body)), "error_file_id": "errors"})
                for each in endpoint.looks
                if isinstance(each, Response)
            ]

    endpoint = Batched(then=YES, fates=[is_slow])
    with served(endpoint) as url:
        await run.ask(run.start(endpoint, app=None, base_url=url))
    assert len(endpoint.made) == 1
    assert any("completed, but its results are not there" in text for text in run.said)
    run.check_paid_once(endpoint)


@pytest.mark.parametrize("content", [None, b"<p>Welcome"])
async def test_results_that_never_come_are_told_and_not_paid_again_unasked(run: Run, content: bytes | None) -> None:
    async def loses(service: Batches, batch: Made) -> None:
        await service.answer_some(batch)
        service.end(batch, "completed")
        if content is None:
            batch.output = None
        else:
            service.files = dict.fromkeys(service.files, content)

    endpoint = Batched(then=YES, fates=[loses])
    with served(endpoint) as url:
        for batch in (True, False):
            with pytest.raises(
                TeacherSetupError, match=r"has no results of batch batch_\w+, .*delete .*batches\.jsonl"
            ):
                await run.ask(run.start(endpoint, app=None, base_url=url, batch=batch))
    assert len(endpoint.requests) == MANY
    assert len(endpoint.made) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_files_that_may_not_be_deleted_do_not_stop_a_run(run: Run, status: int) -> None:
    endpoint = Batched(then=YES, keeps=fail(status, "no permission to delete"))
    with served(endpoint) as url:
        asked = await run.ask(run.start(endpoint, app=None, base_url=url))
    assert all(each.state == "ok" for each in asked)
    run.check_paid_once(endpoint)


async def test_a_batch_that_may_not_be_cancelled_is_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> Response:
        return fail(403, "no permission to cancel")

    monkeypatch.setattr(Batches, "cancel", refuse)
    endpoint = Batched(then=YES, fates=[goes_on])
    with served(endpoint) as url:
        for batch in (True, False):
            with pytest.raises(TeacherError, match="has not ended"):
                await run.ask(run.start(endpoint, app=None, base_url=url, batch=batch, batch_hours=0.01))


@pytest.mark.parametrize(
    "said", [PAGE, JSONResponse([]), JSONResponse({}), JSONResponse({"data": 5}), JSONResponse({"data": [1]})]
)
async def test_a_list_of_batches_that_is_none_is_no_batch_api(run: Run, said: Response) -> None:
    endpoint = Batched(then=YES, lists=said)
    with (
        served(endpoint) as url,
        pytest.raises(TeacherSetupError, match=r"has no Batch API \(its list of batches is none\); set teacher\.batch"),
    ):
        await run.start(endpoint, app=None, base_url=url).check_batches()


async def test_a_list_that_is_none_does_not_mean_that_a_batch_was_never_made(run: Run) -> None:
    endpoint = Batched(then=YES, lost=1)
    with served(endpoint) as url:
        with pytest.raises(TeacherError, match="does not take a batch"):
            await run.ask(run.start(endpoint, app=None, base_url=url, retries=0))
        for said in (PAGE, JSONResponse({}), JSONResponse({"data": [{"id": [1]}]})):
            endpoint.lists = said
            with pytest.raises(TeacherError, match="does not list batches"):
                await run.ask(run.start(endpoint, app=None, base_url=url))
        endpoint.lists = None
        endpoint.made[0].metadata = "none"  # type: ignore[assignment]
        await run.ask(run.start(endpoint, app=None, base_url=url))
    assert len(endpoint.made) == 1
    run.check_paid_once(endpoint)


async def test_looks_that_get_a_page_are_made_again(run: Run) -> None:
    endpoint = Batched(then=YES, looks=[PAGE, JSONResponse([]), JSONResponse({})])
    with served(endpoint) as url:
        await run.ask(run.start(endpoint, app=None, base_url=url))
    run.check_paid_once(endpoint)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([{"code": "bad", "message": "no model"}], "bad: no model"),
        (["no model"], "None: no model"),
        ({"data": [{"code": "bad", "message": "no model"}]}, "bad: no model"),
        ({"data": ["no model"]}, "None: no model"),
    ],
)
async def test_errors_of_a_batch_are_told_in_whatever_form_they_come(run: Run, errors: Any, told: str) -> None:
    async def is_failed(service: Batches, batch: Made) -> None:
        service.end(batch, "failed")
        endpoint.looks = [JSONResponse({**batch.as_json(), "errors": errors})]

    endpoint = Batched(then=YES, fates=[is_failed])
    with served(endpoint) as url, pytest.raises(TeacherSetupError, match=rf"failed the batch \w+ \({told}\)"):
        await run.ask(run.start(endpoint, app=None, base_url=url))


async def test_what_was_never_uploaded_is_given_up_at_another_address(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> str:
        raise KeyboardInterrupt

    first, second = Batched(then=YES), Batched(then=YES)
    with served(first) as url, monkeypatch.context() as patch:
        patch.setattr(BatchApi, "upload", dies)
        with pytest.raises(KeyboardInterrupt):
            await run.start(first, app=None, base_url=url).ask_ahead(lambda: questions(MANY))
    with served(second) as url:
        await run.ask(run.start(second, app=None, base_url=url))
    assert [row.get("ended") for row in run.log if "ended" in row] == ["never made", "completed"]


async def test_a_batch_without_an_id_is_named_by_its_file_at_another_address(run: Run) -> None:
    first, second = Batched(then=YES, lost=1), Batched(then=YES)
    with served(first) as url, pytest.raises(TeacherError, match="does not take a batch"):
        await run.ask(run.start(first, app=None, base_url=url, retries=0))
    with (
        served(second) as url,
        pytest.raises(TeacherSetupError, match=r"has no batch of file-\w+, which was submitted"),
    ):
        await run.ask(run.start(second, app=None, base_url=url))
