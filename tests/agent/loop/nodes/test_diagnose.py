"""The errors of a round at an endpoint with faults, over HTTP: what becomes of each, and what is said of it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.loop.nodes.diagnose import diagnose_all
from agent.report.caveats import caveats_of
from agent.run.context import Context
from agent.run.reading import RunRecords
from agent.run.summary import summary
from agent.teacher.client import Teacher
from agent.teacher.endpoint.dialect import Learned
from eval.answers import Answer
from eval.task import Item
from retrieval.errors import TeacherError
from retrieval.storage.files import read_jsonl
from tests.agent.small_context import make_context
from tests.endpoint import Scripted, Seen, chat, fail, served

GOOD = {"wrong_step": 1, "why": "w", "should_say": "s", "skill": "adding two numbers"}
TEXTS = {"p1": [("How much?", "2")]}
FAULTS: dict[str, Any] = {
    "refuses": chat(None, refusal="I would rather not."),
    "filters": chat("", finish="content_filter"),
    "filters at once": fail(400, "blocked by our content management policy", code="content_filter"),
    "is cut": chat('{"wrong', finish="length"),
    "rambles": "Ich sehe den Fehler im ersten Schritt.",
    "finds it too long": fail(400, "This model's maximum context length is 8192 tokens."),
    "minds the image": fail(400, "Invalid image data."),
    "breaks": fail(500, "assertion failed"),
}
STATES = {"refused": 1, "filtered": 2, "cut": 1, "malformed": 1, "failed": 3}


@contextmanager
def at(root: Path, endpoint: Scripted, **fields: Any) -> Iterator[Context]:
    """A run whose teacher is served over HTTP and for which no time passes."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    with served(endpoint) as url:
        context = make_context(root, TEXTS)
        teacher = context.config.teacher.model_copy(update={"base_url": url, "retries": 1, **fields})
        path = context.folder.path
        context.teacher = Teacher(
            teacher,
            path / "teacher.jsonl",
            sleep=sleep,
            learned=Learned(path / "endpoint.json"),
            say=lambda text: context.folder.event("teacher", said=text),
        )
        try:
            yield context
        finally:
            context.folder.close()


def errors_of(*questions: str) -> tuple[list[Answer], dict[str, Item]]:
    items = {f"i{number}": Item(f"i{number}", question, ("2",)) for number, question in enumerate(questions)}
    return [Answer(name, "Step 1: 1 + 1 is 3.", ("1 + 1 is 3.",), "3", False, "wrong") for name in items], items


async def diagnose_at(context: Context, *questions: str) -> None:
    try:
        await diagnose_all(context, 1, *errors_of(*questions))
    finally:
        await context.teacher.close()


def answer(seen: Seen) -> Any:
    return FAULTS.get(seen.data["question"], GOOD) if seen.kind else GOOD


async def test_each_fault_is_a_state_of_its_own_in_rows_counts_and_report(tmp_path: Path) -> None:
    with at(tmp_path, Scripted(then=answer), concurrency=1) as context:
        with pytest.raises(
            TeacherError, match=r"67%.*8 of 12 requests .*\(3 failed, 2 filtered, 1 cut, 1 malformed, 1 refused\)"
        ):
            await diagnose_at(context, "q1", *FAULTS, "q2", "q3", "q4")
        run = context.folder.path
    rows = {row["item"]: row for row in read_jsonl(run / "rounds" / "01" / "diagnoses.jsonl")}
    assert len(rows) == 12
    assert Counter(row["fault"] for row in rows.values() if row["state"] == "set_aside") == STATES
    assert all(bool(row["reason"]) == bool(row["fault"]) for row in rows.values())
    assert "Ich sehe den Fehler" in next(row["reason"] for row in rows.values() if row["fault"] == "malformed")
    assert summary(run)["rounds"][0]["diagnoses"] == {"diagnosed": 4, **STATES}
    (caveat,) = [text for text in caveats_of(RunRecords(run)) if "usable diagnosis" in text]
    assert caveat.endswith("for 8 of 12 errors (3 failed, 2 filtered, 1 cut, 1 malformed, 1 refused).")


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refused_key_stops_the_step_and_nothing_is_lost(tmp_path: Path, status: int) -> None:
    def revoked(seen: Seen) -> Any:
        return GOOD if seen.number <= 4 else fail(status, "not any more")

    questions = [f"q{number}" for number in range(10)]
    with at(tmp_path, Scripted(then=revoked), concurrency=1) as context:
        with pytest.raises(TeacherError, match=f"HTTP {status}"):
            await diagnose_at(context, *questions)
        path = context.folder.round(1) / "diagnoses.jsonl"
        assert [row["state"] for row in read_jsonl(path)] == ["diagnosed"] * 4
    mended = Scripted(then=GOOD)
    with at(tmp_path, mended) as context:
        await diagnose_at(context, *questions)
    assert len(read_jsonl(path)) == 10
    assert len(mended.requests) == 6


async def test_an_outage_in_the_middle_of_a_round_sets_nothing_aside(tmp_path: Path) -> None:
    plain = 0

    def weather(seen: Seen) -> Any:
        nonlocal plain
        plain += seen.kind is None
        return GOOD if seen.number <= 5 or plain > 4 else fail(503, "maintenance")

    with at(tmp_path, Scripted(then=weather), concurrency=4) as context:
        await diagnose_at(context, *(f"q{number}" for number in range(20)))
        rows = read_jsonl(context.folder.round(1) / "diagnoses.jsonl")
        said = [row["said"] for row in read_jsonl(context.folder.path / "events.jsonl") if row["event"] == "teacher"]
    assert [row["state"] for row in rows] == ["diagnosed"] * 20
    assert len(said) == 2
    assert "maintenance" in said[0]
